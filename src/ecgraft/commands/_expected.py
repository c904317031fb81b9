"""Which score to expect with how many labels: scores of repeated short fits, and the curves through them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..metrics import curve
from ..metrics.bootstrap import Estimate, interval
from . import _score, _trials
from ._examples import Corpus

LEVEL = 0.9  # of the intervals
REPLICATES = 256


@dataclass
class Measured:
    """The answers of one adapter's fits: number of labels -> split -> answers on that split's held-out records."""

    name: str
    answers: dict[int, dict[int, _score.Answers]] = field(default_factory=dict)
    parameters: int = 0
    seconds: float = 0.0

    def add(self, labels: int, split: int, found: _score.Answers) -> None:
        self.answers.setdefault(labels, {})[split] = found

    @property
    def labels(self) -> np.ndarray:
        return np.array(sorted(self.answers))

    @property
    def splits(self) -> list[int]:
        return sorted({split for found in self.answers.values() for split in found})


@dataclass(frozen=True)
class Expected:
    """What an adapter scores by number of labels, turned so that higher is better.

    measured   (N, 3) at the numbers of labels of the fits: value and interval of the mean over splits
    asked      (M, 3) at the numbers that were asked for: of one graft from so many labels, on a large test
    means      (M, R) draws of the mean score there, with the same patients for every adapter
    """

    measured: np.ndarray
    asked: np.ndarray
    means: np.ndarray


def expect(corpus: Corpus, made: Measured, at: np.ndarray, seed: int = 0) -> Expected:
    """From the answers of fits at two numbers of labels or more. `at` (M,): the numbers that are asked for."""
    labels, cells = made.labels, [(n, s) for n in made.labels for s in sorted(made.answers[n])]
    values, drawn = _trials.replicas(corpus, [made.answers[n][s] for n, s in cells], REPLICATES, seed)
    table = np.full((len(labels), len(made.splits), 1 + REPLICATES), np.nan)  # the first is the value itself
    for (n, s), value, each in zip(cells, values, drawn):
        table[np.searchsorted(labels, n), made.splits.index(s)] = [value, *each]
    return of_scores(labels, table, at, -_trials.sign(corpus) < 0, seed)


def of_scores(labels: np.ndarray, table: np.ndarray, at: np.ndarray, bounded: bool = True, seed: int = 0) -> Expected:
    """`table` (N, S, 1 + R): scores at N numbers of labels in S splits, and replicates over the held-out patients.

    bounded: scores are at most 1; else at most 0, as negative errors are.
    """
    value, means = np.nanmean(table[:, :, 0], axis=1), _over_splits(table[:, :, 1:], seed)  # (N,), (N, R)
    good = np.isfinite(value) & (np.isfinite(means).mean(axis=1) > 0.5)
    means = np.where(np.isfinite(means), means, value[:, None])
    low, high = interval(means.T, LEVEL)
    scale = 1.0 if bounded else float(np.nanmax(np.abs(value)))
    bound = 1.0 if bounded else 0.0
    curves = curve.samples(labels[good], means[good].T, at, bound, scale, seed).T  # (M, R)
    one = spread_of_one(labels[good], table[good])
    rng = np.random.default_rng(seed + 1)
    singles = curves + one / np.sqrt(np.asarray(at, float))[:, None] * rng.standard_normal(curves.shape)
    ends = interval(np.clip(singles, bound - 1 if bounded else -np.inf, bound).T, LEVEL)
    asked = np.stack([np.median(curves, axis=1), *ends], axis=1)
    return Expected(np.stack([value, low, high], axis=1), asked, curves)


def spread_of_one(labels: np.ndarray, table: np.ndarray) -> float:
    """s where the scores of single grafts from n labels have the SD s / sqrt(n) about their mean.

    The spread over splits has that of the held-out records in it, which is taken off, but never more than three
    quarters of the variance.
    """
    many = np.isfinite(table[:, :, 0]).sum(axis=1) > 1
    if not many.any():
        return 0.0
    between = np.nanvar(table[many][:, :, 0], axis=1, ddof=1)
    within = np.nanmean(np.nanvar(table[many][:, :, 1:], axis=2), axis=1)
    return float(np.sqrt(np.mean(np.maximum(between - within, between / 4) * labels[many])))


def _over_splits(drawn: np.ndarray, seed: int) -> np.ndarray:
    """(N, S, R) -> (N, R): in each replicate the mean over as many splits, drawn with replacement.

    Means of S drawn ones vary less than means of S new ones would, by (S - 1) / S, which is made up for.
    """
    _, S, R = drawn.shape
    chosen = np.random.default_rng(seed + 2).integers(S, size=(S, R))
    times = np.stack([(chosen == s).sum(0) for s in range(S)])[None] * np.isfinite(drawn)  # (N, S, R)
    plain = np.isfinite(drawn)
    total, filled = times.sum(1), np.nan_to_num(drawn)
    mean = (filled * plain).sum(1) / np.maximum(plain.sum(1), 1)
    mean = np.where(plain.any(1), mean, np.nan)
    moved = np.where(total > 0, (filled * times).sum(1) / np.maximum(total, 1), mean)
    return mean + np.sqrt(S / max(S - 1, 1)) * (moved - mean)


def as_estimate(three: np.ndarray, up: int) -> Estimate:
    """[value, low, high] in the metric's own direction."""
    value, low, high = (float(up * number) for number in three)
    return Estimate(value, min(low, high), max(low, high))
