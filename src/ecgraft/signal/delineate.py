"""P, QRS and T waves of all beats of a record at once, one onset, peak and offset for all leads.

QRS: where the speed of all leads together leaves its floor. T and P: the bump, over the line between the ends of its
window, that is largest in all leads together, seen from the direction in which it points. T is bounded by the largest
trapezium (Zhang Q et al. An algorithm for robust and efficient location of T-wave ends in electrocardiograms. IEEE
Trans Biomed Eng 2006;53:2544), P by a share of its height. A P wave is there if the beats agree on it. What is not
found is NaN. The constants were chosen on simulated ECGs and LUDB.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d

SMOOTH = 0.02  # s, moving mean before P and T are looked for
QRS_REACH = (0.16, 0.20)  # s before and behind the R peak, in which the QRS begins and ends
STEEPEST = 0.08  # s around the R peak
SURROUNDINGS = (0.3, 0.5)  # s, whose lower quartile of speed is the floor
LEVEL = (0.03, 2.5)  # a QRS is faster than this share of its top speed and this many times the floor
STILL = 0.02  # s of less speed end a QRS
LEVEL_AT = 0.012  # s before the QRS: the level that all amplitudes are measured from
T_BEGIN, T_END = 0.04, 0.62  # s behind the QRS; s behind its onset at 60 beats a minute, times the root of RR
QT = 0.45  # s from the R peak to the end of a T wave that was not found, at 60 beats a minute
P_EARLIEST, P_LATEST = 0.36, 0.008  # s before the QRS
P_FOOT, P_HALF = 0.13, 0.09  # a P ends at this share of its height, or this many seconds from its peak
SMALLEST = {"P": 0.015, "T": 0.02}  # mV
SHORTEST = {"P": 0.03, "T": 0.08}  # s, of the window in which a wave can be seen
AGREE = (0.24, 0.06, 0.03, 0.63)  # s before the QRS; s around the P peak; s between PR intervals; least agreement
ST_AT = 0.06  # s behind the QRS
BEATS = 512  # in memory at a time


class Found(NamedTuple):
    fiducials: np.ndarray  # (P, 3, 3) samples
    looked: np.ndarray  # (P,) bool: there was room for a P wave
    p: np.ndarray  # (C, P) mV at the peak of the P wave, above the level before the QRS
    r: np.ndarray  # (C, P)
    t: np.ndarray  # (C, P)
    st: np.ndarray  # (C, P)
    slope: np.ndarray  # (P,) mV/s


AXES = (0, 0, 1, 1, 1, 1, 0)  # of the beats, in Found


def delineate(x: np.ndarray, rate: float, peaks: np.ndarray) -> Found:
    """The waves around the R peaks (P,), at least one, of moving leads x (C, T) mV without gaps.

    Long records go piece by piece, with some beats of their neighbours, so that working memory stays bounded.
    """
    parts, margin = [], round(2 * rate)
    for first in range(0, len(peaks), BEATS):
        some = peaks[max(first - 2, 0) : first + BEATS + 2]
        start = max(some[0] - margin, 0) if len(some) < len(peaks) else 0
        stop = some[-1] + margin if len(some) < len(peaks) else x.shape[1]
        found = _piece(x[:, start:stop], rate, some - start)
        found.fiducials[...] += start
        own = slice(min(first, 2), min(first, 2) + BEATS)
        parts.append([part[own] if axis == 0 else part[:, own] for part, axis in zip(found, AXES)])
    return Found(*(np.concatenate(part, axis) for part, axis in zip(zip(*parts), AXES)))


def _piece(x, rate: float, peaks) -> Found:
    T = x.shape[1]
    smooth = uniform_filter1d(x, _samples(SMOOTH, rate) | 1, axis=1, mode="nearest")
    fiducials = np.full((len(peaks), 3, 3), np.nan)
    fiducials[:, 1, 1] = peaks
    fiducials[:, 1, 0], fiducials[:, 1, 2], slope = _qrs(_speed(x, rate), rate, peaks)
    onset = _or_else(fiducials[:, 1, 0], peaks - 0.05 * rate)
    offset = _or_else(fiducials[:, 1, 2], peaks + 0.06 * rate)
    base = _between(smooth, np.clip(onset - round(LEVEL_AT * rate), 0, T - 1))
    above = smooth - base
    window, whole = _t_window(peaks, onset, offset, rate, T)
    _, fiducials[:, 2], t = _wave(above, *window, whole, rate, "T")
    window, whole = _p_window(peaks, onset, fiducials[:, 2, 2], rate)
    looked, fiducials[:, 0], p = _wave(above, *window, whole, rate, "P")
    fiducials[~_agreed(smooth, onset, fiducials[:, 0, 1], rate), 0] = np.nan
    st = above[:, np.clip(offset + round(ST_AT * rate), 0, T - 1)]
    return Found(fiducials, looked, p, x[:, peaks] - base[:, peaks], t, st, slope)


def _speed(x, rate: float) -> np.ndarray:
    """Root mean square over the leads of their slopes, (T,) mV/s."""
    if x.shape[1] < 3:
        return np.zeros(x.shape[1], np.float32)
    step = (x[:, 2:] - x[:, :-2]) * np.float32(rate / 2)
    return np.pad(np.sqrt(np.einsum("ct,ct->t", step, step) / len(x)), 1, mode="edge")


def _qrs(speed, rate: float, peaks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Onset, offset (samples) and top speed (mV/s), (P,) each. From the steepest place and the R peak outwards, a QRS
    ends where the speed stays below its threshold for a while; nothing is known beyond the record's ends."""
    before, behind = (_samples(seconds, rate) for seconds in SURROUNDINGS)
    at = peaks[:, None] + np.arange(-before, behind + 1)  # (P, W)
    around = speed[np.clip(at, 0, len(speed) - 1)]
    near, quarter, still = _samples(STEEPEST, rate), at.shape[1] // 4, _samples(STILL, rate)
    steepest = around[:, before - near : before + near + 1]
    top, place = steepest.max(axis=1), steepest.argmax(axis=1) + before - near
    threshold = np.maximum(LEVEL[0] * top, LEVEL[1] * np.partition(around, quarter, axis=1)[:, quarter])
    fast = (around > threshold[:, None]) | (at < 0) | (at >= len(speed))
    count = np.cumsum(np.pad(fast, ((0, 0), (1, 0))), axis=1)
    quiet = count[:, still:] == count[:, :-still]  # (P, W - still + 1): the samples from here on are all slow
    step = np.arange(quiet.shape[1])
    first, last = (edge[:, None] for edge in (np.minimum(place, before), np.maximum(place, before)))
    earliest, latest = before - round(QRS_REACH[0] * rate), before + round(QRS_REACH[1] * rate)
    start = np.where(quiet & (step + still <= first) & (step >= earliest), step, -1).max(axis=1)
    stop = np.where(quiet & (step > last) & (step <= latest), step, len(step)).min(axis=1)
    onset = np.where(start < 0, np.nan, peaks - before + start + still)
    return onset, np.where(stop == len(step), np.nan, peaks - before + stop - 1), top


