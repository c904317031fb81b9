"""ecgraft evaluate: how good a graft is on records that it has not seen, as report.json and report.html."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np

from .. import __version__
from ..metrics.bootstrap import Estimate
from ..metrics.waves import BOUNDARIES
from ..model import Graft, Model
from ..model.model import DEFAULT
from ..plugs import nearest
from ..record import InputError, UsageError
from ..report import Page
from ..store import Store
from ..tasks import Task
from ..training import log
from ..training.loop import LOG
from . import _against, _certainty, _gallery, _groups, _leads, _operating, _page, _score, _seen
from ._examples import Corpus
from ._say import say
from .adapt import pick_device

RULES = ("refuse", "drop", "allow")  # what is done with records that were learnt from


def evaluate(
    store: Annotated[Path, "store with labelled records"],
    *,
    model: Annotated[str, "model folder"],
    task: Annotated[str, "name of the graft"],
    to: Annotated[Path, "folder for report.json and report.html"],
    part: Annotated[str, "part of the store: test, validation, train or all"] = "test",
    leaks: Annotated[str, "records that were learnt from: refuse, drop (leave out) or allow"] = "refuse",
    against: Annotated[str, "a second model to compare with: MODEL or MODEL:GRAFT"] = "",
    subsets: Annotated[bool | None, "score with fewer leads too (default: of twelve, up to 2000 records)"] = None,
    gallery: Annotated[int, "failures of each kind to draw; 0: none"] = _gallery.EXAMPLES,
    replicates: Annotated[int, "bootstrap replicates"] = 1000,
    seed: Annotated[int, "seed of the bootstrap"] = 0,
    device: Annotated[str, "where to compute: auto, cpu, cuda or mps"] = "auto",
    progress: Annotated[bool, "show progress"] = True,
) -> dict:
    """Scores a graft on a part of a store, with intervals, and writes report.json and report.html.

    What a model of your own scores on a test part is kept in its graft, too.
    """
    for name, value, least in (("gallery", gallery, 0), ("replicates", replicates, 1), ("seed", seed, 0)):
        if value < least:
            raise UsageError(f"--{name} {value}: it must be at least {least}")
    loaded, home = Model.load(model), home_of(model)
    graft = loaded.graft(task)
    rival = _against.load(against, task, graft.task) if against else None
    corpus = Corpus.open(Store(store), graft.task)
    rows, seen = unseen(loaded, graft, home, corpus, part, leaks, progress)
    rival = rival and unseen_by(rival, corpus, part, leaks, progress)
    found, scores = score(loaded, graft.name, corpus, rows, replicates, seed, device=device, progress=progress)
    case = Case(loaded, graft, corpus, found, replicates, seed, device, progress)
    summary = {
        "task": graft.task.name, "graft": graft.name, "model": loaded.fingerprint, "part": part,
        "store": corpus.store.fingerprint, "records": len(found.rows),
        "patients": len(np.unique(corpus.patients(found.rows))), "leaks": seen,
        "seed": seed, "replicates": replicates, "version": __version__, "scores": plain(scores, graft.task),
        "thresholds": graft.thresholds, "calibration": graft.calibration,
        "notice": "for research only; not a medical device",
    }  # fmt: skip
    page = Page(f"{graft.name}: {corpus.store.path.name}", f"ecgraft evaluate, {part} part")
    summary |= fill(page, case, scores, summary, subsets, rival, gallery, home)
    write(Path(to), summary, page)
    if part == "test" and leaks != "allow" and home:
        remember(loaded, home, graft, corpus, summary["scores"])
    if progress:
        name, estimate = _page.main_estimate(graft, scores)
        say(f"{name} {estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f}), {len(found.rows)} records")
        say(f"report: {Path(to) / 'report.html'}")
    return summary


def home_of(model: str) -> Path | None:
    """The folder of a model of your own; None for that of ecgraft, which a folder of the same name is not."""
    return Path(model) if str(model) != DEFAULT and Path(model).is_dir() else None


def unseen(model: Model, graft: Graft, home, corpus: Corpus, part: str, rule: str, progress: bool) -> tuple:
    """The rows of a part that are to be scored, and what of the part was learnt from, as plain values.

    home: the model's folder, or None. A part that is not the test was learnt from by intent: nothing is refused, all
    is noted.
    """
    if rule not in RULES:
        raise UsageError(f"--leaks {rule!r}: {nearest(rule, RULES)}")
    rows, store = corpus.rows(part), corpus.store
    persons = home / "training" / graft.name / _seen.PERSONS if home else None
    found = _seen.find([model.seen, graft.tensors], persons, store, rows, progress)
    left = _seen.settle(found, store, rows, rule if part == "test" or rule == "drop" else "allow")
    noted = {kind: [store.column("id")[int(i)] for i in those] for kind, those in found.kinds.items() if len(those)}
    if noted and progress and part == "test":
        what = "left out" if rule == "drop" else "scored all the same"
        say(f"learnt from, or like what was learnt from, and {what}: {found.describe(store)}", mark="note:")
    return left, noted | {"rule": rule, "left out": len(rows) - len(left)}


def told(leaks: dict) -> str:
    """What `unseen` noted, in a line."""
    found = [f"{len(ids)} {kind}" for kind, ids in leaks.items() if isinstance(ids, list)]
    if not found:
        return "none of these records, as far as can be told"
    return f"{', '.join(found)}; {leaks['left out']} left out"


def unseen_by(rival: _against.Rival, corpus: Corpus, part: str, rule: str, progress: bool) -> _against.Rival:
    """The rival and the rows that it may be compared on, by the same rule."""
    try:
        rows, seen = unseen(rival.model, rival.graft, home_of(rival.place), corpus, part, rule, progress=False)
    except InputError as error:
        raise type(error)(f"--against {rival.name}: {error}") from error
    if len(seen) > 2 and part == "test" and progress:
        what = "left out of the comparison" if rule == "drop" else "compared all the same"
        say(f"{rival.name} was trained on some of these records, or on their like; {what}", mark="note:")
    return replace(rival, rows=rows, leaks=seen)


def fill(page: Page, case: Case, scores: dict, summary: dict, subsets, rival, gallery: int, home: Path | None) -> dict:
    """The page, from top to bottom; what stands behind the scores comes back for JSON."""
    graft, corpus, found = case.graft, case.corpus, case.found
    facts = {key: summary[key] for key in ("model", "store", "part", "seed", "replicates")}
    page.facts(facts | {"learnt from": told(summary["leaks"]), "training": graft.card})
    page.highlight(*_page.main_estimate(graft, scores), note=f"{len(found.rows)} records")
    _page.add_task(page, graft, corpus, found, scores, gallery=0, learnt=learnt_from(corpus, found, summary["leaks"]))
    details = add_details(page, case, subsets, rival)
    if gallery:
        page.section("Failures")
        details["gallery"] = _gallery.add_gallery(page, graft, corpus, found, gallery)
    trained = home / "training" / graft.name / LOG if home else None
    if trained and trained.is_file():
        page.section("Training")
        _page.add_training(page, {graft.name: log.read(trained)})
    return details


def learnt_from(corpus: Corpus, found: _score.Answers, seen: dict) -> int:
    """How many of the scored records are among those that `unseen` has noted."""
    ids = corpus.store.column("id")
    noted = {name for those in seen.values() if isinstance(those, list) for name in those}
    return sum(ids[int(i)] in noted for i in found.rows)


@dataclass(frozen=True)
class Case:
    """A graft and what it said of the records that it is scored on."""

    model: Model
    graft: Graft
    corpus: Corpus
    found: _score.Answers
    replicates: int
    seed: int
    device: str
    progress: bool


def add_details(page: Page, case: Case, subsets: bool | None, rival: _against.Rival | None) -> dict:
    """What stands behind the scores, as sections of the page and for JSON."""
    graft, corpus, found = case.graft, case.corpus, case.found
    given = {"replicates": case.replicates, "seed": case.seed}
    cache = corpus.store.prepared(graft.recipe, progress=case.progress)
    details = {"certainty": _certainty.measure(graft, corpus, found, **given)}
    _certainty.add_certainty(page, graft, details["certainty"])
    points = _operating.measure(graft, corpus, found, **given)
    _operating.add_points(page, graft, points)
    details["operating points"] = _operating.plain(points, graft)
    groups, leads = _groups.subgroups(graft, corpus, found, **given), []
    if _leads.wants_subsets(subsets, graft, len(found.rows)):
        network, device = case.model.network(graft.name), pick_device(case.device)

        def answer(rows, cache):
            return _score.answer(network, corpus, rows, cache, device=device)

        leads = _leads.lead_subsets(graft, corpus, found, cache, answer, **given, progress=case.progress)
    _groups.add_subgroups(page, graft, groups)
    _leads.add_leads(page, graft, leads)
    details["certainty"] = _certainty.plain(details["certainty"], graft)
    details["subgroups"] = {title: {row.name: row.plain() for row in rows} for title, rows in groups.items()}
    details["leads"] = {row.name: row.plain() for row in leads}
    if rival:
        compared = face(case, rival)
        _against.add_comparison(page, graft, compared)
        details["against"] = _against.plain(compared, graft.task, rival.leaks)
    return details


def face(case: Case, rival: _against.Rival) -> _against.Compared:
    """The rival's answers on the records that it can read, against those of the case."""
    cache = case.corpus.store.prepared(rival.graft.recipe, progress=case.progress)
    found = case.found.take(_against.common(cache, case.found, rival))
    if not len(found.rows):
        raise InputError(f"--against {rival.name}: it can read none of these records")
    network = rival.model.network(rival.graft.name)
    theirs = _score.answer(network, case.corpus, found.rows, cache, device=pick_device(case.device))
    return _against.contest(case.graft, case.corpus, found, rival, theirs, case.replicates, case.seed)


