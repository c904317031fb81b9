"""Who is in which part: by patient, with exact duplicates together, stratified by label, fixed by a seed.

Records of one patient and records with the same samples form a group; a group is never cut. Assignment needs no state:
groups are ordered by their rarest label and, within it, by a hash of seed and patient, and the golden ratio spreads the
parts evenly over that order.
"""

from __future__ import annotations

import numpy as np

from ..record import UsageError
from .read import Store

PARTS = ("train", "validation", "test")
TEST_ONLY = ("qtdb", "mitdb")  # databases that are never trained on
GOLDEN = (5**0.5 - 1) / 2  # multiples of it, modulo 1, fill [0, 1) as evenly as can be
ONLY_TEST, TRAIN, EITHER, VALIDATION, TEST, OPEN = range(6)  # the lowest in a group decides
BLOCK = 4096  # rows of the label matrix that are looked at in one go


def split(store: Store, seed: int = 0, shares: tuple[float, ...] = (0.7, 0.1, 0.2)) -> np.ndarray:
    """The part of each record: "train", "validation" or "test", (N,).

    A database's own parts hold where its test part is in the store; one without a validation part gives some of its
    training records for it. Other records are divided by `shares`. A group with records in several parts goes to the
    lowest of them, one with a record of a test-only database to "test".
    """
    if len(shares) != 3 or min(shares) < 0 or not np.isclose(sum(shares), 1):
        raise UsageError(f"shares {shares}: three numbers that sum to 1 (train, validation, test)")
    group, (train, validation, _) = groups(store), shares
    standing = _lowest(_standing(store), group)  # (groups,)
    part = np.array([2, 0, 0, 1, 2, 0])[standing]
    cuts = {EITHER: [train / max(train + validation, 1e-9), 1.0], OPEN: [train, train + validation]}
    for kind, borders in cuts.items():
        those = standing == kind
        phase = _phase(store, group, those[group], seed)
        part[those] = np.searchsorted(borders, phase[those], side="right")
    return np.array(PARTS)[part[group]]


def folds(store: Store, k: int, seed: int = 0, index: np.ndarray | None = None) -> np.ndarray:
    """The fold, 0 to k - 1, of each record of `index` (default: all), for cross-validation."""
    index = np.arange(len(store)) if index is None else np.asarray(index)
    if not 2 <= k <= max(2, len(index)):
        raise UsageError(f"{k} folds of {len(index)} records; take 2 to {len(index)}")
    group, chosen = groups(store), np.zeros(len(store), bool)
    chosen[index] = True
    phase = _phase(store, group, chosen, seed)
    return np.minimum(phase[group[index]] * k, k - 1).astype(np.int64)


def few(store: Store, index: np.ndarray, y: np.ndarray | None, budget: float, seed: int = 0) -> np.ndarray:
    """A choice of records of `index`, by patient and stratified by `y` (N, K) of the whole store; ascending.

    budget  up to 1 a share of `index`, above it a number of records. Every label comes before any comes twice; the
            number is met as closely as whole patients allow.
    """
    index = np.asarray(index)
    if not budget > 0 or (budget > 1 and budget != int(budget)):
        raise UsageError(f"budget {budget}: a share of the records (up to 1) or a whole number of them")
    target = budget * len(index) if budget <= 1 else budget
    if not len(index) or target >= len(index):
        return np.sort(index)
    _, group = np.unique(groups(store)[index], return_inverse=True)
    stratum = _lowest(_rarest(y if y is not None else np.zeros((len(store), 0)), index), group)
    order = np.lexsort((_hash(_lowest(store.number("person")[index], group), seed), stratum))
    rank = np.arange(len(order)) - np.searchsorted(stratum[order], stratum[order])
    share = (rank + 0.5) / np.bincount(stratum)[stratum[order]]
    order = order[np.argsort(np.where(rank == 0, 0, share), kind="stable")]
    total = np.cumsum(np.bincount(group)[order])
    chosen = order[: max(1, int(np.abs(np.append(0, total) - target).argmin()))]
    return np.sort(index[np.isin(group, chosen)])


def groups(store: Store) -> np.ndarray:
    """A number per record (N,), the same for records of one patient and for records with the same samples."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, person = np.unique(store.number("person"), return_inverse=True)
    _, samples = np.unique(store.number("checksum"), return_inverse=True)
    people, size = person.max(initial=-1) + 1, person.max(initial=-1) + samples.max(initial=-1) + 2
    links = coo_array((np.ones(len(person), np.int8), (person, people + samples)), shape=(size, size))
    component = connected_components(links, directed=False)[1][person]
    return np.unique(component, return_inverse=True)[1]


def _standing(store: Store) -> np.ndarray:
    """What is laid down about each record: ONLY_TEST, TRAIN, EITHER (train or validation), VALIDATION, TEST or OPEN."""
    codes, names = store.category("split")
    meaning = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    standing = np.array([*(meaning.get(name, OPEN) for name in names), OPEN])[codes]  # -1 is the last
    source, sources = store.category("source")
    for k, name in enumerate(sources):
        own = source == k
        if name in TEST_ONLY:
            standing[own] = ONLY_TEST
        elif not (standing[own] == TEST).any():
            standing[own] = OPEN
        elif not (standing[own] == VALIDATION).any():
            standing[own & (standing == TRAIN)] = EITHER
    return standing


def _phase(store: Store, group: np.ndarray, chosen: np.ndarray, seed: int) -> np.ndarray:
    """A number in [0, 1) for each group with chosen records (N,) bool; evenly spread within each stratum."""
    phase, index = np.zeros(group.max(initial=-1) + 1), np.flatnonzero(chosen)
    those, inside = np.unique(group[index], return_inverse=True)
    stratum = _lowest(_rarest(store.labels, index), inside)
    order = np.lexsort((_hash(_lowest(store.number("person")[index], inside), seed), stratum))
    phase[those[order]] = (0.5 + GOLDEN * np.arange(len(order))) % 1
    return phase


def _rarest(labels: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Which label of each record of `index` is the rarest among them: 0 the rarest of all ... V for no label at all.

    labels (N, V), 1 for yes.
    """
    V, blocks = labels.shape[1], [index[k : k + BLOCK] for k in range(0, len(index), BLOCK)]
    count = sum(((labels[block] == 1).sum(0) for block in blocks), np.zeros(V, int))
    rank = np.empty(V, int)
    rank[np.argsort(count, kind="stable")] = np.arange(V)
    found = [np.where(labels[block] == 1, rank, V).min(1, initial=V) for block in blocks]
    return np.concatenate(found) if found else np.empty(0, int)


def _lowest(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The smallest value of each group."""
    lowest = np.full(group.max(initial=-1) + 1, np.iinfo(values.dtype).max, values.dtype)
    np.minimum.at(lowest, group, values)
    return lowest


def _hash(keys: np.ndarray, seed: int) -> np.ndarray:
    """64 bits from 64 (the finaliser of SplitMix64, Steele et al. 2014), other ones for every seed."""
    x = keys.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))