def _between(x, at) -> np.ndarray:
    """x (C, T) at the samples `at` (P,), ascending, and straight lines between them."""
    T, values = np.arange(x.shape[1]), x[:, at]
    if len(at) == 1:
        return np.repeat(values, len(T), axis=1)
    piece = np.clip(np.searchsorted(at, T, side="right") - 1, 0, len(at) - 2)
    share = np.clip((T - at[piece]) / np.maximum(np.diff(at), 1)[piece], 0, 1).astype(np.float32)
    return np.take(values, piece, axis=1) + np.take(np.diff(values, axis=1), piece, axis=1) * share


def _t_window(peaks, onset, offset, rate: float, T: int):
    """First and last sample (P,) in which a beat's T wave is looked for, and whether the record has all of it."""
    usual = np.median(np.diff(peaks)) if len(peaks) > 1 else 0.8 * rate
    after = np.append(np.diff(peaks), usual) / rate
    stop = onset + np.minimum(T_END * np.sqrt(np.minimum(after, 1.1)), after - 0.14) * rate
    return (offset + round(T_BEGIN * rate), np.minimum(stop, T - 1)), stop < T - 1 + 0.1 * rate


def _p_window(peaks, onset, t_offset, rate: float):
    """The same for its P wave: from the T wave before it on."""
    expected = np.append(-np.inf, peaks[:-1] + QT * np.sqrt(np.diff(peaks) * rate))
    ended = np.append(np.nan, t_offset[:-1])
    start = np.maximum(np.where(np.isnan(ended), expected, ended), onset - P_EARLIEST * rate)
    stop = onset - round(P_LATEST * rate)
    return (np.maximum(start, 0), stop), (start >= 0) | (stop >= 0.2 * rate)


