"""One-to-one pairs of points on a line, the closest first: what hits, misses and false alarms are counted from."""

from __future__ import annotations

import numpy as np


def pairs(reference, predicted, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices (i, j) of the pairs with |reference[i] - predicted[j]| <= tolerance; both inputs ascend.

    The closest pair is taken first, then the closest of what is left, and so on; of equally close ones the earliest.
    Done by rounds of mutual nearest neighbours, which gives the same pairs.
    """
    reference, predicted = np.asarray(reference), np.asarray(predicted)
    left, right = np.arange(len(reference)), np.arange(len(predicted))
    rows, columns = [], []
    while len(left) and len(right):
        a, b = reference[left], predicted[right]
        nearest = _nearest(a, b)
        mutual = (_nearest(b, a)[nearest] == np.arange(len(a))) & (np.abs(a - b[nearest]) <= tolerance)
        if not mutual.any():
            break
        rows.append(left[mutual])
        columns.append(right[nearest[mutual]])
        left, right = left[~mutual], np.delete(right, nearest[mutual])
    if not rows:
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    order = np.argsort(rows)
    return rows[order], columns[order]


def _nearest(a, b) -> np.ndarray:
    """For each of `a` the index of the nearest in `b`; of two as near the earlier. Both ascend."""
    after = np.clip(np.searchsorted(b, a), 0, len(b) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(a - b[before]) <= np.abs(b[after] - a), before, after)
