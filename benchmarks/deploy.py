"""A task of several that share weights, taken out as a model of its own: how small and how fast it becomes.

    python benchmarks/deploy.py

Four tasks are learnt one after another (isolate, tasks=4) by the multi-resolution encoder on simulated 12-lead ECGs;
once what a task gives back is single weights, once whole filters of the inner channels of residual modules. Few steps:
what is measured is structure, no score is looked at. Each task is merged into a dense model, and that made compact.
Passes over one record of 10 s take turns; milliseconds are those of the processor, so that a busy machine does not
count. `ratio`: time of the compact model over that of the merged one; where nothing is taken out both are the same
model, and it says how far ratios can be trusted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from _result import keep

import ecgraft
from ecgraft.commands._compact import compacted, compare
from ecgraft.commands._course import Course
from ecgraft.commands._examples import Corpus
from ecgraft.commands._graft_files import merged
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings, with_defaults
from ecgraft.model import Model
from ecgraft.store import Store
from ecgraft.tasks import Task

ENCODER, THREADS, SEED = "multires", 1, 0
LABELS = {"fibrillation": "AFIB", "normal": "NORM", "right block": "CRBBB", "premature beats": "PVC"}


def job(store: Store, label: str, code: str, steps: int) -> Job:
    """A task of one label, 5 s at a time."""
    corpus = Corpus.open(store, Task(label, "multilabel", (label,), {label: (f"scp:{code}",)}))
    settings = Settings(batch=8, seconds=5, augment={}, rare="note", training={"rate": 1e-3, "keep": "last"})
    settings = with_defaults(settings, steps, SEED)
    parts = corpus.rows("train"), corpus.rows("validation")
    return Job(None, corpus, *parts, settings, label.replace(" ", "-"), None, progress=False)


def rows(store: Store, granularity: str, steps: int, repeats: int) -> dict[str, dict]:
    """Task -> what its merged and its compact model cost: [merged, compact]."""
    course = Course(Model.empty(ENCODER), "isolate", {"tasks": len(LABELS), "granularity": granularity})
    for label, code in LABELS.items():
        course.learn(job(store, label, code, steps))
    found = {}
    for name, graft in course.grafts.items():
        whole = merged(course.model, name)
        told = compare(whole, compacted(whole), name, repeats, time.process_time)
        there = told["weights"][0] - told.pop("zero")[0]
        found[name] = {"owns": round(graft.card["weights"]["owns"], 4), "not zero": there} | told
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=120)
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=101)
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        ecgraft.simulate(to=Path(folder) / "store", count=given.records, seed=3, rate=250.0, progress=False)
        store = Store(Path(folder) / "store")
        found = {kind: rows(store, kind, given.steps, given.repeats) for kind in ("weights", "filters")}
    keep("deploy", encoder=ENCODER, records=given.records, steps=given.steps, repeats=given.repeats, rows=found)


if __name__ == "__main__":
    main()
