"""Whether two records are the same ECG: their band-passed signals over all that they have in common."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import fft

from ..record import LEADS
from ..signal.spectral import filter_resample
from .keys import HIGH, LOW, RATE
from .read import Store

# Correlation of the median lead from which on two records are the same ECG. PTB-XL's own 100 Hz copies have 0.97 or
# more in 95 of 100 records (noise folds in). Other pairs of real records with two keys in common stay below 0.4, with
# one key below 0.72, but for one lead over 3.6 s: 0.96. Of the 5e9 pairs of 100,000 simulated ECGs 28 are above, most
# of them paced, as regular as clocks. One lead alone is alike more often by chance.
ALIKE, ALIKE_ALONE = 0.97, 0.985
UNLIKE = 0.8  # of the first piece: no need to look further
PIECE = 30.0  # s that are compared at a time, each with its own small shift: clocks drift
NEAR = 6  # samples at RATE that a candidate's offset may be off
SHORTEST = 2.9  # s in common, where the records are not shorter
WHOLE = 0.97  # of a record in common is all of it
FAINT = 1e-10  # mV^2 a sample; less is no signal

SAMPLES, SHAPE, EXCERPT, OVERLAP = "same samples", "same shape", "excerpt", "overlap"


class Leak(NamedTuple):
    """Two records with the same ECG: b = gain * a, and b's time = a's time + offset."""

    store_a: int  # number in the list of stores
    row_a: int
    store_b: int
    row_b: int
    kind: str  # same samples, same shape (all of both), excerpt (all of one), overlap
    leads: tuple[tuple[str, str], ...]  # of a and of b, that were compared
    correlation: float  # of the median lead; the sign is in the gain
    gain: float
    offset: float  # s
    seconds: float  # in common


class Judge:
    """Compares the signals of candidates."""

    def __init__(self, paths: list[Path]):
        self.stores = [Store(path) for path in paths]
        self.first = np.cumsum([0, *map(len, self.stores)])

    def __call__(self, some: np.ndarray) -> tuple[int, list[Leak]]:
        found = [self._judged(one) for one in some]
        return len(found), [leak for leak in found if leak is not None]

    def _judged(self, one: np.void) -> Leak | None:
        place = [int(np.searchsorted(self.first, record, "right")) - 1 for record in (one["a"], one["b"])]
        a, b = (_Side(self.stores[k], int(one[x] - self.first[k])) for k, x in zip(place, ("a", "b")))
        where = place[0], a.row, place[1], b.row
        if one["lead_a"] < 0:
            x = a.store.signal(a.row)
            moves = (np.fmax.reduce(x, 1) > np.fmin.reduce(x, 1)).any()
            return Leak(*where, SAMPLES, tuple(zip(a.leads, b.leads)), 1.0, 1.0, 0.0, a.seconds) if moves else None
        offset = float(one["offset"])
        start, stop = max(0.0, -offset), min(a.seconds, b.seconds - offset)  # in a's time
        seconds = stop - start
        if seconds < min(SHORTEST, WHOLE * min(a.seconds, b.seconds)):
            return None
        pairs = _paired(a.leads, b.leads, (int(one["lead_a"]), int(one["lead_b"])))
        sums, offset = _compared(a, b, np.linspace(start, stop, max(1, round(seconds / PIECE)) + 1), offset, pairs)
        correlation, gain, good = _correlation(sums)
        if not correlation >= (ALIKE if good.sum() > 2 else ALIKE_ALONE):
            return None
        whole = [seconds >= WHOLE * side.seconds for side in (a, b)]
        kind = SHAPE if all(whole) else EXCERPT if any(whole) else OVERLAP
        leads = tuple((a.leads[i], b.leads[j]) for k, (i, j) in enumerate(pairs) if good[k])
        return Leak(*where, kind, leads, correlation, gain, offset, seconds)


class _Side:
    """One record of a pair."""

    def __init__(self, store: Store, row: int):
        self.store, self.row, self.leads = store, row, store.leads(row)
        self.rate = float(store.number("rate")[row])
        self.seconds = float(store.number("length")[row]) / self.rate

    def cut(self, first: float, last: float, leads: list[int]) -> tuple[np.ndarray, float]:
        """A piece (C, T) at RATE, filtered by itself: both records have the same ends then. And when it starts."""
        begin, end = max(0, round(first * self.rate)), max(1, round(last * self.rate))
        x = self.store.signal(self.row, begin, end)[leads]
        return filter_resample(x, self.rate, RATE, LOW, HIGH), begin / self.rate


def _compared(a: _Side, b: _Side, cuts: np.ndarray, offset: float, pairs: list) -> tuple[np.ndarray, float]:
    """Sums of all pieces between `cuts` (s, in a's time) as of `compare`, and the offset as it is."""
    sums, offsets = np.zeros((4, len(pairs))), []
    for first, last in pairwise(cuts):
        x, begin_a = a.cut(first, last, [i for i, _ in pairs])
        y, begin_b = b.cut(first + offset, last + offset, [j for _, j in pairs])
        some, delay = compare(x, y)
        offset = begin_b - begin_a + delay
        offsets.append(offset)
        sums += some
        if len(offsets) == 1 and not _correlation(sums)[0] >= UNLIKE:
            break
    return sums, float(np.median(offsets))


def compare(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Two band-passed pieces (C, T) at RATE, NEAR samples apart at most: sums of xx, yy, xy, 1 (4, C); y's delay, s."""
    T = min(x.shape[1], y.shape[1])
    x, y = x[:, :T], y[:, :T]
    gone = ~(np.isfinite(x) & np.isfinite(y))
    x, y = np.where(gone, 0, x), np.where(gone, 0, y)
    N = fft.next_fast_len(T + 2 * NEAR, real=True)
    X, Y = fft.rfft(x, N), fft.rfft(y, N)
    products = fft.irfft(np.conj(X) * Y, N)  # (C, N)
    size = np.sqrt((x**2).sum(1) * (y**2).sum(1)) + 1e-30
    close = np.concatenate([products[:, -NEAR:], products[:, : NEAR + 1]], 1) / size[:, None]  # (C, 2 NEAR + 1)
    score = np.abs(close).sum(0)
    best = int(score.argmax())
    delay = float(best - NEAR)
    if 0 < best < 2 * NEAR:
        before, here, after = score[best - 1 : best + 2]
        delay += float((after - before) / (2 * max(2 * here - before - after, 1e-12)))
    moved = fft.irfft(Y * np.exp(2j * np.pi * delay / N * np.arange(Y.shape[1])), N)[:, :T]
    skip = int(abs(delay)) + 1
    keep = ~gone
    keep[:, :skip], keep[:, max(0, T - skip) :] = False, False
    x, y = x * keep, moved * keep
    return np.stack([(x * x).sum(1), (y * y).sum(1), (x * y).sum(1), keep.sum(1)]), delay / RATE


def _correlation(sums: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Size of the correlation and gain of the median lead, NaN where none has a signal; which leads have one (C,)."""
    xx, yy, xy, count = sums
    good = np.minimum(xx, yy) > FAINT * np.maximum(count, 1)
    if not good.any():
        return np.nan, np.nan, good
    r = np.abs(xy[good]) / np.sqrt(xx[good] * yy[good])
    return float(np.median(r)), float(np.median(xy[good] / xx[good])), good


def _paired(a: tuple[str, ...], b: tuple[str, ...], voted: tuple[int, int]) -> list[tuple[int, int]]:
    """Which leads are compared: those of one name; the pair that shares most keys where names say nothing, or where
    there is but one of that name."""
    named = [(a.index(name), k) for k, name in enumerate(b) if name in a]
    trusted = len(named) > 1 and a[voted[0]] in LEADS and b[voted[1]] in LEADS
    return named if trusted or voted in named else [voted]
