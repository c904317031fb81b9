"""Short fits of candidate adapters on labelled records, scored on others: what `adapt --adapter auto` and `plan` share.

An adapter is judged as adapt would train it, but for at most STEPS steps; the head alone is trained as long as there.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from time import monotonic

import numpy as np
from scipy.special import logit

from ..metrics import bootstrap
from ..nn.network import DENSE
from ..plugs import nearest
from ..record import UsageError
from . import _score, _seen
from ._examples import Corpus
from ._job import Job
from ._settings import Settings

STEPS = 150  # of a short fit
SURE = 1e-6  # probabilities nearer to 0 or 1 are all alike
LABELS = ("multiclass", "multilabel")


@dataclass(frozen=True)
class Candidate:
    """An adapter that may be chosen. Without `views` its frozen part is computed once for all steps."""

    adapter: str
    why: str
    config: dict = field(default_factory=dict)
    views: bool = True

    def settings(self, options: Settings) -> Settings:
        """The settings of a job with this adapter in place of its own."""
        given = {"adapter": self.adapter, "adapter_config": self.config}
        return replace(options, **given, **({} if self.views or options.semi else {"augment": {}}))


CANDIDATES = {  # name -> candidate, the cheapest first
    "linear": Candidate("linear", "only a head learns, on features that are computed once", views=False),
    "lrc-last": Candidate(
        "lrc", "low-rank adapters in the last stage; what lies below is computed once", {"place": "last-1"}, False
    ),
    "norm": Candidate("norm", "scale and shift of the norms learn, in all stages"),
    "lrc": Candidate("lrc", "low-rank adapters in all stages"),
    "rd_lora": Candidate("rd_lora", "a low-rank part beside every layer, and the biases"),
    "full": Candidate("full", "all weights learn; the graft is as large as the encoder"),
}


def named(names: str) -> dict[str, Candidate]:
    """Those of CANDIDATES that are named, separated by commas, in order of cost; always with linear."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in CANDIDATES:
            raise UsageError(f"adapters: no {name!r}; {nearest(name, CANDIDATES)}")
    return {name: one for name, one in CANDIDATES.items() if name in ("linear", *wanted)}


@dataclass
class Clock:
    """How much of the time that may be spent is left, s."""

    seconds: float
    begun: float = field(default_factory=lambda: monotonic())

    @property
    def left(self) -> float:
        return self.seconds - (monotonic() - self.begun)


@dataclass(frozen=True)
class Trial:
    """What a short fit said of records that it has not seen; see `aligned`."""

    found: _score.Answers
    parameters: int


def trial(job: Job, candidate: Candidate, train: np.ndarray, validation: np.ndarray, held: np.ndarray) -> Trial:
    """Fits a candidate on `train`, with `validation` as adapt uses it, and answers the records `held`."""
    options = candidate.settings(job.options)
    pooled = job.corpus.task.kind not in DENSE and options.head.kind != "decoder"
    steps, cheap = options.training["steps"], pooled and candidate.adapter == "linear"
    training = options.training | {"steps": steps if cheap else min(steps, STEPS)}
    options = replace(options, training=training, semi="", rare="note", calibrate="temperature")
    made = replace(
        job, options=options, train=train, validation=validation, start=_unspoilt(job, held),
        unlabelled=None, allocated={}, progress=False,
    )  # fmt: skip
    graft = made.run()
    alone = copy.copy(job.model)
    alone.grafts = {graft.name: graft}
    network = alone.network(graft.name).to(made.device)
    found = aligned(job.corpus, made.answer(network, held), graft.calibration, graft.thresholds)
    return Trial(found, graft.card["trained parameters"])


def _unspoilt(job: Job, held: np.ndarray):
    """The graft whose head a fit may begin from; none where that has learnt from records it is to be scored on."""
    if job.start is None:
        return None
    known = {name: value for name, value in job.start.tensors.items() if name == "seen.samples"}
    return None if _seen.find([known], [], job.corpus.store, held).sure else job.start


