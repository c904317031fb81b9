"""The cells of a protocol: one training and one test part each; and the stores that they stand on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from ... import datasets, tasks
from ...model import Model
from ...plugs import configure
from ...record import InputError
from ...signal.recipe import Recipe
from ...store import Store, leaks, splits
from .._examples import Corpus
from .._settings import PASSES
from ..ingest import ingest
from . import standins
from .pretrained import strat_folds
from .protocol import Protocol, Row, Table

STORES = "stores"
VALIDATION = 0.125  # share of what is not tested, in folds


@dataclass(frozen=True)
class Cell:
    """`fold` is 0 where the split has no folds."""

    table: str
    row: str
    budget: float
    seed: int
    fold: int

    @property
    def title(self) -> str:
        labels = f"{self.budget:.0%} of labels" if self.budget <= 1 else f"{self.budget:g} labelled"
        return f"{self.table}, {labels}, {self.row}, seed {self.seed}" + (f", fold {self.fold}" if self.fold else "")


@dataclass(frozen=True)
class Ground:
    """The store of a database, whether it holds simulated ECGs in the place of real ones, and the copies in it.

    withheld  rows that are not tested on, for another reason
    """

    path: Path
    standin: bool
    leaks: list[leaks.Leak]
    withheld: tuple[int, ...] = ()


def cells(protocol: Protocol, only: list[str], seeds: int) -> Iterator[Cell]:
    """Seed by seed, so that an early look at the tables shows every row."""
    for seed in range(seeds):
        for name in protocol.tables:
            table = protocol.table(name)
            rows = [row for row in protocol.alone_on(name) if not only or row in only]
            for fold in range(table.folds if table.split in ("folds", "strat") else 1):
                for budget in table.budgets:
                    yield from (Cell(name, row, budget, seed, fold) for row in rows)


def grounds(protocol: Protocol, data: Path | None, folder: Path, console: Console) -> dict[str, Ground]:
    """Table -> its ground: databases of the folder `data` are imported once, others are simulated; stores stand."""
    there, found, copies = datasets.inside(data) if data else {}, {}, {}
    for name in protocol.tables:
        table = protocol.table(name)
        path, real = Path(table.store), True
        if table.database:
            path, real = _store(table.database, table.standin, there, data, folder, console)
        if path not in copies:
            copies[path] = leaks.find([Store(path)], progress=not console.quiet)
        found[name] = Ground(path, not real and table.database != standins.SIMULATED, copies[path])
    return found


def pool(protocol: Protocol, data: Path | None, folder: Path, console: Console) -> list[Path]:
    """The stores that the protocol pretrains its encoders on; a stand-in is that of the table with the database."""
    there = datasets.inside(data) if data else {}
    standin = {t.database: t.standin for t in map(protocol.table, protocol.tables)} | protocol.pretrainings.standin
    databases = protocol.pretrainings.databases
    return [_store(name, standin.get(name, {}), there, data, folder, console)[0] for name in databases]


def _store(database: str, standin: dict, there: dict, data, folder: Path, console: Console) -> tuple[Path, bool]:
    """A database's store, imported where it is not there yet, or that of its stand-in; whether it is real."""
    name, _, part = database.partition("/")
    real = name in there
    options = "" if real or not standin else "-" + _digest(standin)[:8]
    path = folder / STORES / (database.replace("/", "-") + ("" if real else "-simulated" + options))
    if real and not (path / "store.json").exists():
        console.print(f"importing {database}")
        ingest(there[name], to=path, dataset=name, part=part or None, progress=not console.quiet)
    elif not real:
        if database != standins.SIMULATED:
            console.print(f"{database} is not in {data or 'any folder'}: simulated ECGs stand for it", style="yellow")
        standins.make(database, path, standin)
    return path, real


def corpus(table: Table, ground: Ground, seed: int, fold: int) -> tuple[Corpus, int]:
    """The records of a table, parted for a seed and fold, and how many test records were left out as copies.

    InputError where a patient would be on both sides.
    """
    store = Store(ground.path)
    whole = Corpus.open(store, tasks.find(table.task, store))
    part = parts(store, table, whole.known, seed, fold)
    withheld = np.array(ground.withheld, int)
    part[withheld[part[withheld] == "test"]] = ""
    learnt = np.flatnonzero(np.isin(part, ("train", "validation")) & whole.known)
    copies = leaks.colliding(ground.leaks, 0, 0, learnt)
    copies = copies[(part[copies] == "test") & whole.known[copies]]
    part[copies] = ""
    parted = replace(whole, part=part)
    check_patients(parted)
    if not len(parted.rows("train")) or not len(parted.rows("test")):
        raise InputError(f"{store.path}: no {'train' if len(parted.rows('test')) else 'test'} part for {table.task!r}")
    return parted, len(copies)


def parts(store: Store, table: Table, known: np.ndarray, seed: int, fold: int) -> np.ndarray:
    """The part of each record, (N,); "" for one that is in none."""
    match table.split:
        case "random":
            return splits.split(store, seed)
        case "official":
            return splits.split(store)
        case "own":
            return np.array([part or "" for part in store.column("split")])
    rows = np.flatnonzero(known)
    part = np.full(len(store), "", dtype="<U10")
    held = splits.folds(store, table.folds, seed, rows) if table.split == "folds" else strat_folds(store, table)[rows]
    part[rows] = np.where(held == fold, "test", "train")
    part[splits.few(store, rows[held != fold], None, VALIDATION, seed)] = "validation"
    return part


def check_patients(corpus: Corpus) -> None:
    """InputError where records of one patient are to be learnt from and tested on."""
    person = np.asarray(corpus.store.number("person"))
    test = corpus.known & (corpus.part == "test")
    learnt = corpus.known & np.isin(corpus.part, ("train", "validation"))
    both = np.flatnonzero(test & np.isin(person, person[learnt]))
    if len(both):
        names = [corpus.store.column("patient")[i] or corpus.store.column("id")[i] for i in both[:3]]
        raise InputError(
            f"{corpus.store.path}: {len(np.unique(person[both]))} patients are in the test part and in another one, "
            f"such as {', '.join(dict.fromkeys(names))}; put all records of a patient into one part"
        )


def key_of(cell: Cell, protocol: Protocol, table: Table, row: Row, stand: str, store: Store, withheld=()) -> str:
    """16 digits that change with anything that decides a cell's numbers; `stand`: what its row starts from."""
    said = asdict(cell) | {"database": table.database, "split": table.split, "folds": table.folds}
    said |= {"task": asdict(tasks.find(table.task, store)), "steps": table.steps, "stand": stand}
    said |= {"settings": protocol.settings_of(table, row), "store": store.fingerprint}
    said |= {"passes": table.passes} if table.passes != PASSES else {}
    said |= {"withheld": withheld} if withheld else {}
    return _digest(said)[:16]


def base(row: Row, seed: int, pretrained: Path | None = None) -> Model:
    """What a row starts from: an untrained encoder, another one for every seed, a model, or a pretrained encoder."""
    if row.encoder:
        fresh = Model.fresh(row.encoder, row.encoder_config, seed=seed)
        recipe = configure(Recipe, fresh.recipe.to_dict() | row.recipe, "recipe")
        return Model(fresh.encoder, recipe, fresh.card)
    return Model.base(pretrained or row.model)


def stand_of(row: Row) -> str:
    """What tells the start of a row from others, without building it for every seed."""
    if not row.encoder:
        return Model.base(row.model).fingerprint
    return _digest([row.encoder, row.encoder_config, *([row.recipe] if row.recipe else [])])


def _digest(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
