"""Heart rate, PR, QRS, QT, QTc, P duration and axes from the waves of one record, each with its spread over the beats.

Everything is measured beat by beat, also in fibrillation and other irregular rhythms; what is said is the median over
the beats and the quartiles; the heart rate is 60 / mean RR. What cannot be measured is None, with the reason. A
duration is `offset - onset`; RR runs from peak to peak.

QTc takes the RR interval before the beat, or where there is none the one behind it (QT in ms, RR in s):
  Bazett      QT / RR^(1/2). Bazett HC. An analysis of the time-relations of electrocardiograms. Heart 1920;7:353
  Fridericia  QT / RR^(1/3). Fridericia LS. Die Systolendauer im Elektrokardiogramm. Acta Med Scand 1920;53:469
  Framingham  QT + 154 (1 - RR). Sagie A et al. An improved method for adjusting the QT interval for heart rate. Am J
              Cardiol 1992;70:797
  Hodges      QT + 1.75 (60 / RR - 60). Hodges M et al. Bazett's QT correction reviewed. J Am Coll Cardiol 1983;1:694

An axis is the angle of the net areas (mV s) in leads I and aVF. Einthoven's triangle sees a frontal vector of length r
and angle a as I = r cos a and, since aVF is taken against the mean of the arms, aVF = sqrt(3)/2 r sin a. Hence
a = atan2(2 / sqrt(3) aVF, I), with 0 degrees to the left and 90 to the feet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..record import QRS, P, T, lead_name
from .leads import LIMB, derive

P_REACH = 0.5  # s from the onset of a P wave to that of its QRS, at most
T_REACH = 0.7  # s from the onset of a QRS to that of its T wave, at most
# P and QRS are not coupled if the quartiles of PR are farther apart (ms): usually, and where P waves are blocked.
SPREAD, SPREAD_BLOCKED = 80.0, 40.0
BLOCKED = 0.25  # blocked P waves a beat, from which on they count
PAUSE = 1.2  # a P wave that is blocked for want of conduction makes the RR interval at least this many times longer
LEVEL = 0.02  # s up to a wave's onset or from its offset on; their mean is the level there
FLAT = 2e-3  # mV between lowest and highest sample; a lead below it was not recorded
UNITS = {
    **{"heart rate": "/min", "PR": "ms", "QRS": "ms", "QT": "ms"},
    **{"QTc Bazett": "ms", "QTc Fridericia": "ms", "QTc Framingham": "ms", "QTc Hodges": "ms", "P duration": "ms"},
    **{"QRS axis": "degrees", "P axis": "degrees", "T axis": "degrees"},
}
DIGITS = {"/min": 1, "ms": 0, "degrees": 0}  # of `to_dict`; samples are 2 to 4 ms apart


@dataclass(frozen=True)
class Interval:
    """What is measured over the beats. low <= median <= high, for an axis too: there they may go beyond 180 degrees."""

    name: str
    unit: str  # "/min", "ms", "degrees"
    median: float | None = None
    low: float | None = None  # quartiles over the beats
    high: float | None = None
    beats: int = 0  # measured; P waves for their duration and axis, all QRS complexes for the heart rate
    reason: str = ""  # why it cannot be measured; "" where it can


class _Beats(NamedTuple):
    """N beats in the order of their QRS: onset, peak and offset in s; NaN where not known or where no wave is."""

    p: np.ndarray  # (N, 3) the P wave that belongs to the beat
    qrs: np.ndarray  # (N, 3)
    t: np.ndarray  # (N, 3)
    lag: np.ndarray  # (N,) ms from the onset of the last P wave since the QRS before, however long
    blocked: np.ndarray  # (N,) P waves since the QRS before that no QRS belongs to
    all_p: np.ndarray  # (M, 3) all P waves


def measure(waves: np.ndarray, rate: float, signal: np.ndarray | None = None, leads=()) -> list[Interval]:
    """The intervals of UNITS, in that order.

    waves   WAVE rows of one set, global (lead -1) or of one lead, in any order, in samples at `rate` Hz
    signal  (C, T) mV of `leads` at the same rate, for the axes; any two limb leads are enough

    A P wave belongs to the QRS behind it if it begins within P_REACH of it and is the last one before it; the others
    are blocked. A T wave belongs to the QRS before it, the first one of several, within T_REACH. PR needs a P wave in
    half of the beats, QT a T wave; a first beat without P and a last beat without T do not tell against it, as the
    record may have cut theirs off.

    Raises ValueError if the rows are of several leads.
    """
    if len(np.unique(waves["lead"])) > 1:
        raise ValueError("the waves are of several leads; intervals are measured on the waves of all leads or of one")
    beats = _paired(*(_rows(waves, kind, rate) for kind in (P, QRS, T)))
    if not len(beats.qrs):
        return [Interval(name, unit, reason="no QRS complex was found") for name, unit in UNITS.items()]
    rr = _rr(beats.qrs)
    qt = 1000 * _positive(beats.t[:, 2] - beats.qrs[:, 0])
    few_p, few_t = _few_p(beats), _few("T waves behind", "no T wave was found", beats.t[::-1], qt[::-1])
    frontal, no_frontal = _frontal(signal, leads)
    axes = {"QRS": (beats.qrs, ""), "P": (beats.all_p, few_p), "T": (beats.t, few_t)}
    return [
        _heart_rate(rr),
        _pr(beats, rr),
        _over_beats("QRS", 1000 * _positive(beats.qrs[:, 2] - beats.qrs[:, 0])),
        _over_beats("QT", qt, few_t),
        *_corrected(qt, rr, few_t),
        _over_beats("P duration", 1000 * _positive(beats.all_p[:, 2] - beats.all_p[:, 0]), few_p),
        *(_axis(name, rows, frontal, rate, few or no_frontal) for name, (rows, few) in axes.items()),
    ]


def to_dict(intervals: list[Interval]) -> dict[str, dict]:
    """For JSON, by name: median, low, high, unit and beats; or the median None and the reason."""
    out = {}
    for interval in intervals:
        if interval.median is None:
            out[interval.name] = {"median": None, "reason": interval.reason}
            continue
        digits = DIGITS[interval.unit] or None  # round(x, None) is an int
        values = {key: round(getattr(interval, key), digits) for key in ("median", "low", "high")}
        out[interval.name] = {**values, "unit": interval.unit, "beats": interval.beats}
    return out


def _rows(waves, kind: int, rate: float) -> np.ndarray:
    """Onset, peak and offset of the waves of a kind, (n, 3) s, in order of their `_begin`; none stands there twice."""
    rows = np.stack([waves[name][waves["kind"] == kind] for name in ("onset", "peak", "offset")], axis=1)
    rows = np.unique(rows[(rows >= 0).any(axis=1)], axis=0)
    rows = np.where(rows < 0, np.nan, rows / rate)
    return rows[np.argsort(_begin(rows), kind="stable")]


def _begin(rows) -> np.ndarray:
    """The onset (n,) of each wave, its peak where that is not known, or else its offset; NaN for no wave."""
    onset, peak, offset = rows.T
    return np.where(np.isnan(onset), np.where(np.isnan(peak), offset, peak), onset)


def _paired(p, qrs, t) -> _Beats:
    """The beats of P waves (M, 3), QRS complexes (N, 3) and T waves (K, 3)."""
    N, at = len(qrs), _begin(qrs)
    behind = np.searchsorted(at, _begin(p), side="right")  # (M,) the QRS behind each P wave; N is none
    before = np.searchsorted(at, _begin(t), side="right") - 1  # (K,) the QRS before each T wave; -1 is none
    own_p, own_t = np.full((N + 1, 3), np.nan), np.full((N + 1, 3), np.nan)  # row N: those of no QRS
    own_p[behind] = p  # of several the last one stays
    own_t[before[::-1]] = t[::-1]  # the first one
    own_p, own_t = own_p[:N], own_t[:N]
    lag = 1000 * _positive(qrs[:, 0] - own_p[:, 0])
    own_p[at - _begin(own_p) > P_REACH] = np.nan
    own_t[_begin(own_t) - at > T_REACH] = np.nan
    blocked = np.bincount(behind, minlength=N + 1)[:N] - ~np.isnan(_begin(own_p))
    return _Beats(own_p, qrs, own_t, lag, blocked, p)


def _rr(qrs) -> np.ndarray:
    """The interval (N,) s to the QRS before: of the peaks, or of the onsets where a peak is not known."""
    by_peak, by_onset = np.diff(qrs[:, 1]), np.diff(qrs[:, 0])
    return np.append(np.nan, _positive(np.where(np.isnan(by_peak), by_onset, by_peak)))[: len(qrs)]


def _positive(values) -> np.ndarray:
    """NaN where a duration is not above 0."""
    return np.where(values > 0, values, np.nan)


def _few(words: str, none: str, rows, values) -> str:
    """Why fewer than half of the beats have a wave in `rows` (N, 3), or a value of it (N,); "" where half have. The
    first of several beats is given the benefit of the doubt."""
    there, known = ~np.isnan(_begin(rows)), ~np.isnan(values)
    if not there.any():
        return none
    N, doubt = len(there), not there[0]
    if 2 * (there.sum() + doubt) < N:
        return f"{words} only {there.sum()} of {N} beats"
    if 2 * (known.sum() + doubt) < N:
        return f"{words} {there.sum()} of {N} beats, but with known bounds of only {known.sum()}"
    return ""


def _few_p(beats: _Beats) -> str:
    """The same for P waves, whether a QRS belongs to them or not."""
    if 2 * len(beats.all_p) >= len(beats.qrs):
        return ""
    return _few("P waves before", "no P wave was found", beats.p, beats.p[:, 0])


def _pr(beats: _Beats, rr) -> Interval:
    pr = 1000 * _positive(beats.qrs[:, 0] - beats.p[:, 0])
    none = f"no P wave within {1000 * P_REACH:.0f} ms before a QRS complex"
    few = _few_p(beats) or _uncoupled(beats, rr) or _few("P waves before", none, beats.p, pr)
    return _over_beats("PR", pr, few)


def _uncoupled(beats: _Beats, rr) -> str:
    """Why P waves do not lead the ventricles; "" where they seem to.

    In complete block the P wave before a QRS is any time away, and one P wave more or less between two QRS complexes
    does nothing to RR (N,) s. In Wenckebach periods PR varies too, but a blocked P wave makes a pause in RR, and behind
    it PR begins anew.
    """
    blocked = beats.blocked > 0
    spread = _spread(beats.lag)
    if spread <= (SPREAD_BLOCKED if beats.blocked.sum() >= BLOCKED * len(blocked) else SPREAD) or np.isnan(spread):
        return ""
    pause, usual = (rr[rows & ~np.isnan(rr)] for rows in (blocked, ~blocked))
    paused = len(pause) and len(usual) and np.median(pause) >= PAUSE * np.median(usual)
    if paused and _spread(beats.lag[blocked]) <= SPREAD_BLOCKED:
        return ""
    return f"P waves and QRS complexes are not coupled: between the quartiles of PR lie {spread:.0f} ms"


def _spread(values) -> float:
    """From the lower to the upper quartile of those that are known; NaN of none."""
    values = values[~np.isnan(values)]
    return float(np.subtract(*np.quantile(values, [0.75, 0.25]))) if len(values) else np.nan


def _heart_rate(rr) -> Interval:
    """60 / mean RR, the beats a minute; the quartiles are those of 60 / RR."""
    if len(rr) < 2:
        return Interval("heart rate", UNITS["heart rate"], reason="one QRS complex only")
    found = _over_beats("heart rate", rr, none="no RR interval is known")
    if found.reason:
        return found
    low, mean, high = 60 / found.high, 60 / np.nanmean(rr), 60 / found.low
    return Interval(found.name, found.unit, mean, min(low, mean), max(high, mean), len(rr))


def _corrected(qt, rr, few: str) -> list[Interval]:
    """QTc of QT (N,) ms by the four formulas, see above."""
    rr = np.where(np.isnan(rr), np.append(rr[1:], np.nan), rr)
    values = {
        "Bazett": qt / np.sqrt(rr),
        "Fridericia": qt / np.cbrt(rr),
        "Framingham": qt + 154 * (1 - rr),
        "Hodges": qt + 1.75 * (60 / rr - 60),
    }
    none = "one QRS complex only" if len(rr) < 2 else "no RR interval is known"
    return [_over_beats(f"QTc {name}", value, few, none) for name, value in values.items()]


def _over_beats(name: str, values, reason: str = "", none: str = "no wave has known bounds") -> Interval:
    """Median and quartiles of the known ones of `values` (n,), unless there is a reason against it, or `none` is."""
    values = values[~np.isnan(values)]
    if reason or not len(values):
        return Interval(name, UNITS[name], reason=reason or none)
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return Interval(name, UNITS[name], median, low, high, len(values))


def _frontal(signal, leads) -> tuple[np.ndarray | None, str]:
    """Leads I and aVF, (2, T) mV, from the limb leads that were recorded; or None and why not."""
    if signal is None:
        return None, "no signal was given"
    signal = np.asarray(signal)
    names = [lead_name(name) for name in leads]
    rows = [i for i, name in enumerate(names) if name in LIMB and _moves(signal[i])]
    found, names, _ = derive(signal[rows], tuple(names[i] for i in rows), ("I", "aVF"))
    if "I" not in names or "aVF" not in names:
        return None, "two limb leads are needed"
    return found[[names.index("I"), names.index("aVF")]], ""


def _moves(x) -> bool:
    there = np.isfinite(x)
    known = x if there.all() else x[there]
    return len(known) > 0 and np.ptp(known) > FLAT


def _axis(name: str, rows, frontal, rate: float, reason: str) -> Interval:
    """Of the waves `rows` (n, 3) s in `frontal` (2, T) mV. The median is taken of the angles to the mean direction."""
    if reason:
        return _over_beats(f"{name} axis", rows[:0, 0], reason)
    bounds = np.rint(rows[~np.isnan(rows[:, [0, 2]]).any(axis=1)][:, [0, 2]] * rate).astype(int)
    level = round(LEVEL * rate)
    areas = [_area(frontal, onset, offset, level, name == "QRS") for onset, offset in bounds]
    x, y = np.array(areas).reshape(-1, 2).T
    angle = np.arctan2(2 / np.sqrt(3) * y, x)[(x != 0) | (y != 0)]  # that of NaN is NaN
    angle = angle[~np.isnan(angle)]
    mean = np.arctan2(np.sin(angle).sum(), np.cos(angle).sum())
    found = _over_beats(f"{name} axis", np.degrees(mean + _wrapped(angle - mean)))
    if found.reason:
        return found
    turn = np.degrees(_wrapped(np.radians(found.median))) - found.median  # into -180 to 180
    return replace(found, **{key: float(getattr(found, key) + turn) for key in ("median", "low", "high")})


def _wrapped(angle):
    """Into (-pi, pi]."""
    return np.pi - (np.pi - angle) % (2 * np.pi)


def _area(x, onset: int, offset: int, level: int, flat: bool) -> np.ndarray:
    """Net area (2,) of x (2, T) from onset to offset: above the level before the wave if `flat`, as ST need not end
    there, else above the line between the levels before and behind it. NaN if it is not wholly in x."""
    if onset < 0 or offset >= x.shape[1] or offset < onset:
        return np.full(2, np.nan)
    before = x[:, max(onset - level, 0) : onset + 1].mean(axis=1)
    behind = before if flat else x[:, offset : offset + level + 1].mean(axis=1)
    return (x[:, onset : offset + 1].mean(axis=1) - (before + behind) / 2) * (offset - onset + 1)