def aligned(corpus: Corpus, found: _score.Answers, calibration: dict, thresholds: dict) -> _score.Answers:
    """Answers that need no calibration and no thresholds any more, so that those of several fits can be pooled.

    Values come in the task's unit, logits calibrated; a label's threshold is moved to 0.5 where decisions are scored.
    Features are left out.
    """
    task = corpus.task
    if task.kind == "regression":
        return _score.Answers(found.rows, logits=_score.values(found, calibration)[:, None])
    if task.kind not in LABELS:
        return replace(found, features=None)
    p = np.clip(_score.probabilities(task, found, calibration), SURE, 1 - SURE)
    if task.kind == "multiclass":
        return _score.Answers(found.rows, logits=np.log(p))
    by_order = _score.headline(task).endswith(("auroc", " ap"))
    limits = 0.5 if by_order else np.clip(_score.limits(task, thresholds), SURE, 1 - SURE)
    return _score.Answers(found.rows, logits=logit(p) - logit(limits))


def pooled(parts: Sequence[_score.Answers]) -> _score.Answers:
    """The answers of several fits on different records as one, ascending by row."""
    order = np.argsort(np.concatenate([part.rows for part in parts]))
    arrays = {}
    for one in fields(_score.Answers):
        values = [getattr(part, one.name) for part in parts]
        if all(isinstance(value, np.ndarray) for value in values):
            arrays[one.name] = np.concatenate(values)[order]
    return _score.Answers(**arrays)


def strata(corpus: Corpus) -> np.ndarray | None:
    """What choices of records are stratified by: the task's labels, where it has some per record."""
    return corpus.y if corpus.task.kind in LABELS else None


def sign(corpus: Corpus) -> int:
    """-1 where a lower headline is better."""
    return -1 if corpus.task.kind == "regression" else 1


def replicas(
    corpus: Corpus, found: Sequence[_score.Answers], replicates: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Headline of each of several answers, (A,), and its replicates (A, R) under the same draws of patients.

    Turned so that higher is better.
    """
    calibration = {"mean": 0.0, "sd": 1.0} if corpus.task.kind == "regression" else {}
    name, up = _score.headline(corpus.task), sign(corpus)
    scorers = [_score.main(corpus, each, calibration, {}) for each in found]
    values = np.array([up * float(score(np.ones(len(each.rows)))[name]) for score, each in zip(scorers, found)])
    persons = np.unique(np.concatenate([corpus.patients(each.rows) for each in found]))
    places = [np.searchsorted(persons, corpus.patients(each.rows)) for each in found]
    drawn = []
    for weights in bootstrap.draws(np.arange(len(persons)), replicates, seed):
        parts = [score(np.ascontiguousarray(weights[:, at]))[name] for score, at in zip(scorers, places)]
        drawn.append(up * np.array(parts, float))
    return values, np.concatenate(drawn, axis=1)


def cheapest(values: Sequence[float], drawn: np.ndarray) -> tuple[int, int]:
    """The place of the candidate to take and that of the best, of values (A,) and draws (A, R), the cheapest first.

    The one-standard-error rule (Breiman et al. 1984, CART), with the error of the paired difference: the cheapest that
    is at most one standard error below the best.
    """
    values = np.where(np.isfinite(values), values, -np.inf)
    best = int(np.argmax(values))
    for at in range(best):
        difference = drawn[best] - drawn[at]
        defined = difference[np.isfinite(difference)]
        if 2 * len(defined) < len(difference):
            continue
        if values[best] - values[at] <= defined.std(ddof=1):
            return at, best
    return best, best


def positives(corpus: Corpus, rows: np.ndarray) -> np.ndarray:
    """(K,) how many patients among the rows have a label."""
    yes = (corpus.y[rows] * corpus.known_each[rows]) > 0
    patients = corpus.patients(rows)
    return np.array([len(np.unique(patients[column])) for column in yes.T])
