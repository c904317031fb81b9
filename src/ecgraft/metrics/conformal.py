"""Split conformal prediction: sets of answers that hold the true one as often as asked (Vovk et al. 2005).

Limits are fitted on records that training did not see; on new records like them (exchangeable) the true answer is in
the set with at least probability `coverage`, whatever the model. A limit of None stands for too few records to promise
anything: that answer is then in every set. What is fitted is JSON.
"""

from __future__ import annotations

import math

import numpy as np

from ..record import InputError
from .ranking import checked
from .sums import as_weights, cell_sums, ratio


def quantile(scores, coverage: float) -> float | None:
    """The ceil((n + 1) coverage)-th smallest of n scores, None where n is too small for it; NaN are left out."""
    if not 0 < coverage < 1:
        raise InputError(f"coverage {coverage} must be between 0 and 1")
    scores = np.asarray(scores, dtype=float)
    scores = np.sort(scores[~np.isnan(scores)])
    place = math.ceil(round((len(scores) + 1) * coverage, 9))  # 9 digits: 0.9 of 10 is the ninth
    return float(scores[place - 1]) if place <= len(scores) else None


def fit_classes(truth, probability, coverage: float, by_class: bool = False) -> dict:
    """Limits of 1 - p of the true class, from truth (N,) class index, -1 unknown, and probability (N, K).

    One for all classes, or with `by_class` one for each, so that the coverage holds within each (Sadinle et al. 2019,
    doi:10.1080/01621459.2017.1395341).
    """
    truth, probability = np.asarray(truth), np.asarray(probability, dtype=float)
    (at,) = np.nonzero(truth >= 0)
    score = 1 - probability[at, truth[at]]
    if by_class:
        limits = [quantile(score[truth[at] == k], coverage) for k in range(probability.shape[1])]
    else:
        limits = [quantile(score, coverage)] * probability.shape[1]
    return {"coverage": coverage, "limits": limits}


def class_sets(probability, fitted: dict) -> np.ndarray:
    """(N, K) bool: which classes are possible. A set may be empty: the record is like none of them."""
    return 1 - np.asarray(probability, dtype=float) <= _numbers(fitted["limits"])


def fit_labels(y, probability, coverage: float, known=None) -> dict:
    """Limits per label of "no" and "yes", each from the records with that answer (Mondrian): y, probability (N, K).

    The coverage holds among those with the label and among those without, so a rare one is not missed for free.
    """
    y, probability, known, _ = checked(y, probability, known)
    p = probability.astype(float)
    limits = [
        [quantile(p[known[:, k] & ~y[:, k], k], coverage), quantile(1 - p[known[:, k] & y[:, k], k], coverage)]
        for k in range(y.shape[1])
    ]
    return {"coverage": coverage, "limits": limits}


def label_sets(probability, fitted: dict) -> np.ndarray:
    """(N, K, 2) bool: is "no" possible, is "yes" possible."""
    p = np.asarray(probability, dtype=float)
    return np.stack([p, 1 - p], axis=-1) <= _numbers(fitted["limits"])


def fit_values(y, said, coverage: float) -> dict:
    """Half the width of the range around a predicted number; y and said (N,), NaN unknown."""
    error = np.abs(np.asarray(said, dtype=float) - np.asarray(y, dtype=float))
    return {"coverage": coverage, "half": quantile(error, coverage)}


def value_ranges(said, fitted: dict) -> np.ndarray:
    """(N, 2) lowest and highest; infinite where too few records were known."""
    half = np.inf if fitted["half"] is None else fitted["half"]
    return np.asarray(said, dtype=float)[:, None] + np.array([-half, half])


def coverage(truth, sets, known=None, weights=None) -> dict[str, np.ndarray]:
    """Measured "coverage", mean "size", and share "answered", the records with exactly one possible answer.

    Of classes: truth (N,), sets (N, K) bool; results () or (R,). Of labels: truth (N, K), sets (N, K, 2) bool; results
    per label. Of values: truth (N,), sets (N, 2) numbers; size is the width, answered the share of finite ranges.
    The records that are not answered are those to show to a human: the reject option.
    """
    truth, sets = np.asarray(truth), np.asarray(sets)
    if sets.dtype != bool:
        held, size = (sets[:, 0] <= truth) & (truth <= sets[:, 1]), sets[:, 1] - sets[:, 0]
        known, single = ~np.isnan(truth), np.isfinite(size)
    else:
        unknown = truth < 0 if known is None else (truth < 0) | ~np.asarray(known, dtype=bool)
        index = np.where(unknown, 0, truth).astype(int)
        held, size = np.take_along_axis(sets, index[..., None], axis=-1)[..., 0], sets.sum(axis=-1)
        known, single = ~unknown, size == 1
    weights = as_weights(weights, len(truth))
    flat = known.reshape(len(truth), -1)
    record, column = np.nonzero(flat)
    K = flat.shape[1]
    total = cell_sums(column, record, weights, K)
    found = {
        name: ratio(cell_sums(column, record, weights, K, value[known]), total)
        for name, value in {"coverage": held, "size": size, "answered": single}.items()
    }
    if not np.isfinite(size).all():
        found["size"] = np.full_like(found["size"], np.inf)
    return found if truth.ndim == 2 else {name: value[..., 0] for name, value in found.items()}


def _numbers(limits) -> np.ndarray:
    """Limits as an array, None as infinity."""
    limits = np.array(limits, dtype=float)  # None becomes NaN
    return np.where(np.isnan(limits), np.inf, limits)
