"""Classification: counts and what follows from them, Brier score, calibration error, and the tables of a report.

Scores that need a threshold are functions of counts (..., K, 4) with the last axis TP, FP, FN, TN, or of a confusion
matrix (..., K, K) with the reference in the rows.
"""

from __future__ import annotations

import numpy as np

from ..record import InputError
from . import order, ranking
from .ranking import areas, micro_areas
from .sums import as_weights, cell_sums, macro, ratio


def counts(y, decision, known=None, weights=None) -> np.ndarray:
    """TP, FP, FN, TN per class, (K, 4) or (R, K, 4), of yes/no decisions (N, K)."""
    y, decision, known, weights = ranking.checked(y, np.asarray(decision, dtype=float), known, weights)
    record, column = np.nonzero(known)
    truth, said = y[known], decision[known] > 0
    code = np.where(truth, np.where(said, 0, 2), np.where(said, 1, 3))
    K = y.shape[1]
    return cell_sums(4 * column + code, record, weights, 4 * K).reshape(*weights.shape[:-1], K, 4)


def sensitivity(count) -> np.ndarray:
    """Share of the positives that are called, recall; NaN for a class without positives."""
    tp, _, fn, _ = np.moveaxis(count, -1, 0)
    return ratio(tp, tp + fn)


def specificity(count) -> np.ndarray:
    """Share of the negatives that are not called; NaN for a class without negatives."""
    _, fp, _, tn = np.moveaxis(count, -1, 0)
    return ratio(tn, tn + fp)


def precision(count) -> np.ndarray:
    """Positive predictive value; NaN where nothing was called positive."""
    tp, fp, _, _ = np.moveaxis(count, -1, 0)
    return ratio(tp, tp + fp)


def accuracy(count) -> np.ndarray:
    tp, fp, fn, tn = np.moveaxis(count, -1, 0)
    return ratio(tp + tn, tp + fp + fn + tn)


def f_beta(count, beta: float = 1) -> np.ndarray:
    """(1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP); NaN for a class without positives."""
    tp, fp, fn, _ = np.moveaxis(count, -1, 0)
    value = ratio((1 + beta**2) * tp, (1 + beta**2) * tp + beta**2 * fn + fp)
    return np.where(tp + fn > 0, value, np.nan)


def g_beta(count, beta: float = 2) -> np.ndarray:
    """TP / (TP + FP + b FN), beside F2 in the PhysioNet/CinC Challenge 2020 (phase I) and the PTB-XL benchmark.

    The challenge weighs a record by 1 / (its number of labels): see challenges.cinc2020_phase1.
    """
    tp, fp, fn, _ = np.moveaxis(count, -1, 0)
    return np.where(tp + fn > 0, ratio(tp, tp + fp + beta * fn), np.nan)


def confusion(truth, said, classes: int, weights=None) -> np.ndarray:
    """(K, K) or (R, K, K) from class indices (N,): rows the reference, columns the answer; truth -1 is left out."""
    truth, said = np.asarray(truth), np.asarray(said)
    if truth.shape != said.shape or (truth >= classes).any() or (said >= classes).any():
        raise InputError(f"classes of {truth.shape} and {said.shape} records must be below {classes}")
    weights = as_weights(weights, len(truth))
    (record,) = np.nonzero(truth >= 0)
    cell = truth[record].astype(int) * classes + said[record]
    return cell_sums(cell, record, weights, classes**2).reshape(*weights.shape[:-1], classes, classes)


def one_against_rest(matrix) -> np.ndarray:
    """The counts (..., K, 4) of a confusion matrix (..., K, K)."""
    tp = np.diagonal(matrix, axis1=-2, axis2=-1)
    fn, fp = matrix.sum(axis=-1) - tp, matrix.sum(axis=-2) - tp
    return np.stack([tp, fp, fn, matrix.sum(axis=(-2, -1))[..., None] - tp - fp - fn], axis=-1)


