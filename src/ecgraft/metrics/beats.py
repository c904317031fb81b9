"""Beat detection: hits, misses and false alarms of R peaks, and the score of CPSC2019."""

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


def scores(counts) -> dict[str, np.ndarray]:
    """Sensitivity, precision (PPV) and F1 of counts (..., 3)."""
    hits, missed, false = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    return {
        "sensitivity": ratio(hits, hits + missed),
        "precision": ratio(hits, hits + false),
        "f1": ratio(2 * hits, 2 * hits + missed + false),
    }


def cpsc2019(reference, predicted, rate: float, seconds: float = 10, tolerance: float = 0.075) -> float:
    """Score of one record by the rule of the China Physiological Signal Challenge 2019; average it over records.

    No error 1, one false peak 0.7, one missed peak 0.3, else 0. Reference peaks count from 0.5 s to 0.5 s before the
    end. A false peak lies there, too, by at least the tolerance, and farther than it from every counted peak; a second
    peak within the tolerance of one is false as well. (The challenge's script does not look between the first two
    reference peaks; this one does, and so may be lower, never higher.)
    """
    reference, predicted = np.asarray(reference, dtype=float), np.asarray(predicted, dtype=float)
    start, stop, reach = 0.5 * rate, (seconds - 0.5) * rate, tolerance * rate
    reference = reference[(reference >= start) & (reference <= stop)]
    near = np.abs(predicted[:, None] - reference) <= reach  # (predicted, reference)
    found = near.any(axis=0)
    second = near.sum() - found.sum()
    alone = ~near.any(axis=1) & (predicted >= start + reach) & (predicted <= stop - reach)
    return {(0, 0): 1.0, (0, 1): 0.7, (1, 0): 0.3}.get(((~found).sum(), second + alone.sum()), 0.0)
