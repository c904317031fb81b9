"""The encoders that a protocol pretrains: once for every set of records that they must not have seen."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ...record import InputError
from ...store import Store, splits
from ...store.parallel import spread
from .._pool import open_pool
from ..adapt import pick_device
from ..pretrain import Plan, run
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

    @property
    def key(self) -> str:
        """Changes with anything that decides its weights but the code."""
        said = {"plan": asdict(self.plan), "stores": [Store(path).fingerprint for path in self.stores]}
        said["withheld"] = [(path.name, rows) for path, rows in sorted(self.withheld.items()) if path in self.stores]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def place(self) -> Path:
        return self.folder / FOLDER / f"{self.name.replace(' ', '-')}-{self.key}"


def pretraining_of(protocol: Protocol, grounds: dict, pool: list[Path], folder: Path, cell) -> Pretraining | None:
    """What a cell's row starts from; None where that is no encoder of the protocol's own."""
    name = protocol.row(cell.row).pretrained
    if not name:
        return None
    withheld = {}
    for other in protocol.tables:
        table, path = protocol.table(other), grounds[other].path
        if table.split == "strat":
            half = half_of(cell.fold, table) if other == cell.table else 0
            store = Store(path)
            withheld[path] = np.flatnonzero(half_of(strat_folds(store, table), table) == half)
        elif table.split in ("random", "folds") and other == cell.table:
            withheld[path] = _tested(Store(path), table, cell)
    plan = protocol.plan_of(name, cell.seed)
    return Pretraining(name, plan, tuple(pool), {p: tuple(map(int, r)) for p, r in withheld.items()}, folder)


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


def _tested(store: Store, table: Table, cell) -> np.ndarray:
    """The test records of a cell whose split is another one for every seed."""
    if table.split == "random":
        return np.flatnonzero(splits.split(store, cell.seed) == "test")
    return np.flatnonzero(splits.folds(store, table.folds, cell.seed) == cell.fold)


def pretrain_all(wanted: list[Pretraining], jobs: int, device: str, threads: int, console) -> None:
    """Makes the encoders that are not there yet."""
    left = {each.place: each for each in wanted if not (each.place / "encoder.safetensors").exists()}
    for each in spread(_Maker, (device, threads, jobs < 2 and not console.quiet), list(left.values()), jobs):
        console.print(f"pretrained {each.name}: {each.place}")


class _Maker:
    def __init__(self, device: str, threads: int, progress: bool):
        self.device, self.progress = pick_device(device), progress
        torch.set_num_threads(min(threads, torch.get_num_threads()))

    def __call__(self, each: Pretraining) -> Pretraining:
        held = {path: np.array(rows, int) for path, rows in each.withheld.items()}
        run(each.plan, open_pool(list(each.stores), held, self.progress), each.place, self.device, self.progress)
        return each