def score(
    model: Model, name: str, corpus: Corpus, rows, replicates=1000, seed=0, device="auto", progress=True
) -> tuple:
    """(answers, {name: Estimate}) of a graft on rows of a corpus."""
    graft = model.graft(name)
    cache = corpus.store.prepared(graft.recipe, progress=progress)
    rows = rows[cache.usable[rows]]
    if not len(rows):
        raise InputError(f"{corpus.store.path}: no record of this part can be scored for {name!r}")
    found = _score.answer(model.network(name), corpus, rows, cache, device=pick_device(device))
    scores = _score.scorer(corpus, found, graft.calibration, graft.thresholds)
    return found, _score.with_intervals(corpus, scores, found, replicates, seed)


def remember(model: Model, folder: Path, graft: Graft, corpus: Corpus, scores: dict) -> None:
    """Puts the scores that are one number, and what they are of, into the graft's file."""
    graft.metrics = {name: score for name, score in scores.items() if "value" in score}
    graft.metrics["of"] = f"test part of {corpus.store.path.name}, fingerprint {corpus.store.fingerprint}"
    model.save(folder)


def write(to: Path, summary: dict, page: Page) -> None:
    """report.json and report.html, each replaced whole."""
    to.mkdir(parents=True, exist_ok=True)
    beside = to / "report.json.part"
    beside.write_text(json.dumps(summary, indent=2))
    os.replace(beside, to / "report.json")
    page.write(to / "report.html.part")
    os.replace(to / "report.html.part", to / "report.html")


def plain(scores: dict[str, Estimate], task: Task) -> dict:
    """Estimates as JSON: {"value", "low", "high"}, per label or boundary where they are."""
    out, labels = {}, BOUNDARIES if task.kind == "waves" else task.labels
    for name, estimate in scores.items():
        parts = [np.asarray(part, float) for part in estimate]
        if parts[0].ndim == 0:
            out[name] = _score.plain(estimate)
        elif parts[0].ndim == 1:
            out[name] = {label: _score.plain(row) for label, *row in zip(labels, *parts, strict=True)}
        else:
            out[name] = parts[0].tolist()
    return out
