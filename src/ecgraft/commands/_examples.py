"""From a store and a task to examples: which records are known, in which part, with what targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..plugs import configure, nearest
from ..record import InputError, UsageError
from ..signal.recipe import Recipe
from ..store import Store, splits
from ..tasks import Task, targets
from ..training import Examples


@dataclass(frozen=True)
class Corpus:
    """The records of a store that a task can learn from or be scored on, by part (splits.PARTS)."""

    store: Store
    task: Task
    y: np.ndarray | None  # (N, K) over the whole store
    known: np.ndarray  # (N,) bool: usable for the task
    known_each: np.ndarray | None  # (N, K)
    part: np.ndarray  # (N,)

    @classmethod
    def open(cls, store: Store, task: Task) -> Corpus:
        """Raises InputError if the store knows nothing of the task."""
        y, known_each, known = _targets(store, task)
        if not known.any():
            raise InputError(f"{store.path}: no record carries what task {task.name!r} needs; {_hint(store, task)}")
        return cls(store, task, y, known, known_each, splits.split(store))

    def rows(self, part: str) -> np.ndarray:
        """Rows of the store that are in a part (or "all") and usable."""
        if part not in (*splits.PARTS, "all"):
            raise UsageError(f"no part {part!r}; {nearest(part, (*splits.PARTS, 'all'))}")
        return np.flatnonzero(self.known & ((self.part == part) | (part == "all")))

    def examples(self, rows: np.ndarray, cache) -> Examples:
        y, known = (None, None) if self.y is None else (self.y[rows], self.known_each[rows])
        kind = self.task.kind
        return Examples(cache, rows, y, known, kind == "waves", self.task if kind == "beats" else None, kind == "peaks")

    def patients(self, rows: np.ndarray) -> np.ndarray:
        """A number for the patient of each record."""
        return self.store.number("person")[rows]

    def few(self, budget: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Training and validation rows. `budget` below 1 is a share of the labelled records, above it their number.

        With the whole budget (1) the parts stand as they are; else the labelled few, which are all that may be seen,
        are cut 4 : 1, by patient.
        """
        train, validation = self.rows("train"), self.rows("validation")
        if budget == 1:
            return train, validation
        chosen = splits.few(self.store, np.union1d(train, validation), self._strata(), budget, seed)
        held = splits.few(self.store, chosen, self._strata(), 0.2, seed + 1)
        return np.setdiff1d(chosen, held), held

    def _strata(self) -> np.ndarray | None:
        return self.y if self.task.kind in ("multiclass", "multilabel") else None


def _hint(store: Store, task: Task) -> str:
    """What a person can do about a task that a store has nothing for."""
    if task.kind in ("waves", "beats", "peaks"):
        return f"take a store with annotated {task.kind}: a database that has them, or one of ecgraft simulate"
    if task.kind == "regression":
        return f"import it with --labels FILE.csv that has a column of numbers {task.value!r}"
    there = [code for code, column in zip(store.codes, store.labels.T) if (column >= 0).any()]
    if not there:
        return "it has no labels at all; import it with --labels FILE.csv"
    wanted = _some([code for codes in task.codes.values() for code in codes])
    return f"that is one of {wanted}; it has {_some(there)}. Take another --task, or import it with --labels"


def _some(codes: list[str], most: int = 8) -> str:
    return ", ".join(codes[:most]) + (" ..." if len(codes) > most else "")


def window_recipe(recipe: Recipe, seconds: float | None, leads: tuple[str, ...] | None = None) -> Recipe:
    """The recipe with another window and lead list, which is all that a task may change in it."""
    changed = {"seconds": seconds} if seconds else {}
    if leads:
        changed |= {"leads": leads, "slot": recipe.slot if recipe.slot in leads else leads[0]}
    return configure(Recipe, recipe.to_dict() | changed, "settings") if changed else recipe


def _targets(store: Store, task: Task) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray]:
    """y (N, K), known (N, K) and usable (N,) of a whole store."""
    match task.kind:
        case "waves":
            return None, None, store.has("waves")
        case "beats" | "peaks":
            return None, None, store.has("beats")
        case "regression":
            y = np.asarray(store.number(task.value), np.float32)[:, None]
            known = np.isfinite(y)
            return np.nan_to_num(y), known, known[:, 0]
        case _:
            y, known = targets(task, store.codes, store.labels)
            return y, known, known.any(1)
