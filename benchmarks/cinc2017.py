"""CinC 2017 rhythm from scratch: python benchmarks/cinc2017.py --data FOLDER

All labelled records, 80/20 record-wise and stratified (the database tells no patients), three seeds that change split
and training; a tenth of the training part chooses the temperature. The default encoder, untrained, one lead in its
place, windows of 30 s. Score: mean F1 of N, A and O (the challenge's), intervals by bootstrap over records. The bar:
0.75.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from _corpora import arguments, corpus, rounded
from _result import keep

from ecgraft.commands import _score
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings
from ecgraft.model import Model
from ecgraft.store import splits

SETTINGS = Settings(
    seconds=30.0, batch=32, balance=0.3, smoothing=0.1, head={"dropout": 0.2},
    augment={"gain": {"flip": 0.3}, "noise": {"share": 0.2}},
    training={"steps": 1500, "rate": 2e-3, "decay": 0.05, "average": 0.99, "keep": "last"},
)  # fmt: skip


def run(given, data, seed: int) -> dict:
    """One split and one training; seed changes both."""
    rows = np.flatnonzero(data.known)
    fold = splits.folds(data.store, 5, seed)
    test, rest = rows[fold[rows] == 0], rows[fold[rows] != 0]
    held = splits.few(data.store, rest, data.y, 0.1, seed)
    model = Model.fresh("resnet18", seed=seed)
    settings = replace(SETTINGS, training=SETTINGS.training | {"seed": seed})
    job = Job(model, data, np.setdiff1d(rest, held), held, settings, "rhythm")
    graft = job.run(given.runs / "cinc2017" / f"seed{seed}")
    model.add(graft)
    found = _score.answer(model.network("rhythm"), data, test, job.cache)
    scores = _score.with_intervals(data, _score.scorer(data, found, graft.calibration, {}), found, 1000, seed)
    return {
        "seed": seed,
        "mean_f1_NAO": rounded(scores["cinc2017"]),
        "f1": dict(zip(data.task.labels, scores["f1"].value.round(4).tolist())),
        "auroc": dict(zip(data.task.labels, scores["auroc"].value.round(4).tolist())),
        "confusion": scores["confusion"].value.astype(int).tolist(),
        "records": {"train": len(job.train), "validation": len(held), "test": len(test)},
        "parameters": graft.card["trained parameters"],
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from --seed on")
    given = parser.parse_args()
    data = corpus(given, "cinc2017", "rhythm")
    runs = [run(given, data, given.seed + k) for k in range(given.seeds)]
    values = [r["mean_f1_NAO"][0] for r in runs]
    keep(
        "cinc2017", bar="mean F1 of N, A, O at least 0.75", mean_over_seeds=round(float(np.mean(values)), 4), runs=runs
    )


if __name__ == "__main__":
    main()
