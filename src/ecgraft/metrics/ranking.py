"""AUROC and average precision, weighted, with ties, from sums between the scores of the positives.

Both need only the weight of the positives at each of their m distinct scores, and of the negatives between and at
these scores, so a replicate costs O(m), not a sort.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..record import InputError
from .sums import as_weights, cell_sums, cumulative, ratio


def areas(y, score, known=None, weights=None) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision per class, each (K,) or (R, K).

    AUROC: P(score of a positive > of a negative), ties count half. Average precision: sum over thresholds of (gain in
    recall) x precision, no interpolation.
    """
    found = [(_auroc(sums), _average_precision(sums)) for sums in of_classes(y, score, known, weights)]
    return tuple(np.stack(each, axis=-1) for each in zip(*found))


def micro_areas(y, score, known=None, weights=None) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision over all (record, class) pairs together, scalars or (R,)."""
    y, score, known, weights = checked(y, score, known, weights)
    sums = levels(y[known], score[known], np.nonzero(known)[0], weights)
    return _auroc(sums), _average_precision(sums)


def auroc(y, score, known=None, weights=None) -> np.ndarray:
    return np.stack([_auroc(sums) for sums in of_classes(y, score, known, weights)], axis=-1)


def average_precision(y, score, known=None, weights=None) -> np.ndarray:
    return np.stack([_average_precision(sums) for sums in of_classes(y, score, known, weights)], axis=-1)


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


class Levels(NamedTuple):
    """Weights at the m distinct scores of the positives, ascending."""

    score: np.ndarray  # (m,)
    positive: np.ndarray  # (..., m) positives with that score
    equal: np.ndarray  # (..., m) negatives with that score
    upto: np.ndarray  # (..., m) negatives with that score or a lower one
    negatives: np.ndarray  # (...) all negatives

    def called(self) -> tuple[np.ndarray, np.ndarray]:
        """Positives and negatives at or above each level, (..., m)."""
        positives = self.positive.sum(axis=-1, dtype=float).astype(self.positive.dtype)[..., None]
        true = positives - (cumulative(self.positive) - self.positive)
        return true, self.negatives[..., None] - self.upto + self.equal


def levels(y, score, record, weights) -> Levels:
    """Of one class: y (M,) bool and score (M,) of the records `record` (M,), weights (N,) or (R, N)."""
    order = np.argsort(score)  # finding the places of sorted scores is several times as fast
    y, score, record = y[order], score[order], record[order]
    distinct = np.unique(score[y])
    m = len(distinct)
    place = np.searchsorted(distinct, score)
    tie = distinct[np.minimum(place, m - 1)] == score if m else np.zeros(len(score), dtype=bool)
    positive = cell_sums(place[y], record[y], weights, m)
    negative = cell_sums((2 * place + tie)[~y], record[~y], weights, 2 * m + 1)  # between, at, between ...
    equal = negative[..., 1::2]
    upto = cumulative(negative[..., :-1:2] + equal)
    return Levels(distinct, positive, equal, upto, negative.sum(axis=-1))


def of_classes(y, score, known=None, weights=None) -> Iterator[Levels]:
    """The levels of each class in turn."""
    y, score, known, weights = checked(y, score, known, weights)
    for k in range(y.shape[1]):
        (record,) = np.nonzero(known[:, k])
        yield levels(y[record, k], score[record, k], record, weights)


def _auroc(sums: Levels) -> np.ndarray:
    won = (sums.positive * (sums.upto - sums.equal / 2)).sum(axis=-1, dtype=float)
    return ratio(won, sums.positive.sum(axis=-1, dtype=float) * sums.negatives)


def _average_precision(sums: Levels) -> np.ndarray:
    true, false = sums.called()
    called = np.maximum(true + false, np.finfo(np.float32).tiny)  # 0 only where a replicate drew nothing this high
    area = (sums.positive * (true / called)).sum(axis=-1, dtype=float)
    return np.where(sums.negatives > 0, ratio(area, sums.positive.sum(axis=-1, dtype=float)), np.nan)
