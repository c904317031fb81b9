"""simulate(): from a seed and indices to a batch of ECGs."""

from __future__ import annotations

import torch

from ..record import QRS, P, T
from . import labels, noise, torso
from .atria import f_waves, p_shape
from .config import Config
from .draw import Draw
from .pacing import add_spikes
from .plan import Plan, plan
from .qrs import qrs_shape
from .render import Track, paint
from .repolarisation import st_vectors, t_shape
from .rhythm import Beats, beats
from .simulated import Simulated
from .threads import one_thread
from .timing import Timing, timing


@torch.no_grad()
@one_thread()
def simulate(seed: int, index, config: Config | None = None, device="cpu") -> Simulated:
    """The records `index` (a range, a list or an int64 tensor) of `seed`; each is the same in whatever company.

    Fastest in batches of about 64, by one thread: for more cores use more processes. On a device without float64 (MPS)
    simulate on the CPU and move the batch.
    """
    config = config or Config()
    index = torch.as_tensor(list(index) if isinstance(index, range) else index, dtype=torch.int64, device=device)
    owner = index // config.records_per_patient
    draw, patient = Draw(seed, index, "record"), Draw(seed, owner, "patient")
    planned = plan(draw, patient, config)
    beating = beats(draw, planned, config)
    qrs = qrs_shape(patient, planned)
    shapes = {P: p_shape(patient), QRS: qrs, T: t_shape(draw, patient, planned, qrs)}
    times = timing(draw, planned, beating, shapes)
    dipole = _dipole(draw, patient, planned, beating, times, shapes, config)
    x, present = _recorded(draw, patient, planned, dipole, config)
    fiducials, peaks, symbols = _listed(times, planned, beating, config)
    y = labels.findings(planned, beating, times, config.seconds)
    numbers = labels.numbers(planned, beating, times, config.seconds)
    german = draw.chance("german", config.german)
    return Simulated(x, present, y, fiducials, symbols, peaks, owner, index, german, numbers, times, seed, config)


def _dipole(draw: Draw, patient: Draw, planned: Plan, beating: Beats, times, shapes, config: Config) -> torch.Tensor:
    """The heart's dipole (B, 3, T) in mV: waves, spikes, and f or F waves."""
    track = Track(len(planned.rr), config.samples / config.rate, config.rate, planned.rr.device)
    st, u = st_vectors(draw, patient, planned, shapes[QRS])
    paint(draw, planned, beating, times, shapes, st, u, track)
    add_spikes(draw, planned, beating, track)
    dipole = track.inside(config.samples)
    rows = planned.any("AFIB", "AFLT").nonzero()[:, 0]
    if len(rows):
        some, time = draw.rows(rows), torch.arange(config.samples, device=rows.device) / config.rate
        slow = noise.smooth(some, 4, config.samples, config.rate)
        dipole[rows] += f_waves(some, planned.has["AFLT"][rows], planned.flutter[rows], time, slow)
    return dipole


def _recorded(draw: Draw, patient: Draw, planned: Plan, dipole, config: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 12, T) leads with noise, swaps and losses, and which leads are present (B, 12)."""
    swap = config.swap * torch.where(planned.handheld, 4.0, 1.0)
    leads = torso.leads_of_electrodes().to(dipole.device) @ torso.swapped(draw, swap)  # (B, 12, 9)
    x = torch.bmm((leads @ torso.lead_field(patient)).float(), dipole)
    gains = (leads @ noise.gains(draw, planned, config)).float()
    x.baddbmm_(gains, noise.sources(draw, config.samples, config.rate))
    present = ~draw.chance("lead_loss", config.lead_loss, 12)
    present[:, 1] |= ~present.any(1)
    flat = draw.chance("flat", config.flat, 12)
    flat[:, :6] = False  # limb leads share their electrodes
    return x.masked_fill_((~present | flat)[..., None], 0), present


def _listed(times: dict[int, Timing], planned: Plan, beating: Beats, config: Config):
    """fiducials (B, 2 N, 3, 3), peaks (B, N) and symbols (B, N)."""
    p, qrs, t = (times[wave].listed(config.rate, config.samples) for wave in (P, QRS, T))
    linked, none = beating.linked[:, None, None], torch.full_like(p, -1)
    together = torch.stack([torch.where(linked, p, -1), qrs, t], 2)
    alone = torch.stack([torch.where(linked, -1, p), none, none], 2)
    peaks = times[QRS].samples(config.rate)[1]
    inside = beating.there & (peaks >= 0) & (peaks < config.samples)
    order = torch.argsort((~inside).to(torch.uint8), dim=1, stable=True)
    peaks = torch.where(inside, peaks, -1).gather(1, order)
    symbols = torch.where(inside, labels.symbols(planned, beating), 0).gather(1, order)
    return torch.cat([together, alone], 1), peaks, symbols.to(torch.uint8)
