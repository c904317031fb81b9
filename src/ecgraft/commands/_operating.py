"""Operating points of a graft with labels: what sensitivity goes with a wanted specificity, and the reverse."""

from __future__ import annotations

import numpy as np

from ..metrics import bootstrap, operating
from ..metrics.bootstrap import Estimate
from ..model import Graft
from ..report import Page
from . import _page, _score
from ._examples import Corpus

POINTS = {  # name -> function of metrics.operating, what is to be reached at least, and what is then shown
    "sensitivity at 90 % specificity": (operating.at_specificity, 0.90, "sensitivity"),
    "sensitivity at 95 % specificity": (operating.at_specificity, 0.95, "sensitivity"),
    "specificity at 90 % sensitivity": (operating.at_sensitivity, 0.90, "specificity"),
    "specificity at 95 % sensitivity": (operating.at_sensitivity, 0.95, "specificity"),
}
CAPTION = (
    "Points of the ROC curve of these very records: a summary of the curve, and no promise, since the threshold that "
    "gives them was found on the same records. The thresholds that the graft uses come from validation data."
)


def measure(graft: Graft, corpus: Corpus, found: _score.Answers, replicates=1000, seed=0) -> dict[str, Estimate]:
    """Name -> Estimate of (K,) values; {} for tasks without labels."""
    if corpus.task.kind not in ("multilabel", "multiclass"):
        return {}
    y, known = corpus.y[found.rows], corpus.known_each[found.rows]
    p = _score.probabilities(corpus.task, found, graft.calibration)

    def scores(weights) -> dict[str, np.ndarray]:
        return {name: at(y, p, least, known, weights)[shown] for name, (at, least, shown) in POINTS.items()}

    return bootstrap.estimate(scores, corpus.patients(found.rows), replicates, seed)


def add_points(page: Page, graft: Graft, points: dict[str, Estimate]) -> None:
    """A table, where there is something to show."""
    if points:
        page.section("Operating points")
        rows = [[label, *(_page.at(e, k) for e in points.values())] for k, label in enumerate(graft.task.labels)]
        page.table(["class", *points], rows, caption=CAPTION)


def plain(points: dict[str, Estimate], graft: Graft) -> dict:
    """For JSON: label -> name -> value, low, high."""
    return {
        label: {name: _score.plain(_page.at(e, k)) for name, e in points.items()}
        for k, label in enumerate(graft.task.labels)
        if points
    }
