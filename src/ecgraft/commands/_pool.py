"""The records that an encoder is pretrained on: of several stores, without what is kept for tests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..record import InputError
from ..signal.recipe import Recipe
from ..store import Store, leaks, splits
from ._say import say

LEAST = 0.5  # of a window; shorter records are left out


@dataclass(frozen=True)
class Pool:
    """rows[s] are those of stores[s]; `left out` says how many were not taken, and why."""

    stores: list[Store]
    rows: list[np.ndarray]
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.rows))

    def few(self, records: int, seed: int) -> Pool:
        """So many of the records (0: all); a larger number takes those of a smaller one, too."""
        if not records or records >= len(self):
            return self
        chosen = np.zeros(len(self), bool)
        chosen[np.random.default_rng(seed).permutation(len(self))[:records]] = True
        parts = np.split(chosen, np.cumsum([len(rows) for rows in self.rows])[:-1])
        return replace(self, rows=[rows[part] for rows, part in zip(self.rows, parts)])

    def counts(self) -> dict[str, int]:
        """Store -> its number of records here; of several of one name the later ones are numbered."""
        found = {}
        for store, rows in zip(self.stores, self.rows):
            alike = sum(other.path.name == store.path.name for other in self.stores[: len(found)])
            found[f"{store.path.name} ({alike + 1})" if alike else store.path.name] = len(rows)
        return found


def open_pool(paths: list[Path], withheld: dict[Path, np.ndarray] | None = None, progress: bool = False) -> Pool:
    """All records but those of test parts, their copies and the other records of their patients, wherever they are.

    withheld  path of a store -> rows that are not to be seen, beside its own test part; of a store that is none of
              the pool's, too
    """
    outside = [path for path in withheld or {} if path not in paths]
    stores = [Store(path) for path in [*paths, *outside]]
    held = [splits.split(store) == "test" for store in stores]
    for store, mask in zip(stores, held):
        mask[(withheld or {}).get(store.path, np.zeros(0, int))] = True
    persons = np.unique(np.concatenate([store.number("person")[mask] for store, mask in zip(stores, held)] or [[]]))
    found = leaks.find(stores, progress) if stores else []
    rows, count = [], {"test": 0, "like a test record": 0}
    for s, store in enumerate(stores[: len(paths)]):
        near = np.isin(store.number("person"), persons)
        for h, mask in enumerate(held):
            near[leaks.colliding(found, s, h, np.flatnonzero(mask))] = True
        count["test"] += int(held[s].sum())
        count["like a test record"] += int((near & ~held[s]).sum())
        rows.append(np.flatnonzero(~near & ~held[s]))
    return Pool(stores[: len(paths)], rows, count)


def long_enough(pool: Pool, recipe: Recipe, progress: bool = False) -> tuple[Pool, list]:
    """The pool without records that have no lead of the recipe or too little of a window, and its prepared caches.

    Raises InputError where none is left.
    """
    caches = [store.prepared(recipe, progress=progress) for store in pool.stores]
    least = max(1, round(LEAST * recipe.samples))
    kept = [rows[np.asarray(cache.length)[rows] >= least] for rows, cache in zip(pool.rows, caches)]
    short = len(pool) - sum(map(len, kept))
    if pool.stores and not sum(map(len, kept)):
        names = ", ".join(str(store.path) for store in pool.stores)
        raise InputError(
            f"{names}: no record to learn from: {pool.left_out}, {short} without a lead of the encoder "
            f"({', '.join(recipe.leads)}) or shorter than {LEAST * recipe.seconds:g} s, half a window (seconds=...)"
        )
    if short and progress:
        say(f"left out: {short} records without a lead of the encoder or shorter than half a window", mark="note:")
    return replace(pool, rows=kept, left_out=pool.left_out | {"short or without leads": short}), caches
