"""What is set on the validation part: temperature or isotonic curves for the probabilities, a threshold per class.

A calibration is JSON: {"temperature": t}, {"isotonic": [...]} with a curve per class, both, or empty.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression, minimize_scalar
from scipy.special import expit, log_softmax, softmax

from .ranking import checked

COLDEST, HOTTEST = 0.05, 20.0  # a perfect separation would ask for temperature 0


def temperature(logit, y, known=None) -> float:
    """The one T that minimises the negative log-likelihood of logit / T (Guo et al. 2017, arXiv:1706.04599).

    logit (N, K). y (N, K) with -1 unknown: independent sigmoids; y (N,) class index with -1 unknown: a softmax.
    The likelihood is concave in 1 / T, so the search finds the optimum; it stays within [0.05, 20], and is 1 where
    nothing is known.
    """
    loss = _softmax_loss(logit, y) if np.ndim(y) == 1 else _sigmoid_loss(logit, y, known)
    if loss is None:
        return 1.0
    found = minimize_scalar(lambda s: loss(np.exp(-s)), bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def isotonic(logit, y, known=None) -> dict:
    """{"isotonic": per class the increasing curve [logits, probabilities] nearest to the labels}, by pooling violators.

    Zadrozny & Elkan 2002, doi:10.1145/775047.775151. logit (N, K) and y as for `temperature`; of a softmax (y a class
    index) the log-probabilities stand for the logits, each class against the rest. Only the ends of the steps are
    kept; between them it is linear. None for a class without positives or negatives. It bends more than a temperature
    and asks for more records, some hundred positives (Niculescu-Mizil & Caruana 2005).
    """
    if np.ndim(y) == 1:
        y, logit = np.asarray(y), log_softmax(np.asarray(logit, dtype=float), axis=1)
        y = np.where(y[:, None] < 0, -1, y[:, None] == np.arange(logit.shape[1]))
    y, logit, known, _ = checked(y, logit, known)
    curves = [_curve(logit[known[:, k], k].astype(float), y[known[:, k], k]) for k in range(y.shape[1])]
    return {"isotonic": curves}


def probability(logit, calibration: dict, kind: str) -> np.ndarray:
    """Calibrated probabilities (N, K) of a "multilabel" or "multiclass" task.

    Where there is no curve the temperature (default 1) holds. Curves of a multi-class task are scaled to sum to 1.
    """
    logit = np.asarray(logit, dtype=float)
    scaled = logit / calibration.get("temperature", 1.0)
    plain = softmax(scaled, axis=-1) if kind == "multiclass" else expit(scaled)
    if not calibration.get("isotonic"):
        return plain
    x = log_softmax(logit, axis=-1) if kind == "multiclass" else logit
    curves = calibration["isotonic"]
    p = np.stack([plain[..., k] if c is None else np.interp(x[..., k], *c) for k, c in enumerate(curves)], axis=-1)
    if kind != "multiclass":
        return p
    total = p.sum(axis=-1, keepdims=True)
    return np.where(total > 0, p / np.where(total > 0, total, 1), plain)


class Thresholds(NamedTuple):
    value: np.ndarray  # (K,) a class is called where score >= value
    pooled: np.ndarray  # (K,) bool: with one answer only in validation, so the threshold of all classes together


def thresholds(y, score, known=None, beta: float = 1, between: bool = False) -> Thresholds:
    """Per class the threshold of the largest F-beta on (y, score); of several the highest.

    It is the lowest score that is called, or with `between` the middle between it and the next lower one: the same
    answers here, and fewer misses elsewhere when a class has few positives.
    A class without positives or negatives here takes the best threshold of all pairs together; 0.5 where these, too,
    have only one answer.
    """
    y, score, known, _ = checked(y, score, known)
    value = np.array([_best(y[known[:, k], k], score[known[:, k], k], beta, between) for k in range(y.shape[1])])
    pooled = np.isnan(value)
    common = _best(y[known], score[known], beta, between) if pooled.any() else np.nan
    value[pooled] = 0.5 if np.isnan(common) else common
    return Thresholds(value, pooled)


def _curve(x, y) -> list[list[float]] | None:
    if y.all() or not y.any():
        return None
    x, place, times = np.unique(x, return_inverse=True, return_counts=True)
    p = isotonic_regression(np.bincount(place, weights=y) / times, weights=times).x
    step = np.append(True, p[1:] != p[:-1])  # the first of its step
    ends = step | np.append(step[1:], True)
    return [x[ends].tolist(), p[ends].tolist()]


def _best(y, score, beta: float, between: bool) -> float:
    """Arg-max of F-beta over the scores of one class, NaN where y has only one value."""
    if y.all() or not y.any():
        return np.nan
    order = np.argsort(-score, kind="stable")
    score, y = score[order], y[order]
    last = np.append(score[1:] != score[:-1], True)  # a threshold takes all equal scores
    true, called = np.cumsum(y)[last], np.flatnonzero(last) + 1
    f = (1 + beta**2) * true / (called + beta**2 * y.sum())
    levels, best = score[last], f.argmax()
    below = levels[min(best + between, len(levels) - 1)]
    return float((levels[best] + below) / 2)


def _sigmoid_loss(logit, y, known):
    y, logit, known, _ = checked(y, logit, known)
    margin = np.where(y, logit, -logit)[known].astype(float)
    return (lambda scale: np.logaddexp(0, -scale * margin).mean()) if len(margin) else None


def _softmax_loss(logit, y):
    y = np.asarray(y)
    logit, truth = np.asarray(logit, dtype=float)[y >= 0], y[y >= 0]
    rows = np.arange(len(truth))
    return (lambda scale: -log_softmax(scale * logit, axis=1)[rows, truth].mean()) if len(truth) else None
