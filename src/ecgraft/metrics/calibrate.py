"""What is set on the validation part: a temperature for the probabilities and a threshold per class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
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


def probability(logit, temperature: float, kind: str) -> np.ndarray:
    """Calibrated probabilities (N, K) of a "multilabel" or "multiclass" task."""
    scaled = np.asarray(logit, dtype=float) / temperature
    return softmax(scaled, axis=-1) if kind == "multiclass" else expit(scaled)


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
