"""Is one method better than another: DeLong's test of two AUROCs, paired bootstrap, many tests at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import norm, rankdata

from ..record import InputError
from .bootstrap import interval
from .ranking import checked


class Comparison(NamedTuple):
    """Two AUROCs of the same records and the test of their difference, each (K,)."""

    a: np.ndarray
    b: np.ndarray
    difference: np.ndarray  # a - b
    error: np.ndarray  # its standard error
    z: np.ndarray
    p: np.ndarray  # two-sided


def delong(y, a, b, known=None, patients=None) -> Comparison:
    """Tests the difference of the AUROCs of scores a and b (N, K) of the same records, per class.

    DeLong et al. 1988 (doi:10.2307/2531595), by midranks in O(n log n) (Sun & Xu 2014, doi:10.1109/LSP.2014.2337313).
    With patients (N,) the structural components are summed within each (Obuchowski 1997, doi:10.2307/2533958); with
    one record a patient that is the same. NaN for a class with fewer than two positives or negatives (or patients who
    have one); where a and b order all records alike, z is not defined and p is 1.
    """
    y, a, known_a, _ = checked(y, a, known)
    _, b, known, _ = checked(np.where(known_a, y, -1), b)
    patients = np.arange(len(y)) if patients is None else np.unique(np.asarray(patients), return_inverse=True)[1]
    if len(patients) != len(y):
        raise InputError(f"{len(patients)} patients do not fit {len(y)} records")
    rows = []
    for k in range(y.shape[1]):
        at = known[:, k]
        rows.append(_compared(y[at, k], np.stack([a[at, k], b[at, k]]), patients[at]))
    area_a, area_b, error = np.array(rows).T
    difference = area_a - area_b
    z = np.divide(difference, error, out=np.full(len(error), np.nan), where=error > 0)
    p = np.where((error == 0) & (difference == 0), 1.0, 2 * norm.sf(np.abs(z)))
    return Comparison(area_a, area_b, difference, error, z, p)


def paired(replicas_a, replicas_b, level: float = 0.95) -> dict[str, np.ndarray]:
    """ "low", "high" and two-sided "p" (...) of a - b from replicates (R, ...) under the same draws.

    p = 2 min over both sides of (1 + replicates with the difference at or beyond 0) / (1 + R), at most 1 (Davison &
    Hinkley 1997, 4.2): it is never 0, so R = 1000 cannot say less than 0.002. Replicates in which one of the two is
    not defined are left out; with fewer than half of them left all are NaN.
    """
    difference = np.asarray(replicas_a, dtype=float) - np.asarray(replicas_b, dtype=float)
    low, high = interval(difference, level)
    beyond = np.minimum((difference <= 0).sum(axis=0), (difference >= 0).sum(axis=0))
    p = np.minimum(2 * (1 + beyond) / (1 + np.isfinite(difference).sum(axis=0)), 1)
    return {"low": low, "high": high, "p": np.where(np.isfinite(low), p, np.nan)}


def wald(difference: float, replicas) -> float:
    """Two-sided p of a difference by the standard error of its replicates (R,), taken as normal.

    Unlike that of `paired` it can be small enough to survive the adjustment for many comparisons. NaN where fewer than
    half of the replicates are defined; where none differs p is 1 for no difference, else 0.
    """
    replicas = np.asarray(replicas, dtype=float)
    defined = replicas[np.isfinite(replicas)]
    if 2 * len(defined) < len(replicas) or not np.isfinite(difference):
        return np.nan
    error = defined.std(ddof=1)
    return float(2 * norm.sf(abs(difference) / error)) if error > 0 else float(difference == 0)


def holm(p) -> np.ndarray:
    """Adjusted p-values of the tests in `p`, of any shape (Holm 1979); NaN stays and is not counted as a test."""
    p = np.asarray(p, dtype=float)
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")[: np.isfinite(flat).sum()]  # NaN last
    adjusted = np.full(len(flat), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(flat[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted.reshape(p.shape)


def _compared(y, scores, patient) -> tuple[float, float, float]:
    """AUROC of each of two scores (2, M) and the standard error of their difference."""
    m, n = int(y.sum()), int((~y).sum())
    if not m or not n:
        return np.nan, np.nan, np.nan
    above = rankdata(scores, axis=1)
    v10 = (above[:, y] - rankdata(scores[:, y], axis=1)) / n  # (2, m) share of the negatives below each positive
    v01 = 1 - (above[:, ~y] - rankdata(scores[:, ~y], axis=1)) / m  # (2, n) share of the positives above
    area = v10.mean(axis=1)
    gap10, gap01 = (v[0] - v[1] - (area[0] - area[1]) for v in (v10, v01))
    P = patient.max() + 1
    yes, no = np.bincount(patient[y], minlength=P) > 0, np.bincount(patient[~y], minlength=P) > 0
    sum10, sum01 = np.bincount(patient[y], gap10, P), np.bincount(patient[~y], gap01, P)
    i10, i01, i = yes.sum(), no.sum(), (yes | no).sum()
    if min(i10, i01) < 2:
        return *area, np.nan
    variance = i10 / (i10 - 1) * (sum10**2).sum() / m**2 + i01 / (i01 - 1) * (sum01**2).sum() / n**2
    variance += 2 * i / (i - 1) * (sum10 * sum01).sum() / (m * n)
    return *area, np.sqrt(max(variance, 0))
