"""The part of a report that shows one task: tables with intervals, plots, ECGs with right and wrong answers."""

from __future__ import annotations

import numpy as np

from ..metrics import classify
from ..metrics import waves as wave_metrics
from ..metrics.bootstrap import Estimate
from ..model import Graft
from ..report import Page, plots
from ..tasks import Task
from . import _gallery, _score
from ._examples import Corpus

OTHERS = {  # scores over all labels, and what they are called
    "accuracy": "accuracy",
    "micro auroc": "micro AUROC",
    "micro f1": "micro F1",
    "macro f2": "macro F2",
    "macro g2": "macro G2",
    "fmax": "F-max over records",
    "ranking loss": "ranking loss (0 is best)",
    "coverage error": "coverage error (labels to go through)",
    "cinc2017": "CinC 2017: mean F1 of N, A, O",
    "cpsc2018": "CPSC 2018: mean F1 of the nine classes",
    "cinc2020 phase 1 f2": "F2 of CinC 2020, phase 1",
    "cinc2020 phase 1 g2": "G2 of CinC 2020, phase 1",
    "cinc2020": "CinC 2020",
    "cinc2021": "CinC 2021",
}
RULE = (
    "An R peak is found if it is within 150 ms (CPSC2019: 75 ms). Ventricular flutter is left out where it is "
    "annotated, as ANSI/AAMI EC57 does; its learning period of five minutes is not."
)
CROWDED = 10  # more classes than this get no curves


def add_task(
    page: Page, graft: Graft, corpus: Corpus, found: _score.Answers, scores: dict, gallery: int = _gallery.EXAMPLES,
    learnt: int = 0,
) -> None:  # fmt: skip
    """A section: `scores` are Estimates by name (_score.with_intervals); `gallery` failures of each kind are drawn.

    learnt: how many of the records the graft was trained on.
    """
    page.section(graft.name, _introduction(graft, corpus, found, learnt))
    {
        "multilabel": _classes,
        "multiclass": _classes,
        "waves": _waves,
        "beats": _beats,
        "peaks": _peaks,
        "regression": _values,
    }[corpus.task.kind](page, graft, corpus, found, scores)
    if gallery:
        _gallery.add_gallery(page, graft, corpus, found, gallery)


def main_estimate(graft: Graft, scores: dict) -> tuple[str, Estimate]:
    """The score that a task is known by, and its name."""
    return main_name(graft.task), scores[_score.headline(graft.task)]


def main_name(task: Task) -> str:
    """The headline's name for people."""
    name = _score.headline(task)
    known = {"mean f1": "mean boundary F1", "cinc2017": "mean F1 of N, A, O", "mae": "mean absolute error"}
    return known.get(name, name.replace("auroc", "AUROC").replace("f1", "F1"))


def add_training(page: Page, logs: dict[str, list[dict]]) -> None:
    """Loss and validation score over the steps, by graft."""
    loss = {name: column(rows, "loss") for name, rows in logs.items()}
    validation = {name: column(rows, "validation") for name, rows in logs.items()}
    pictures = {"Training loss": plots.lines(loss, "step", "loss")}
    if all(len(x) > 1 for x, _ in validation.values()):
        pictures["Validation score"] = plots.lines(validation, "step", "score")
    page.figures(pictures)


