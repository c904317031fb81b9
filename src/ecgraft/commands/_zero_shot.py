"""Asking a model with words: how alike an ECG is to how a label is said, less how alike to how its absence is said.

    score_c = v^ . w_c+ - v^ . w_c-,   w_c = normalise(mean over prompts of normalise(G u + b))

The first term alone where a label has no absent prompts. Nothing is learnt from labels, so there is no threshold, and
sigmoid(exp(t) score) is not calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from .. import tasks
from ..metrics import bootstrap, ranking
from ..metrics.sums import macro
from ..model import Model, Prediction, infer
from ..nn.heads import Features
from ..nn.network import Network
from ..record import InputError, Record, UsageError
from ..report import Page
from ..signal import quality
from ..store import Store
from ..tasks import _prompts
from ..training import Examples
from . import _page, _score, _unseen
from ._examples import Corpus
from ._features import kept_features
from ._text_side import Side, open_side

KIND = "zero-shot"
UNCALIBRATED = "asked with words: the scores rank records, and the probabilities are not calibrated"


@dataclass(frozen=True)
class Asked:
    """A model with the direction (K, O) of each label in the space that it shares with reports."""

    model: Model
    side: Side
    prompts: _prompts.Prompts
    directions: np.ndarray

    @classmethod
    def of(cls, model: Model, side: Side, prompts: _prompts.Prompts, labels: tuple[str, ...] = ()) -> Asked:
        """`labels`: in this order (default: as the prompts have them)."""
        each = [prompts.labels[label] for label in labels or prompts.labels]
        return cls(model, side, prompts, np.array([direction(side, phrases) for phrases in each]))

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Pooled features (n, D) -> (n, K)."""
        return self.side.of_ecgs(features) @ self.directions.T

    def predict(self, record: Record) -> Prediction:
        """Scores of one record, in the order of the prompts."""
        recipe = self.side.graft.recipe
        memory = infer.Memory([record], recipe)
        network = Network(self.model.encoder, {KIND: Features()}, recipe).eval()
        _, said = next(infer.run(network, Examples(memory, np.arange(1)), recipe.samples))
        score = self.scores(said[KIND][None])[0]
        notes = [*memory.prepared[0].notes, *quality.findings(record), UNCALIBRATED]
        loose = expit(self.side.scale * score)
        return Prediction(
            record.id, self.side.graft.name, KIND, record.rate, leads=record.leads, notes=list(dict.fromkeys(notes)),
            score=dict(zip(self.prompts.labels, score.tolist())),
            uncalibrated=dict(zip(self.prompts.labels, loose.tolist())),
        )  # fmt: skip


def direction(side: Side, phrases: _prompts.Phrases) -> np.ndarray:
    """w+ - w-, (O,)."""
    there = side.prototype(list(phrases.present))
    return there - side.prototype(list(phrases.absent)) if phrases.absent else there


def ask(model: Model, where: str, prompts: str, folder: str = "") -> Asked:
    """What `predict --prompts` asks with: a file, or the name of a task that ecgraft has prompts for."""
    said = _prompts.find(prompts)
    return Asked.of(model, open_side(model, where, folder), said)


