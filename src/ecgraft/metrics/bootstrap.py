"""Percentile intervals by resampling patients (Efron & Tibshirani 1993).

Whole patients are drawn with replacement, because records of one patient are not independent. Every replicate is a row
of weights, so metrics run on many replicates at once; a difference between two methods taken inside `scores` is paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ..record import InputError, UsageError

CHUNK = 64  # replicates at once: 64 float32 weights a record lie in four cache lines


class Estimate(NamedTuple):
    """A value and its interval; arrays of one shape, or floats."""

    value: np.ndarray | float
    low: np.ndarray | float
    high: np.ndarray | float


def draws(patients, replicates: int = 1000, seed: int = 0) -> Iterator[np.ndarray]:
    """Weights (r, N), r <= 64, float32: how often the patient of each of the N records is drawn."""
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    P = patient.max() + 1
    rng = np.random.default_rng(seed)
    for first in range(0, replicates, CHUNK):
        r = min(CHUNK, replicates - first)
        drawn = rng.integers(P, size=(r, P)) + P * np.arange(r)[:, None]
        times = np.bincount(drawn.ravel(), minlength=r * P).reshape(r, P)
        yield np.ascontiguousarray(times.T, dtype=np.float32)[patient].T  # records in rows underneath: see cell_sums


def estimate(
    scores: Callable[[np.ndarray], dict[str, np.ndarray]], patients, replicates=1000, seed=0, level=0.95
) -> dict[str, Estimate]:
    """Value and interval of everything in `scores(weights)`, a dict of arrays whose first axes are those of weights.

    patients (N,) names the patient of each record. Replicates in which a score is not defined are left out of its
    interval; with fewer than half of them left the interval is NaN.
    """
    if replicates < 1:
        raise UsageError(f"replicates {replicates}: the bootstrap needs at least 1")
    if len(patients) == 0:
        raise InputError("there are no records to score; is the part (train, validation, test) empty?")
    value = scores(np.ones(len(patients)))
    parts = [scores(weights) for weights in draws(patients, replicates, seed)]
    replicas = {name: np.concatenate([part[name] for part in parts]) for name in value}
    return {name: Estimate(value[name], *interval(replicas[name], level)) for name in value}


def interval(replicas, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """The percentiles (1 - level) / 2 and (1 + level) / 2 over the first axis, (R, ...) -> two of (...)."""
    ordered = np.sort(np.asarray(replicas, dtype=float), axis=0)  # NaN last
    R = len(ordered)
    defined = np.isfinite(ordered).sum(axis=0)
    ends = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        place = np.maximum(defined - 1, 0) * share
        lower = np.floor(place).astype(int)
        upper = np.minimum(lower + 1, np.maximum(defined - 1, 0))
        a, b = (np.take_along_axis(ordered, at[None], axis=0)[0] for at in (lower, upper))
        ends.append(np.where(2 * defined >= R, a + (place - lower) * (b - a), np.nan))
    return ends[0], ends[1]
