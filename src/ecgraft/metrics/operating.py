"""Operating points: sensitivity where specificity is at least so much, the reverse, and both at fixed thresholds."""

from __future__ import annotations

import numpy as np

from . import classify
from .ranking import Levels, of_classes
from .sums import ratio

SLACK = 1e-9  # relative: 1 - 0.9 of 10 negatives is one, not 0.9999999999999998


def at_specificity(y, score, specificity: float = 0.9, known=None, weights=None) -> dict[str, np.ndarray]:
    """ "sensitivity", "specificity" and "threshold" of the most sensitive point of at least that specificity.

    Each is (K,) or (R, K); a class is called where score >= threshold, which is inf where only calling nothing is
    specific enough. The point is chosen on the data it is measured on: right as a summary of a ROC curve, and too
    good by chance as a promise for new records; for that, take the threshold from validation data to `at_threshold`.
    """
    return _stacked(_at_specificity(sums, specificity) for sums in of_classes(y, score, known, weights))


def at_sensitivity(y, score, sensitivity: float = 0.9, known=None, weights=None) -> dict[str, np.ndarray]:
    """The same of the most specific point of at least that sensitivity."""
    return _stacked(_at_sensitivity(sums, sensitivity) for sums in of_classes(y, score, known, weights))


def at_threshold(y, score, threshold, known=None, weights=None) -> dict[str, np.ndarray]:
    """Sensitivity, specificity and both predictive values where score >= threshold (K,) or one number."""
    count = classify.counts(y, np.asarray(score) >= np.asarray(threshold), known, weights)
    return {
        "sensitivity": classify.sensitivity(count),
        "specificity": classify.specificity(count),
        "precision": classify.precision(count),
        "negative predictive value": ratio(count[..., 3], count[..., 2] + count[..., 3]),
    }


def _at_specificity(sums: Levels, least: float):
    true, false = sums.called()
    allowed = (1 - least + SLACK) * np.asarray(sums.negatives, dtype=float)[..., None]
    return _point(sums, true, false, len(sums.score) - (false <= allowed).sum(axis=-1))


def _at_sensitivity(sums: Levels, least: float):
    true, false = sums.called()
    needed = least * (1 - SLACK) * sums.positive.sum(axis=-1, dtype=float)[..., None]
    return _point(sums, true, false, (true >= needed).sum(axis=-1) - 1)


def _point(sums: Levels, true, false, level):
    """Sensitivity, specificity and threshold at a level (...); the one after the last is calling nothing."""
    end = np.zeros((*true.shape[:-1], 1))
    true, false = (np.take_along_axis(np.append(each, end, -1), level[..., None], -1)[..., 0] for each in (true, false))
    positives, negatives = sums.positive.sum(axis=-1, dtype=float), sums.negatives
    sensitivity, specificity = ratio(true, positives), ratio(negatives - false, negatives)
    defined = np.isfinite(sensitivity + specificity)
    found = sensitivity, specificity, np.append(sums.score, np.inf)[level]
    return [np.where(defined, each, np.nan) for each in found]


def _stacked(points) -> dict[str, np.ndarray]:
    names = ("sensitivity", "specificity", "threshold")
    return {name: np.stack(each, axis=-1) for name, each in zip(names, zip(*points))}
