"""Running a course: each task of a sequence is learnt, and after it all tasks so far are tested again."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np

from ...model import Model, union
from ...record import InputError
from .._course import Course as Learner
from .._score import Answers, scorer
from . import courses
from .cost import Cost
from .courses import Course, Told
from .results import keep


def follow(runner, course: Course, keys: list[str]) -> list[dict]:
    """The rows of results of a course, one for each of its tables; their evidence is kept when all are there."""
    made = _Followed(runner, course)
    for position in range(len(made.cells)):
        made.learn(position)
    made.finish()
    rows = [made.row(position, key) for position, key in enumerate(keys[: len(made.cells)])]
    kept = [(made.jobs[i].corpus, made.last[i], made.grafts[i], row) for i, row in enumerate(rows)]
    if made.sequence.union:
        kept.append(made.union(keys[-1]))
    for corpus, found, graft, row in kept:
        keep(runner.folder, corpus, found, graft, row)
    return [row for *_, row in kept]


class _Followed:
    """A course on its way.

    told     the accuracy matrix, and whether answers stayed the same
    before   of each task the score of a head alone: on an untrained encoder; in `told` on what earlier tasks left
    last     the answers of each task after all of them
    """

    def __init__(self, runner, course: Course):
        self.runner, self.course = runner, course
        self.sequence, self.planned = runner.protocol.sequence(course.sequence), runner.protocol.row(course.row)
        self.cells = course.cells(runner.protocol)[: len(self.sequence.tables)]
        self.learner = Learner(
            courses.base(self.planned, course.seed), self.planned.strategy, self.planned.strategy_config
        )
        self.told, self.before = Told(len(self.cells)), np.full(len(self.cells), np.nan)
        self.jobs, self.tests, self.sizes, self.costs, self.last = [], [], [], [], {}

    @property
    def grafts(self) -> list:
        return list(self.learner.grafts.values())

    def learn(self, position: int) -> None:
        cell = self.cells[position]
        corpus = self.runner.open(cell)
        job = self.runner.job(cell, corpus, self.learner.model, courses.graft_name(position, cell.table))
        self.jobs.append(job)
        self.tests.append(self.runner.test_rows(job))
        if self.course.row in self.sequence.forward:
            self._forward(position)
        with Cost() as cost:
            learnt = self.learner.learn(job)
        self.costs.append(cost)
        if learnt:
            self._test(position)

    def finish(self) -> None:
        with Cost() as cost:
            together = self.learner.finish()
        if together:
            self._test(len(self.cells) - 1)
            self.costs = [part_of(cost, len(self.cells))] * len(self.cells)
            self.sizes = [np.nan] * (len(self.cells) - 1) + self.sizes[-1:]

    def _test(self, after: int) -> None:
        """All tasks so far."""
        for task in range(after + 1):
            found = self._answer(task)
            self.told.note(after, task, found, self._score(self.jobs[task], found, self.grafts[task]))
            self.last[task] = found
        self.sizes.append(courses.size(self.learner))

    def _answer(self, task: int) -> Answers:
        network = self.learner.network(self.jobs[task].name)
        begun = time.perf_counter()
        found = self.jobs[task].answer(network, self.tests[task])
        self.jobs[task].tested = time.perf_counter() - begun
        return found

    def _score(self, job, found: Answers, graft) -> float:
        table = self.runner.protocol.table(self.cells[self.jobs.index(job)].table)
        metric = self.runner.protocol.metrics_of(table)[0]
        scores = scorer(job.corpus, found, graft.calibration, graft.thresholds)
        return float(scores(np.ones(len(found.rows)))[metric])

    def _forward(self, position: int) -> None:
        """A head alone on an untrained encoder, and on what the tasks before have left."""
        job, name = self.jobs[position], self.planned.encoder or self.learner.model.encoder.name
        fresh = Model.fresh(name, self.planned.encoder_config, seed=job.training.seed)
        self.before[position] = self._head_alone(job, Model(fresh.encoder, job.model.recipe))
        left = self.learner.left(job.recipe.leads) if position else None
        if left is not None:
            self.told.matrix[position - 1, position] = self._head_alone(job, left)

    def _head_alone(self, job, model: Model) -> float:
        options = replace(job.options, adapter="linear", adapter_config={})
        alone = replace(job, model=model, options=options, measure=False)
        graft = alone.run()
        model.add(graft)
        return self._score(job, alone.answer(model.network(graft.name), self.tests[-1]), graft)

    def row(self, position: int, key: str) -> dict:
        """What is known of a task at the end of the course."""
        cell, job, graft = self.cells[position], self.jobs[position], self.grafts[position]
        self.runner.open(cell)  # for how many copies were left out
        row = self.runner.row(cell, key, job, graft, self.last[position])
        own = graft.card.get("weights", {})
        cost = self.costs[position]
        return row | self._of_course(position) | {
            "peak MB": cost.peak, "seconds": cost.seconds, "bytes": self._added(position),
            "owns": own.get("owns", np.nan), "free": own.get("free after it", np.nan),
        }  # fmt: skip

    def _of_course(self, position: int) -> dict:
        """`scores after`: the column of the accuracy matrix; `score before`: of a head on an untrained encoder."""
        column = [None if np.isnan(v) else float(v) for v in self.told.matrix[:, position]]
        before = self.before[position]
        return {
            "sequence": self.course.sequence, "position": position, "scores after": json.dumps(column),
            "score before": None if np.isnan(before) else float(before), "same answers": self.told.same[position],
            "bytes in all": self.sizes[position],
            "test seconds": self.jobs[position].tested,
        }  # fmt: skip

    def _added(self, position: int) -> int:
        """Bytes that the task has added; of tasks that were learnt together an equal part."""
        sizes = np.array(self.sizes)
        if np.isnan(sizes).any():
            return int(sizes[-1] / len(sizes))
        return int(np.diff(sizes, prepend=0)[position])

    def union(self, key: str) -> tuple:
        """All heads asked for one class among those of all tasks: corpus, answers, graft, row."""
        cell = self.course.cells(self.runner.protocol)[-1]
        corpus = self.runner.open(cell)
        rows = corpus.rows("test")
        if any(not np.isin(rows, test).all() for test in self.tests):
            raise InputError(f"{cell.table}: its test records are not those of the tasks of {self.course.sequence!r}")
        parts = [
            union.log_odds(graft.task, self.last[i].logits[np.searchsorted(self.tests[i], rows)], graft.calibration)
            for i, graft in enumerate(self.grafts)
        ]
        labels = [label for graft in self.grafts for label in graft.task.labels]
        if set(labels) != set(corpus.task.labels):
            raise InputError(
                f"{cell.table}: its classes {list(corpus.task.labels)} are not those of the tasks, {labels}"
            )
        order = [labels.index(label) for label in corpus.task.labels]
        found = Answers(rows, logits=union.joined(parts)[:, order])
        job = replace(self.jobs[-1], corpus=corpus)
        job.result = self.jobs[-1].result
        graft = replace(self.grafts[-1], task=corpus.task, calibration={}, thresholds={})
        row = self.runner.row(cell, key, job, graft, found) | {"sequence": self.course.sequence, "position": -1}
        return corpus, found, graft, row | {"seconds": sum(cost.seconds for cost in self.costs)}


def part_of(cost: Cost, parts: int) -> Cost:
    """The cost of one of so many tasks that were learnt together."""
    each = Cost()
    each.seconds, each.peak = cost.seconds / parts, cost.peak
    return each
