"""Records without labels that a graft learns from beside the labelled ones: the rest of a store, or another store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..record import InputError
from ..signal.recipe import Recipe
from ..store import Store
from ..training import Examples
from ._examples import Corpus
from ._pool import open_pool
from ._say import say


@dataclass(frozen=True)
class Unlabelled:
    """Rows of a store whose labels are not looked at."""

    store: Store
    rows: np.ndarray

    def examples(self, recipe: Recipe, like: np.ndarray, progress: bool = False) -> Examples:
        """The records that have the leads of a labelled one; `like` (n, C): which leads those have.

        Statistics and pseudo-labels of records with other leads would teach the graft what it is never asked. Raises
        InputError where none is left. Another rate is no matter: the recipe resamples.
        """
        cache = self.store.prepared(recipe, progress=progress)
        there = np.unique(like, axis=0)  # sets of leads
        same = (cache.present[self.rows][:, None] == there).all(2).any(1) & cache.usable[self.rows]
        if not same.any():
            wanted, found = (_named(recipe, sets) for sets in (there, np.unique(cache.present[self.rows], axis=0)))
            raise InputError(
                f"{self.store.path}: no unlabelled record has the leads of a labelled one ({wanted}; here {found}). "
                "Give --unlabelled a store with the same leads, or leave --semi out"
            )
        if progress and not same.all():
            say(f"left out: {(~same).sum()} unlabelled records with other leads than the labelled ones", mark="note:")
        return Examples(cache, self.rows[same])


def rest_of(corpus: Corpus, labelled: np.ndarray) -> Unlabelled:
    """What the store of a task has outside of its test part, without the records whose labels are used.

    Raises InputError where nothing is left.
    """
    rows = np.setdiff1d(np.flatnonzero(np.isin(corpus.part, ("train", "validation"))), labelled)
    if not len(rows):
        raise InputError(
            f"{corpus.store.path}: every record outside of the test part is used with its labels, so none is left to "
            "learn from without; give another store with --unlabelled, or a smaller --budget"
        )
    return Unlabelled(corpus.store, rows)


def of_store(path: Path, corpus: Corpus, progress: bool = False) -> Unlabelled:
    """All records of another store but those of test parts, theirs and the labelled store's, and copies of them."""
    if Path(path).resolve() == corpus.store.path.resolve():
        raise InputError(f"{path}: this is the store with the labels; leave --unlabelled out, its rest is then taken")
    pool = open_pool([Path(path)], {corpus.store.path: np.flatnonzero(corpus.part == "test")}, progress)
    if not len(pool):
        raise InputError(f"{path}: every record is one of a test part, or like one ({pool.left_out})")
    return Unlabelled(pool.stores[0], pool.rows[0])


def _named(recipe: Recipe, sets: np.ndarray) -> str:
    """Sets of leads (n, C) in words."""
    names = [" ".join(lead for lead, there in zip(recipe.leads, row) if there) or "none" for row in sets[:3]]
    return " or ".join(names)
