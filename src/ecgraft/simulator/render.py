"""From beats and shapes to the dipole's track, the times of all waves, and the class of every sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..record import P, QRS, T
from .draw import Draw
from .plan import Plan
from .rhythm import VENTRICULAR, Beats, breathing
from .shapes import MARGIN, Shape

PAD = 1.0  # s before and after the record that are drawn too
_WEIGHT = {T: 1, P: 16, QRS: 256}  # in the sum that says which waves are on; the greater hides the smaller


@dataclass
class Timing:
    """Times (s) of the waves of every slot, (B, N): onset, peak and offset; `ok` where there is such a wave."""

    onset: torch.Tensor
    peak: torch.Tensor
    offset: torch.Tensor
    ok: torch.Tensor

    def samples(self, rate: float, length: int) -> torch.Tensor:
        """(B, N, 3) int64 sample indices; -1 where there is no wave or it is not wholly inside the record."""
        times = torch.stack([self.onset, self.peak, self.offset], 2)
        samples = (times * rate).round().long()
        inside = self.ok & (samples[..., 0] >= 0) & (samples[..., 2] < length)
        return torch.where(inside[..., None], samples, -1)


class Track:
    """The dipole (B, 3, T) with room at both ends; waves are added to it."""

    def __init__(self, B: int, seconds: float, rate: float, device):
        self.rate, self.pad = rate, math.ceil(PAD * rate)
        self.length = math.ceil(seconds * rate) + 2 * self.pad
        self.sum = torch.zeros(B * 3 * self.length, device=device)
        self.device = device

    def add(self, record: torch.Tensor, shape: Shape, onset: torch.Tensor, duration: torch.Tensor, span) -> None:
        """Add wave r of `shape` (R) to record[r], from onset to onset + duration; drawn over span = (low, high) s."""
        low, high = span
        first = torch.ceil((onset + low) * self.rate)
        steps = torch.arange(math.ceil((high - low) * self.rate), device=self.device)
        start = ((first / self.rate - onset) / duration).float()
        time = start[:, None] + steps * (1 / (self.rate * duration)).float()[:, None]  # (R, W)
        values = shape.at(time)  # (R, 3, W)
        row = (record[:, None] * 3 + torch.arange(3, device=self.device)) * self.length
        place = (row + first.long()[:, None] + self.pad)[:, :, None] + steps
        self.sum.scatter_add_(0, place.reshape(-1), values.reshape(-1))

    def inside(self, samples: int) -> torch.Tensor:
        """(B, 3, samples): the track without its ends."""
        return self.sum.view(-1, 3, self.length)[:, :, self.pad : self.pad + samples]


def timing(draw: Draw, plan: Plan, beats: Beats, p: Shape, qrs: Shape, t: Shape) -> dict[int, Timing]:
    """When every wave begins, peaks and ends."""
    B, N = beats.onset.shape
    wide = beats.origin == VENTRICULAR
    p_length = plan.p[:, None].expand(B, N)
    length = torch.where(wide, plan.ectopic_qrs[:, None], plan.qrs[:, None])
    end = beats.onset + length
    t_end = beats.onset + _qt(draw, plan, beats, wide)
    t_on = t_end - plan.t_share[:, None] * (t_end - end)
    return {
        P: _timing(beats.p_onset, p_length, beats.p_ok, _pick(p.peak, beats.origin == 1)),
        QRS: _timing(beats.onset, length, beats.ok, _pick(qrs.peak, wide)),
        T: _timing(t_on, t_end - t_on, beats.ok, _pick(t.peak, wide)),
    }


def _timing(onset, length, ok, peak) -> Timing:
    return Timing(onset, onset + peak * length, onset + length, ok)


def _pick(values: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(2 B) values of two kinds -> (B, N): the second where `second` says so."""
    a, b = values.chunk(2)
    return torch.where(second, b[:, None], a[:, None])


def _qt(draw: Draw, plan: Plan, beats: Beats, wide: torch.Tensor) -> torch.Tensor:
    """QT (B, N) by Fridericia from the mean interval and the one before; T ends before the next QRS."""
    B, N = wide.shape
    rr = 0.75 * plan.rr[:, None] + 0.25 * beats.before.clamp(0.3, 2.0)
    rr = torch.where(plan.has["3AVB"][:, None], beats.before.clamp(0.3, 2.0), rr)
    qtc = plan.qtc[:, None] + 0.6 * torch.where(wide, (plan.ectopic_qrs - plan.qrs)[:, None], 0)
    qt = (qtc + 0.004 * draw.normal("qt", n=N)) * rr.pow(1 / 3)
    return torch.minimum(qt, beats.after - 0.03)


