"""Millivolt to 16-bit codes and back: mV = (code - baseline) / gain, per lead.

Samples that came from an AD converter lie on a grid; the grid is found and the way back is exact to the rounding of
float32. Other leads get the finest grid that holds their range: their error is at most half of its step.
"""

from __future__ import annotations

import numpy as np

from .layout import LEAD, MISSING, SAMPLE

USUAL = (1000.0, 200.0)  # steps per mV of most databases, tried first
WHOLE = 65534  # steps between the lowest and the highest code
WIDEST = WHOLE - 4  # and where steps are still to be rounded
EXACT = 2.0**23  # integers up to here are float32 numbers
FINEST = 1e9  # steps per mV
LEAST = 2.0**-23  # one unit in the last place of a float32, at most
ROUNDED = 1.5 * LEAST  # half a unit each: of the samples as they came, of the gain, of the division


@np.errstate(over="ignore", invalid="ignore")  # of absurdly large values, which lie on no grid
def encode(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """(C, T) float32 mV -> codes (C, T) int16, LEAD rows (C,), whether there are samples missing (not finite)."""
    there = np.isfinite(signal)
    gaps = not there.all()
    x = np.where(there, signal, np.float32(0)) if gaps else signal
    gain = _grid(x)
    free = np.flatnonzero(gain == 0)
    steps = np.rint(x * np.where(gain > 0, gain, 1)[:, None])  # (C, T) whole numbers
    if len(free):
        gain[free] = _finest(x[free], there[free])
        steps[free] = np.rint(x[free].astype(np.float64) * gain[free, None])
    low, high = (steps.min(1), steps.max(1)) if not gaps else _range(steps, there)
    shift = np.where(np.maximum(-low, high) <= 32767, 0, np.rint((low + high) / 2)).astype(np.float32)
    codes = (steps - shift[:, None] if shift.any() else steps).astype(SAMPLE)
    if gaps:
        codes[~there] = MISSING
    lead = np.empty(len(gain), LEAD)
    lead["gain"], lead["baseline"] = gain, -shift
    return codes, lead, gaps


def decode(codes: np.ndarray, lead: np.ndarray, gaps: bool, out: np.ndarray | None = None) -> np.ndarray:
    """Codes (C, T) -> mV (C, T) float32, NaN where there is no sample."""
    out = np.empty(codes.shape, np.float32) if out is None else out
    np.copyto(out, codes)  # first a plain cast: twice as fast as a ufunc that casts on its way
    if lead["baseline"].any():
        out -= lead["baseline"].astype(np.float32)[:, None]
    out /= lead["gain"][:, None]
    if gaps:
        out[codes == MISSING] = np.nan
    return out


def _grid(x: np.ndarray) -> np.ndarray:
    """Steps per mV of each lead (C,) float32, 0 where its samples lie on no grid."""
    gain = np.zeros(len(x), np.float32)
    for usual in USUAL:
        left = np.flatnonzero(gain == 0)
        left = left[_fits(x[left, :64], usual)]
        if len(left):
            rows = x if len(left) == len(x) else x[left]
            gain[left[_fits(rows, usual)]] = usual
    for row in np.flatnonzero(gain == 0):
        gain[row] = next((g for g in _guesses(x[row]) if _fits(x[row : row + 1], g)[0]), 0)
    return gain


def _fits(x: np.ndarray, gain: float) -> np.ndarray:
    """Whether the leads (C, T) lie on the grid of `gain` and fit 16 bits of it."""
    gain = np.float32(gain)
    steps = np.rint(x * gain)
    near = np.abs(steps / gain - x) <= ROUNDED * np.abs(x)
    low, high = steps.min(1), steps.max(1)
    return near.all(1) & (high - low <= WHOLE) & (np.maximum(high, -low) <= EXACT)


def _guesses(x: np.ndarray) -> list[float]:
    """Grids that a lead (T,) may lie on, from the smallest distance between its values; round numbers first."""
    values = np.unique(x).astype(np.float64)
    apart = np.diff(values)
    largest = max(-values[0], values[-1])
    apart = apart[apart > 4 * LEAST * largest]
    if not len(apart) or apart.min() * WHOLE < values[-1] - values[0] or apart.min() * FINEST < 1:
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


def _finest(x: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Steps per mV that make the most of 16 bits, (C,)."""
    low, high = _range(x.astype(np.float64), there)
    largest = np.maximum(np.maximum(-low, high), EXACT / FINEST)
    return np.minimum(np.minimum(WIDEST / np.maximum(high - low, WIDEST / FINEST), EXACT / largest), FINEST)


def _range(x: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest sample that is there, (C,); 0 where none is."""
    low = np.where(there, x, np.inf).min(1)
    high = np.where(there, x, -np.inf).max(1)
    return np.where(np.isfinite(low), low, 0), np.where(np.isfinite(high), high, 0)
