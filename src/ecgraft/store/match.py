"""Records that share keys at one offset in time: candidates for being the same ECG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .shapes import Shapes

BUCKET = 2**23  # keys that are sorted at a time
AGAIN = 3  # times that a key counts in a record: regular rhythms repeat themselves
NEXT = 16  # records of one key that each is paired with; more come as a chain
TOGETHER = 0.03  # s between offsets that are one
SHARED = 2  # keys at one offset
SPARSE = 8  # a record with so few keys needs only one
OFFSETS = 3  # of a pair that are looked at

# Two records, numbered through all stores, a < b; b's time = a's time + offset (s); the leads that share most keys.
CANDIDATE = np.dtype([("a", "<i8"), ("b", "<i8"), ("offset", "<f8"), ("lead_a", "i1"), ("lead_b", "i1")])
PAIR = np.dtype([("a", "<i4"), ("b", "<i4"), ("offset", "<f4"), ("lead_a", "i1"), ("lead_b", "i1")])  # of landmarks


def candidates(found: Sequence[Shapes], counts: Sequence[int]) -> np.ndarray:
    """CANDIDATE rows of stores with `counts` records, sorted by a and b."""
    first = np.cumsum([0, *counts])
    total = sum(len(each.key) for each in found)
    buckets = 1 << max(0, (total // BUCKET).bit_length())
    pairs = [_pairs(*_bucket(found, first, k, buckets)) for k in range(buckets)]
    keys = np.concatenate([np.bincount(each.record, minlength=n) for each, n in zip(found, counts)] or [np.empty(0)])
    return _consistent(np.concatenate(pairs), keys)


def _bucket(found: Sequence[Shapes], first: np.ndarray, k: int, buckets: int) -> tuple[np.ndarray, ...]:
    """key, record, lead and time of the landmarks whose key falls into bucket k."""
    columns = []
    for each, start in zip(found, first):
        those = np.flatnonzero(each.key % np.uint64(buckets) == k) if buckets > 1 else slice(None)
        columns.append(
            (each.key[those], (each.record[those] + start).astype(np.int32), each.lead[those], each.at[those])
        )
    empty = np.empty(0, np.uint64), np.empty(0, np.int32), np.empty(0, np.int8), np.empty(0, np.float32)
    return tuple(np.concatenate(column) for column in zip(empty, *columns))


def _pairs(key: np.ndarray, record: np.ndarray, lead: np.ndarray, at: np.ndarray) -> np.ndarray:
    """PAIR rows: landmarks with the same key in two records."""
    order = np.argsort(key)
    again = key[order[1:]] == key[order[:-1]]
    order = order[np.append(again, False)[: len(key)] | np.append(False, again)[: len(key)]]
    order = order[np.lexsort((at[order], record[order], key[order]))]
    rank = _ranks(key[order], record[order])
    order = order[rank < AGAIN]
    key, record, lead, at = key[order], record[order], lead[order], at[order]
    found = [np.empty(0, PAIR)]
    for d in range(1, NEXT + 1):
        i = np.flatnonzero(key[d:] == key[:-d])
        if not len(i):
            break
        i = i[record[i] != record[i + d]]
        rows = np.empty(len(i), PAIR)
        rows["a"], rows["b"], rows["offset"] = record[i], record[i + d], at[i + d] - at[i]
        rows["lead_a"], rows["lead_b"] = lead[i], lead[i + d]
        found.append(rows)
    return np.concatenate(found)


def _consistent(pairs: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The pairs of records with enough landmarks at one offset; keys (N,) is how many each record has."""
    pairs = pairs[np.lexsort((pairs["offset"], pairs["b"], pairs["a"]))]
    a, b, offset = pairs["a"], pairs["b"], pairs["offset"]
    new = np.append(True, (np.diff(a) != 0) | (np.diff(b) != 0) | (np.diff(offset) > TOGETHER))[: len(pairs)]
    cluster, begin = np.cumsum(new) - 1, np.flatnonzero(new)
    size = np.bincount(cluster)
    out = np.empty(len(begin), CANDIDATE)
    out["a"], out["b"] = a[begin], b[begin]
    out["offset"] = np.bincount(cluster, offset) / np.maximum(size, 1)
    leads = (pairs["lead_a"].astype(int) << 8) + pairs["lead_b"]
    order = np.lexsort((leads, cluster))
    run = np.append(True, (np.diff(cluster[order]) != 0) | (np.diff(leads[order]) != 0))[: len(pairs)]
    start = np.flatnonzero(run)
    owner, votes = cluster[order[start]], np.diff(np.append(start, len(pairs)))
    start = start[np.lexsort((votes, owner))[np.cumsum(np.bincount(owner)) - 1]]  # the largest run of each cluster
    out["lead_a"], out["lead_b"] = leads[order[start]] >> 8, leads[order[start]] & 255
    kept = np.flatnonzero(size >= np.where(np.minimum(keys[out["a"]], keys[out["b"]]) <= SPARSE, 1, SHARED))
    kept = kept[np.lexsort((-size[kept], out["b"][kept], out["a"][kept]))]
    return out[kept[_ranks(out["a"][kept], out["b"][kept]) < OFFSETS]]


def _ranks(*sorted_by: np.ndarray) -> np.ndarray:
    """0, 1, 2 ... within each run of equal entries."""
    n = len(sorted_by[0])
    new = np.append(True, np.logical_or.reduce([column[1:] != column[:-1] for column in sorted_by]))[:n]
    return np.arange(n) - np.maximum.accumulate(np.where(new, np.arange(n), 0))
