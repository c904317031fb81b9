"""Beat detection: hits, misses and false alarms of R peaks (the score of CPSC2019 is in challenges)."""

from __future__ import annotations

import numpy as np

from .match import pairs
from .sums import ratio


def count(reference, predicted, rate: float, tolerance: float = 0.150, start: int = 0, stop: int | None = None):
    """Hits, missed, false (3,) of one record, from peaks in samples at `rate` Hz; sum or weigh over records.

    Pairs are one to one, the closest first, within `tolerance` seconds (EC57: 0.150). Only [start, stop) is scored:
    a reference peak inside is always counted, also when its pair lies outside; an unpaired prediction is false only
    if it lies inside. A prediction that pairs with a reference peak outside is neither.
    """
    reference, predicted = np.sort(np.asarray(reference)), np.sort(np.asarray(predicted))
    stop = np.inf if stop is None else stop
    i, j = pairs(reference, predicted, tolerance * rate)
    inside = (reference >= start) & (reference < stop)
    hits = inside[i].sum()
    alone = np.delete(predicted, j)
    false = ((alone >= start) & (alone < stop)).sum()
    return np.array([hits, inside.sum() - hits, false], dtype=float)


def outside(spans, length: int, start: int = 0) -> list[tuple[int, int]]:
    """What is left of [start, length) without the spans [a, b), which ascend: EC57 leaves ventricular flutter out."""
    left = []
    for a, b in [*spans, (length, length)]:
        left += [(start, min(a, length))] if a > start else []
        start = max(start, b)
    return left


def scores(counts) -> dict[str, np.ndarray]:
    """Sensitivity, precision (PPV) and F1 of counts (..., 3)."""
    hits, missed, false = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    return {
        "sensitivity": ratio(hits, hits + missed),
        "precision": ratio(hits, hits + false),
        "f1": ratio(2 * hits, 2 * hits + missed + false),
    }
