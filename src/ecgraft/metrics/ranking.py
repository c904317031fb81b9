"""AUROC and average precision, weighted, with ties, from sums between the scores of the positives.

Both need only the weight of the positives at each of their m distinct scores, and of the negatives between and at
these scores, so a replicate costs O(m), not a sort.
"""

from __future__ import annotations

import numpy as np

from ..record import InputError
from .sums import cell_sums, ratio


def auroc(y, score, known=None, weights=None) -> np.ndarray:
    """Area under the ROC curve per class, (K,) or (R, K): P(score of a positive > of a negative), ties count half."""
    return _per_class(_auroc, y, score, known, weights)


def average_precision(y, score, known=None, weights=None) -> np.ndarray:
    """Sum over thresholds of (gain in recall) x precision, per class, (K,) or (R, K); no interpolation."""
    return _per_class(_average_precision, y, score, known, weights)


def micro_auroc(y, score, known=None, weights=None) -> np.ndarray:
    """AUROC over all (record, class) pairs together, scalar or (R,)."""
    return _pooled(_auroc, y, score, known, weights)


def micro_average_precision(y, score, known=None, weights=None) -> np.ndarray:
    """Average precision over all (record, class) pairs together, scalar or (R,)."""
    return _pooled(_average_precision, y, score, known, weights)


def checked(y, score, known=None, weights=None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """y (N, K) bool, score (N, K), known (N, K) bool, weights (N,) or (R, N); InputError where they do not fit."""
    y, score = np.asarray(y), np.asarray(score)
    if y.ndim != 2 or y.shape != score.shape:
        raise InputError(f"labels {y.shape} and scores {score.shape} must both be (records, classes)")
    known = (y >= 0) if known is None else (y >= 0) & np.asarray(known, dtype=bool)
    bad = ~np.isfinite(score) & known
    if bad.any():
        record, column = np.argwhere(bad)[0]
        raise InputError(f"{bad.sum()} scores are not finite, the first of record {record}, class {column}")
    weights = np.ones(len(y)) if weights is None else np.asarray(weights)
    if weights.shape[-1:] != (len(y),):
        raise InputError(f"weights {weights.shape} do not fit {len(y)} records")
    return y == 1, score, known, weights


def _per_class(area, y, score, known, weights) -> np.ndarray:
    y, score, known, weights = checked(y, score, known, weights)
    classes = []
    for k in range(y.shape[1]):
        (record,) = np.nonzero(known[:, k])
        classes.append(area(y[record, k], score[record, k], record, weights))
    return np.stack(classes, axis=-1)


def _pooled(area, y, score, known, weights) -> np.ndarray:
    y, score, known, weights = checked(y, score, known, weights)
    return area(y[known], score[known], np.nonzero(known)[0], weights)


def _levels(y, score, record, weights):
    """At the m distinct scores of positives, ascending: weight of the positives, of the negatives with that very score,
    of the negatives up to and with it, each (..., m); and the weight of all negatives (...)."""
    levels = np.unique(score[y])
    m = len(levels)
    place = np.searchsorted(levels, score)
    tie = levels[np.minimum(place, m - 1)] == score if m else np.zeros(len(score), dtype=bool)
    positive = cell_sums(place[y], record[y], weights, m)
    negative = cell_sums((2 * place + tie)[~y], record[~y], weights, 2 * m + 1)  # between levels, at a level, between ...
    equal = negative[..., 1::2]
    upto = np.cumsum(negative[..., :-1:2] + equal, axis=-1)
    return positive, equal, upto, negative.sum(axis=-1)


def _auroc(y, score, record, weights) -> np.ndarray:
    positive, equal, upto, negatives = _levels(y, score, record, weights)
    won = (positive * (upto - equal / 2)).sum(axis=-1, dtype=float)
    return ratio(won, positive.sum(axis=-1, dtype=float) * negatives)


def _average_precision(y, score, record, weights) -> np.ndarray:
    positive, equal, upto, negatives = _levels(y, score, record, weights)
    total = positive.sum(axis=-1, keepdims=True)
    true = total - np.cumsum(positive, axis=-1) + positive  # positives at or above the level
    false = negatives[..., None] - upto + equal
    above = np.maximum(true + false, np.finfo(float).tiny)  # 0 only where a replicate drew nothing this high
    area = (positive * (true / above)).sum(axis=-1, dtype=float)
    return np.where(negatives > 0, ratio(area, total[..., 0]), np.nan)
