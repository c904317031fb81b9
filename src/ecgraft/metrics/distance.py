"""How far a record's features lie from those of the training records: is it like anything the model has seen.

Probabilistic PCA (Tipping & Bishop 1999, doi:10.1111/1467-9868.00196): a normal distribution with a variance of its
own along each of the first axes and one common variance in all other directions; the Mahalanobis distance under it.
"""

from __future__ import annotations

import numpy as np

from ..record import InputError
from .conformal import quantile

FLOOR = 1e-6  # of the mean variance: the least that any direction has


def fit(features, rank: int = 16) -> dict[str, np.ndarray]:
    """ "mean" (D,), "axes" (r, D), "spread" (r,) variances along them, "rest" () the variance elsewhere; float32.

    features (n, D). r is `rank`, or fewer where D or half the records are: the last axes of few records only describe
    these, and what is left over would then seem to be without variance.
    """
    x = np.asarray(features, dtype=float)
    n, D = x.shape
    if n < 2:
        raise InputError(f"{n} records: a distance needs at least 2 to be fitted")
    mean = x.mean(axis=0)
    _, s, axes = np.linalg.svd(x - mean, full_matrices=False)
    variance = s**2 / (n - 1)  # of min(n, D) axes, descending; the other D - n are 0
    r = min(rank, D, n // 2)
    floor = max(FLOOR * variance.sum() / D, np.finfo(np.float32).tiny)
    rest = max(variance[r:].sum() / max(D - r, 1), floor)
    found = {"mean": mean, "axes": axes[:r], "spread": np.maximum(variance[:r], floor), "rest": rest}
    return {name: np.asarray(value, dtype=np.float32) for name, value in found.items()}


def distance(features, fitted: dict) -> np.ndarray:
    """Mahalanobis distance (N,) of features (N, D)."""
    mean, axes, spread, rest = (np.asarray(fitted[name], dtype=float) for name in ("mean", "axes", "spread", "rest"))
    z = np.asarray(features, dtype=float) - mean
    along = z @ axes.T  # (N, r)
    squared = (along**2 / spread).sum(axis=1)
    if len(axes) < len(mean):
        squared += ((z - along @ axes) ** 2).sum(axis=1) / rest
    return np.sqrt(squared)


def limit(distances, share: float = 0.95) -> float | None:
    """The distance that a new record like those of `distances` stays within with probability `share` or more.

    Of held-out records, not those of `fit`, which lie nearer. None where there are too few for that share.
    """
    return quantile(distances, share)
