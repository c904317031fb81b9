"""What is wrong with the leads of a record, in sentences a person can act on."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..record import Record

FLAT = 1e-3  # mV between the lowest and highest sample
STILL = 0.5  # share of samples that equal the one before, over runs of a fifth of a second
RAIL = 0.002  # share of samples stuck at the lowest or highest value
LARGEST = 10.0  # mV away from the median
SMALLEST = 0.05  # mV between the lowest and highest sample
HUM = 0.05  # mV, amplitude of the mains
MISSING = 0.01  # share of samples
SECONDS = 60.0  # the mains is looked for in the first minute
CELL, CELLS = 0.25, 8  # s; a lead stands still where it spans less than FLAT in so many cells in a row
AT_ONCE = 4096  # cells
PART = 1_000_000  # samples


def findings(record: Record) -> list[str]:
    """One sentence for each thing wrong with a lead; an empty list is a clean record. About 1 ms for 12 x 5000."""
    found = []
    hum = _hum(record.signal[:, : int(SECONDS * record.rate)], record.rate)
    for name, x, (hertz, amplitude) in zip(record.leads, record.signal, hum):
        sentence = _shape(x, record.rate)
        if sentence:
            found.append(f"lead {name} {sentence}")
        if amplitude > HUM:
            found.append(f"lead {name} has mains hum: {amplitude:.2f} mV at {hertz} Hz")
    return found


def still(record: Record) -> list[np.ndarray]:
    """Per lead, spans (n, 2) of samples, two seconds or longer, in which it does not move or has no samples."""
    size, T = max(1, round(CELL * record.rate)), record.signal.shape[1]
    starts = np.arange(0, T, size)
    spans = []
    for x in record.signal:
        low, high = _extremes(x, starts)
        at = np.arange(len(starts))[:, None] + np.arange(min(CELLS, len(starts)))
        at = at[at[:, -1] < len(starts)]
        quiet = high[at].max(1) - low[at].min(1) < FLAT  # -inf - inf where all is missing
        edges = np.zeros(len(starts) + 1, int)
        np.add.at(edges, at[quiet, 0], 1)
        np.add.at(edges, at[quiet, -1] + 1, -1)
        on = np.flatnonzero(np.diff(edges.cumsum()[:-1] > 0, prepend=False, append=False)).reshape(-1, 2)
        spans.append(np.append(starts, T)[on])
    return spans


def _extremes(x: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest sample from each start to the next; inf and -inf where there is none. No copy of all of x."""
    ends, low, high = np.append(starts[1:], x.size), np.empty(len(starts)), np.empty(len(starts))
    for i in range(0, len(starts), AT_ONCE):
        some = slice(i, i + AT_ONCE)
        part, first = x[starts[i] : ends[some][-1]], starts[some] - starts[i]
        there = np.isfinite(part)
        low[some] = np.minimum.reduceat(np.where(there, part, np.inf), first)
        high[some] = np.maximum.reduceat(np.where(there, part, -np.inf), first)
    return low, high


def _shape(x: np.ndarray, rate: float) -> str:
    """The first thing wrong with one lead (T,), or nothing."""
    there = np.isfinite(x)
    missing = 1 - there.mean()
    if missing == 1:
        return "has no samples"
    x = x if missing == 0 else x[there]
    low, high = float(x.min()), float(x.max())
    if high - low < FLAT:
        return f"is flat at {low + 0.0:.3g} mV"
    if missing > MISSING:
        return f"has no samples for {missing:.0%} of its time"
    middle = float(np.median(x[:: max(1, x.size // 2000)]))
    if max(high - middle, middle - low) > LARGEST:
        return f"reaches {max(high, low, key=abs):.3g} mV, more than a heart gives: check its unit and gain"
    if high - low < SMALLEST:
        return f"spans only {high - low:.2g} mV: check its unit and gain"
    stuck, level = max((_stuck(x, low), low), (_stuck(x, high), high))
    if stuck > RAIL:
        return f"is clipped at {level:.3g} mV for {stuck:.1%} of its time"
    still = _still(x, max(2, int(0.2 * rate)))
    if still > STILL:
        return f"stands still for {still:.0%} of its time"
    return ""


def _stuck(x: np.ndarray, level: float) -> float:
    """Share of samples that stay at `level` for three samples or more, in two places at least (a filled end is one)."""
    there = x == np.float32(level)
    if np.count_nonzero(there) <= RAIL * x.size:  # too few, however they lie
        return 0.0
    at = np.flatnonzero(there)
    runs = np.diff(np.r_[-1, np.flatnonzero(np.diff(at) > 1), at.size - 1])
    runs = runs[runs > 2]
    return runs.sum() / x.size if runs.size > 1 else 0.0


def _still(x: np.ndarray, run: int) -> float:
    """Share of samples inside runs of at least `run` equal samples; a part at a time, as a day does not fit."""
    still = 0
    for first in range(0, x.size, PART):
        part = x[first : first + PART]
        changes = part[1:] != part[:-1]
        pairs = part.size - np.count_nonzero(changes)
        if part.size == x.size and pairs * run <= STILL * x.size * (run - 1):  # too few, however they lie
            continue
        edges = np.flatnonzero(changes) + 1
        lengths = np.diff(np.r_[0, edges, part.size])
        still += lengths[lengths >= run].sum()
    return float(still / x.size)


def _hum(signal: np.ndarray, rate: float) -> list[tuple[int, float]]:
    """The stronger of 50 and 60 Hz in each lead: (Hz, amplitude in mV), 0 where it does not stand out."""
    C, T = signal.shape
    best = [(50, 0.0)] * C
    x = np.nan_to_num(signal, nan=0.0, posinf=0.0, neginf=0.0)
    for hertz in (50, 60):
        if rate <= 2 * (hertz + 4) or rate > T:
            continue
        cosine, sine = _probes(T, rate, hertz)
        level = np.abs(x @ cosine + 1j * (x @ sine))  # (C, 5) mV
        stands_out = level[:, 0] > 4 * level[:, 1:].mean(axis=1)
        best = [
            (hertz, float(level[i, 0])) if stands_out[i] and level[i, 0] > best[i][1] else best[i] for i in range(C)
        ]
    return best


@lru_cache(4)
def _probes(T: int, rate: float, hertz: int) -> tuple[np.ndarray, np.ndarray]:
    """Windowed cosine and sine of the mains and of four frequencies beside it, (T, 5) each."""
    window = np.hanning(T).astype(np.float32) * np.float32(2 / max(np.hanning(T).sum(), 1e-9))
    probes = np.array([hertz, hertz - 4, hertz - 3, hertz + 3, hertz + 4], dtype=np.float32)
    angle = (2 * np.pi * probes[:, None] / rate * np.arange(T)).astype(np.float32)
    return (window * np.cos(angle)).T, (window * np.sin(angle)).T
