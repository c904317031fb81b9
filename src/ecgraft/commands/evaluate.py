"""ecgraft evaluate: how good a graft is on records that it has not seen, as report.json and report.html."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from .. import __version__
from ..metrics.bootstrap import Estimate
from ..metrics.waves import BOUNDARIES
from ..model import Graft, Model
from ..record import WAVES, InputError, UsageError
from ..report import Page
from ..store import Store
from ..tasks import Task
from ..training import log
from ..training.loop import LOG
from . import _against, _by_words, _certainty, _gallery, _groups, _leads, _operating, _page, _score, _unseen
from ._examples import Corpus
from ._say import say
from .adapt import pick_device


def evaluate(
    store: Annotated[Path, "store with labelled records"],
    *,
    model: Annotated[str, "model folder"],
    task: Annotated[str, "name of the graft; with --zero-shot any task with labels"] = "",
    to: Annotated[Path, "folder for report.json and report.html"],
    part: Annotated[str, "part of the store: test, validation, train or all"] = "test",
    leaks: Annotated[str, "records that were learnt from: refuse, drop (leave out) or allow"] = "refuse",
    against: Annotated[str, "a second model to compare with: MODEL or MODEL:GRAFT"] = "",
    subsets: Annotated[bool | None, "score with fewer leads too (default: of twelve, up to 2000 records)"] = None,
    zero_shot: Annotated[bool, "ask the model's text side for the task's labels, with words"] = False,
    prompts: Annotated[str, "with --zero-shot: file of words (.yaml; default: those of ecgraft for the task)"] = "",
    retrieval: Annotated[bool, "score the model's text side: from ECG to report and back"] = False,
    text: Annotated[str, "folder of the text model, where the text side was trained with one"] = "",
    probe: Annotated[
        bool, "score the encoder: linear and k-NN read-outs of a --task at 1, 5, 10, 100 % of labels"
    ] = False,
    seeds: Annotated[int, "with --probe: seeds"] = 5,
    jobs: Annotated[int, "with --probe: trainings at a time (0: one per core)"] = 0,
    gallery: Annotated[int, "failures of each kind to draw; 0: none"] = _gallery.EXAMPLES,
    replicates: Annotated[int, "bootstrap replicates"] = 1000,
    seed: Annotated[int, "seed of the bootstrap"] = 0,
    device: Annotated[str, "where to compute: auto, cpu, cuda or mps"] = "auto",
    progress: Annotated[bool, "show progress"] = True,
) -> dict:
    """Scores a graft on a part of a store, with intervals, and writes report.json and report.html.

    With --zero-shot or --retrieval it scores the text side of a model that was pretrained with reports; with --probe
    the encoder alone, against an untrained one and training from scratch, as a table of `ecgraft bench`. What a model
    of your own scores on a test part is kept in its graft, too.
    """
    least = {"gallery": (gallery, 0), "replicates": (replicates, 1), "seed": (seed, 0), "seeds": (seeds, 1)}
    for name, (value, lowest) in (least | {"jobs": (jobs, 0)}).items():
        if value < lowest:
            raise UsageError(f"--{name} {value}: it must be at least {lowest}")
    loaded, home = Model.load(model), _unseen.home_of(model)
    _by_words.check(loaded, task, zero_shot, prompts, retrieval, text, against)
    if probe:
        from . import _readouts  # it stands on bench, which stands on this file

        _readouts.check(zero_shot or retrieval, against, part)
        options = _readouts.Options(leaks, seeds, jobs, replicates, device, progress)
        return _readouts.evaluate(loaded, model, Store(store), task, Path(to), options)
    if zero_shot or retrieval:
        options = _by_words.Options(home, part, leaks, replicates, seed, pick_device(device), progress)
        asked = (task, prompts) if zero_shot else None
        summary, page = _by_words.score(loaded, model, Store(store), asked, text, options)
        write(Path(to), summary, page)
        return summary
    graft = loaded.graft(task)
    rival = _against.load(against, graft) if against else None
    corpus = Corpus.open(Store(store), graft.task)
    rows, seen = _unseen.unseen(loaded, graft, home, corpus, part, leaks, progress)
    rival = rival and _unseen.unseen_by(rival, corpus, part, leaks, progress)
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


def fill(page: Page, case: Case, scores: dict, summary: dict, subsets, rival, gallery: int, home: Path | None) -> dict:
    """The page, from top to bottom; what stands behind the scores comes back for JSON."""
    graft, corpus, found = case.graft, case.corpus, case.found
    facts = {key: summary[key] for key in ("model", "store", "part", "seed", "replicates")}
    page.facts(facts | {"learnt from": _unseen.told(summary["leaks"]), "training": graft.card})
    page.highlight(*_page.main_estimate(graft, scores), note=f"{len(found.rows)} records")
    _page.add_task(
        page, graft, corpus, found, scores, gallery=0, learnt=_unseen.learnt_from(corpus, found, summary["leaks"])
    )
    details = add_details(page, case, subsets, rival)
    if gallery:
        page.section("Failures")
        details["gallery"] = _gallery.add_gallery(page, graft, corpus, found, gallery)
    trained = home / "training" / graft.name / LOG if home else None
    if trained and trained.is_file():
        page.section("Training")
        _page.add_training(page, {graft.name: log.read(trained)})
    return details


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
    out = {}
    for name, estimate in scores.items():
        labels = WAVES[1:] if name == "dice" else BOUNDARIES if task.kind == "waves" else task.labels
        parts = [np.asarray(part, float) for part in estimate]
        if parts[0].ndim == 0:
            out[name] = _score.plain(estimate)
        elif parts[0].ndim == 1:
            out[name] = {label: _score.plain(row) for label, *row in zip(labels, *parts, strict=True)}
        else:
            out[name] = parts[0].tolist()
    return out
