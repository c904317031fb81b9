"""From the results of cells to the lines of tables: means over seeds with intervals, and paired tests.

An interval covers both sources of chance: patients are drawn with replacement, the same ones for every seed and row,
and seeds (with their folds) are drawn with replacement. A difference to the reference row uses the same draws on both
sides and only seeds and folds that both rows have.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...metrics import bootstrap, compare
from ...metrics.bootstrap import Estimate
from ...record import InputError
from ...tasks import Task
from .._score import scorer
from .cells import Cell
from .protocol import Protocol
from .results import kept

COSTS = ("trained parameters", "bytes", "step ms", "peak MB", "seconds")


@dataclass
class Line:
    """A row of a table at one budget; its numbers are means over seeds.

    train       labelled records, the mean over seeds
    difference  of the first metric to that of the reference row, with its two-sided p, and p adjusted for all of these
                comparisons that are shown (Holm)
    """

    budget: float
    row: str
    cells: list[dict]
    scores: dict[str, Estimate]
    difference: Estimate | None = None
    p: float = np.nan
    adjusted: float = np.nan

    @property
    def train(self) -> float:
        return float(np.mean([cell["train"] + cell["validation"] for cell in self.cells]))

    @property
    def seeds(self) -> list[int]:
        return sorted({cell["seed"] for cell in self.cells})

    def cost(self, name: str) -> float:
        """The median over the cells."""
        values = [v for cell in self.cells if (v := cell.get(name)) is not None and np.isfinite(v)]
        return float(np.median(values)) if values else np.nan


def lines(protocol: Protocol, rows: list[dict], wanted: dict[str, Cell], tasks: dict[str, Task], folder: Path) -> dict:
    """Table -> its lines, from the results `rows` of the cells that are wanted (key -> cell)."""
    found: dict[str, dict[tuple, list]] = {name: defaultdict(list) for name in protocol.tables}
    for row in rows:
        if row["key"] in wanted:
            found[row["table"]][row["budget"], row["row"]].append(row)
    made = {name: _table(protocol, name, groups, tasks[name], folder) for name, groups in found.items() if groups}
    compared = [line for each in made.values() for line in each if line.difference is not None]
    for line, p in zip(compared, compare.holm(np.array([line.p for line in compared]))):
        line.adjusted = float(p)
    return made


def _table(protocol: Protocol, name: str, groups: dict, task: Task, folder: Path) -> list[Line]:
    """The lines of a table, by budget in the order of the protocol's rows."""
    table, made = protocol.table(name), []
    metrics = protocol.metrics_of(table)
    for budget in table.budgets:
        here = {row: groups[budget, row] for row in protocol.rows_of(table) if (budget, row) in groups}
        if not here:
            continue
        drawn = _Draws(here, task, folder, protocol.replicates, metrics)
        at_budget = [drawn.line(budget, row) for row in here]
        reference = next((line for line in at_budget if line.row == protocol.reference), None)
        for line in at_budget:
            if reference is not None and line is not reference:
                drawn.compare(line, reference)
        made += at_budget
    return made


class _Draws:
    """The same patients for all cells of a table at one budget."""

    def __init__(
        self, here: dict[str, list[dict]], task: Task, folder: Path, replicates: int, metrics: tuple[str, ...]
    ):
        self.here, self.metrics = here, metrics
        self.evidence = {cell["key"]: kept(folder, cell["key"], task) for cells in here.values() for cell in cells}
        persons = np.unique(np.concatenate([e.person for e in self.evidence.values()]))
        places = {key: np.searchsorted(persons, e.person) for key, e in self.evidence.items()}
        scores = {key: scorer(e, e.found, e.calibration, e.thresholds) for key, e in self.evidence.items()}
        self.values = {key: self._only(score(np.ones(len(places[key])))) for key, score in scores.items()}
        replicas: dict[str, list] = {key: [] for key in scores}
        for weights in bootstrap.draws(np.arange(len(persons)), replicates):
            for key, score in scores.items():
                replicas[key].append(self._only(score(np.ascontiguousarray(weights[:, places[key]]))))
        self.replicas = {key: np.concatenate(each, axis=1) for key, each in replicas.items()}  # (metrics, R)

    def _only(self, scores: dict) -> np.ndarray:
        for metric in self.metrics:
            if metric not in scores:
                raise InputError(
                    f"metric {metric!r}: this task has {', '.join(k for k in scores if np.ndim(scores[k]) < 2)}"
                )
        return np.array([scores[metric] for metric in self.metrics], float)

    def line(self, budget: float, row: str) -> Line:
        """The mean over the row's seeds, of a seed over its folds."""
        value, replicas = self._means(self.here[row])
        low, high = bootstrap.interval(replicas.T)
        triples = zip(self.metrics, value, low, high)
        return Line(budget, row, self.here[row], {name: Estimate(*map(float, three)) for name, *three in triples})

    def compare(self, line: Line, reference: Line) -> None:
        """The difference to the reference in the first metric, over the seeds and folds that both have."""
        places = [{(cell["seed"], cell["fold"]) for cell in each.cells} for each in (line, reference)]
        both = places[0] & places[1]
        if not both:
            return
        sides = [[c for c in each.cells if (c["seed"], c["fold"]) in both] for each in (line, reference)]
        (a, many_a), (b, many_b) = (self._means(cells) for cells in sides)
        replicas = (many_a - many_b)[0]
        low, high = bootstrap.interval(replicas)
        line.difference = Estimate(float(a[0] - b[0]), float(low), float(high))
        line.p = compare.wald(line.difference.value, replicas)

    def _means(self, cells: list[dict]) -> tuple[np.ndarray, np.ndarray]:
        """Of all metrics: (metrics,) and its replicates (metrics, R)."""
        seeds = sorted({cell["seed"] for cell in cells})
        keys = [[cell["key"] for cell in cells if cell["seed"] == seed] for seed in seeds]
        values, replicas = (
            np.stack([_mean([known[key] for key in each]) for each in keys]) for known in (self.values, self.replicas)
        )
        return _mean(values), over_seeds(replicas)


def over_seeds(replicas: np.ndarray) -> np.ndarray:
    """(seeds, ..., R) -> (..., R): in each replicate the mean over as many seeds, drawn with replacement."""
    S, R = len(replicas), replicas.shape[-1]
    drawn = np.random.default_rng(0).integers(S, size=(S, R))
    times = np.stack([(drawn == s).sum(0) for s in range(S)])  # (seeds, R)
    times = times.reshape(S, *(1,) * (replicas.ndim - 2), R) * np.isfinite(replicas)
    total = times.sum(0)
    return np.where(total > 0, (np.nan_to_num(replicas) * times).sum(0) / np.maximum(total, 1), np.nan)


def _mean(values) -> np.ndarray:
    stacked = np.stack(values)
    counted = np.isfinite(stacked).sum(0)
    return np.where(counted > 0, np.nan_to_num(stacked).sum(0) / np.maximum(counted, 1), np.nan)


def undefined(line: Line) -> list[str]:
    """Classes that were in the mean of no cell, or not of all of them."""
    return sorted({label for cell in line.cells for label in json.loads(cell["undefined"] or "[]")})