def _wave(above, start, stop, whole, rate: float, kind: str):
    """Whether a wave could be seen (P,), its onset, peak and offset (P, 3), and its values (C, P) mV at the peak."""
    C, T = above.shape
    start, stop = np.rint(start).astype(int), np.rint(stop).astype(int)
    room = whole & (start >= 0) & (stop < T) & (stop - start >= SHORTEST[kind] * rate)
    start = np.clip(start, 0, T - 1)
    size = np.clip(stop, start, T - 1) - start
    step = np.arange(size.max() + 1)
    at = start[:, None] + np.minimum(step, size[:, None])
    share = np.minimum(step / np.maximum(size, 1)[:, None], 1).astype(np.float32)
    left, right = above[:, start, None], above[:, start + size, None]
    bump = np.take(above, at, axis=1) - left - (right - left) * share  # (C, P, W)
    peak = np.einsum("cpw,cpw->pw", bump, bump).argmax(axis=1)
    beat = np.arange(len(peak))
    towards = bump[:, beat, peak]  # (C, P)
    height = np.sqrt(np.einsum("cp,cp->p", towards, towards))
    seen = np.einsum("cp,cpw->pw", towards / np.maximum(height, 1e-9), bump)
    bounds = _by_share(seen, peak, size, rate) if kind == "P" else _by_trapezium(seen, peak, size)
    found = np.stack([bounds[0], peak, bounds[1]], axis=1) + start[:, None].astype(float)
    found[~room | (height < SMALLEST[kind] * np.sqrt(C))] = np.nan
    return room, found, above[:, start + peak]


def _by_share(seen, peak, size, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """First and last step (P,) around `peak` that are above P_FOOT of it."""
    step = np.arange(seen.shape[1])
    away = step - peak[:, None]
    low = (seen < P_FOOT * np.take_along_axis(seen, peak[:, None], 1)) | (np.abs(away) > P_HALF * rate)
    first = np.where(low & (away < 0), step, -1).max(axis=1) + 1
    return first, np.minimum(np.where(low & (away > 0), step, len(step)).min(axis=1) - 1, size)


def _by_trapezium(seen, peak, size) -> tuple[np.ndarray, np.ndarray]:
    """Onset and offset (P,): the offset that spans the largest trapezium with the steepest descent behind the peak and
    the window's end; the onset in the same way, backwards."""
    step = np.arange(seen.shape[1])
    mirrored = np.take_along_axis(seen, np.maximum(size[:, None] - step, 0), 1)
    return size - _offset(mirrored, size - peak, size), _offset(seen, peak, size)


def _offset(seen, peak, size) -> np.ndarray:
    step, size = np.arange(seen.shape[1]), size[:, None]
    slope = np.diff(seen, axis=1, append=seen[:, -1:])
    steepest = np.where((step >= peak[:, None]) & (step < size), slope, np.inf).argmin(axis=1)[:, None]
    area = (np.take_along_axis(seen, steepest, 1) - seen) * (2 * size - step - steepest)
    return np.where((step >= steepest) & (step <= size), area, -np.inf).argmax(axis=1)


def _agreed(smooth, onset, p_peak, rate: float) -> np.ndarray:
    """Whether the beats agree on their P wave, (P,): by what stands before the QRS and around the peak of the P wave,
    each likened to the sum of the other beats', and by the share of beats with the usual PR interval. Fibrillation has
    waves too, but none that come again; fewer than three beats cannot disagree."""
    there, beats = np.isfinite(p_peak), len(onset)
    if beats < 3 or not there.any():
        return there
    before, around, apart, least = AGREE
    interval = (onset - p_peak) / rate
    usual = (np.abs(interval - np.median(interval[there])) < apart)[there].mean()
    fixed = np.arange(-round(before * rate), -_samples(0.01, rate))
    moving = np.arange(-_samples(around, rate), _samples(around, rate) + 1)
    alike = _likeness(smooth, onset, fixed, np.ones(beats, bool))
    alike += _likeness(smooth, np.where(there, p_peak, 0).astype(int), moving, there)
    return there & ((alike + 3 * usual) / 5 > least)


def _likeness(x, at, steps, there) -> np.ndarray:
    """Cosine (P,) of each beat's piece of x (C, T) around `at` with the sum of the others that are there."""
    piece = np.take(x, np.clip(at[:, None] + steps, 0, x.shape[1] - 1), axis=1)  # (C, P, W)
    piece = (piece - piece.mean(axis=2, keepdims=True)) * there[None, :, None]
    others = piece.sum(axis=1, keepdims=True) - piece
    dot, own, other = (np.einsum("cpw,cpw->p", *pair) for pair in ((piece, others), (piece, piece), (others, others)))
    return dot / np.sqrt(own * other + 1e-12)


def _or_else(values, other) -> np.ndarray:
    """`values`, and `other` where they are NaN, as whole samples."""
    return np.where(np.isnan(values), other, values).astype(int)


def _samples(seconds: float, rate: float) -> int:
    return max(1, round(seconds * rate))
