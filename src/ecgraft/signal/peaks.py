"""R peaks of one lead or many, at any rate.

Band-pass 8-36 Hz at 125 Hz, a moving RMS, each lead relative to its own level and weighted by how far that level stands
above its floor; then peaks above a threshold that follows both level and floor, T waves taken out, and a second look
into long pauses. The constants were chosen on the MIT-BIH, LUDB and CPSC2019 records that the tests use.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import median_filter, uniform_filter1d
from scipy.signal import find_peaks

from .spectral import bridge, filter_resample

RATE = 125.0  # Hz, at which peaks are looked for
BAND = (8.0, 36.0)  # Hz
SMOOTH = 0.08  # s, of the moving RMS
WINDOW = 1.0  # s, a level and a floor for each; both are taken over five windows
QUIET = 2e-3  # mV; a lead whose level is below it has no say
REFRACTORY = 0.25  # s between beats, at least
T_WAVE = (0.36, 0.6)  # closer than this (s) and lower than this share of its neighbour: a T wave
PAUSE = (1.6, 0.5)  # a pause of more than this many usual intervals is searched again with this share of the threshold
NEAR = 0.05  # s; a network marks the samples within it of an R peak
LEAST, APART = 0.4, 0.2  # mean probability of a network's R peak; s between two of them, at least
REACH = 0.06  # s either way, in which the peak itself is looked for


def r_peaks(signal: np.ndarray, rate: float) -> np.ndarray:
    """R peaks (largest deflection of each QRS) of a signal (C, T) in mV: ascending sample indices, (P,) int64."""
    x = np.asarray(signal, dtype=np.float32)
    gaps = ~np.isfinite(x)
    x = bridge(x, gaps) if gaps.any() else x
    beats, best = _beats(filter_resample(x, rate, RATE, *BAND))
    return _refine(x[best], np.round(beats * (rate / RATE)).astype(np.int64), max(1, round(REACH * rate)))


def decode(probability: np.ndarray, rate: float, to: float | None = None, least: float = LEAST) -> np.ndarray:
    """R peaks, samples at `to` Hz, from the probability (T,) at `rate` Hz that one lies within NEAR of a sample.

    A peak is where the mean probability within NEAR of a sample is largest and at least `least`, APART from the next;
    between samples by the parabola through three of these means.
    """
    width = 2 * max(1, round(NEAR * rate)) + 1
    mean = uniform_filter1d(np.asarray(probability, dtype=float), width, mode="constant")
    at, _ = find_peaks(np.pad(mean, 1), height=least, distance=max(1, round(APART * rate)))
    if not len(at):
        return np.zeros(0, dtype=np.int64)
    before, here, after = (np.pad(mean, 1)[at + step] for step in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.where(bend < 0, (before - after) / np.where(bend < 0, 2 * bend, 1), 0).clip(-0.5, 0.5)
    last = round(len(mean) * (to or rate) / rate) - 1
    return np.round((at - 1 + shift) * ((to or rate) / rate)).astype(np.int64).clip(0, last)


def _beats(y: np.ndarray) -> tuple[np.ndarray, int]:
    """Beats of band-passed leads (C, T) at RATE, and the lead that shows them best."""
    T = y.shape[1]
    rms = np.sqrt(uniform_filter1d(y * y, round(SMOOTH * RATE) | 1, axis=1, mode="nearest").clip(0))
    levels, floors = _levels_and_floors(rms)
    clear = np.where(levels < QUIET, 0, np.minimum(levels / np.maximum(floors, 1e-6), 50)) ** 2  # (C, W)
    weights = clear / np.maximum(clear.sum(axis=0), 1e-9)
    score, threshold = np.zeros(T, np.float32), np.zeros(T, np.float32)
    for lead, level, floor, weight in zip(rms, np.maximum(levels, QUIET), floors, weights):
        score += _spread(weight, T) * np.minimum(lead / _spread(level, T), 1.5)
        threshold += _spread(weight * np.minimum(floor / level, 1), T)
    threshold = np.sqrt(np.maximum(threshold, 1e-3))  # half-way, as powers go, between floor and level
    at, _ = find_peaks(score, height=PAUSE[1] * threshold, distance=round(REFRACTORY * RATE))
    height = score[at] / threshold[at]
    keep = _without_t_waves(at, height, height >= 1)
    return at[_look_again(at, height, keep)], int(clear.mean(axis=1).argmax())


def _levels_and_floors(rms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height of the beats and of what lies between them, (C, W) each: medians over five windows of their largest value
    and of their median; the level never below a quarter of the lead's own."""
    C, T = rms.shape
    width = min(round(WINDOW * RATE), T)
    windows = rms[:, : T // width * width].reshape(C, -1, width)
    top = windows.max(axis=2)
    level = np.maximum(median_filter(top, size=(1, 5), mode="nearest"), np.percentile(top, 70, axis=1)[:, None] / 4)
    return level, median_filter(np.median(windows, axis=2), size=(1, 5), mode="nearest")


def _spread(values: np.ndarray, T: int) -> np.ndarray:
    """Values of windows (W,) as a line through the windows' middles: (T,) float32."""
    middles = (np.arange(values.size) + 0.5) * round(WINDOW * RATE)
    return np.interp(np.arange(T), middles, values).astype(np.float32)


def _without_t_waves(at: np.ndarray, height: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Of two peaks close to each other the much lower one goes."""
    keep, last = keep.copy(), None
    near, share = T_WAVE[0] * RATE, T_WAVE[1]
    for i in np.flatnonzero(keep):
        if last is None or at[i] - at[last] >= near or share <= height[i] / height[last] <= 1 / share:
            last = i
        elif height[i] < height[last]:
            keep[i] = False
        else:
            keep[last] = False
            last = i
    return keep


def _look_again(at: np.ndarray, height: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """The highest of the low peaks inside each pause is a beat too."""
    kept = np.flatnonzero(keep)
    if kept.size < 3:
        return keep
    intervals = np.diff(at[kept])
    usual = median_filter(intervals, 9, mode="nearest")
    keep, near = keep.copy(), T_WAVE[0] * RATE
    for i in np.flatnonzero(intervals > PAUSE[0] * usual):
        between = np.arange(kept[i] + 1, kept[i + 1])
        between = between[(at[between] - at[kept[i]] > near) & (at[kept[i + 1]] - at[between] > near)]
        if between.size:
            keep[between[np.argmax(height[between])]] = True
    return keep


def _refine(lead: np.ndarray, beats: np.ndarray, reach: int) -> np.ndarray:
    """Each beat moved to the sample of `lead` (T,) within `reach` that is farthest from the median around it."""
    if not beats.size:
        return beats
    around = np.clip(beats[:, None] + np.arange(-2 * reach, 2 * reach + 1), 0, lead.size - 1)  # (P, 4 reach + 1)
    away = np.abs(lead[around] - np.median(lead[around], axis=1, keepdims=True))[:, reach : -reach or None]
    return np.unique(around[np.arange(beats.size), reach + away.argmax(axis=1)])
