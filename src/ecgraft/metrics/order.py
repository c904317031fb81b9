"""The order of the labels within a record: ranking loss, coverage error, sample-centric F-max."""

from __future__ import annotations

import numpy as np

from .ranking import checked
from .sums import cell_sums, ratio


def ranking_loss(y, score, known=None, weights=None) -> np.ndarray:
    """Mean over records of the share of pairs (a label that holds, one that does not) in the wrong order, () or (R,).

    A tie is wrong. 0 for a record without such a pair, as in scikit-learn's label_ranking_loss (Tsoumakas et al. 2010);
    unknown labels are left out of a record, and records without a known label out of the mean.
    """
    y, score, known, weights = checked(y, score, known, weights)
    yes, no = y & known, ~y & known
    wrong = np.zeros(len(y), dtype=int)
    for k in range(y.shape[1]):
        wrong += yes[:, k] * (no & (score >= score[:, k : k + 1])).sum(axis=1)
    pairs = yes.sum(axis=1) * no.sum(axis=1)
    return _mean(np.where(pairs > 0, wrong / np.maximum(pairs, 1), 0), known, weights)


def coverage_error(y, score, known=None, weights=None) -> np.ndarray:
    """How far down the ordered labels one has to go to meet all that hold, mean over records, () or (R,).

    0 for a record where none holds, as in scikit-learn; the best value is the mean number of labels that hold.
    """
    y, score, known, weights = checked(y, score, known, weights)
    lowest = np.where(y & known, score, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    return _mean((known & (score >= lowest)).sum(axis=1), known, weights)


def fmax(y, score, known=None, weights=None, thresholds: int | None = 101) -> np.ndarray:
    """Maximum over thresholds of F1 of mean precision and mean recall, () or (R,); NaN where no label holds.

    Radivojac et al. 2013 (doi:10.1038/nmeth.2340), as in the PTB-XL benchmark (Strodthoff et al. 2020): precision is
    the mean over the records with any call, recall the mean over those with any label. The thresholds are that many
    from 0 to 1 in equal steps, for probabilities; None: all distinct scores, exact and slow.
    """
    y, score, known, weights = checked(y, score, known, weights)
    limits = np.unique(score[known]) if thresholds is None else np.linspace(0, 1, thresholds)
    record, cell, precise, first, recall = _steps(y & known, score, known, limits)
    T = len(limits)
    sums = [cell_sums(cell, record, weights, T + 1, step)[..., 1:] for step in (precise, first, recall)]
    at_least = [np.cumsum(total[..., ::-1], axis=-1, dtype=float) for total in sums]  # from the highest threshold down
    holds = (weights * (y & known).any(axis=1)).sum(axis=-1, dtype=float)
    precision, recall = ratio(at_least[0], at_least[1]), ratio(at_least[2], holds[..., None])
    f = ratio(2 * precision * recall, precision + recall)
    return np.where(holds > 0, np.where(np.isfinite(f), f, 0).max(axis=-1, initial=0), np.nan)


def _steps(yes, score, known, limits):
    """What each known pair adds when the threshold falls to its score: to its record's precision, to the number of
    records with a call, and to its record's recall; with its record and how many thresholds are at or below its score.
    """
    score = np.where(known, score, -np.inf)
    order = np.argsort(-score, axis=1, kind="stable")  # (N, K) unknown ones last
    score, yes, known = (np.take_along_axis(each, order, axis=1) for each in (score, yes, known))
    place = np.arange(1, yes.shape[1] + 1)
    precise = np.diff(np.cumsum(yes, axis=1) / place, axis=1, prepend=0.0)
    recall = yes / np.maximum(yes.sum(axis=1, keepdims=True), 1)
    first = np.broadcast_to(place == 1, yes.shape)
    record = np.nonzero(known)[0]
    cell = np.searchsorted(limits, score[known], side="right")
    return record, cell, precise[known], first[known], recall[known]


def _mean(value, known, weights) -> np.ndarray:
    """Weighted mean over the records with a known label."""
    some = known.any(axis=1)
    return ratio((weights * np.where(some, value, 0)).sum(axis=-1, dtype=float), (weights * some).sum(-1, dtype=float))
