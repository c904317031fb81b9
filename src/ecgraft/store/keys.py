"""Landmarks of ECG signals and their 64-bit keys: equal for equal stretches, whatever became of gain, rate and rest.

As in audio fingerprinting (Wang 2003): the highest points of the band-passed signal are landmarks; 3 s around each are
projected on a few smooth waves, turned so that the landmark is positive, scaled to length 1, rounded and hashed.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter1d

from ..signal.leads import LIMB, canonical
from ..signal.spectral import filter_resample

VERSION = 1  # of the keys; another one for every change of the numbers below
RATE, LOW, HIGH = 100.0, 1.0, 15.0  # Hz
REACH = 0.3  # s, a landmark is the highest point of so much on either side
HALF = 150  # samples of the window on either side of the landmark
SHORT = 6.0  # s; shorter records also have a key of the window around their middle
WAVES = np.array([1.5, 2.5, 3.5, 4.5, 6.0, 7.5, 9.0, 11.0])  # Hz
USUAL = np.array([0.96, 0.95, 1.0, 0.89, 0.74, 0.81, 0.72, 0.65])  # size of the coefficients in PTB-XL and CinC 2017
STEP = 0.09  # of the grid on which the coefficients, a vector of length 1, are rounded
FLAT = 1e-5  # of the largest sample; a landmark below it is rounding noise
WINDOWS = 2**13  # in memory at a time


def independent(leads: tuple[str, ...]) -> list[int]:
    """The leads that do not follow from others: the first two limb leads, and all that are not limb leads."""
    order = canonical(leads)
    limb = [k for k in order if leads[k] in LIMB]
    return [k for k in order if k not in limb[2:]]


def keys_of(x: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of signals of one length, (R, T): key, row and time (s) of each landmark; by row and time."""
    y = np.nan_to_num(filter_resample(x, rate, RATE, LOW, HIGH))  # (R, S)
    S = y.shape[1]
    high, quiet = np.abs(y), FLAT * np.fmax.reduce(np.abs(x), axis=1, initial=1e-6)[:, None]
    top = (high == maximum_filter1d(high, 2 * round(REACH * RATE) + 1, axis=1)) & (high > quiet)
    top[:, :HALF], top[:, max(0, S - HALF) :] = False, False
    row, at = np.nonzero(top)
    before, here, after = (high[row, at + k] for k in (-1, 0, 1))
    bend = 2 * here - before - after
    beside = np.where(bend > 0, (after - before) / (2 * np.maximum(bend, 1e-12)), 0).clip(-0.5, 0.5)
    sign = np.sign(y[row, at])
    if x.shape[1] < SHORT * rate:
        middle, loud = (x.shape[1] - 1) / 2 / rate * RATE, np.flatnonzero((high > quiet).any(1))
        near, peak = round(middle), np.sign(y[loud, high[loud].argmax(1)])
        row, at, sign = np.append(row, loud), np.append(at, np.full(len(loud), near)), np.append(sign, peak)
        beside = np.append(beside, np.full(len(loud), middle - near))
        y, at = np.pad(y, ((0, 0), (HALF, HALF))), at + HALF
    c = _projected(y, row, at)
    c *= sign[:, None] * np.exp(2j * np.pi / RATE * beside[:, None] * WAVES)
    order = np.lexsort((at, row))
    return _hashed(c / USUAL)[order], row[order], ((at + beside - HALF * (y.shape[1] > S)) / RATE)[order]


def _projected(y: np.ndarray, row: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The windows around samples `at` of y on tapered waves, (M, waves) complex."""
    k = np.arange(-HALF, HALF + 1)
    taper = np.cos(np.pi / 2 * k / (HALF + 1)) ** 2
    phase = 2 * np.pi / RATE * k[:, None] * WAVES
    basis = (taper[:, None] * np.hstack([np.cos(phase), -np.sin(phase)])).astype(np.float32)
    blocks = [slice(start, start + WINDOWS) for start in range(0, len(row), WINDOWS)]
    parts = [y[row[some, None], at[some, None] + k] @ basis for some in blocks]
    found = np.concatenate(parts or [np.empty((0, basis.shape[1]), np.float32)])  # (M, 2 waves)
    return found[:, : len(WAVES)] + 1j * found[:, len(WAVES) :]


def _hashed(c: np.ndarray) -> np.ndarray:
    """64 bits of the direction of each row of complex numbers, rounded."""
    unit = np.hstack([c.real, c.imag])
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-30)
    x = np.zeros(len(unit), np.uint64)
    for column in np.rint(unit / STEP).astype(np.int64).astype(np.uint64).T:
        x = (x + column + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # SplitMix64's finaliser
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x ^= x >> np.uint64(31)
    return x
