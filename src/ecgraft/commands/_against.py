"""Two models on the same records: the difference of their scores, its interval, and whether it is chance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..metrics import bootstrap, compare
from ..metrics.bootstrap import Estimate
from ..model import Graft, Model
from ..record import InputError, UsageError
from ..report import Page
from ..tasks import Task
from . import _page, _score
from ._examples import Corpus


@dataclass(frozen=True)
class Rival:
    """The second model. `name`: as it was given; `place`: its folder; `rows`: of the store, what it has not seen."""

    name: str
    place: str
    model: Model
    graft: Graft
    rows: np.ndarray | None = None
    leaks: dict | None = None  # what was found by _unseen.unseen, for JSON


@dataclass(frozen=True)
class Compared:
    """Headline of the model that is evaluated (a) and of its rival (b); classes: DeLong's test of each label."""

    rival: str
    records: int
    a: Estimate
    b: Estimate
    difference: Estimate
    p: float
    classes: compare.Comparison | None = None
    adjusted: np.ndarray | None = None  # (K,) p of Holm


def load(against: str, own: Graft) -> Rival:
    """The rival of a graft. UsageError where it answers another question, or is scored on other leads."""
    place, _, graft = against.rpartition(":")
    name, task = own.name, own.task
    try:
        model, graft, place = Model.load(against), name, against
    except InputError:
        if not place:
            raise
        model = Model.load(place)
    found = model.graft(graft)
    same = (found.task.kind, found.task.value, found.task.labels) == (task.kind, task.value, task.labels)
    if not same:
        raise UsageError(
            f"--against {against}: its graft {graft!r} answers {_asks(found.task)}, graft {name!r} {_asks(task)}; "
            "only models of the same labels can be compared"
        )
    if task.kind == "waves" and found.recipe.leads != own.recipe.leads:
        raise UsageError(
            f"--against {against}: reads the leads {', '.join(found.recipe.leads)}, graft {name!r} "
            f"{', '.join(own.recipe.leads)}; waves are scored lead by lead, so both must read the same"
        )
    return Rival(against, place, model, found)


def _asks(task: Task) -> str:
    return f"{task.kind} of {', '.join(task.labels) or task.value}"


def contest(
    graft: Graft, corpus: Corpus, found: _score.Answers, rival: Rival, theirs: _score.Answers, replicates=1000, seed=0
) -> Compared:
    """Answers of two models on the same rows, which both can read."""
    patients, name = corpus.patients(found.rows), _score.headline(corpus.task)
    sides = [
        _score.main(corpus, answers, g.calibration, g.thresholds)
        for answers, g in ((found, graft), (theirs, rival.graft))
    ]
    draws = list(bootstrap.draws(patients, replicates, seed))
    replicas = [np.concatenate([side(w)[name] for w in draws]) for side in sides]
    values = [float(side(np.ones(len(patients)))[name]) for side in sides]
    each = [Estimate(value, *bootstrap.interval(r)) for value, r in zip(values, replicas)]
    tested = compare.paired(*replicas)
    difference = Estimate(values[0] - values[1], tested["low"], tested["high"])
    return replace(
        Compared(rival.name, len(found.rows), *each, difference, float(tested["p"])),
        **_by_class(graft, corpus, found, rival, theirs),
    )


def _by_class(graft: Graft, corpus: Corpus, found, rival: Rival, theirs) -> dict:
    if corpus.task.kind not in ("multilabel", "multiclass"):
        return {}
    a = _score.probabilities(corpus.task, found, graft.calibration)
    b = _score.probabilities(corpus.task, theirs, rival.graft.calibration)
    rows = found.rows
    classes = compare.delong(corpus.y[rows], a, b, corpus.known_each[rows], corpus.patients(rows))
    return {"classes": classes, "adjusted": compare.holm(classes.p)}


def common(cache, found: _score.Answers, rival: Rival) -> np.ndarray:
    """(n,) bool: the answered records that the rival's recipe can read too, and that it was not trained on."""
    readable = np.asarray(cache.usable[found.rows])
    return readable if rival.rows is None else readable & np.isin(found.rows, rival.rows)


def plain(compared: Compared, task: Task, leaks: dict | None = None) -> dict:
    """For JSON."""
    out = {"model": compared.rival, "records": compared.records, "leaks": leaks, "score": _score.headline(task)}
    out |= {key: _score.plain(getattr(compared, key)) for key in ("a", "b", "difference")}
    out["p"] = _number(compared.p)
    if compared.classes is not None:
        names = ("auroc a", "auroc b", "difference", "error", "z", "p")
        columns = {**dict(zip(names, compared.classes)), "p (Holm)": compared.adjusted}
        out["classes"] = {
            label: {name: _number(column[k]) for name, column in columns.items()} for k, label in enumerate(task.labels)
        }
    return out


def _number(value) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def add_comparison(page: Page, graft: Graft, compared: Compared) -> None:
    """A section."""
    text = (
        f"The same {compared.records} records, read by {compared.rival}. Interval and p of the difference: paired "
        "bootstrap over patients. Of each label: DeLong's test of the two AUROCs, clustered by patient; p as it is, "
        "and adjusted for the number of labels (Holm)."
    )
    page.section(f"Against {compared.rival}", text)
    head = ["score", graft.name, compared.rival, "difference", "p"]
    page.table(head, [[_page.main_name(graft.task), compared.a, compared.b, compared.difference, compared.p]])
    if compared.classes is not None:
        c = compared.classes
        columns = (c.a, c.b, c.difference, c.p, compared.adjusted)
        rows = [[label, *(float(x[k]) for x in columns)] for k, label in enumerate(graft.task.labels)]
        page.table(["AUROC of", graft.name, compared.rival, "difference", "p", "p (Holm)"], rows)