def column(rows: list[dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one thing that a log tells."""
    pairs = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return tuple(np.array(column) for column in zip(*pairs)) if pairs else (np.zeros(0), np.zeros(0))


def _introduction(graft: Graft, corpus: Corpus, found: _score.Answers, learnt: int) -> str:
    patients = len(np.unique(corpus.patients(found.rows)))
    known = f", {learnt} of which were learnt from or are like those that were" if learnt else ""
    return (
        f"{len(found.rows)} records of {patients} patients{known or ' that the graft has not seen'}. It was trained on "
        f"{graft.card.get('records', {}).get('train', 'unknown')} labelled records; weights, temperature and "
        "thresholds were chosen on validation data. Intervals: 95 %, bootstrap over patients."
    )


def at(estimate: Estimate, k) -> Estimate:
    """One entry of an Estimate of arrays."""
    return Estimate(*(np.asarray(part)[k] for part in estimate))


def _classes(page: Page, graft: Graft, corpus: Corpus, found: _score.Answers, scores: dict) -> None:
    labels, rows = graft.task.labels, found.rows
    y, known = corpus.y[rows], corpus.known_each[rows]
    names = ("auroc", "ap", "f1", "sensitivity", "specificity")
    table = [
        [label, int((y * known)[:, k].sum()), *(at(scores[n], k) for n in names), float(scores["ece"].value[k])]
        for k, label in enumerate(labels)
    ]
    table.append(["macro", None, *(scores[f"macro {n}"] for n in ("auroc", "ap", "f1")), None, None, None])
    head = ["class", "positives", "AUROC", "AP", "F1", "sensitivity", "specificity", "ECE"]
    page.table(head, table, totals=1)
    others = {name: text for name, text in OTHERS.items() if name in scores and np.ndim(scores[name].value) == 0}
    page.table(["score of all labels together", "value"], [[text, scores[name]] for name, text in others.items()])
    p = _score.probabilities(corpus.task, found, graft.calibration)
    if len(labels) > CROWDED:
        pictures = {"AUROC with 95 % interval": plots.intervals(labels, scores["auroc"], "AUROC")}
    else:
        _, mean, share = classify.calibration(np.where(known, y, -1), p)
        pictures = {"ROC": plots.roc(y, p, known, labels), "Reliability": plots.reliability(mean, share, labels)}
    if corpus.task.kind == "multiclass":
        pictures = {"Reference (rows), answer (columns)": plots.confusion(scores["confusion"].value, labels)} | pictures
    page.figures(pictures)


def _waves(page: Page, graft: Graft, corpus: Corpus, found: _score.Answers, scores: dict) -> None:
    rows = [
        [name, *(at(scores[n], b) for n in ("sensitivity", "precision", "f1", "mean", "sd")), wave_metrics.CSE[b]]
        for b, name in enumerate(wave_metrics.BOUNDARIES)
    ]
    rows.append(["mean of the six", None, None, scores["mean f1"], None, None, None])
    digits = {"error, ms": 1, "SD, ms": 1, "CSE, ms": 1}
    head = ["boundary", "sensitivity", "PPV", "F1", "error, ms", "SD, ms", "CSE, ms"]
    page.table(
        head,
        rows,
        digits=digits,
        totals=1,
        caption="A boundary is found if it is within 150 ms. CSE: the tolerance of the SD (CSE working party 1985).",
    )
    kinds = [[name, at(scores["dice"], k)] for k, name in enumerate(("P", "QRS", "T"))]
    page.table(["wave", "Dice"], kinds, caption="Overlap in samples, 2 |A and B| / (|A| + |B|), in annotated spans.")
    records = int(found.fibrillating.sum())
    if records:
        caption = f"Over the leads of each of {records} records with atrial fibrillation, which has no P waves."
        page.table(["invented", "in a record"], [["P waves", scores["false p in af"]]], caption=caption)
    f1 = np.nan_to_num(wave_metrics.scores(found.counts)["mean f1"], nan=1.0)  # per record
    i = int(np.argsort(f1, kind="stable")[len(f1) // 2])
    record = corpus.store.record(int(found.rows[i]))
    page.text("A record that went like most:")
    page.ecg(record, found.waves[i], caption=f"{record.id}: mean boundary F1 {f1[i]:.3f}")


def _beats(page: Page, graft: Graft, corpus: Corpus, found: _score.Answers, scores: dict) -> None:
    labels = graft.task.labels
    total = found.confusion.sum((0, 2))
    names = ("sensitivity", "precision", "f1")
    rows = [[label, int(total[k]), *(at(scores[n], k) for n in names)] for k, label in enumerate(labels)]
    page.table(["class", "beats", "sensitivity", "PPV", "F1"], rows)
    page.figures({"Reference (rows), answer (columns)": plots.confusion(scores["confusion"].value, labels)})


def _peaks(page: Page, graft: Graft, corpus: Corpus, found: _score.Answers, scores: dict) -> None:
    names = {"sensitivity": "sensitivity", "precision": "PPV", "f1": "F1", "cpsc2019": "score of CPSC2019"}
    rows = [[text, scores[name]] for name, text in names.items()]
    page.table(["score", "value"], rows, caption=RULE)


def _values(page: Page, graft: Graft, corpus: Corpus, found: _score.Answers, scores: dict) -> None:
    names = {"mae": "mean absolute error", "bias": "mean error", "rmse": "root mean square error", "r2": "R2"}
    page.table(["score", "value"], [[text, scores[name]] for name, text in names.items()])