def evaluate(model: Model, where: str, store: Store, task: str, prompts: str, folder: str, options) -> tuple:
    """(summary, page, headline) of a task's labels by words; `options` is _by_words.Options."""
    if not prompts and task.endswith((".yaml", ".yml")):
        raise UsageError(f"{task}: say how the labels of a task of your own are called in reports, --prompts FILE.yaml")
    side, said = open_side(model, where, folder), _prompts.find(prompts or task)
    corpus = Corpus.open(store, said.task(tasks.find(task, store) if task else None))
    rows, seen = _unseen.unseen(model, side.graft, options.home, corpus, options.part, options.leaks, options.progress)
    cache = store.prepared(side.graft.recipe, progress=options.progress)
    rows = rows[cache.usable[rows]]
    if not len(rows):
        raise InputError(f"{store.path}: no record of this part can be scored for {corpus.task.name!r}")
    asked = Asked.of(model, side, said, corpus.task.labels)
    score = asked.scores(kept_features(model, side.graft.recipe, cache, rows, options.device))
    found = measure(corpus, rows, score, options.replicates, options.seed)
    left = [label for label in tasks.find(task, store).labels if label not in said.labels] if task else []
    summary = {
        "mode": KIND, "task": corpus.task.name, "graft": side.graft.name, "records": len(rows), "leaks": seen,
        "patients": len(np.unique(corpus.patients(rows))), "prompts": said.title, "without prompts": left,
        "text encoder": side.encoder.identity, "scores": plain(found, corpus.task.labels),
        "asked": {label: {"present": p.present, "absent": p.absent} for label, p in said.labels.items()},
    }  # fmt: skip
    return summary, page(corpus, rows, said, found, summary, options), ("macro AUROC", found["macro auroc"])


def measure(corpus: Corpus, rows: np.ndarray, score: np.ndarray, replicates: int, seed: int) -> dict:
    """AUROC and AP of scores (n, K), each label alone: name -> Estimate."""
    y, known = corpus.y[rows], corpus.known_each[rows]

    def scores(weights) -> dict[str, np.ndarray]:
        auroc, ap = ranking.areas(y, score, known, weights)
        return {"auroc": auroc, "ap": ap, "macro auroc": macro(auroc)[0], "macro ap": macro(ap)[0]}

    return bootstrap.estimate(scores, corpus.patients(rows), replicates, seed)


def plain(found: dict, labels: tuple[str, ...]) -> dict:
    """For JSON."""
    each = {name: found[name] for name in ("auroc", "ap")}
    out = {name: {label: _score.plain(_page.at(e, k)) for k, label in enumerate(labels)} for name, e in each.items()}
    return out | {name: _score.plain(found[name]) for name in ("macro auroc", "macro ap")}


def page(corpus: Corpus, rows: np.ndarray, said: _prompts.Prompts, found: dict, summary: dict, options) -> Page:
    """The report: what was asked, and how well it ranks."""
    labels = corpus.task.labels
    made = Page(f"{corpus.task.name} by words: {corpus.store.path.name}", f"ecgraft evaluate, {options.part} part")
    facts = {"prompts": said.title, "text encoder": summary["text encoder"], "store": corpus.store.fingerprint}
    facts |= {"part": options.part, "seed": options.seed, "replicates": options.replicates}
    made.facts(facts | {"learnt from": _unseen.told(summary["leaks"])})
    made.highlight("macro AUROC", found["macro auroc"], note=f"{len(rows)} records")
    made.section(
        "Asked with words",
        f"{len(rows)} records of {summary['patients']} patients. No label of this task was learnt from: a record's "
        "score is how alike its ECG is to how the label is said in reports, less how alike to how its absence is said. "
        "There are no thresholds, which need labelled validation records. Intervals: 95 %, bootstrap over patients.",
    )
    y, known = corpus.y[rows] * corpus.known_each[rows], corpus.known_each[rows]
    table = [
        [label, int(y[:, k].sum()), _page.at(found["auroc"], k), _page.at(found["ap"], k), _share(y[:, k], known[:, k])]
        for k, label in enumerate(labels)
    ]
    table.append(["macro", None, found["macro auroc"], found["macro ap"], None])
    made.table(["class", "positives", "AUROC", "AP", "AP by chance"], table, totals=1)
    words = [(label, said.labels[label]) for label in labels]
    asked = [[label, "; ".join(each.present), "; ".join(each.absent)] for label, each in words]
    made.table(["class", "present", "absent"], asked, caption=f"The prompts: {said.title}.")
    if summary["without prompts"]:
        made.text(f"Labels of the task without prompts, not scored: {', '.join(summary['without prompts'])}.")
    return made


def _share(y: np.ndarray, known: np.ndarray) -> float:
    return float(y.sum() / max(known.sum(), 1))
