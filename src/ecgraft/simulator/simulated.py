"""A batch of simulated ECGs and all that is known about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..record import BEAT, LEADS, RHYTHM, SPAN, Record, waves_array
from .config import Config
from .findings import FINDINGS, NAMES
from .text import report
from .threads import one_thread
from .timing import Timing, classes

_RHYTHM_NAMES = {"AFIB": "AFIB", "AFLT": "AFL", "SVTAC": "SVTA", "PACE": "P", "2AVB1": "BII", "2AVB2": "BII",
                 "3AVB": "BIII", "SBRAD": "SBR", "BIGU": "B", "WPW": "PREX"}  # fmt: skip


@dataclass
class Simulated:
    """B simulated ECGs; N slots for beats, K findings (NAMES).

    Waves have one onset, peak and offset for all leads: where the length of the wave's own dipole vector crosses a
    share of its maximum, see `shapes`. Only waves that are wholly inside the record are in `fiducials`.
    """

    x: torch.Tensor  # (B, 12, T) float32 mV; 0 where a lead is absent
    present: torch.Tensor  # (B, 12) bool
    y: torch.Tensor  # (B, K) bool
    fiducials: torch.Tensor  # (B, 2 N, 3, 3) samples of P, QRS, T x onset, peak, offset; -1 absent. 3AVB: P from row N
    symbols: torch.Tensor  # (B, N) uint8, the ASCII code of each peak's WFDB symbol; 0 where there is none
    peaks: torch.Tensor  # (B, N) R peaks, ascending, padded with -1
    patient: torch.Tensor  # (B,)
    index: torch.Tensor  # (B,)
    german: torch.Tensor  # (B,) bool
    numbers: torch.Tensor  # (B, 4) rate a minute, PR, QRS, QT ms; -1 where there is none
    times: dict[int, Timing]  # exact times in seconds, beyond the record's ends too
    seed: int
    config: Config

    @one_thread()
    def waves(self) -> torch.Tensor:
        """(B, T) uint8: the class of every sample, for all leads."""
        return classes(self.times, self.config.rate, self.x.shape[2])

    def text(self, i: int) -> str:
        """The report of ECG i."""
        names = [name for name, yes in zip(NAMES, self.y[i].tolist()) if yes]
        numbers = dict(zip(("rate", "pr", "qrs", "qt"), self.numbers[i].round().int().tolist()))
        seed = f"{self.seed}/{int(self.index[i])}"
        return report(names, numbers, bool(self.german[i]), seed, self.config.wording)

    def batch(self) -> dict:
        """The batch of the training loop; every label is known, every sample of a present lead scored."""
        B, C, length = self.x.shape
        return {
            "x": self.x,
            "present": self.present,
            "length": torch.full((B,), length, device=self.x.device),
            "y": self.y.float(),
            "known": torch.ones_like(self.y),
            "waves": self.waves()[:, None].expand(B, C, length),
            "scored": self.present[:, :, None].expand(B, C, length),
            "peaks": self.peaks,
            "text": [self.text(i) for i in range(B)],
            "labelled": torch.ones(B, dtype=torch.bool, device=self.x.device),
            "index": self.index,
        }

    def record(self, i: int) -> Record:
        """ECG i as a Record; leads that were not recorded are left out."""
        keep = self.present[i].nonzero()[:, 0].tolist()
        return Record(
            self.x[i, keep].cpu().numpy(),
            self.config.rate,
            tuple(LEADS[k] for k in keep),
            id=f"sim-{self.seed}-{int(self.index[i])}",
            patient=f"sim-{self.seed}-{int(self.patient[i])}",
            labels=self._labels(i),
            report=self.text(i),
            waves=self._waves(i),
            scored=self._scored(i),
            beats=self._beats(i),
            rhythms=self._rhythms(i),
            source="simulator",
        )

    def _labels(self, i: int) -> dict[str, int]:
        """Every code of FINDINGS, yes or no; a code of several findings is yes if one of them is."""
        labels: dict[str, int] = {}
        for finding, yes in zip(FINDINGS, self.y[i].tolist()):
            for code in finding.codes:
                labels[code] = max(labels.get(code, 0), int(yes))
        return labels

    def _waves(self, i: int) -> np.ndarray:
        rows = self.fiducials[i].cpu().numpy()  # (2 N, 3, 3); P, QRS, T have the codes 1, 2, 3
        return waves_array((kind + 1, -1, *rows[n, kind]) for n, kind in zip(*np.nonzero(rows[:, :, 1] >= 0)))

    def _scored(self, i: int) -> np.ndarray:
        """The span without the waves that the record's start or end cuts in two."""
        start, stop = 0, self.x.shape[2]
        length = stop
        for time in self.times.values():
            onset, _, offset = (samples[i][time.there[i]] for samples in time.samples(self.config.rate))
            start = max([start, *(offset[(onset < 0) & (offset >= 0)] + 1).tolist()])
            stop = min([stop, *onset[(onset < length) & (offset >= length)].tolist()])
        return np.array([(-1, start, max(stop, start))], dtype=SPAN)

    def _beats(self, i: int) -> np.ndarray:
        known = self.peaks[i] >= 0
        pairs = zip(self.peaks[i][known].tolist(), self.symbols[i][known].tolist())
        return np.array([(peak, chr(symbol)) for peak, symbol in pairs], dtype=BEAT)

    def _rhythms(self, i: int) -> np.ndarray:
        names = [short for name, short in _RHYTHM_NAMES.items() if self.y[i, NAMES.index(name)]]
        return np.array([(0, self.x.shape[2], names[0] if names else "N")], dtype=RHYTHM)
