"""Running a cell: train on few labels, test, and a row of results."""

from __future__ import annotations

import datetime
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ... import __version__, tasks
from ...metrics import bootstrap
from ...plugs import configure
from ...record import InputError
from ...store import Store
from .._job import Job
from .._score import Answers, scorer
from .._settings import Settings, fitting_steps, with_defaults
from ..adapt import pick_device
from ..evaluate import plain
from . import cells as cell_tools
from .cells import Cell, Ground
from .cost import Cost
from .courses import Course
from .follow import follow
from .pretrained import Starts
from .protocol import METRICS, Protocol
from .results import RUNS, keep, kept


class Runner:
    """What a worker does with (cell, key); it keeps the corpus of the last table, for cells come in that order."""

    def __init__(
        self, protocol: Protocol, grounds: dict[str, Ground], folder: Path, device: str, threads: int,
        pool: list[Path] = (),
    ):  # fmt: skip
        self.protocol, self.grounds, self.folder, self.device = protocol, grounds, folder, pick_device(device)
        self.starts = Starts(protocol, grounds, pool, folder)
        torch.set_num_threads(min(threads, torch.get_num_threads()))  # never more than were allowed
        self._at, self._corpus, self._copies = None, None, 0

    def __call__(self, job: tuple[Cell, str] | tuple[Course, list[str]]) -> list[dict]:
        """The rows of results; [{"cell", "failed": why}] for what cannot be computed with this data."""
        cell, key = job
        try:
            return follow(self, cell, key) if isinstance(cell, Course) else [self._run(cell, key)]
        except InputError as error:
            return [{"cell": cell, "failed": str(error)}]

    def _run(self, cell: Cell, key: str) -> dict:
        corpus, place = self.open(cell), self.folder / RUNS / key
        with Cost() as cost:
            job = self._job(cell, corpus)
            graft = job.run(place)
            job.model.add(graft)
            test = self.test_rows(job)
            found = job.answer(job.model.network(graft.name), test)
        graft.save(place / "graft.safetensors")
        row = self.row(cell, key, job, graft, found)
        row |= {"bytes": (place / "graft.safetensors").stat().st_size, "peak MB": cost.peak, "seconds": cost.seconds}
        keep(self.folder, corpus, found, graft, row)
        shutil.rmtree(place)
        return row

    def test_rows(self, job: Job) -> np.ndarray:
        """What a job is tested on. InputError where that is nothing."""
        test = job.corpus.rows("test")
        test = test[job.cache.usable[test]]
        if not len(test):
            raise InputError(f"{job.corpus.store.path}: no test record has a lead that can be read")
        return test

    def row(self, cell: Cell, key: str, job: Job, graft, found: Answers) -> dict:
        """A row of results, but for what it cost to compute."""
        corpus, test, store = job.corpus, found.rows, job.corpus.store
        settings = asdict(job.options) | {"training": asdict(job.training)}
        return {
            "key": key, "protocol": self.protocol.name, "version": self.protocol.version,
            "database": self.protocol.table(cell.table).database or store.path.name,
            "standin": self.grounds[cell.table].standin, "task": corpus.task.name,
            "split": self.protocol.table(cell.table).split, **asdict(cell),
            "train": len(job.train), "validation": len(job.validation), "test": len(test),
            "patients": len(np.unique(corpus.patients(test))), "undefined": json.dumps(_undefined(corpus, test)),
            "copies left out": self._copies,
            **self.scores(corpus, found, graft, corpus.patients(test), cell.seed),
            "trained parameters": int(graft.card["trained parameters"]), "bytes": 0,
            "step ms": job.result.seconds * 1e3, "peak MB": 0.0, "seconds": 0.0, **_memory(job),
            "steps": 0 if job.voting else job.training.steps, "settings": json.dumps(settings),
            "store": store.fingerprint,
            "threads": torch.get_num_threads(), "device": str(self.device), "date": datetime.date.today().isoformat(),
            "ecgraft": __version__, "torch": torch.__version__,
        }  # fmt: skip

    def scores(self, corpus, found: Answers, chosen, patients, seed: int) -> dict:
        """The columns of a row that are scores; `corpus` and `chosen` may be what was kept of a cell."""
        score = scorer(corpus, found, chosen.calibration, chosen.thresholds)
        shown = METRICS[corpus.task.kind]

        def numbers(weights):
            return {name: value for name, value in score(weights).items() if name in shown}

        estimates = bootstrap.estimate(numbers, patients, self.protocol.replicates, seed)
        values = {name: float(estimate.value) for name, estimate in estimates.items()}
        return values | {"scores": json.dumps(plain(estimates, corpus.task))}

    def again(self, row: dict) -> dict:
        """A row of results with its scores computed again from what was kept."""
        table = self.protocol.table(row["table"])
        what = kept(self.folder, row["key"], tasks.find(table.task, Store(self.grounds[row["table"]].path)))
        return row | self.scores(what, what.found, what, what.person, row["seed"])

    def open(self, cell: Cell):
        """The records of a cell's table, parted as for its seed and fold."""
        at = (cell.table, cell.seed, cell.fold)
        if self._at != at:
            table = self.protocol.table(cell.table)
            self._corpus, self._copies = cell_tools.corpus(table, self.grounds[cell.table], cell.seed, cell.fold)
            self._at = at
        return self._corpus

    def _job(self, cell: Cell, corpus) -> Job:
        started, row = self.starts.of(cell), self.protocol.row(cell.row)
        model = cell_tools.base(row, cell.seed, started and started.place)
        name = corpus.task.name
        return self.job(cell, corpus, model, name, model.grafts.get(name))

    def job(self, cell: Cell, corpus, model, name: str, start=None) -> Job:
        """What learns a cell's task from the model."""
        table, row = self.protocol.table(cell.table), self.protocol.row(cell.row)
        train, validation = corpus.few(cell.budget, cell.seed)
        settings = {"rare": "note"} | self.protocol.settings_of(table, row)
        options = configure(Settings, settings, f"row {cell.row!r}")
        steps = fitting_steps(len(train), options.batch, *table.steps, table.passes)
        options = with_defaults(options, steps, cell.seed)
        return Job(
            model, corpus, train, validation, options, name, start, self.device, progress=False, measure=True
        )  # fmt: skip


def _memory(job: Job) -> dict:
    """What a step needs, and how long it took to find ranks out."""
    step = job.step_cost
    return {
        "step kept MB": step and step.saved / 1e6,
        "step peak MB": step and step.peak / 1e6,
        "allocation s": job.allocated.get("seconds"),
    }


def _undefined(corpus, rows: np.ndarray) -> list[str]:
    """The classes without a positive, or without a negative, among the records: they are in no mean."""
    if corpus.task.kind not in ("multilabel", "multiclass"):
        return []
    known = corpus.known_each[rows]
    yes, no = (corpus.y[rows] * known).sum(0), ((1 - corpus.y[rows]) * known).sum(0)
    return [label for label, a, b in zip(corpus.task.labels, yes, no) if not (a and b)]
