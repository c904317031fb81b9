"""Samples that came from an A/D converter lie on a grid, samples * gain = whole numbers. This finds it.

Nothing says the gain any more once samples are millivolts in float32; it shows in the distances between them.
"""

from __future__ import annotations

import numpy as np

USUAL = (1000.0, 200.0)  # steps per mV of most databases, tried first
WHOLE = 65534  # steps between the lowest and the highest code of 16 bits
EXACT = 2.0**23  # integers up to here are float32 numbers
FINEST = 1e9  # steps per mV
LEAST = 2.0**-23  # one unit in the last place of a float32, at most
ROUNDED = 1.5 * LEAST  # half a unit each: of the samples as they came, of the gain, of the division


def gains(x: np.ndarray, whole: float = WHOLE) -> np.ndarray:
    """Steps per mV of each lead of (C, T) mV: (C,) float32, 0 where its samples lie on no grid of `whole` steps."""
    gain = np.zeros(len(x), np.float32)
    for usual in USUAL:
        left = np.flatnonzero(gain == 0)
        left = left[fits(x[left, :64], usual, whole)]
        if len(left):
            rows = x if len(left) == len(x) else x[left]
            gain[left[fits(rows, usual, whole)]] = usual
    for row in np.flatnonzero(gain == 0):
        gain[row] = next((g for g in guesses(x[row], whole) if fits(x[row : row + 1], g, whole)[0]), 0)
    return gain


def fits(x: np.ndarray, gain: float, whole: float = WHOLE) -> np.ndarray:
    """Whether the leads (C, T) lie on the grid of `gain` and within `whole` steps of it."""
    gain = np.float32(gain)
    steps = np.rint(x * gain)
    near = np.abs(steps / gain - x) <= ROUNDED * np.abs(x)
    low, high = steps.min(1), steps.max(1)
    return near.all(1) & (high - low <= whole) & (np.maximum(high, -low) <= EXACT)


def guesses(x: np.ndarray, whole: float = WHOLE) -> list[float]:
    """Grids that a lead (T,) may lie on, from the smallest distance between its values; round numbers first."""
    values = np.unique(x).astype(np.float64)
    apart = np.diff(values)
    largest = max(-values[0], values[-1])
    apart = apart[apart > 4 * LEAST * largest]
    if not len(apart) or apart.min() * whole < values[-1] - values[0] or apart.min() * FINEST < 1:
        return []
    gain = 1 / apart.min()
    for distances in (apart, values - values[np.abs(values).argmin()], values):  # from short ones to long ones
        gain = _refined(distances, gain)
    near = [round(gain, digits) for digits in range(5)]
    near += [1 / step for step in (round(1 / gain, digits) for digits in range(3, 10)) if step]
    return [g for g in near if abs(g - gain) < 1e-5 * gain] + [gain]


def _refined(values: np.ndarray, gain: float) -> float:
    """The gain for which `values` are nearest to whole steps, from a first guess that holds for ten steps."""
    limit = 0.0
    while limit < np.abs(values).max():  # each round trusts values ten times as large
        limit = 10 * max(limit, 1 / gain)
        near = values[np.abs(values) <= limit]
        steps = np.rint(near * gain)
        gain = (steps @ steps) / (steps @ near) if (steps @ near) > 0 else gain
    return gain
