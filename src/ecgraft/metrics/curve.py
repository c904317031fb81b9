"""Learning curves: score(n) = a - b n^-c over the number of labels n, fitted to few and noisy points, and beyond them.

The inverse power law of Hestness et al. 2017 (arXiv:1712.00409) and Figueroa et al. 2012 (doi:10.1186/1472-6947-12-8).
Higher scores are better; for errors hand in their negative.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..record import InputError

RATE, RATES, SPREAD = 0.5, (0.1, 2.0), 0.5  # of c: what is usual, the limits, and the SD of its logarithm
DRIFT = 0.01  # SD by which a score leaves the curve for every doubling of n, as a share of the scale
LEAST = 0.003  # of the scale: no mean score is known better than this


class Curve(NamedTuple):
    """score(n) = a - b n^-c."""

    a: float
    b: float
    c: float

    def at(self, n) -> np.ndarray:
        return self.a - self.b * np.asarray(n, float) ** -self.c


def fit(n, score, error=None, bound: float = 1.0, usual: float = RATE) -> Curve:
    """The curve through scores (N,) with standard errors (N,), by weighted least squares.

    a is at most `bound` and b at least 0; c stays in RATES, near `usual` where the scores do not say otherwise. Where
    they do not rise the curve is flat.
    """
    from scipy.optimize import least_squares

    n, score = np.asarray(n, float), np.asarray(score, float)
    error = np.ones(len(n)) if error is None else np.asarray(error, float)
    if len(n) < 2 or not np.isfinite(score).all() or not (error > 0).all():
        raise InputError("a learning curve needs scores at two numbers of labels or more, with errors above 0")
    first, scale = n.min(), max(np.ptp(score), error.max())
    c = np.log(np.clip(usual, *RATES))

    def parts(theta):
        return np.exp(-np.exp(theta[2]) * np.log(n / first))

    def residuals(theta):
        off = (score - theta[0] + theta[1] * parts(theta)) / error
        return np.append(off, (theta[2] - c) / SPREAD)

    def slopes(theta):
        falls = parts(theta)
        by_rate = -theta[1] * falls * np.log(n / first) * np.exp(theta[2])
        rows = np.stack([-1 / error, falls / error, by_rate / error], axis=1)
        return np.vstack([rows, [0, 0, 1 / SPREAD]])

    start = [min(score[n.argmax()] + 0.1 * scale, bound - 1e-6 * scale), 0.5 * scale, c]
    limits = ([-np.inf, 0, np.log(RATES[0]) - 1e-9], [bound, np.inf, np.log(RATES[1]) + 1e-9])
    found = least_squares(residuals, start, slopes, limits, x_scale=[scale, scale, 1], xtol=1e-10, ftol=1e-10)
    a, drop, log_c = found.x
    return Curve(float(a), float(drop * first ** np.exp(log_c)), float(np.exp(log_c)))


def samples(n, drawn, at, bound: float = 1.0, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    """Mean scores at the numbers of labels `at` that replicates (R, N) of the scores at n allow, (R, len(at)).

    A curve is fitted to each replicate, with a rate c drawn about the usual one; scores far from where they are asked
    for count less, and beyond the largest n they drift, by DRIFT for every doubling.
    """
    n, at, drawn = np.asarray(n, float), np.asarray(at, float), np.asarray(drawn, float)
    R, N = drawn.shape
    rng = np.random.default_rng(seed)
    away = DRIFT * scale * np.log2(n.max() / n)  # (N,)
    error = np.sqrt(drawn.var(axis=0, ddof=1) + away**2 + (LEAST * scale) ** 2)
    moved = drawn + away * rng.standard_normal((R, N))
    rates = RATE * np.exp(SPREAD * rng.standard_normal(R))
    beyond = DRIFT * scale * np.log2(np.maximum(at / n.max(), 1))
    curves = np.array([fit(n, row, error, bound, usual).at(at) for row, usual in zip(moved, rates)])
    return np.minimum(curves + beyond * rng.standard_normal((R, 1)), bound)
