"""Finding the partner again among N candidates, where several may be the right one (the same report twice)."""

from __future__ import annotations

import numpy as np

BLOCK = 256  # queries at once


def ranks(query: np.ndarray, candidate: np.ndarray, query_key: np.ndarray, candidate_key: np.ndarray) -> np.ndarray:
    """The rank of the best right candidate of each query, (Q,); 1 is best. Vectors (Q, O) and (N, O), compared by dot.

    A candidate with the query's key is right. Of right and wrong ones that tie, the first right one stands where it
    would in random order on average: 1 + wrong / (right + 1) after those before. NaN where there is no right one.
    """
    out = np.full(len(query), np.nan)
    for at in range(0, len(query), BLOCK):
        score = query[at : at + BLOCK] @ candidate.T  # (b, N)
        right = query_key[at : at + BLOCK, None] == candidate_key
        best = np.where(right, score, -np.inf).max(1, keepdims=True)
        tie = np.isclose(score, best, rtol=0, atol=1e-6)
        before = ((score > best) & ~tie).sum(1)
        wrong, same = (tie & ~right).sum(1), (tie & right).sum(1)
        out[at : at + BLOCK] = np.where(right.any(1), 1 + before + wrong / (same + 1), np.nan)
    return out


def scores(rank: np.ndarray, weights: np.ndarray, at=(1, 5, 10)) -> dict[str, np.ndarray]:
    """recall@k, the share of queries of rank k or better, and the median rank; weights (Q,) or (R, Q)."""
    total = weights.sum(-1)
    found = {f"recall@{k}": (weights @ (rank <= k).astype(weights.dtype)) / total for k in at}
    return found | {"median rank": weighted_median(rank, weights)}


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The lowest value that at least half of the weight does not exceed; (...) for weights (..., Q)."""
    order = np.argsort(values, kind="stable")
    gathered = np.cumsum(weights[..., order], axis=-1, dtype=float)
    return values[order][(gathered < gathered[..., -1:] / 2).sum(-1)]


def chance(right: np.ndarray, candidates: int, at=(1, 5, 10)) -> dict[str, float]:
    """What a random order of N candidates gives to queries of which `right` (Q,) candidates each are right.

    P(rank > k) = C(N - h, k) / C(N, k); the median is that of all queries together.
    """
    counts, queries = np.unique(np.asarray(right, int), return_counts=True)
    k = np.arange(candidates)
    above = np.zeros(candidates + 1)  # P(rank > k), k = 0 .. N
    for h, share in zip(counts, queries / queries.sum()):
        step = np.maximum(candidates - h - k, 0) / (candidates - k)
        above += share * np.concatenate([[1.0], np.cumprod(step)])
    found = {f"recall@{n}": float(1 - above[min(n, candidates)]) for n in at}
    return found | {"median rank": float(np.argmax(above <= 0.5 + 1e-12))}
