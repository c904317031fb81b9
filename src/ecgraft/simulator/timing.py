"""When every wave begins, peaks and ends, and what that makes of every sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..record import QRS, P, T
from .draw import Draw
from .plan import Plan
from .rhythm import ATRIAL, VENTRICULAR, Beats
from .shapes import Shape

_WEIGHT = {T: 1, P: 16, QRS: 256}  # in the sum that says which waves are on; the greater hides the smaller


@dataclass
class Timing:
    """Times (s) of one kind of wave, (B, N): onset, peak and offset; `there` where there is such a wave."""

    onset: torch.Tensor
    peak: torch.Tensor
    offset: torch.Tensor
    there: torch.Tensor

    def samples(self, rate: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Onset, peak and offset as the nearest sample indices, (B, N) int64."""
        return tuple((time * rate).round().long() for time in (self.onset, self.peak, self.offset))

    def listed(self, rate: float, length: int) -> torch.Tensor:
        """(B, N, 3) int64 sample indices; -1 where there is no wave or it is not wholly inside the record."""
        samples = torch.stack(self.samples(rate), 2)
        inside = self.there & (samples[..., 0] >= 0) & (samples[..., 2] < length)
        return torch.where(inside[..., None], samples, -1)


def timing(draw: Draw, plan: Plan, beats: Beats, shapes: dict[int, Shape]) -> dict[int, Timing]:
    """The timing of P, QRS and T of all beats."""
    wide = beats.origin == VENTRICULAR
    qrs = torch.where(wide, plan.ectopic_qrs[:, None], plan.qrs[:, None])
    qt = _qt(draw, plan, beats, wide)
    t = plan.t_share[:, None] * (qt - qrs)
    return {
        P: _timing(beats.p_onset, plan.p[:, None], beats.p_seen, shapes[P], beats.origin == ATRIAL),
        QRS: _timing(beats.onset, qrs, beats.there, shapes[QRS], wide),
        T: _timing(beats.onset + qt - t, t, beats.there, shapes[T], wide),
    }


def _timing(onset, length, there, shape: Shape, second: torch.Tensor) -> Timing:
    """`shape` holds two waves of each record: `second` says which slots have the second."""
    own, other = shape.peak.chunk(2)
    peak = torch.where(second, other[:, None], own[:, None])
    return Timing(onset, onset + peak * length, onset + length, there)


def _qt(draw: Draw, plan: Plan, beats: Beats, wide: torch.Tensor) -> torch.Tensor:
    """QT (B, N) by Fridericia from the mean interval and the one before; T ends before the next QRS begins."""
    last = beats.before.clamp(0.3, 2.0)
    rr = torch.where(beats.linked[:, None], 0.75 * plan.rr[:, None] + 0.25 * last, last)
    qtc = plan.qtc[:, None] + 0.6 * torch.where(wide, (plan.ectopic_qrs - plan.qrs)[:, None], 0)
    qt = (qtc + 0.004 * draw.normal("qt", n=rr.shape[1])) * rr.pow(1 / 3)
    return torch.minimum(qt, beats.after - 0.03)


def classes(times: dict[int, Timing], rate: float, length: int) -> torch.Tensor:
    """(B, T) uint8: the class of every sample; where waves overlap QRS is before P, and P before T."""
    B = len(times[P].there)
    level = torch.zeros(B, length + 1, dtype=torch.int32, device=times[P].there.device)
    for wave, weight in _WEIGHT.items():
        onset, _, offset = times[wave].samples(rate)
        step = torch.where(times[wave].there, weight, 0).int()
        level.scatter_add_(1, onset.clamp(0, length), step)
        level.scatter_add_(1, (offset + 1).clamp(0, length), -step)
    level = level[:, :length].cumsum(1, dtype=torch.int32)
    out = (level > 0).to(torch.uint8) * T
    out.masked_fill_(level >= _WEIGHT[P], P)
    return out.masked_fill_(level >= _WEIGHT[QRS], QRS)
