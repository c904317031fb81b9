"""The encoders that a protocol pretrains: once for every set of records that they must not have seen."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch

from ... import tasks
from ...model import Model
from ...record import InputError, UsageError
from ...store import Store, splits
from ...store.parallel import spread
from .._examples import Corpus
from .._pool import open_pool
from ..adapt import pick_device
from ..pretrain import Plan, Settings, is_done, run
from .protocol import Protocol, Table

FOLDER = "pretrained"
HALVES = 2  # an encoder for a half of the database's folds has not seen that half


@dataclass(frozen=True)
class Pretraining:
    """One encoder: its plan, its pool of stores and which of their records it must not see beside their test parts."""

    name: str
    plan: Plan
    stores: tuple[Path, ...]
    withheld: dict[Path, tuple[int, ...]]
    folder: Path

    @cached_property
    def key(self) -> str:
        """Changes with anything that decides its weights but the code; not with a new setting at its default."""
        plan, usual = asdict(self.plan), asdict(Settings())
        plan["options"] = {name: value for name, value in plan["options"].items() if value != usual[name]}
        said = {"plan": plan, "stores": [Store(path).fingerprint for path in self.stores]}
        said["withheld"] = [(path.name, rows) for path, rows in sorted(self.withheld.items()) if path in self.stores]
        outside = [(Store(p).fingerprint, rows) for p, rows in sorted(self.withheld.items()) if p not in self.stores]
        said |= {"outside": outside} if outside else {}
        said |= {"model": Model.base(self.plan.model).fingerprint} if self.plan.model else {}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def place(self) -> Path:
        return self.folder / FOLDER / f"{re.sub(r'[^A-Za-z0-9_.,]+', '-', self.name)}-{self.key}"


class Starts:
    """What the cells of a protocol start from, each worked out once."""

    def __init__(self, protocol: Protocol, grounds: dict, pool: list[Path], folder: Path):
        self.protocol, self.grounds, self.pool, self.folder = protocol, grounds, list(pool), folder
        self._known: dict[tuple, Pretraining] = {}

    def of(self, cell) -> Pretraining | None:
        """None where the cell's row starts from no encoder of the protocol's own."""
        name, table = self.protocol.row(cell.row).pretrained, self.protocol.table(cell.table)
        if not name:
            return None
        seed = cell.seed if table.split in ("random", "folds") else cell.seed % self.protocol.pretrainings.seeds
        key = (name, cell.table, seed, cell.fold)
        if key not in self._known:
            plan, withheld = self.protocol.plan_of(name, cell.seed), self._withheld(cell)
            self._known[key] = Pretraining(name, plan, tuple(self.pool), withheld, self.folder)
        return self._known[key]

    def _withheld(self, cell) -> dict[Path, tuple[int, ...]]:
        found: dict[Path, tuple[int, ...]] = {}
        for other in (cell.table, *self.protocol.tables):  # its own comes first, for others may be of the same store
            table, path = self.protocol.table(other), self.grounds[other].path
            if path not in found:
                inside = path in self.pool
                rows = _inside(path, table, cell, other == cell.table) if inside else _outside(path, table)
                found |= {} if rows is None else {path: tuple(map(int, rows))}
        return found


def half_of(fold, table: Table):
    """Which half of the folds a fold, or an array of them, is in."""
    return fold * HALVES // table.folds


def strat_folds(store: Store, table: Table) -> np.ndarray:
    """The fold 0 .. folds - 1 of each record, from the database's own folds; InputError where it has none."""
    own = np.asarray(store.number("fold"))
    if (own < 0).all():
        raise InputError(f"{store.path}: split strat is by the database's own folds, and it has none; take folds")
    present = np.unique(own[own >= 0])
    rank = np.searchsorted(present, own)
    return np.where(own >= 0, rank * min(table.folds, len(present)) // len(present), 0)


def _inside(path: Path, table: Table, cell, own: bool) -> np.ndarray | None:
    """What must not be seen of a store of the pool, beside its own test part. own: the table is that of the cell."""
    store = Store(path)
    if table.split == "strat":
        half = half_of(cell.fold, table) if own else 0
        return np.flatnonzero(half_of(strat_folds(store, table), table) == half)
    if table.split == "random" and own:
        return np.flatnonzero(splits.split(store, cell.seed) == "test")
    if table.split == "folds" and own:
        rows = np.flatnonzero(Corpus.open(store, tasks.find(table.task, store)).known)
        return rows[splits.folds(store, table.folds, cell.seed, rows) == cell.fold]
    return None


def _outside(path: Path, table: Table) -> np.ndarray:
    """What must have no copy in the pool, of a store that is none of it: all that any cell of the table tests on."""
    store = Store(path)
    return _official(path, store.fingerprint) if table.split in ("official", "own") else np.arange(len(store))


@lru_cache(maxsize=64)
def _official(path: Path, fingerprint: str) -> np.ndarray:
    return np.flatnonzero(splits.split(Store(path)) == "test")


def pretrain_all(wanted: list[Pretraining], jobs: int, device: str, threads: int, console) -> dict[Path, str]:
    """Makes the encoders that are not there yet; gives the places of those that could not be made, and why."""
    left, lost = {each.place: each for each in wanted if not is_done(each.place)}, {}
    for each, why in spread(_Maker, (device, threads, jobs < 2 and not console.quiet), list(left.values()), jobs):
        console.print(f"{'not ' if why else ''}pretrained {each.name}: {why or each.place}")
        lost |= {each.place: f"its encoder {each.name!r} could not be pretrained: {why}"} if why else {}
    return lost


class _Maker:
    def __init__(self, device: str, threads: int, progress: bool):
        self.device, self.progress = pick_device(device), progress
        torch.set_num_threads(min(threads, torch.get_num_threads()))

    def __call__(self, each: Pretraining) -> tuple[Pretraining, str]:
        """It, and why it could not be made ("": it was)."""
        held = {path: np.array(rows, int) for path, rows in each.withheld.items()}
        try:
            run(each.plan, open_pool(list(each.stores), held, self.progress), each.place, self.device, self.progress)
        except UsageError:
            raise
        except InputError as error:
            return each, str(error)
        return each, ""
