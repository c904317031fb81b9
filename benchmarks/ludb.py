"""LUDB waves from scratch, 5 folds, all leads: python benchmarks/ludb.py --data FOLDER

The default encoder, untrained in every fold, all leads in one pass; no validation part, a fixed number of steps. Score:
mean F1 of the six boundaries of P, QRS and T within 150 ms inside each lead's annotated span (the outer beats are not
annotated), intervals by bootstrap over records. The bar: 0.97.
"""

from __future__ import annotations

import time

import numpy as np
from _corpora import arguments, corpus, rounded
from _result import keep

from ecgraft.commands import _score
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings
from ecgraft.metrics import bootstrap, waves
from ecgraft.model import Model
from ecgraft.store import splits

SETTINGS = Settings(
    batch=16, augment={"gain": {}, "noise": {}},
    training={"steps": 600, "rate": 3e-3, "average": 0.99, "keep": "last"},
)  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--folds", type=int, default=5, help="how many of the five to run")
    given = parser.parse_args()
    data = corpus(given, "ludb", "waves")
    rows = np.flatnonzero(data.known)
    fold = splits.folds(data.store, 5, given.seed)
    counts, tested, start = [], [], time.perf_counter()
    for k in range(given.folds):
        model = Model.fresh("resnet18", seed=given.seed + k)
        train, test = rows[fold[rows] != k], rows[fold[rows] == k]
        job = Job(model, data, train, test[:0], SETTINGS, "waves")
        model.add(job.run(given.runs / "ludb" / f"seed{given.seed}-fold{k}"))
        found = _score.answer(model.network("waves"), data, test, job.cache)
        counts.append(found.counts)
        tested.append(test)
        print(f"fold {k}: mean boundary F1 {waves.scores(found.counts.sum(0))['mean f1']:.4f}")
    counts, tested = np.concatenate(counts), np.concatenate(tested)
    scores = bootstrap.estimate(lambda w: waves.scores(np.tensordot(w, counts, 1)), data.patients(tested), 1000)
    keys = ("sensitivity", "precision", "f1", "mean", "sd")
    table = {
        name: {key: rounded([part[b] for part in scores[key]], 3) for key in keys}
        for b, name in enumerate(waves.BOUNDARIES)
    }
    keep(
        "ludb", bar="mean boundary F1 at least 0.97", mean_f1=rounded(scores["mean f1"]), boundaries=table,
        records=len(tested), folds=given.folds, seed=given.seed, minutes=round((time.perf_counter() - start) / 60, 1),
    )  # fmt: skip


if __name__ == "__main__":
    main()
