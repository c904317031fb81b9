"""ecgraft evaluate --probe: the standard read-outs of an encoder, against an untrained one and training from scratch.

They are the rows of a protocol that is made here, run by `ecgraft bench`: what is finished is not computed again.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .. import __version__, tasks
from ..model import Model
from ..nn.network import DENSE, VOTED
from ..record import InputError, UsageError
from ..store import Store
from ..tasks import Task
from . import _score, _unseen, bench
from ._bench import protocol as protocols
from ._bench import reading
from ._bench.protocol import Protocol
from ._bench.tables import Line
from ._examples import Corpus

NAME, VERSION = "read-outs", 1
BUDGETS = (0.01, 0.05, 0.1, 1.0)
STEPS = (200, 600)
SETTINGS = {  # as of benchmarks/protocols/baseline.yaml
    "augment": {"gain": {}, "noise": {"share": 0.2}},
    "training": {"decay": 0.05, "average": 0.99, "keep": "last"},
}
LINEAR = {"augment": {}, "training": {"rate": 0.005, "decay": 0.1}}
KNN = {"augment": {}, "head": {"kind": "knn"}}
SCRATCH = {"training": {"rate": 0.002}}


@dataclass(frozen=True)
class Options:
    """As `evaluate` takes them."""

    leaks: str
    seeds: int
    jobs: int
    replicates: int
    device: str
    progress: bool


def check(words: bool, against: str, part: str) -> None:
    """UsageError for options of evaluate that do not go with --probe."""
    faults = {
        "--probe scores an encoder, not what a model says by words; --zero-shot and --retrieval go without it": words,
        "--probe brings its own comparisons; --against goes without it": against,
        f"--probe learns from the train part and scores on the test part; --part {part} goes without it": (
            part != "test"
        ),
    }
    for fault, there in faults.items():
        if there:
            raise UsageError(f"evaluate: {fault}")


def evaluate(model: Model, where: str, store: Store, task: str, to: Path, options: Options) -> dict:
    """Runs the read-outs and writes their table and report.json into a folder. where: the model was loaded from."""
    corpus = Corpus.open(store, tasks.find(task, store))
    rows, seen = _unseen.unseen(model, None, None, corpus, "test", options.leaks, options.progress)
    withheld = tuple(np.setdiff1d(corpus.rows("test"), rows).tolist())
    budgets, left_out = affordable(corpus, options.seeds)
    about = ". ".join([f"Learnt from by the encoder: {_unseen.told(seen)}", *left_out]) + "."
    protocol = read_outs(model, where, store, task, corpus.task, budgets, about, options)
    (table,) = protocol.tables
    _, made = bench.run(
        protocol, to, jobs=options.jobs, device=options.device, progress=options.progress, withheld={table: withheld}
    )
    summary = {
        "task": corpus.task.name, "model": model.fingerprint, "store": store.fingerprint, "part": "test",
        "leaks": seen, "seeds": options.seeds, "replicates": options.replicates, "left out": left_out,
        "lines": [plain(line) for line in made[table]],
        "version": __version__, "notice": "for research only; not a medical device",
    }  # fmt: skip
    beside = to / "report.json.part"
    beside.write_text(json.dumps(summary, indent=2))
    os.replace(beside, to / "report.json")
    return summary


def affordable(corpus: Corpus, seeds: int) -> tuple[tuple[float, ...], list[str]]:
    """The budgets with a record for every class, or two where there are none; and a line for each of the others."""
    least = max(2, len(corpus.task.labels)) if corpus.task.kind in VOTED else 2
    counts = {budget: min(labelled(corpus, budget, seed) for seed in range(seeds)) for budget in BUDGETS}
    few = {budget: count for budget, count in counts.items() if count < least}
    kept = tuple(budget for budget in BUDGETS if budget not in few)
    if not kept:
        raise InputError(
            f"{corpus.store.path}: {max(counts.values())} labelled records to learn from; {least} are needed"
        )
    return kept, [f"{budget:.0%} of the labels left out: {n} records, fewer than {least}" for budget, n in few.items()]


def labelled(corpus: Corpus, budget: float, seed: int) -> int:
    """How many records a budget comes to; 0 where none of them would be left to train on."""
    train, validation = corpus.few(budget, seed)
    return len(train) + len(validation) if len(train) else 0


def read_outs(
    model: Model, where: str, store: Store, name: str, task: Task, budgets: tuple, about: str, options: Options
) -> Protocol:
    """The protocol: one table, of a store's own parts. name: of the task, as it is found again."""
    untrained = {"encoder": model.encoder.name, "encoder_config": asdict(model.encoder.config)}
    untrained["recipe"] = {k: v for k, v in model.recipe.to_dict().items() if k not in ("leads", "rate")}
    table = {
        "store": str(store.path), "task": name, "about": about, "split": "official", "budgets": budgets,
        "metrics": _metrics(task), "steps": STEPS, "settings": {"batch": 16} if task.kind in DENSE else {},
    }  # fmt: skip
    trained, random = "the encoder stays as it is", f"an untrained {model.encoder.name} stays as it is"
    rows = {
        "linear": _row(f"{trained}; only a head learns", {"model": where}, LINEAR),
        "knn": _row(f"{trained}; the nearest training records vote", {"model": where}, KNN),
        "random linear": _row(f"{random}, another one for every seed; only a head learns", untrained, LINEAR),
        "random knn": _row(f"{random}, another one for every seed; the nearest training records vote", untrained, KNN),
        "scratch": _row(f"an untrained {model.encoder.name}, all weights learnt", untrained, SCRATCH, "full"),
    }
    rows = {row: said for row, said in rows.items() if said["settings"] != KNN or task.kind in VOTED}
    made = Protocol(
        name=NAME, version=VERSION, tables={f"{task.name}, {store.path.name}": table}, rows=rows, reference="scratch",
        about=f"Read-outs of encoder {model.fingerprint} ({where}).", seeds=options.seeds,
        replicates=options.replicates, settings=SETTINGS,
    )  # fmt: skip
    reading.check(made)
    return made


def _row(about: str, start: dict, settings: dict, adapter: str = "linear") -> dict:
    return {"about": about, **start, "adapter": adapter, "settings": settings}


def _metrics(task: Task) -> tuple[str, ...]:
    """The headline comes first: it is what is compared."""
    names = (_score.headline(task), *protocols.METRICS[task.kind][:1], task.metric)
    return tuple(dict.fromkeys(names))


def plain(line: Line) -> dict:
    """A line of the table as JSON has it."""
    said = {"row": line.row, "budget": line.budget, "labelled": round(line.train), "seeds": line.seeds}
    said["scores"] = {name: _score.plain(estimate) for name, estimate in line.scores.items()}
    if line.difference is not None:
        said["difference to scratch"] = _score.plain(line.difference) | {"p": line.adjusted}
    return said
