"""The packaged model, trained on simulated ECGs alone, on real ones: python benchmarks/sim_to_real.py --data FOLDER

Nothing is trained or chosen here. LUDB: mean F1 of the six boundaries within 150 ms, all leads, annotated spans; the
bar is 0.90. CinC 2017: AUROC of the finding "atrial fibrillation" for A against N, O and ~; the bar is 0.85.
"""

from __future__ import annotations

import numpy as np
from _corpora import arguments, corpus, rounded
from _result import keep

from ecgraft.commands import _score
from ecgraft.metrics import bootstrap, ranking, waves
from ecgraft.model import Model


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="default")
    given = parser.parse_args()
    model = Model.load(given.model)
    ludb, cinc = corpus(given, "ludb", "waves"), corpus(given, "cinc2017", "rhythm")
    rows = np.flatnonzero(ludb.known)
    found = _score.answer(model.network("waves"), ludb, rows, ludb.store.prepared(model.recipe))
    scores = bootstrap.estimate(lambda w: waves.scores(np.tensordot(w, found.counts, 1)), ludb.patients(rows), 1000)
    rows = np.flatnonzero(cinc.known)
    finding = model.graft("findings").task.labels.index("atrial fibrillation")
    said = _score.answer(model.network("findings"), cinc, rows, cinc.store.prepared(model.recipe)).logits[:, [finding]]
    truth = cinc.y[rows][:, [cinc.task.labels.index("A")]]
    auroc = bootstrap.estimate(
        lambda w: {"auroc": ranking.auroc(truth, said, None, w)[..., 0]}, cinc.patients(rows), 1000
    )
    keep(
        "sim_to_real", bars={"LUDB mean boundary F1": 0.90, "CinC 2017 AF AUROC": 0.85},
        ludb_mean_f1=rounded(scores["mean f1"]),
        ludb_f1=dict(zip(waves.BOUNDARIES, scores["f1"].value.round(4).tolist())),
        ludb_sd_ms=dict(zip(waves.BOUNDARIES, scores["sd"].value.round(1).tolist())),
        cinc2017_af_auroc=rounded(auroc["auroc"]), records={"ludb": len(found.rows), "cinc2017": len(rows)},
        model=model.fingerprint, trained_on=model.card.get("data", ""),
    )  # fmt: skip


if __name__ == "__main__":
    main()
