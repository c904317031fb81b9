"""How far the answers' own certainty can be believed: conformal sets, calibration, and what is unlike the training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..metrics import classify
from ..metrics.bootstrap import Estimate
from ..metrics.sums import macro, ratio
from ..model import Graft
from ..model.certainty import far, ranges, sets
from ..report import Page
from . import _page, _score
from ._examples import Corpus

PER_LABEL = ("coverage", "answered", "right among answered", "right", "set size")


@dataclass(frozen=True)
class Certainty:
    """`scores` are Estimates, per label where the task is multilabel; `answered` the headline among sure answers."""

    stated: float | None  # the coverage that the sets were made for
    scores: dict[str, Estimate]
    answered: Estimate | None = None
    limit: float | None = None  # of the distance, above which a record is unusual


@dataclass(frozen=True)
class Judged:
    """Per record and question (a label, or the class, or the value): is the truth in the set, how large is it ..."""

    known: np.ndarray  # (n, Q) bool
    hit: np.ndarray  # (n, Q) bool
    size: np.ndarray  # (n, Q)
    right: np.ndarray  # (n, Q) bool, the plain answer
    sure: np.ndarray  # (n, Q) bool, the set has one member

    def scores(self, w: np.ndarray) -> dict[str, np.ndarray]:
        """PER_LABEL, each (..., Q)."""
        everything, sure = w @ self.known, w @ (self.known & self.sure)
        return {
            "coverage": ratio(w @ (self.known & self.hit), everything),
            "answered": ratio(sure, everything),
            "right among answered": ratio(w @ (self.known & self.sure & self.hit), sure),
            "right": ratio(w @ (self.known & self.right), everything),
            "set size": ratio(w @ np.where(self.known, self.size, 0), everything),
        }


def judge(graft: Graft, corpus: Corpus, found: _score.Answers) -> Judged | None:
    """None where the graft has no conformal limits, or none for a value."""
    rows, kind = found.rows, corpus.task.kind
    if not graft.conformal or graft.conformal.get("half", 0) is None:
        return None
    y, known = corpus.y[rows], corpus.known_each[rows]
    if kind == "regression":
        low, high = ranges(_score.values(found, graft.calibration), graft).T
        inside, no = (y[:, 0] >= low) & (y[:, 0] <= high), np.zeros(known.shape, bool)
        return Judged(known, inside[:, None], (high - low)[:, None], no, no)
    p = _score.probabilities(corpus.task, found, graft.calibration)
    possible = sets(p, graft)
    if kind == "multiclass":
        size, yes = possible.sum(1, keepdims=True), y == 1
        right = yes[np.arange(len(p)), p.argmax(1)][:, None]
        return Judged(known[:, :1], (possible & yes).any(1, keepdims=True), size, right, size == 1)
    hit = np.where(y == 1, possible[..., 1], possible[..., 0])
    size = possible.sum(-1)
    right = (p >= _score.limits(corpus.task, graft.thresholds)) == (y == 1)
    return Judged(known, hit, size, right, size == 1)


def measure(graft: Graft, corpus: Corpus, found: _score.Answers, replicates=1000, seed=0) -> Certainty:
    """Everything with its interval, resampling patients."""
    parts, judged = [], judge(graft, corpus, found)
    unusual, limit = far(found.features, graft)
    if judged is not None:
        single = corpus.task.kind != "multilabel"  # one question a record
        parts.append(lambda w: {k: v[..., 0] if single else v for k, v in judged.scores(w).items()})
    if corpus.task.kind in ("multilabel", "multiclass"):
        parts.append(_calibration(graft, corpus, found))
    if unusual is not None:
        parts.append(lambda w: {"unusual": w @ unusual / w.sum(-1)})
    if not parts:
        return Certainty(None, {})

    def scores(w: np.ndarray) -> dict[str, np.ndarray]:
        return {name: value for part in parts for name, value in part(w).items()}

    estimates = _score.with_intervals(corpus, scores, found, replicates, seed)
    if corpus.task.kind == "regression":
        estimates = {name: e for name, e in estimates.items() if name in ("coverage", "set size", "unusual")}
    answered = _among_answered(graft, corpus, found, judged, replicates, seed)
    return Certainty(graft.conformal.get("coverage"), estimates, answered, limit)


def _calibration(graft: Graft, corpus: Corpus, found: _score.Answers):
    """Macro ECE and Brier score of the raw logits and of the calibrated probabilities."""
    y, known = corpus.y[found.rows], corpus.known_each[found.rows]
    raw, after = (_score.probabilities(corpus.task, found, c) for c in ({}, graft.calibration))

    def scores(w: np.ndarray) -> dict[str, np.ndarray]:
        named = {"ECE": classify.ece, "Brier": classify.brier}
        return {
            f"{name} {when}": macro(function(y, p, known, w))[0]
            for name, function in named.items()
            for when, p in (("before", raw), ("after", after))
        }

    return scores


def _among_answered(graft, corpus: Corpus, found, judged: Judged | None, replicates: int, seed: int) -> Estimate | None:
    """The headline of the answers that are sure; None where there are none."""
    if judged is None or not (judged.sure & judged.known).any():
        return None
    which = np.flatnonzero((judged.sure & judged.known).any(1))
    if corpus.task.kind == "multilabel":
        known = corpus.known_each.copy()
        known[found.rows] &= judged.sure
        corpus = replace(corpus, known_each=known)
    return _score.estimate(corpus, found.take(which), graft.calibration, graft.thresholds, replicates, seed)


def plain(found: Certainty, graft: Graft) -> dict:
    """For JSON."""
    out = {"stated coverage": found.stated, "distance limit": found.limit}
    for name, estimate in found.scores.items():
        if np.ndim(estimate.value):
            labels = zip(graft.task.labels, *estimate)
            out[name] = {label: _score.plain(row) for label, *row in labels}
        else:
            out[name] = _score.plain(estimate)
    name = f"{_score.headline(graft.task)} among answered"
    return out | ({name: _score.plain(found.answered)} if found.answered else {})


def add_certainty(page: Page, graft: Graft, found: Certainty) -> None:
    """A section; none where nothing was measured."""
    if not found.scores:
        return
    page.section("How sure the answers are")
    if "coverage" in found.scores:
        _add_sets(page, graft, found)
    if "ECE before" in found.scores:
        rows = [[n, found.scores[f"{n} before"], found.scores[f"{n} after"]] for n in ("ECE", "Brier")]
        text = (
            "Mean over the labels, on these records: of the bare logits' probabilities, and of those that were "
            "calibrated on validation records."
        )
        page.table(["error", "before", "after"], rows, caption=text)
    if "unusual" in found.scores:
        text = "Share of the records that are unlike those of the training (farther from them than nearly all of the "
        row = ["unusual records", found.scores["unusual"], found.limit]
        page.table(["", "share", "distance above"], [row], caption=f"{text}validation part).")


def _add_sets(page: Page, graft: Graft, found: Certainty) -> None:
    """What the conformal sets are worth."""
    s, share = found.scores, f"{100 * found.stated:.0f} %"
    if graft.task.kind == "regression":
        text = f"Intervals that are to hold the true value of {share} of the records."
        page.table(["measured", "value"], [["coverage", s["coverage"]], ["width", s["set size"]]], caption=text)
        return
    head = ["", "coverage", "share answered", "right among answered", "right among all", "mean set size"]
    if graft.task.kind == "multiclass":
        rows = [["class", *(s[key] for key in PER_LABEL)]]
    else:
        rows = [[name, *(_page.at(s[key], k) for key in PER_LABEL)] for k, name in enumerate(graft.task.labels)]
    text = (
        f"Sets of possible answers that are to hold the truth in {share} of the records. A question is answered where "
        "its set has one member, else it is left open."
    )
    page.table(head, rows, caption=text)
    if found.answered:
        name = _page.main_name(graft.task)
        page.table(["score", "value"], [[f"{name} among answered", found.answered]])
