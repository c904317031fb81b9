"""simulate(): a batch of ECGs and all that is known about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..record import BEAT, LEADS, RHYTHM, SPAN, P, QRS, Record, T, waves_array
from . import atria, noise, pacing, render, rhythm, torso, ventricles
from .config import Config
from .draw import Draw
from .findings import FINDINGS, NAMES
from .plan import Plan, plan
from .text import report

_RHYTHM_NAMES = {"AFIB": "AFIB", "AFLT": "AFL", "SVTAC": "SVTA", "PACE": "P", "2AVB1": "BII", "2AVB2": "BII",
                 "3AVB": "BIII", "SBRAD": "SBR", "BIGU": "B", "WPW": "PREX"}  # fmt: skip


@dataclass
class Simulated:
    """B simulated ECGs; N slots for beats, K findings (NAMES).

    Waves have one onset, peak and offset for all leads: where the length of the wave's own dipole vector crosses a
    share of its maximum, see `shapes`. Only waves that are wholly inside the record are listed in `fiducials`.
    """

    x: torch.Tensor  # (B, 12, T) float32 mV; 0 where a lead is absent
    present: torch.Tensor  # (B, 12) bool
    y: torch.Tensor  # (B, K) bool
    fiducials: torch.Tensor  # (B, 2 N, 3, 3) P, QRS, T x onset, peak, offset, samples; -1 absent. 3AVB: P in rows N...
    symbols: torch.Tensor  # (B, N) uint8 ASCII code of the beat's WFDB symbol; 0 where there is none
    peaks: torch.Tensor  # (B, N) R peaks, ascending, padded with -1
    patient: torch.Tensor  # (B,)
    index: torch.Tensor  # (B,)
    german: torch.Tensor  # (B,) bool
    numbers: torch.Tensor  # (B, 4) rate a minute, PR, QRS, QT ms; -1 where there is none
    times: dict[int, render.Timing]  # exact times in seconds, of waves beyond the record's ends too
    seed: int
    config: Config

    def waves(self) -> torch.Tensor:
        """(B, T) uint8: the class of every sample, for all leads."""
        return render.classes(self.times, self.config.rate, self.x.shape[2])

    def text(self, i: int) -> str:
        """The report of record i."""
        names = [name for name, yes in zip(NAMES, self.y[i].tolist()) if yes]
        numbers = dict(zip(("rate", "pr", "qrs", "qt"), self.numbers[i].round().int().tolist()))
        return report(names, numbers, bool(self.german[i]), f"{self.seed}/{int(self.index[i])}")

    def batch(self) -> dict:
        """The Batch of the training loop: waves for every lead, every label known."""
        B, C, length = self.x.shape
        waves = self.waves()[:, None].expand(B, C, length)
        return {
            "x": self.x, "present": self.present, "length": torch.full((B,), length, device=self.x.device),
            "y": self.y.float(), "known": torch.ones_like(self.y), "waves": waves,
            "scored": self.present[:, :, None].expand(B, C, length), "peaks": self.peaks, "text": [self.text(i) for i in range(B)],
            "labelled": torch.ones(B, dtype=torch.bool, device=self.x.device), "index": self.index,
        }  # fmt: skip

    def record(self, i: int) -> Record:
        """ECG i as a Record; leads that were not recorded are left out."""
        keep = self.present[i].nonzero()[:, 0].tolist()
        return Record(
            self.x[i, keep].cpu().numpy(), self.config.rate, tuple(LEADS[k] for k in keep),
            id=f"sim-{self.seed}-{int(self.index[i])}", patient=f"sim-{self.seed}-p{int(self.patient[i])}",
            labels=self._labels(i), report=self.text(i), waves=self._waves(i), scored=self._scored(i),
            beats=self._beats(i), rhythms=self._rhythms(i), source="simulator",
        )  # fmt: skip

    def _labels(self, i: int) -> dict[str, int]:
        """Every code of FINDINGS, yes or no; a code of several findings is yes if one of them is."""
        labels: dict[str, int] = {}
        for finding, yes in zip(FINDINGS, self.y[i].tolist()):
            for code in finding.codes:
                labels[code] = max(labels.get(code, 0), int(yes))
        return labels

    def _waves(self, i: int) -> np.ndarray:
        rows = self.fiducials[i].cpu().numpy()  # (2 N, 3, 3)
        return waves_array(
            (kind + 1, -1, *rows[n, kind]) for n, kind in zip(*np.nonzero(rows[:, :, 1] >= 0))
        )  # P, QRS, T are 1, 2, 3

    def _scored(self, i: int) -> np.ndarray:
        """From the end of the last wave that the record's start cuts to the beginning of the first its end cuts."""
        start, stop = 0, self.x.shape[2]
        for time in self.times.values():
            onset, offset = ((t[i][time.ok[i]] * self.config.rate).round().long() for t in (time.onset, time.offset))
            start = max([start, *(offset[(onset < 0) & (offset >= 0)] + 1).tolist()])
            stop = min([stop, *onset[(onset < self.x.shape[2]) & (offset >= self.x.shape[2])].tolist()])
        return np.array([(-1, start, max(stop, start))], dtype=SPAN)

    def _beats(self, i: int) -> np.ndarray:
        peaks, symbols = self.peaks[i].tolist(), bytes(self.symbols[i].tolist())
        rows = [(p, symbols[n : n + 1]) for n, p in enumerate(peaks) if p >= 0]
        return np.array(rows, dtype=BEAT)

    def _rhythms(self, i: int) -> np.ndarray:
        names = [short for name, short in _RHYTHM_NAMES.items() if self.y[i, NAMES.index(name)]]
        return np.array([(0, self.x.shape[2], names[0] if names else "N")], dtype=RHYTHM)


