"""Millivolt to 16-bit codes and back: mV = (code - baseline) / gain, per lead.

Samples that came from an AD converter lie on a grid; the grid is found and the way back is exact to the rounding of
float32. Other leads get the finest grid that holds their range: their error is at most half of its step.
"""

from __future__ import annotations

import numpy as np

from ..signal.grid import EXACT, FINEST, WHOLE, gains
from .layout import LEAD, MISSING, SAMPLE

WIDEST = WHOLE - 4  # steps where they are still to be rounded


@np.errstate(over="ignore", invalid="ignore")  # of absurdly large values, which lie on no grid
def encode(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """(C, T) float32 mV -> codes (C, T) int16, LEAD rows (C,), whether there are samples missing (not finite)."""
    there = np.isfinite(signal)
    gaps = not there.all()
    x = np.where(there, signal, np.float32(0)) if gaps else signal
    gain = gains(x)
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