def brier(y, score, known=None, weights=None) -> np.ndarray:
    """Mean squared difference of probability and label per class; summed over classes, Brier's multi-class score."""
    y, score, known, weights = ranking.checked(y, score, known, weights)
    record, column = np.nonzero(known)
    squared = (score[known].astype(float) - y[known]) ** 2
    K = y.shape[1]
    total = cell_sums(column, record, weights, K, squared)
    return ratio(total, cell_sums(column, record, weights, K))


def calibration(y, score, known=None, weights=None, bins: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight, mean probability and share of positives in equal bins of probability, each (..., K, bins)."""
    y, score, known, weights = ranking.checked(y, score, known, weights)
    record, column = np.nonzero(known)
    K = y.shape[1]
    cell = column * bins + np.clip((score[known] * bins).astype(int), 0, bins - 1)
    shape = (*weights.shape[:-1], K, bins)
    weight = cell_sums(cell, record, weights, K * bins).reshape(shape)
    mean = cell_sums(cell, record, weights, K * bins, score[known]).reshape(shape)
    share = cell_sums(cell, record, weights, K * bins, y[known]).reshape(shape)
    return weight, ratio(mean, weight), ratio(share, weight)


def ece(y, score, known=None, weights=None, bins: int = 15) -> np.ndarray:
    """Expected calibration error per class: weighted mean over bins of |mean probability - share of positives|."""
    weight, mean, share = calibration(y, score, known, weights, bins)
    gap = np.where(weight > 0, np.abs(mean - share), 0)
    return ratio((weight * gap).sum(axis=-1), weight.sum(axis=-1))


def multilabel(y, score, threshold, known=None, weights=None) -> dict[str, np.ndarray]:
    """Every score of a multi-label task: per class (..., K), and `macro`, `micro` and sample-centric ones (...)."""
    count = counts(y, np.asarray(score) >= threshold, known, weights)
    scores = dict(zip(("auroc", "ap"), areas(y, score, known, weights)))
    scores |= dict(zip(("micro auroc", "micro ap"), micro_areas(y, score, known, weights)))
    scores |= {
        **_of_counts(count),
        "accuracy": accuracy(count),
        "brier": brier(y, score, known, weights),
        "ece": ece(y, score, known, weights),
        "micro f1": f_beta(count.sum(axis=-2)),
        "macro g2": macro(g_beta(count))[0],
    }
    return scores | _macros(scores, count) | _of_order(y, score, known, weights)


def multiclass(truth, probability, weights=None) -> dict[str, np.ndarray]:
    """Every score of a multi-class task: truth (N,) with -1 unknown, probability (N, K); the answer is the arg-max."""
    truth, probability = np.asarray(truth), np.asarray(probability)
    K = probability.shape[1]
    y = np.where(truth[:, None] < 0, -1, truth[:, None] == np.arange(K))
    matrix = confusion(truth, probability.argmax(axis=1), K, weights)
    count = one_against_rest(matrix)
    scores = dict(zip(("auroc", "ap"), areas(y, probability, weights=weights)))
    scores |= {
        **_of_counts(count),
        "brier": brier(y, probability, weights=weights),
        "ece": ece(y, probability, weights=weights),
        "accuracy": ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum(axis=(-2, -1))),
        "confusion": matrix,
    }
    return scores | _macros(scores, count) | _of_order(y, probability, None, weights)


def _of_counts(count) -> dict[str, np.ndarray]:
    named = {"f1": f_beta, "sensitivity": sensitivity, "specificity": specificity, "precision": precision}
    return {name: function(count) for name, function in named.items()}


def _of_order(y, score, known, weights) -> dict[str, np.ndarray]:
    functions = {"fmax": order.fmax, "ranking loss": order.ranking_loss, "coverage error": order.coverage_error}
    return {name: function(y, score, known, weights) for name, function in functions.items()}


def _macros(scores: dict, count) -> dict[str, np.ndarray]:
    """Means over the classes."""
    each = {name: scores[name] for name in ("auroc", "ap", "f1")} | {"f2": f_beta(count, 2)}
    return {f"macro {name}": macro(values)[0] for name, values in each.items()}