def simulate(seed: int, index, config: Config | None = None, device="cpu") -> Simulated:
    """The records `index` (a range, a list or an int64 tensor) of `seed`; each is the same in whatever company."""
    config = config or Config()
    device = torch.device(device)
    index = torch.as_tensor(list(index) if isinstance(index, range) else index, dtype=torch.int64, device=device)
    draw = Draw(seed, index, "record")
    owner = index // config.records_per_patient
    patient = Draw(seed, owner, "patient")
    planned = plan(draw, patient, config)
    beats = rhythm.beats(draw, planned, config)
    p, qrs = atria.p_shape(patient), ventricles.qrs_shape(patient, planned)
    t = ventricles.t_shape(draw, patient, planned, qrs)
    times = render.timing(draw, planned, beats, p, qrs, t)
    st, u = ventricles.st_vectors(draw, patient, planned, qrs)
    track = render.draw_waves(draw, planned, beats, times, p, qrs, t, st, u, config.seconds, config.rate)
    pacing.add_spikes(track, draw, planned, beats, config.seconds)
    dipole = track.inside(config.samples)
    _fibrillate(draw, planned, dipole, config)
    x, present = _recorded(draw, patient, planned, dipole, config)
    times = {P: _visible(times[P], beats.p_ok), QRS: times[QRS], T: times[T]}
    fiducials, peaks, symbols = _listed(times, planned, beats, config)
    y = _findings(planned, beats, times, config)
    numbers = _numbers(planned, beats, times, config)
    german = draw.chance("german", config.german)
    return Simulated(x, present, y, fiducials, symbols, peaks, owner, index, german, numbers, times, seed, config)


def _visible(time: render.Timing, ok: torch.Tensor) -> render.Timing:
    return render.Timing(time.onset, time.peak, time.offset, ok)


def _fibrillate(draw: Draw, planned: Plan, dipole: torch.Tensor, config: Config) -> None:
    """Add f or F waves to the dipole (B, 3, T) where the atria fibrillate or flutter."""
    rows = planned.any("AFIB", "AFLT").nonzero()[:, 0]
    if len(rows):
        time = torch.arange(config.samples, device=rows.device) / config.rate
        kinds = torch.full((4,), noise.KINDS.index("smooth"), device=rows.device)
        slow = noise.read(draw.rows(rows), "smooth", kinds, config.samples, config.rate)
        dipole[rows] += atria.f_waves(draw.rows(rows), planned.has["AFLT"][rows], time, slow)


