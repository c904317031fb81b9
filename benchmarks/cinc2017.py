"""CinC 2017 rhythm from scratch: python benchmarks/cinc2017.py --data FOLDER

All labelled records, 80/20 record-wise and stratified (the database tells no patients); a tenth of the training part
chooses the temperature. The default encoder, untrained, one lead in its place, windows of 30 s. Score: mean F1 of N, A
and O (the challenge's), intervals by bootstrap over records. The bar: 0.75.
"""

from __future__ import annotations

import time

import numpy as np
from _corpora import arguments, corpus, rounded
from _result import keep

from ecgraft.commands import _score
from ecgraft.commands._job import Job, Settings
from ecgraft.model import Model
from ecgraft.store import splits

SETTINGS = Settings(
    seconds=30.0, batch=32, balance=0.3, smoothing=0.1, head={"dropout": 0.2},
    augment={"gain": {"flip": 0.3}, "noise": {"share": 0.2}},
    training={"steps": 1500, "rate": 2e-3, "decay": 0.05, "average": 0.99, "keep": "last"},
)  # fmt: skip


def main() -> None:
    given = arguments(__doc__).parse_args()
    data = corpus(given, "cinc2017", "rhythm")
    rows = np.flatnonzero(data.known)
    fold = splits.folds(data.store, 5, given.seed)
    test, rest = rows[fold[rows] == 0], rows[fold[rows] != 0]
    held = splits.few(data.store, rest, data.y, 0.1, given.seed)
    start = time.perf_counter()
    model = Model.fresh("resnet18", seed=given.seed)
    job = Job(model, data, np.setdiff1d(rest, held), held, SETTINGS, "rhythm")
    graft = job.run(given.runs / "cinc2017" / f"seed{given.seed}")
    model.add(graft)
    minutes = (time.perf_counter() - start) / 60
    found = _score.answer(model.network("rhythm"), data, test, job.cache)
    scores = _score.with_intervals(data, _score.scorer(data, found, graft.calibration, {}), found, 1000, given.seed)
    keep(
        "cinc2017", bar="mean F1 of N, A, O at least 0.75", mean_f1_NAO=rounded(scores["cinc2017"]),
        f1=dict(zip(data.task.labels, scores["f1"].value.round(4).tolist())),
        auroc=dict(zip(data.task.labels, scores["auroc"].value.round(4).tolist())),
        confusion=scores["confusion"].value.astype(int).tolist(),
        records={"train": len(job.train), "validation": len(held), "test": len(test)},
        seed=given.seed, minutes=round(minutes, 1), parameters=graft.card["trained parameters"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
