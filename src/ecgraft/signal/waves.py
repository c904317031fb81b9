"""Waves as rows and as a class per sample, both ways. A wave covers its samples from onset to offset, both included."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

from ..record import NONE, QRS, P, T, waves_array

SHORTEST = {P: 0.030, QRS: 0.030, T: 0.050}  # s; a shorter run is not a wave


def classes(waves: np.ndarray, leads: int, samples: int) -> np.ndarray:
    """The class of each sample, (C, T) uint8, of WAVE rows; lead -1 is every lead. QRS goes over T, T over P.

    A row without onset or without offset has no extent and is left out.
    """
    shape = np.zeros((leads, samples), dtype=np.uint8)
    whole = waves[(waves["onset"] >= 0) & (waves["offset"] >= 0)]
    for kind in (P, T, QRS):
        for _, lead, onset, _, offset in whole[whole["kind"] == kind].tolist():
            shape[slice(None) if lead < 0 else lead, onset : offset + 1] = kind
    return shape


def decode(
    found: np.ndarray,
    rate: float,
    to: float | None = None,
    signal: np.ndarray | None = None,
    smooth: float = 0.0,
    gap: float = 0.020,
    shortest: dict[int, float] = SHORTEST,
) -> np.ndarray:
    """WAVE rows from what a model says per sample at `rate` Hz: probabilities (C, 4, T) or classes (C, T).

    Probabilities are averaged over `smooth` seconds and the largest is taken; gaps shorter than `gap` seconds inside a
    class are closed; runs shorter than `shortest` are dropped. Rows are in samples at `to` Hz (default `rate`). A
    boundary lies where the class overtakes the others on the line between two samples (half-way if only classes are
    given); onset and offset are the first and last sample inside. The peak is the sample of `signal` (C, T' at `to` Hz)
    farthest from the line between the wave's ends, or without a signal the middle.
    """
    to = to or rate
    probability = None
    if found.ndim == 3:
        probability = uniform_filter1d(found, max(1, round(smooth * rate)), axis=-1, mode="nearest")
        found = probability.argmax(axis=1)
    samples = signal.shape[1] if signal is not None else round(found.shape[1] * to / rate)
    rows = []
    for kind, least in shortest.items():
        lead, first, last = runs(found == kind, gap * rate, least * rate)
        before = first - overtaken(probability, kind, lead, first, first - 1)
        after = last + overtaken(probability, kind, lead, last, last + 1)
        onset = np.clip(np.ceil(before * to / rate), 0, samples - 1).astype(int)
        offset = np.clip(np.floor(after * to / rate), 0, samples - 1).astype(int)
        peak = (onset + offset) // 2 if signal is None else peaks_between(signal, lead, onset, offset)
        rows += zip(np.full(len(lead), kind), lead, onset, peak, offset)
    return waves_array(rows)


def fuse(waves: np.ndarray, leads: int, samples: int, rate: float) -> np.ndarray:
    """Global waves (lead -1): where at least half of the leads are in the same wave; the peak is the middle.

    An onset so found is the median onset of the leads if all have the wave.
    """
    shape = classes(waves, leads, samples)
    winner = np.full((1, samples), NONE)
    for kind in (P, T, QRS):
        winner[:, (shape == kind).mean(axis=0) >= 0.5] = kind
    rows = decode(winner, rate)
    rows["lead"] = -1
    return rows


def runs(mask, gap: float, shortest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lead, first and last sample of the runs in mask (C, T): gaps below `gap` closed, then short runs dropped."""
    C, samples = mask.shape
    padded = np.zeros((C, samples + 2), dtype=np.int8)
    padded[:, 1:-1] = mask
    step = np.diff(padded, axis=1)
    lead, first = np.nonzero(step == 1)
    last = np.nonzero(step == -1)[1] - 1
    apart = (lead[1:] != lead[:-1]) | (first[1:] - last[:-1] - 1 >= gap - 1e-9)
    starts, stops = np.append(True, apart)[: len(lead)], np.append(apart, True)[: len(lead)]
    lead, first, last = lead[starts], first[starts], last[stops]
    keep = last - first + 1 >= shortest - 1e-9
    return lead[keep], first[keep], last[keep]


def overtaken(probability, kind, lead, inside, outside) -> np.ndarray:
    """How far (in samples, below 1) from `inside` towards `outside` the class stops being the most probable one."""
    if probability is None:
        return np.full(len(lead), 0.5)
    outside = np.clip(outside, 0, probability.shape[-1] - 1)
    here, there = (_margin(probability[lead, :, at], kind) for at in (inside, outside))
    fall = here - there
    return np.where(fall > 0, np.clip(here / np.where(fall > 0, fall, 1), 0, 1 - 1e-6), 0.5)


def _margin(probability, kind) -> np.ndarray:
    """Probability of a class, one or one each, less the largest of the others: (n, 4) -> (n,)."""
    own = np.arange(4) == np.broadcast_to(kind, len(probability))[:, None]
    return probability[own] - np.where(own, -1, probability).max(axis=1)


def peaks_between(signal, lead, onset, offset) -> np.ndarray:
    """Per run the sample farthest from the line between its ends, the first of equals; NaN is never farthest."""
    if not len(lead):
        return onset
    size = offset - onset + 1
    run = np.repeat(np.arange(len(lead)), size)
    starts = np.cumsum(size) - size
    step = np.arange(len(run)) - starts[run]
    a, b = signal[lead, onset], signal[lead, offset]
    line = a[run] + (b - a)[run] * step / np.maximum(size - 1, 1)[run]
    away = np.nan_to_num(np.abs(signal[lead[run], onset[run] + step] - line), nan=-1.0)
    top = np.maximum.reduceat(away, starts)
    return onset + np.minimum.reduceat(np.where(away == top[run], step, size[run]), starts)
