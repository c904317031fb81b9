"""Weighted sums over cells (a bin, a class, a stretch between two scores): what every metric here is made of."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from ..record import InputError


def as_weights(weights, records: int) -> np.ndarray:
    """Weights (N,) or (R, N) as floats; None is one for each record."""
    if weights is None:
        return np.ones(records)
    weights = np.asarray(weights)
    if weights.shape[-1:] != (records,):
        raise InputError(f"weights {weights.shape} do not fit {records} records")
    return weights if np.issubdtype(weights.dtype, np.floating) else weights.astype(float)


def cell_sums(cell, record, weights, cells: int, value=None) -> np.ndarray:
    """Sum of `value` (default 1) times the weight of its record, per cell.

    cell (M,) and record (M,) are indices, weights (N,) or (R, N); returns (cells,) or (R, cells).
    A sparse product: the weights are read once and never sorted or copied, which is what makes the bootstrap fast.
    """
    value = np.ones(len(cell)) if value is None else np.asarray(value)
    shape = (cells, weights.shape[-1])
    table = csr_array((value.astype(weights.dtype, copy=False), (cell, record)), shape=shape)
    return (table @ weights.T).T


def cumulative(values, width: int = 32) -> np.ndarray:
    """Running sums over the last axis of (m,) or (R, m).

    Of a transposed (m, R), as `cell_sums` gives, in steps of whole rows: about three times as fast as numpy's.
    """
    if values.ndim == 1:
        return np.cumsum(values)
    rows = np.array(values.T, order="C")
    m, R = rows.shape
    whole = m // width * width
    blocks = rows[:whole].reshape(-1, width, R)
    for j in range(1, width):
        blocks[:, j] += blocks[:, j - 1]
    for b in range(1, len(blocks)):
        blocks[b] += blocks[b - 1, -1]
    for i in range(max(whole, 1), m):
        rows[i] += rows[i - 1]
    return rows.T


def ratio(above, below) -> np.ndarray:
    """above / below, NaN where nothing is below."""
    above, below = np.broadcast_arrays(np.asarray(above, dtype=float), np.asarray(below, dtype=float))
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def macro(values) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the classes (last axis) that are defined, and how many these are."""
    defined = np.isfinite(values)
    counted = defined.sum(axis=-1)
    return ratio(np.where(defined, values, 0).sum(axis=-1), counted), counted