def draw_waves(draw: Draw, plan: Plan, beats: Beats, times, p: Shape, qrs: Shape, t: Shape, st, u, seconds, rate):
    """The dipole's track (a Track) of all beats, moved and scaled by respiration."""
    B, N = beats.onset.shape
    track = Track(B, seconds, rate, beats.onset.device)
    breath = torch.sin(2 * math.pi * breathing(draw)[:, None] * beats.onset + draw.uniform("breath/phase", 0, 6.283)[:, None])
    gain = 1 + draw.uniform("breath/gain", 0, 0.09)[:, None] * breath + 0.015 * draw.normal("beat/gain", n=N)
    sway = draw.normal("breath/sway", 0, 0.05, 3)[:, None] * breath[..., None]  # (B, N, 3) radian
    kinds = {P: (p, beats.origin == 1), QRS: (qrs, beats.origin == VENTRICULAR), T: (t, beats.origin == VENTRICULAR)}
    for wave, (shape, second) in kinds.items():
        time = times[wave]
        on = (beats.p_drawn if wave == P else beats.ok) & (time.onset > -PAD * 0.7) & (time.onset < seconds + 0.3)
        record, slot = on.nonzero(as_tuple=True)
        rows = shape.take(record + B * second[record, slot])
        onset, length = time.onset[record, slot], (time.offset - time.onset)[record, slot]
        span = (-MARGIN * 0.2, 0.2 * (1 + MARGIN)) if wave != T else (-0.3, 0.55)
        if wave == T:
            rows = _with_st(rows, st[record + B * second[record, slot]], u[record + B * second[record, slot]],
                            (times[QRS].offset[record, slot] - onset) / length, length)  # fmt: skip
        rows.vector = _moved(rows.vector, gain[record, slot].float(), sway[record, slot].float())
        track.add(record, rows, onset, length, span)
    return track


def _with_st(rows: Shape, st, u, j, length) -> Shape:
    """The T waves with two more lobes: the ST segment from J (at time j < 0 of the wave) to the peak of T, and U."""
    j, length = j.float(), length.float()
    reach = (rows.peak - j).clamp(min=0.1)
    extra = (
        torch.stack([j + 0.38 * reach, 1 + 0.09 / length], 1),
        torch.stack([0.42 * reach, 0.03 / length], 1),
        torch.stack([0.6 * reach, 0.04 / length], 1),
        torch.stack([st, u], 1).float(),
        torch.tensor([1.0, 0.0], device=j.device).expand(len(j), 2),
    )
    parts = (rows.centre, rows.left, rows.right, rows.vector, rows.flat)
    return Shape(*(torch.cat(pair, 1) for pair in zip(parts, extra)), rows.peak)


def _moved(vector: torch.Tensor, gain: torch.Tensor, sway: torch.Tensor) -> torch.Tensor:
    """(R, J, 3) scaled, and turned by a small angle about each axis."""
    turned = vector + torch.linalg.cross(sway[:, None].expand_as(vector), vector)
    return turned * gain[:, None, None]


def classes(times: dict[int, Timing], rate: float, length: int) -> torch.Tensor:
    """(B, T) uint8: the class of every sample; where waves overlap QRS is before P, and P before T."""
    B = len(times[P].ok)
    level = torch.zeros(B, length + 1, dtype=torch.int32, device=times[P].ok.device)
    for wave, weight in _WEIGHT.items():
        time = times[wave]
        step = torch.where(time.ok, weight, 0).int()
        level.scatter_add_(1, (time.onset * rate).round().long().clamp(0, length), step)
        level.scatter_add_(1, (time.offset * rate).round().long().add(1).clamp(0, length), -step)
    level = level[:, :length].cumsum(1, dtype=torch.int32)
    out = (level > 0).to(torch.uint8) * T
    out.masked_fill_(level >= _WEIGHT[P], P)
    return out.masked_fill_(level >= _WEIGHT[QRS], QRS)
