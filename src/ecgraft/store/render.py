"""Annotations onto windows of a batch, all at once: no loop over waves, beats or records."""

from __future__ import annotations

import numpy as np

from ..record import QRS, P, T

WEIGHT = np.array([0, 1, 1 << 20, 1 << 10], np.int32)  # of a P, QRS, T in a sum that keeps apart up to 1023 of each


def classes(waves, owner, lead_slot, shape, start, ratio) -> np.ndarray:
    """The class of every sample, (B, C, S) uint8. QRS goes over T, T over P, as in `signal.waves.classes`.

    waves      WAVE rows of all records of the batch, at their native rates; owner (n,) the entry each belongs to
    lead_slot  (B, L) slot of each lead of a record, -1 where the recipe has no use for it
    start      (B,) where the windows begin, in samples at the recipe's rate; ratio (B,) recipe's rate / native rate
    """
    whole = (waves["onset"] >= 0) & (waves["offset"] >= waves["onset"]) & (waves["kind"] <= T)
    waves, owner = waves[whole], owner[whole]
    first = _scaled(waves["onset"], owner, ratio) - start[owner]
    stop = _scaled(waves["offset"], owner, ratio) - start[owner] + 1
    sums = _sums(first, stop, WEIGHT[waves["kind"]], waves["lead"], owner, lead_slot, shape)
    found = (sums >= WEIGHT[P]).astype(np.uint8)
    np.putmask(found, sums >= WEIGHT[T], np.uint8(T))
    np.putmask(found, sums >= WEIGHT[QRS], np.uint8(QRS))
    return np.broadcast_to(found, shape)


def scored(marks, owner, lead_slot, shape, start, ratio) -> np.ndarray:
    """Where every wave is annotated, (B, C, S) bool, of SPAN rows; otherwise as `classes`."""
    first = _scaled(marks["start"], owner, ratio) - start[owner]
    stop = _scaled(marks["stop"], owner, ratio) - start[owner]
    weight = np.ones(len(marks), np.int32)
    return np.broadcast_to(_sums(first, stop, weight, marks["lead"], owner, lead_slot, shape) > 0, shape)


def _sums(first, stop, weight, lead, owner, lead_slot, shape) -> np.ndarray:
    """The sum of the weights of the spans [first, stop) that a sample lies in, (B, C, S) int32.

    A difference array and its running sum; (B, 1, S) if each span is of all leads. lead (n,) -1 is every lead; one
    without a slot is left out.
    """
    B, C, S = shape
    first, stop = np.clip(first, 0, S), np.clip(stop, 0, S)
    seen = first < stop
    if (lead[seen] < 0).all():
        C, slot = 1, np.zeros(len(lead), int)
    else:
        everywhere = np.flatnonzero(seen & (lead < 0))
        slot = np.where(lead < 0, -1, lead_slot[owner, np.minimum(lead, lead_slot.shape[1] - 1)])
        slot = np.concatenate([slot, np.tile(np.arange(C), len(everywhere))])
        again = np.concatenate([np.arange(len(lead)), np.repeat(everywhere, C)])
        first, stop, weight, owner, seen = first[again], stop[again], weight[again], owner[again], seen[again]
        seen &= slot >= 0
    row, weight = (owner[seen] * C + slot[seen]) * (S + 1), weight[seen]
    edges = np.zeros(B * C * (S + 1), np.int32)
    np.add.at(edges, row + first[seen], weight)
    np.subtract.at(edges, row + stop[seen], weight)
    edges = edges.reshape(B, C, S + 1)[:, :, :S]
    return np.cumsum(edges, -1, dtype=np.int32)


def padded(sample, owner, B: int, start, samples: int, *columns) -> list[np.ndarray]:
    """Events of a batch as matrices (B, most events of one window, at least 1), padded with -1.

    sample (n,) at the recipe's rate, those of one owner together. First the samples relative to `start`, then a matrix
    for each of `columns` (n,). Events outside of the window are left out.
    """
    at = sample - start[owner]
    inside = (at >= 0) & (at < samples)
    at, owner = at[inside], owner[inside]
    count = np.bincount(owner, minlength=B)
    place = np.arange(len(owner)) - (np.cumsum(count) - count)[owner]
    found = []
    for column in (at, *(column[inside] for column in columns)):
        out = np.full((B, max(1, count.max(initial=0))), -1, np.int32)
        out[owner, place] = column
        found.append(out)
    return found


def _scaled(sample, owner, ratio) -> np.ndarray:
    return np.rint(sample * ratio[owner]).astype(np.int64)
