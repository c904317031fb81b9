"""What every beat of a record measures: intervals, amplitudes, slope and ST level, and what they are over all beats.

For the soft targets of contrastive pretraining, where many records have to be measured and none may stop the work:
what is not found is NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .delineate import Found, delineate
from .peaks import r_peaks
from .spectral import bridge

VERSION = 1  # goes up when `measure` gives other numbers, so that older ones are not read
DETECTOR = "ecgraft.signal.peaks.r_peaks 1"  # as VERSION, for the R peaks

# Of a beat. RR, PR, QRS, QTc (Fridericia) and durations in s, amplitudes and level in mV, slope in mV/s.
BEAT_FEATURES = (
    *("rr_before", "rr_after", "pr", "qrs", "qtc", "p_duration", "t_duration"),
    *("r_amplitude", "p_amplitude", "t_amplitude", "qrs_slope", "st_level"),
)
STATISTICS = ("mean", "sd", "median", "iqr")  # over the beats
SHARES = ("p_absent", "qrs_wide", "pr_long", "st_shifted")  # of the beats: no P, QRS >= 120 ms, PR > 200 ms, ST 0.1 mV
RECORD_FEATURES = (
    *(f"{name.removesuffix('_before')}_{s}" for name in BEAT_FEATURES if name != "rr_after" for s in STATISTICS),
    *("rmssd", "pnn50", *SHARES),  # s, share
)

FLAT = 2e-3  # mV between lowest and highest sample; a lead below it has no say


class Beats(NamedTuple):
    """P beats; NaN where something was not found."""

    peaks: np.ndarray  # (P,) int64 samples, ascending
    fiducials: np.ndarray  # (P, 3, 3) float32 samples: P, QRS, T x onset, peak, offset
    features: np.ndarray  # (P, F) float32, BEAT_FEATURES
    record: np.ndarray  # (R,) float32, RECORD_FEATURES


def measure(x: np.ndarray, rate: float, peaks: np.ndarray | None = None) -> Beats:
    """The beats of a record x (C, T) mV at `rate` Hz as a recipe prepares it: leads that are there, no baseline wander.

    peaks      (P,) samples of the R peaks where they are known (-1 is none); else they are looked for
    amplitude  at the peak of the wave, above the level just before the QRS: the root mean square over the leads, so one
               lead gives its height; negative for a T wave that points away from the R peak
    qrs_slope  the greatest root mean square over the leads of their slopes
    st_level   60 ms behind the QRS, in the lead that deviates second most (of one or two leads: most) over the record

    QTc is by the RR interval before the beat (behind the first). About 2 ms for 12 x 2500, half of it for the peaks.
    """
    x = _with_a_say(x)
    peaks = r_peaks(x, rate) if peaks is None and len(x) else np.unique(np.asarray([] if peaks is None else peaks))
    peaks = peaks[(peaks >= 0) & (peaks < x.shape[1])].astype(np.int64)
    if not len(peaks) or not len(x):
        empty = np.zeros((0, 3, 3), np.float32), np.zeros((0, len(BEAT_FEATURES)), np.float32)
        return Beats(peaks[:0], *empty, np.full(len(RECORD_FEATURES), np.nan, np.float32))
    found = delineate(x, rate, peaks)
    features = _features(found, rate, peaks)
    record = _summary(features, found.looked)
    return Beats(peaks, found.fiducials.astype(np.float32), features.astype(np.float32), record.astype(np.float32))


def measure_batch(x, present, rate: float, peaks=None, length=None) -> dict[str, np.ndarray]:
    """`measure` for records x (B, C, T) mV of `length` (B,), leads `present` (B, C) and R peaks (B, P), -1 for none.

    peaks (B, P) int32 padded with -1, beat_features (B, P, F) and record_features (B, R) float32, NaN where missing.
    """
    B, _, T = x.shape
    length = np.full(B, T) if length is None else length
    known = [None] * B if peaks is None else peaks
    found = [measure(x[b, present[b], : length[b]], rate, known[b]) for b in range(B)]
    P = max([1, *(len(beats.peaks) for beats in found)])
    at = np.full((B, P), -1, np.int32)
    features = np.full((B, P, len(BEAT_FEATURES)), np.nan, np.float32)
    for b, beats in enumerate(found):
        at[b, : len(beats.peaks)], features[b, : len(beats.peaks)] = beats.peaks, beats.features
    record = np.array([beats.record for beats in found], np.float32).reshape(B, len(RECORD_FEATURES))
    return {"peaks": at, "beat_features": features, "record_features": record}


def _with_a_say(x) -> np.ndarray:
    """The leads that move, without gaps; of no length if there are none."""
    x = np.asarray(x, dtype=np.float32)
    gaps = ~np.isfinite(x)
    x = bridge(x, gaps) if gaps.any() else x
    return x[np.ptp(x, axis=1) > FLAT] if x.size else x[:0]


def _features(found: Found, rate: float, peaks) -> np.ndarray:
    """(P, F) float64."""
    p, qrs, t = (found.fiducials[:, wave] / rate for wave in range(3))  # (P, 3) s
    rr = np.diff(peaks) / rate
    before, after = np.append(np.nan, rr), np.append(rr, np.nan)
    towards = np.where(np.einsum("cp,cp->p", found.r, found.t) < 0, -1, 1)
    columns = {
        "rr_before": before,
        "rr_after": after,
        "pr": qrs[:, 0] - p[:, 0],
        "qrs": qrs[:, 2] - qrs[:, 0],
        "qtc": (t[:, 2] - qrs[:, 0]) / np.cbrt(np.where(np.isnan(before), after, before)),
        "p_duration": p[:, 2] - p[:, 0],
        "t_duration": t[:, 2] - t[:, 0],
        "r_amplitude": _size(found.r),
        "p_amplitude": np.where(np.isnan(p[:, 1]), np.nan, _size(found.p)),
        "t_amplitude": np.where(np.isnan(t[:, 1]), np.nan, _size(found.t) * towards),
        "qrs_slope": found.slope,
        "st_level": np.where(np.isnan(qrs[:, 2]), np.nan, _st(found.st)),
    }
    return np.stack([columns[name] for name in BEAT_FEATURES], axis=1).astype(float)


def _size(values) -> np.ndarray:
    """Root mean square over the leads, (C, P) -> (P,)."""
    return np.sqrt(np.einsum("cp,cp->p", values, values) / len(values))


def _st(levels) -> np.ndarray:
    """One lead's of (C, P): that of the second largest deviation (median over the beats)."""
    order = np.argsort(np.abs(np.median(levels, axis=1)))
    return levels[order[-2 if len(order) > 2 else -1]]


