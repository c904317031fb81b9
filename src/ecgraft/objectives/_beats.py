"""Beats in views of a batch: which take part, where they lie in the encoder's maps, and what stands there."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn.ranks import gather, world
from ..record import UsageError
from ..views import uniform
from ._look import STEP, Seen, time_level

LEAST = 3  # a record with fewer R peaks has no beats in the loss


def chosen_levels(level: int | str | None, encoder: nn.Module) -> list[int]:
    """Which of the encoder's maps beats are read from; a warning if the steps of the one are long for a beat."""
    if level == "all":
        return list(range(len(encoder.strides)))
    level = time_level(encoder) if level is None else level
    if not 0 <= level < len(encoder.strides):
        raise UsageError(f"level = {level}: the encoder has the levels 0 to {len(encoder.strides) - 1}")
    seconds = encoder.strides[level] / encoder.rate
    if seconds > STEP * (1 + 1e-9):
        warnings.warn(f"beats are read in steps of {1000 * seconds:.0f} ms; finer than 20 ms is better", stacklevel=2)
    return [level]


def enough_beats(batch: dict) -> Tensor:  # (B,) bool
    """Records whose beats, and whose features made of them, are worth a comparison."""
    return (batch["peaks"] >= 0).sum(1) >= LEAST


def takes_part(view: Seen, window: tuple[float, float], visible: int) -> Tensor:
    """Beats of a view that can be compared: (B, P) bool.

    The window (samples before and after the R peak) lies in the record, and the peak is unmasked in `visible` leads,
    or in all that the view has if they are fewer.
    """
    peaks, present, a = view.batch["peaks"], view.batch["present"], view.time.a[:, None]
    inside = (peaks - window[0] * a >= 0) & (peaks + window[1] * a <= view.batch["length"][:, None])
    least = present.sum(1).clamp(1, visible)
    return (peaks >= 0) & inside & (view.time.seen(peaks, present) >= least[:, None])


def choose(part: Tensor, random: torch.Generator, each: int, most: int, classes: Tensor | None = None) -> Tensor:
    """A random choice of beats part (V, B, P) bool, at most `each` of a record in a view and `most` in all.

    A beat draws one lot for all views, so that both views of it mostly stay together. With classes (B, P), -1 unknown,
    no class gets more than half of what is chosen.
    """
    lot = uniform(random, part.shape[1:]).expand(part.shape)  # the lowest are taken, those out of play stand last
    part = part & (_place(lot.masked_fill(~part, 2)) < each)
    if classes is not None:
        part = part & balanced(part, lot, classes.expand(part.shape), most)
    place = _place(lot.masked_fill(~part, 2).flatten()).view(part.shape)
    return part & (place < most)


def balanced(part: Tensor, lot: Tensor, classes: Tensor, most: int) -> Tensor:
    """Which beats stay if each class keeps, by lot, no more than all others together nor than most / 2."""
    kind = classes.masked_fill(~part, -1).flatten() + 1  # 0: no class, no limit
    count = kind.bincount(minlength=1)
    limit = (part.sum() - count).clamp(max=most // 2)
    order = lot.flatten().argsort(dim=0, stable=True)
    order = order[kind[order].argsort(dim=0, stable=True)]  # by class, in it by lot
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device) - (count.cumsum(0) - count)[kind[order]]
    return ((kind == 0) | (place < limit[kind])).view(part.shape)


def bins(peaks: Tensor, slope: Tensor, window: tuple[float, float], count: int) -> Tensor:
    """Centres of `count` bins over [r - a, r + b], in samples: (n,), (n,) -> (n, M).

    t_m = r - a + (m + 1/2) (a + b) / M. `slope` is that of the view's time map: where a view plays time slower, the
    window is longer, so that a bin holds the same part of the beat in both views.
    """
    m = (torch.arange(count, device=peaks.device) + 0.5) / count
    return peaks[:, None] + slope[:, None] * (m * sum(window) - window[0])


def steps_at(t: Tensor, stride: int, shift: float = 0.0) -> Tensor:
    """Samples t as positions in a map of this stride: u = t / stride - shift.

    Step n of our encoders stands at sample n stride (nn/conv.py), so shift is 0. It is 1/2 where a step stands in the
    middle of the `stride` samples that it is made of, as the formula of Beat-SSL has it.
    """
    return t / stride - shift


def read(e: Tensor, record: Tensor, u: Tensor) -> Tensor:
    """Maps e (B, D, N) of records `record` (n,) at positions u (n, M), on straight lines between steps: (n, D, M)."""
    B, D, N = e.shape
    rows = e.transpose(1, 2).reshape(B * N, D)
    u = u.clamp(0, N - 1)
    low = u.floor().long()
    first = record[:, None] * N
    one, two = (F.embedding(first + k, rows) for k in (low, (low + 1).clamp(max=N - 1)))  # fast backward, also on CPU
    return torch.lerp(one, two, (u - low)[..., None].to(e.dtype)).transpose(1, 2)


def gather_some(rows: list[Tensor], most: int) -> list[Tensor]:
    """Each of `rows` (n, ...) of all processes, which may have different n <= most."""
    if world() == 1:
        return rows
    n = len(rows[0])
    there = gather((torch.arange(most, device=rows[0].device) < n).long()) > 0
    return [gather(torch.cat([x, x.new_zeros(most - n, *x.shape[1:])]))[there] for x in rows]


def _place(lot: Tensor) -> Tensor:
    """Where each lot stands among those of the last axis, from 0."""
    return lot.argsort(dim=-1, stable=True).argsort(-1)
