"""Annotations onto windows of a batch, all at once: no loop over waves, beats or records."""

from __future__ import annotations

import numpy as np

from ..record import QRS, P, T


def classes(waves, owner, lead_slot, shape, start, ratio) -> np.ndarray:
    """The class of every sample, (B, C, S) uint8. QRS goes over T, T over P, as in `signal.waves.classes`.

    waves      WAVE rows of all records of the batch, at their native rates; owner (n,) the entry each belongs to
    lead_slot  (B, L) slot of each lead of a record, -1 where the recipe has no use for it
    start      (B,) where the windows begin, in samples at the recipe's rate; ratio (B,) recipe's rate / native rate
    """
    out = np.zeros(shape, np.uint8)  # (B, C, S)
    whole = (waves["onset"] >= 0) & (waves["offset"] >= waves["onset"])
    waves, owner = waves[whole], owner[whole]
    first = _scaled(waves["onset"], owner, ratio) - start[owner]
    stop = _scaled(waves["offset"], owner, ratio) - start[owner] + 1
    for kind in (P, T, QRS):
        rows = waves["kind"] == kind
        inside = spans(first[rows], stop[rows], waves["lead"][rows], owner[rows], lead_slot, shape)
        np.putmask(out, np.broadcast_to(inside, shape), np.uint8(kind))
    return out


def scored(marks, owner, lead_slot, shape, start, ratio) -> np.ndarray:
    """Where every wave is annotated, (B, C, S) bool, of SPAN rows; otherwise as `classes`."""
    first = _scaled(marks["start"], owner, ratio) - start[owner]
    stop = _scaled(marks["stop"], owner, ratio) - start[owner]
    return np.broadcast_to(spans(first, stop, marks["lead"], owner, lead_slot, shape), shape)


def spans(first, stop, lead, owner, lead_slot, shape) -> np.ndarray:
    """Whether a sample lies in one of the spans [first, stop): (B, C, S) bool, or (B, 1, S) if each is of all leads.

    A difference array and its running sum. lead (n,) -1 is every lead; one without a slot is left out.
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
        repeated = np.concatenate([np.arange(len(lead)), np.repeat(everywhere, C)])
        first, stop, owner, seen = first[repeated], stop[repeated], owner[repeated], seen[repeated] & (slot >= 0)
    row = (owner[seen] * C + slot[seen]) * (S + 1)
    edges = np.bincount(row + first[seen], minlength=B * C * (S + 1)).astype(np.int16)
    edges -= np.bincount(row + stop[seen], minlength=B * C * (S + 1)).astype(np.int16)
    return edges.reshape(B, C, S + 1)[:, :, :S].cumsum(-1, dtype=np.int16) > 0


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
