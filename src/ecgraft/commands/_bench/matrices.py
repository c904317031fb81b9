"""Of the courses of a protocol: what was forgotten, what was gained, and what it took; from their tasks' results."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from ...metrics import bootstrap, forgetting
from ...metrics.bootstrap import Estimate
from ...report import matrix
from .protocol import Protocol
from .tables import over_seeds

SCORES = {  # key of metrics.forgetting -> column
    "acc": "ACC", "bwt": "BWT", "fwt": "FWT", "mean forgetting": "forgetting", "later": "gain of later tasks",
}  # fmt: skip
REPLICATES = 2000
HOW = (
    "R[i, j] is the score of task j after task i was learnt, each in its own kind of score. ACC: the mean of the last "
    "row, over scores of different kinds. BWT: the mean change of a task since it was learnt; FWT: of a head alone on "
    "what earlier tasks have left, against the same on an untrained encoder; forgetting: the mean loss since a task "
    "was at its best; gain: of a task when it was learnt against learning it alone, the mean over all but the first. "
    "Means over seeds; intervals: 95 %, seeds drawn with replacement (the tables of the tasks draw patients too). Same "
    "answers: whether every output of every earlier task was the same bit for bit after each further task. Bytes: of "
    "all files that are needed to answer all tasks, and as a share of those of the reference."
)


@dataclass
class Strategy:
    """A row of a sequence: R (seeds, K, K), scores by key of SCORES, whether answers stayed the same, and costs.

    growth  (K, 2) bytes of all files, and share of the weights that is free, after each task
    """

    row: str
    R: np.ndarray
    scores: dict[str, Estimate]
    same: bool
    growth: np.ndarray
    relative: float
    seconds: float
    tested: float

    @property
    def bytes(self) -> float:
        return float(self.growth[-1, 0])


def strategies(protocol: Protocol, name: str, rows: list[dict], wanted: dict) -> list[Strategy]:
    """The rows of a sequence whose tasks are all there, in the order of the protocol."""
    sequence, count = protocol.sequence(name), len(protocol.sequence(name).tables)
    found: dict[str, dict[int, list]] = defaultdict(lambda: defaultdict(lambda: [None] * count))
    for row in rows:
        if row["key"] in wanted and row.get("sequence") == name and row["position"] >= 0:
            found[row["row"]][row["seed"]][int(row["position"])] = row
    whole = {r: {s: each for s, each in by.items() if None not in each} for r, by in found.items()}
    alone = whole.get(sequence.reference, {})
    made = [_strategy(row, whole[row], alone) for row in protocol.strategies_of(sequence) if whole.get(row)]
    base = next((each.bytes for each in made if each.row == sequence.reference), np.nan)
    for each in made:
        each.relative = each.bytes / base
    return made


def _strategy(row: str, by_seed: dict[int, list[dict]], alone: dict[int, list[dict]]) -> Strategy:
    seeds = sorted(by_seed)
    cells = [by_seed[seed] for seed in seeds]
    R = np.stack([_matrix(each) for each in cells])  # (seeds, K, K)
    before = np.array([[_number(cell["score before"]) for cell in each] for each in cells])
    single = np.full((len(seeds), R.shape[-1]), np.nan)
    for k, seed in enumerate(seeds):
        if seed in alone:
            single[k] = np.diagonal(_matrix(alone[seed]))
    every = forgetting.summary(R, before, single)
    joint = np.isnan(np.diagonal(R, axis1=1, axis2=2)).any()  # only after the last task was anything known
    every["later"] = ((R[:, -1] if joint else np.diagonal(R, axis1=1, axis2=2)) - single)[:, 1:].mean(1)
    return Strategy(
        row, R, {key: _estimate(np.asarray(every[key], float)) for key in SCORES},
        all(cell["same answers"] for each in cells for cell in each) and not joint,
        np.mean([[[_number(cell[k]) for k in ("bytes in all", "free")] for cell in each] for each in cells], 0), np.nan,
        _mean([sum(cell["seconds"] for cell in each) for each in cells]),
        _mean([sum(_number(cell["test seconds"]) for cell in each) for each in cells]),
    )  # fmt: skip


def _matrix(cells: list[dict]) -> np.ndarray:  # (K, K)
    return np.array([[_number(v) for v in json.loads(cell["scores after"])] for cell in cells]).T


def _number(value) -> float:
    return np.nan if value is None else float(value)


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def _estimate(values: np.ndarray) -> Estimate:  # (seeds,)
    replicas = over_seeds(np.repeat(values[:, None], REPLICATES, axis=1))
    return Estimate(float(values.mean()), *map(float, bootstrap.interval(replicas)))


def columns(reference: str) -> list[str]:
    return [
        "row",
        "seeds",
        *SCORES.values(),
        "same answers",
        "KiB",
        f"of {reference}",
        "free",
        "s to learn",
        "s to test",
    ]


def cells(line: Strategy) -> list:
    """The numbers of a line, in the order of `columns`."""
    numbers = [line.relative, line.growth[-1, 1], line.seconds, line.tested]
    size = round(line.bytes / 1024) if np.isfinite(line.bytes) else None
    return [line.row, len(line.R), *line.scores.values(), "yes" if line.same else "no", size, *numbers]


def growth(protocol: Protocol, name: str, lines: list[Strategy]) -> tuple[list[str], list[list]]:
    """Heads and rows of a table: KiB on disk after each task, and in brackets what of the weights is then free."""
    tables = protocol.sequence(name).tables
    rows = [[line.row, *(_size(*step) for step in line.growth)] for line in lines]
    return ["KiB (free)", *(f"after {table}" for table in tables)], rows


def _size(size: float, free: float) -> str:
    if not np.isfinite(size):
        return ""
    return f"{size / 1024:,.0f}" + (f" ({free:.0%})" if np.isfinite(free) else "")


def picture(protocol: Protocol, name: str, lines: list[Strategy]):
    """The accuracy matrices, means over seeds."""
    tables = protocol.sequence(name).tables
    kinds = [protocol.metrics_of(protocol.table(table))[0] for table in tables]
    shown = {line.row: line.R.mean(0) for line in lines}
    return matrix.accuracy(shown, list(tables), kinds)
