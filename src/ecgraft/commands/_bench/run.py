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

    def __call__(self, job: tuple[Cell, str]) -> dict:
        """The row of results; {"cell", "failed": why} for one that cannot be computed with this data."""
        cell, key = job
        try:
            return self._run(cell, key)
        except InputError as error:
            return {"cell": cell, "failed": str(error)}

    def _run(self, cell: Cell, key: str) -> dict:
        table, row = self.protocol.table(cell.table), self.protocol.row(cell.row)
        corpus, place = self._open(cell, table), self.folder / RUNS / key
        with Cost() as cost:
            job = self._job(cell, table, row, corpus)
            graft = job.run(place)
            job.model.add(graft)
            test = corpus.rows("test")
            test = test[job.cache.usable[test]]
            if not len(test):
                raise InputError(f"{corpus.store.path}: no test record has a lead that row {cell.row!r} can read")
            found = job.answer(job.model.network(graft.name), test)
        graft.save(place / "graft.safetensors")
        size = (place / "graft.safetensors").stat().st_size
        scores = self.scores(corpus, found, graft, corpus.patients(test), cell.seed)
        store, settings = corpus.store, asdict(job.options) | {"training": asdict(job.training)}
        row = {
            "key": key, "protocol": self.protocol.name, "version": self.protocol.version,
            "database": table.database or store.path.name,
            "standin": self.grounds[cell.table].standin, "task": corpus.task.name, "split": table.split, **asdict(cell),
            "train": len(job.train), "validation": len(job.validation), "test": len(test),
            "patients": len(np.unique(corpus.patients(test))), "undefined": json.dumps(_undefined(corpus, test)),
            "copies left out": self._copies,
            **scores, "trained parameters": int(graft.card["trained parameters"]), "bytes": size,
            "step ms": job.result.seconds * 1e3, "peak MB": cost.peak, "seconds": cost.seconds, **_memory(job),
            "steps": 0 if job.voting else job.training.steps, "settings": json.dumps(settings),
            "store": store.fingerprint,
            "threads": torch.get_num_threads(), "device": str(self.device), "date": datetime.date.today().isoformat(),
            "ecgraft": __version__, "torch": torch.__version__,
        }  # fmt: skip
        keep(self.folder, corpus, found, graft, row)
        shutil.rmtree(place)
        return row

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

    def _open(self, cell: Cell, table):
        at = (cell.table, cell.seed, cell.fold)
        if self._at != at:
            self._corpus, self._copies = cell_tools.corpus(table, self.grounds[cell.table], cell.seed, cell.fold)
            self._at = at
        return self._corpus

    def _job(self, cell: Cell, table, row, corpus) -> Job:
        started = self.starts.of(cell)
        model = cell_tools.base(row, cell.seed, started and started.place)
        train, validation = corpus.few(cell.budget, cell.seed)
        settings = {"rare": "note"} | self.protocol.settings_of(table, row)
        options = configure(Settings, settings, f"row {cell.row!r}")
        steps = fitting_steps(len(train), options.batch, *table.steps, table.passes)
        options = with_defaults(options, steps, cell.seed)
        return Job(
            model, corpus, train, validation, options, corpus.task.name, model.grafts.get(corpus.task.name),
            self.device, progress=False, measure=True,
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
