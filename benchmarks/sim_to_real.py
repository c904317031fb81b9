"""The packaged model, trained on simulated ECGs alone, on real ones: python benchmarks/sim_to_real.py --data FOLDER

Nothing is trained or chosen here, and no real ECG was ever trained on. But the simulator was made with LUDB and CinC
2017 in view: wave durations and boundary thresholds follow LUDB's annotations, noise follows CinC 2017, and scores like
these were seen between its versions. QTDB was not looked at; it is the cleaner test.

LUDB, QTDB: mean F1 of the boundaries within 150 ms, annotated spans, all leads (bar for LUDB: 0.90). In QTDB the expert
saw both leads and marked a part of the beats; each lead alone is held against these marks. CinC 2017: AUROC of the
finding "atrial fibrillation" for A against N, O and ~ (bar: 0.85).
"""

from __future__ import annotations

import numpy as np
from _corpora import arguments, corpus, rounded
from _result import keep

from ecgraft.commands import _score
from ecgraft.metrics import bootstrap, ranking, waves
from ecgraft.model import Model


def delineation(model: Model, data) -> dict:
    """Scores of the packaged wave graft on all annotated records of a database."""
    rows = np.flatnonzero(data.known)
    found = _score.answer(model.network("waves"), data, rows, data.store.prepared(model.recipe))
    scores = bootstrap.estimate(lambda w: waves.scores(np.tensordot(w, found.counts, 1)), data.patients(rows))
    named = {
        key: dict(zip(waves.BOUNDARIES, scores[key].value.round(4).tolist()))
        for key in ("sensitivity", "precision", "f1", "mean", "sd")
    }
    return {"records": len(rows), "mean_f1": rounded(scores["mean f1"]), **named}


def fibrillation(model: Model, data) -> dict:
    """AUROC of the packaged findings graft for atrial fibrillation against all else."""
    rows = np.flatnonzero(data.known)
    finding = model.graft("findings").task.labels.index("atrial fibrillation")
    said = _score.answer(model.network("findings"), data, rows, data.store.prepared(model.recipe)).logits[:, [finding]]
    truth = data.y[rows][:, [data.task.labels.index("A")]]
    scores = bootstrap.estimate(lambda w: {"auroc": ranking.auroc(truth, said, None, w)[..., 0]}, data.patients(rows))
    return {"records": len(rows), "auroc": rounded(scores["auroc"])}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="default")
    given = parser.parse_args()
    model = Model.load(given.model)
    keep(
        "sim_to_real", bars={"LUDB mean boundary F1": 0.90, "CinC 2017 AF AUROC": 0.85},
        ludb=delineation(model, corpus(given, "ludb", "waves")),
        qtdb=delineation(model, corpus(given, "qtdb", "waves")),
        cinc2017_af=fibrillation(model, corpus(given, "cinc2017", "rhythm")),
        model=model.fingerprint, trained_on=model.card.get("data", ""),
    )  # fmt: skip


if __name__ == "__main__":
    main()
