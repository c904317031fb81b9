"""AUROC and average precision, weighted, with ties, from sums between the scores of the positives.

Both need only the weight of the positives at each of their m distinct scores, and of the negatives between and at
these scores, so a replicate costs O(m), not a sort.
"""

from __future__ import annotations

import numpy as np

from ..record import InputError
from .sums import as_weights, cell_sums, ratio


def areas(y, score, known=None, weights=None) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision per class, each (K,) or (R, K).

    AUROC: P(score of a positive > of a negative), ties count half. Average precision: sum over thresholds of (gain in
    recall) x precision, no interpolation.
    """
    y, score, known, weights = checked(y, score, known, weights)
    classes = []
    for k in range(y.shape[1]):
        (record,) = np.nonzero(known[:, k])
        classes.append(_areas(y[record, k], score[record, k], record, weights))
    auroc, precision = zip(*classes)
    return np.stack(auroc, axis=-1), np.stack(precision, axis=-1)


def micro_areas(y, score, known=None, weights=None) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision over all (record, class) pairs together, scalars or (R,)."""
    y, score, known, weights = checked(y, score, known, weights)
    return _areas(y[known], score[known], np.nonzero(known)[0], weights)


def auroc(y, score, known=None, weights=None) -> np.ndarray:
    return areas(y, score, known, weights)[0]


def average_precision(y, score, known=None, weights=None) -> np.ndarray:
    return areas(y, score, known, weights)[1]


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
    return y == 1, score, known, as_weights(weights, len(y))


def _areas(y, score, record, weights) -> tuple[np.ndarray, np.ndarray]:
    positive, equal, upto, negatives = _levels(y, score, record, weights)
    positives = positive.sum(axis=-1, dtype=float)
    won = (positive * (upto - equal / 2)).sum(axis=-1, dtype=float)
    lower = np.cumsum(positive, axis=-1) - positive
    true = positives.astype(positive.dtype)[..., None] - lower  # positives at or above the level
    called = true + (negatives[..., None] - upto + equal)
    called = np.maximum(called, np.finfo(np.float32).tiny)  # 0 only where a replicate drew nothing this high
    area = (positive * (true / called)).sum(axis=-1, dtype=float)
    return ratio(won, positives * negatives), np.where(negatives > 0, ratio(area, positives), np.nan)


def _levels(y, score, record, weights) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weights at the m distinct scores of positives, ascending: of the positives; of the negatives with that score;
    of the negatives up to and with it, each (..., m); and of all negatives (...)."""
    levels = np.unique(score[y])
    m = len(levels)
    place = np.searchsorted(levels, score)
    tie = levels[np.minimum(place, m - 1)] == score if m else np.zeros(len(score), dtype=bool)
    positive = cell_sums(place[y], record[y], weights, m)
    negative = cell_sums((2 * place + tie)[~y], record[~y], weights, 2 * m + 1)  # between, at, between ...
    equal = negative[..., 1::2]
    upto = np.cumsum(negative[..., :-1:2] + equal, axis=-1)
    return positive, equal, upto, negative.sum(axis=-1)
