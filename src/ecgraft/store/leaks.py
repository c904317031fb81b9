"""The same ECG twice: within a store, on two sides of a split, or in two databases.

Records that share keys (`shapes`) at one offset in time are candidates; their band-passed signals over all that they
have in common decide. `find` needs no labels and no patient numbers, `patients` looks at those alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .judge import SAMPLES, SHAPE, Judge, Leak
from .match import CANDIDATE, candidates
from .parallel import progress_bar, spread
from .read import Store
from .shapes import shapes

CHUNK, FEW = 64, 512  # candidates


class Shared(NamedTuple):
    """A patient with records in more than one part."""

    patient: str
    records: tuple[tuple[int, int], ...]  # (store, row)
    parts: tuple[str, ...]


def find(stores: Sequence[Store], progress: bool = False, workers: int | None = None) -> list[Leak]:
    """All pairs within and across stores, by store and row of a, then of b. Many copies of one record come as a chain.

    Makes the keys of each store on first use.
    """
    stores = list(stores)
    checksum = np.concatenate([store.number("checksum") for store in stores] or [np.empty(0, np.uint64)])
    found = candidates([shapes(store, progress, workers) for store in stores], [len(store) for store in stores])
    found = found[checksum[found["a"]] != checksum[found["b"]]]
    found = np.concatenate([_equal(checksum), found])
    jobs = [found[k : k + CHUNK] for k in range(0, len(found), CHUNK)]
    workers = workers or (1 if len(found) <= FEW else None)
    leaks: dict[tuple, Leak] = {}
    with progress_bar("comparing", len(found), 0, progress) as advance:
        for count, some in spread(Judge, ([store.path for store in stores],), jobs, workers):
            advance(count)
            for leak in some:
                best = leaks.get(leak[:4])
                if best is None or _rank(leak) > _rank(best):
                    leaks[leak[:4]] = leak
    return [leaks[pair] for pair in sorted(leaks)]


def across(leaks: Sequence[Leak], parts: Sequence[np.ndarray]) -> list[Leak]:
    """Those between two parts; `parts[s]` (N,) is the part of each record of store s, as `splits.split` gives it."""
    return [leak for leak in leaks if parts[leak.store_a][leak.row_a] != parts[leak.store_b][leak.row_b]]


def patients(stores: Sequence[Store], parts: Sequence[np.ndarray]) -> list[Shared]:
    """Patients with records in several parts: the same patient number, in whatever store."""
    person = np.concatenate([store.number("person") for store in stores] or [np.empty(0, np.uint64)])
    owner = np.concatenate([np.full(len(store), k) for k, store in enumerate(stores)] or [np.empty(0, int)])
    row = np.concatenate([np.arange(len(store)) for store in stores] or [np.empty(0, int)])
    part = np.concatenate([np.asarray(each).astype(str) for each in parts] or [np.empty(0, str)])
    _, person = np.unique(person, return_inverse=True)
    divided = np.zeros(len(person), bool)
    first = np.empty(person.max(initial=-1) + 1, part.dtype)
    first[person] = part
    divided[person[part != first[person]]] = True  # numbered by person
    those = np.flatnonzero(divided[person])
    records = defaultdict(list)
    for k in those[np.argsort(person[those], kind="stable")]:
        records[person[k]].append((int(owner[k]), int(row[k]), str(part[k])))
    found = []
    for known in records.values():
        store, one = stores[known[0][0]], known[0][1]
        name = store.column("patient")[one] or store.column("id")[one]
        found.append(Shared(name, tuple(k[:2] for k in known), tuple(sorted({k[2] for k in known}))))
    return found


def colliding(leaks: Sequence[Leak], pool: int, held: int, rows: np.ndarray | None = None) -> np.ndarray:
    """The records of store `pool` (its number), ascending, that have an ECG of `rows` (default: all) of store `held`.

    What to leave out of pretraining, for instance, when `rows` are a test part. Copies of copies count.
    """
    links, copies = defaultdict(set), defaultdict(set)
    for leak in leaks:
        a, b = (leak.store_a, leak.row_a), (leak.store_b, leak.row_b)
        for kind in (links, copies) if leak.kind in (SAMPLES, SHAPE) else (links,):
            kind[a].add(b)
            kind[b].add(a)
    wanted = {(held, int(row)) for row in rows} if rows is not None else {one for one in links if one[0] == held}
    reached = _closure(wanted, copies)
    reached = _closure(reached.union(*(links[one] for one in reached)), copies)
    return np.array(sorted(row for store, row in reached - wanted if store == pool), np.int64)


def _closure(those: set, links: dict[tuple, set]) -> set:
    """What can be reached from `those` along links."""
    seen, border = set(those), list(those)
    while border:
        new = links[border.pop()] - seen
        seen |= new
        border += new
    return seen


def _rank(leak: Leak) -> tuple:
    return leak.kind == SAMPLES, round(leak.seconds, 1), leak.correlation


def _equal(checksum: np.ndarray) -> np.ndarray:
    """CANDIDATE rows of records with the same samples, each with the first of them."""
    order = np.argsort(checksum, kind="stable")
    new = np.append(True, np.diff(checksum[order]) != 0)[: len(order)]
    first = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    out = np.zeros(int((~new).sum()), CANDIDATE)
    out["a"], out["b"], out["lead_a"] = first[~new], order[~new], -1
    return out