def _recorded(draw, patient, planned, dipole, config: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 12, T) leads with noise, swaps and losses, and which leads are present (B, 12)."""
    leads = torso.leads_of_electrodes().to(dipole.device) @ torso.swapped(draw, config.swap * torch.where(planned.handheld, 4.0, 1.0))
    x = torch.bmm((leads @ torso.lead_field(patient)).float(), dipole)  # (B, 12, T)
    gains = (leads @ noise.gains(draw, planned, config)).float()
    x.baddbmm_(gains, noise.sources(draw, config.samples, config.rate))
    present = ~draw.chance("lead_loss", config.lead_loss, 12)
    present[:, 1] |= ~present.any(1)
    flat = draw.chance("flat", config.flat, 12)
    flat[:, :6] = False  # limb leads share their electrodes
    return x.masked_fill_((~present | flat)[..., None], 0), present


def _listed(times, planned: Plan, beats: rhythm.Beats, config: Config):
    """fiducials (B, 2 N, 3, 3), peaks (B, N) and symbols (B, N)."""
    p, qrs, t = (times[wave].samples(config.rate, config.samples) for wave in (P, QRS, T))
    linked = beats.linked[:, None, None]
    none = torch.full_like(p, -1)
    together = torch.stack([torch.where(linked, p, -1), qrs, t], 2)
    alone = torch.stack([torch.where(linked, -1, p), none, none], 2)
    peaks = (times[QRS].peak * config.rate).round().long()
    inside = beats.ok & (peaks >= 0) & (peaks < config.samples)
    order = torch.argsort((~inside).to(torch.uint8), dim=1, stable=True)
    peaks = torch.where(inside, peaks, -1).gather(1, order)
    symbols = torch.where(inside, _symbols(planned, beats), 0).gather(1, order)
    return torch.cat([together, alone], 1), peaks, symbols.to(torch.uint8)


def _symbols(planned: Plan, beats: rhythm.Beats) -> torch.Tensor:
    """(B, N) ASCII codes of the WFDB beat symbols."""
    own = torch.full_like(planned.rr, ord("N")).long()
    own = torch.where(planned.has["CRBBB"], ord("R"), torch.where(planned.has["CLBBB"], ord("L"), own))
    own = torch.where(planned.has["3AVB"], ord("j"), own)
    wide = torch.where(planned.has["PACE"], ord("/"), torch.where(planned.has["3AVB"], ord("E"), ord("V")))
    symbols = torch.where(beats.origin == rhythm.VENTRICULAR, wide[:, None], own[:, None])
    return torch.where(beats.origin == rhythm.ATRIAL, ord("A"), symbols)


def _findings(planned: Plan, beats: rhythm.Beats, times, config: Config) -> torch.Tensor:
    """(B, K) bool: ectopy and blocked P waves as they are seen in the record, the rest as planned."""
    has = dict(planned.has)
    seen = beats.ok & (times[QRS].peak >= 0) & (times[QRS].peak < config.seconds)
    ectopic = {"PVC": rhythm.VENTRICULAR, "PAC": rhythm.ATRIAL}
    for name, origin in ectopic.items():
        has[name] = has[name] & (seen & (beats.origin == origin)).any(1)
    has["BIGU"] = has["BIGU"] & has["PVC"]
    blocked = times[P].ok & ~beats.ok & (times[P].onset >= 0) & (times[P].offset < config.seconds)
    for name in ("2AVB1", "2AVB2"):
        has["SR"] = has["SR"] | (has[name] & ~blocked.any(1))
        has[name] = has[name] & blocked.any(1)
    sick = torch.stack([has[name] for name in NAMES if name not in ("NORM", "SR", "SARRH")]).any(0)
    has["NORM"] = ~sick
    return torch.stack([has[name] for name in NAMES], 1)


def _numbers(planned: Plan, beats: rhythm.Beats, times, config: Config) -> torch.Tensor:
    """(B, 4): mean rate a minute and typical PR, QRS and QT in ms; -1 where there is none."""
    seen = beats.ok & (beats.onset >= 0) & (beats.onset < config.seconds)
    count = seen.sum(1).clamp(min=1)
    rr = (torch.where(seen, beats.before, 0).sum(1) / count).clamp(min=0.2)
    qt = torch.where(seen, times[T].offset - beats.onset, 0).sum(1) / count
    pr = torch.where(planned.any("AFIB", "AFLT", "SVTAC", "PACE", "3AVB"), -0.001, planned.pr)
    qrs = torch.where(planned.any("PACE"), planned.ectopic_qrs, planned.qrs)
    return torch.stack([60 / rr, 1000 * pr, 1000 * qrs, 1000 * qt], 1)
