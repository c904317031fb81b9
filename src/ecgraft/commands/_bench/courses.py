"""The courses of a protocol: a row learns the tasks of a sequence one after another, and all are tested after each."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ... import continual
from ...model import Model
from ...nn import files, shared
from ...plugs import find
from .. import _course
from .._score import Answers
from . import cells as cell_tools
from .cells import Cell
from .protocol import Protocol, Row


@dataclass(frozen=True)
class Course:
    """A row of a sequence with one seed."""

    sequence: str
    row: str
    seed: int

    @property
    def title(self) -> str:
        return f"{self.sequence}, {self.row}, seed {self.seed}"

    def cells(self, protocol: Protocol) -> list[Cell]:
        """What a course has results of: its tables in order, and their union if there is one."""
        sequence = protocol.sequence(self.sequence)
        names = (*sequence.tables, *([sequence.union] if sequence.union else []))
        return [self._cell(name, protocol.table(name)) for name in names]

    def _cell(self, name: str, table) -> Cell:
        fold = self.seed % table.folds if table.split in ("folds", "strat") else 0
        return Cell(name, self.row, table.budgets[0], self.seed, fold)


def courses(protocol: Protocol, only: list[str], seeds: int) -> Iterator[Course]:
    """Seed by seed."""
    for seed in range(seeds):
        for name in protocol.sequences:
            rows = protocol.strategies_of(protocol.sequence(name))
            yield from (Course(name, row, seed) for row in rows if not only or row in only)


def keys(course: Course, protocol: Protocol, stand: str, stores: dict, grounds: dict) -> list[str]:
    """A key for each of the course's cells, which changes with anything that decides the numbers of the course."""
    row, sequence = protocol.row(course.row), protocol.sequence(course.sequence)
    alone = [
        cell_tools.key_of(
            cell, protocol, protocol.table(cell.table), row, stand, stores[cell.table], grounds[cell.table].withheld
        )
        for cell in course.cells(protocol)
    ]
    said = [row.strategy, row.strategy_config, course.row in sequence.forward, alone]
    return [hashlib.sha256(json.dumps([said, i]).encode()).hexdigest()[:16] for i in range(len(alone))]


def base(row: Row, seed: int) -> Model:
    """What a course starts from; of an untrained encoder whose weights tasks share, one without weights."""
    if row.encoder and find("continual", row.strategy).START == continual.SHARED:
        empty = Model.empty(row.encoder, row.encoder_config)
        recipe = replace(empty.recipe, **row.recipe)
        return Model(empty.encoder, recipe, empty.card)
    return cell_tools.base(row, seed)


def graft_name(position: int, table: str) -> str:
    """Of the task at a position of a sequence."""
    return f"{position + 1} {re.sub(r'[^A-Za-z0-9]+', ' ', table).strip()}"


class Told:
    """What the tests of a course said: R[i, j], and whether each task ever answered otherwise than at first."""

    def __init__(self, tasks: int):
        self.matrix = np.full((tasks, tasks), np.nan)
        self.first: dict[int, Answers] = {}
        self.same = [True] * tasks

    def note(self, after: int, task: int, found: Answers, score: float) -> None:
        self.matrix[after, task] = score
        first = self.first.setdefault(task, found)
        self.same[task] &= _equal(first, found)


def _equal(a: Answers, b: Answers) -> bool:
    """Bit for bit, in what of an answer depends on every output; loss is the mean over all samples of a dense one."""
    pairs = [(getattr(a, name), getattr(b, name)) for name in ("logits", "counts", "loss", "features")]
    return all(np.array_equal(x, y, equal_nan=True) for x, y in pairs if x is not None)


def size(made: _course.Course) -> int:
    """Bytes on disk of all that is needed to answer the tasks so far."""
    start = made.plug.START
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if start == continual.SHARED:
            model = Model(made.model.encoder, made.model.recipe)
            model.grafts = dict(made.grafts)
            model.save(folder)
        else:
            for name, graft in made.grafts.items():
                graft.save(folder / f"{name}.safetensors")
        whole = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if start == continual.BASE and made.config.adapter != "full":
            made.model.save(folder / "model")
            whole += (folder / "model" / "encoder.safetensors").stat().st_size
        if start in (continual.LAST, continual.TOGETHER):  # the weights that tasks share are needed once
            weights = _weights(made)
            files.save(folder / "weights", weights, {})
            whole -= (len(made.grafts) - 1) * (folder / "weights").stat().st_size
    return whole


def _weights(made: _course.Course) -> dict:
    names = {f"{name}.weight" for name in shared.layers(made.model.encoder)}
    return {name: value for name, value in made.model.encoder.state_dict().items() if name in names}