def _summary(features, looked) -> np.ndarray:
    """(R,): a mean and a median of one beat or more, a spread of two or more."""
    column = dict(zip(BEAT_FEATURES, features.T))
    values = np.stack([column[name] for name in BEAT_FEATURES if name != "rr_after"])  # (n, P)
    with np.errstate(invalid="ignore", divide="ignore"):
        known = ~np.isnan(values)
        count = known.sum(axis=1)
        mean = np.where(known, values, 0).sum(axis=1) / count
        deviation = np.where(known, values - mean[:, None], 0)
        sd = np.sqrt((deviation**2).sum(axis=1) / np.maximum(count - 1, 0))
        ranked = np.sort(values, axis=1)  # NaN last
        low, median, high = (_quantile(ranked, count, share) for share in (0.25, 0.5, 0.75))
        statistics = np.stack([mean, sd, median, np.where(count > 1, high - low, np.nan)], axis=1)
        change = np.diff(column["rr_before"][1:])
        rhythm = np.sqrt((change**2).sum() / len(change)), (np.abs(change) > 0.05).sum() / len(change)
        absent = looked & np.isnan(column["p_amplitude"])
        shares = [absent.sum() / looked.sum()]
        limits = ("qrs", 0.12 - 1e-9), ("pr", 0.2 + 1e-9), ("st_level", 0.1)
        shares += [(np.abs(column[name]) >= limit).sum() / np.isfinite(column[name]).sum() for name, limit in limits]
    return np.concatenate([statistics.ravel(), rhythm, shares])


def _quantile(ranked, count, share: float) -> np.ndarray:
    """Of the first `count` (n,) values of ranked (n, P), between neighbours on a line; NaN of none."""
    place = np.maximum(count - 1, 0) * share
    low, row = place.astype(int), np.arange(len(ranked))
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    return ranked[row, low] + (ranked[row, high] - ranked[row, low]) * (place - low)
