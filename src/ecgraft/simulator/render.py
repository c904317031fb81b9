"""From beats and shapes to the track of the dipole."""

from __future__ import annotations

import math

import torch

from ..record import QRS, P, T
from .draw import Draw
from .plan import Plan
from .rhythm import ATRIAL, VENTRICULAR, Beats, breath
from .shapes import Shape
from .timing import Timing

PAD = 1.5  # s before and behind the record that are drawn too
# Waves are drawn over the shortest of these windows (s) that holds them; beyond it they are under 0.1 % of their peak.
WINDOWS = {P: (0.19, 0.27), QRS: (0.165, 0.28), T: (0.42, 0.62, 0.98)}
MARGIN = {P: 0.35, QRS: 0.15, T: 0.15}  # of the duration, drawn on either side of a wave


class Track:
    """The dipole (B, 3, T) with room at both ends; waves are added to it."""

    def __init__(self, B: int, seconds: float, rate: float, device):
        self.seconds, self.rate, self.pad = seconds, rate, math.ceil(PAD * rate)
        self.length = math.ceil(seconds * rate) + 2 * self.pad
        self.sum = torch.zeros(B * 3 * self.length, device=device)

    def add(self, record: torch.Tensor, shape: Shape, onset, length, low, high, windows) -> None:
        """Add wave r of `shape` (R) to record[r]; it lasts from onset to onset + length, drawn from low to high (s)."""
        reach = high - low
        smallest = 0.0
        for window in windows:
            rows = ((reach > smallest) & (reach <= window)).nonzero()[:, 0]
            if window == windows[-1]:
                rows = (reach > smallest).nonzero()[:, 0]
            self._add(record[rows], shape.take(rows), onset[rows], length[rows], low[rows], window)
            smallest = window

    def _add(self, record, shape: Shape, onset, length, low, window: float) -> None:
        first = torch.ceil(low * self.rate)
        steps = torch.arange(math.ceil(window * self.rate), device=first.device)
        start = ((first / self.rate - onset) / length).float()
        time = start[:, None] + steps * (1 / (self.rate * length)).float()[:, None]  # (R, W)
        row = (record[:, None] * 3 + torch.arange(3, device=first.device)) * self.length + self.pad
        place = (row + first.long()[:, None])[:, :, None] + steps  # (R, 3, W)
        self.sum.scatter_add_(0, place.flatten(), shape.at(time).flatten())

    def inside(self, samples: int) -> torch.Tensor:
        """(B, 3, samples): the track without its ends."""
        return self.sum.view(-1, 3, self.length)[:, :, self.pad : self.pad + samples]


def paint(draw: Draw, plan: Plan, beats: Beats, times: dict[int, Timing], shapes, st, u, track: Track) -> None:
    """Add all waves to the track, scaled and turned by respiration. st, u: (2 B, 3) ST segments and U waves."""
    B, N = beats.onset.shape
    air = breath(draw, beats.onset)
    gain = 1 + draw.uniform("breath/gain", 0, 0.09)[:, None] * air + 0.015 * draw.normal("beat/gain", n=N)
    sway = draw.normal("breath/sway", 0, 0.05, 3)[:, None] * air[..., None]  # (B, N, 3) radian
    for wave in (P, QRS, T):
        time = times[wave]
        there = beats.p_there if wave == P else beats.there
        near = (time.offset > -0.3) & (time.onset < track.seconds + 0.2)
        record, slot = (there & near).nonzero(as_tuple=True)
        second = beats.origin[record, slot] == (ATRIAL if wave == P else VENTRICULAR)
        kind = record + B * second
        rows, onset = shapes[wave].take(kind), time.onset[record, slot]
        length = time.offset[record, slot] - onset
        low, high = onset - MARGIN[wave] * length, onset + (1 + MARGIN[wave]) * length
        if wave == T:
            end = times[QRS].offset[record, slot]
            rows = _with_st(rows, st[kind], u[kind], (end - onset) / length, length)
            low = end - 0.3 * (rows.peak * length + onset - end)
            high = torch.where(u[kind].any(1), torch.maximum(high, onset + length + 0.2), high)
        rows.vector = _moved(rows.vector, gain[record, slot].float(), sway[record, slot].float())
        track.add(record, rows, onset, length, low, high, WINDOWS[wave])


def _with_st(rows: Shape, st: torch.Tensor, u: torch.Tensor, j: torch.Tensor, length: torch.Tensor) -> Shape:
    """The T waves with two more lobes: the ST segment from J (at time j < 0 of the wave) to the peak of T, and U."""
    j, length = j.float(), length.float()
    reach = (rows.peak - j).clamp(min=0.1)
    more = (
        torch.stack([j + 0.38 * reach, 1 + 0.09 / length], 1),
        torch.stack([0.42 * reach, 0.03 / length], 1),
        torch.stack([0.60 * reach, 0.04 / length], 1),
        torch.stack([st, u], 1).float(),
        torch.tensor([1.0, 0.0], device=j.device).expand(len(j), 2),
    )
    parts = (rows.centre, rows.left, rows.right, rows.vector, rows.flat)
    return Shape(*(torch.cat(pair, 1) for pair in zip(parts, more)), rows.peak)


def _moved(vector: torch.Tensor, gain: torch.Tensor, sway: torch.Tensor) -> torch.Tensor:
    """(R, J, 3) scaled, and turned by a small angle about each axis."""
    turned = vector + torch.linalg.cross(sway[:, None].expand_as(vector), vector)
    return turned * gain[:, None, None]
