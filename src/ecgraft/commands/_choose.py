"""Which adapter to take: candidates are fitted for a short time and scored by cross-validation on the labelled records.

Folds are by patient, inside the training and validation part; the test part is not looked at.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from ..metrics.bootstrap import interval
from ..record import InputError
from ..store import splits
from . import _score, _trials
from ._blocks import plain, table
from ._examples import Corpus
from ._job import Job
from ._say import say
from ._settings import Settings
from ._trials import CANDIDATES, LABELS, Candidate, Clock

FOLDS = 3
LEAST = 2  # patients with a label, so that one is learnt from where another is scored
FEWEST = 6  # records
REPLICATES = 400


@dataclass(frozen=True)
class Tried:
    """A candidate: its headline score out of fold [value, low, high], or why there is none."""

    name: str
    about: str
    score: list[float] | None = None
    seconds: float | None = None
    parameters: int | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Choice:
    """The adapter to take, why, and what was tried."""

    name: str  # of the candidate
    why: str
    metric: str
    table: list[Tried] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def candidate(self) -> Candidate:
        return CANDIDATES[self.name]

    @property
    def adapter(self) -> str:
        return self.candidate.adapter

    @property
    def adapter_config(self) -> dict:
        return dict(self.candidate.config)

    def applied(self, options: Settings) -> Settings:
        """The settings of a job with the chosen adapter, trained as it was tried, but for as long as the job asks."""
        return self.candidate.settings(options)

    def card(self) -> dict:
        """As a graft keeps it."""
        return asdict(self) | {"adapter": self.adapter, "adapter_config": self.adapter_config}

    def show(self) -> None:
        """Prints what was tried, on the error stream, and what is taken."""
        rows = table("adapter", f"{self.metric} out of fold", "95 %", "trained", "s", "")
        for one in self.table:
            score = [f"{one.score[0]:.3f}", f"{one.score[1]:.3f} to {one.score[2]:.3f}"] if one.score else ["", ""]
            trained = [f"{one.parameters:,}", f"{one.seconds:.0f}"] if one.score else ["", ""]
            rows.add_row(one.name, *score, *trained, plain(f"not tried: {one.why_not}" if one.why_not else one.about))
        Console(stderr=True, highlight=False, markup=False).print(rows)
        for note in self.notes:
            say(note, mark="note:")
        say(self.why)


def choose(job: Job, minutes: float = 10.0, note: Path | None = None) -> Choice:
    """Tries candidates on the job's own labelled records, the cheapest first, as long as there is time.

    Of those that were tried it takes the best, or a cheaper one that cannot be told from it (`_trials.cheapest`).
    note: a file that keeps the choice, so that a run that goes on later takes the same.
    """
    key = _key(job, minutes) if note else ""
    if note and note.is_file():
        kept = json.loads(note.read_text())
        if kept.pop("key") == key:
            return Choice(**kept | {"table": [Tried(**one) for one in kept["table"]]})
    choice = _choose(job, minutes)
    if note:
        note.parent.mkdir(parents=True, exist_ok=True)
        beside = note.with_name(note.name + ".part")
        beside.write_text(json.dumps({"key": key} | asdict(choice)))
        os.replace(beside, note)
    return choice


def _choose(job: Job, minutes: float) -> Choice:
    metric, corpus = _score.headline(job.corpus.task), job.corpus
    rows = np.union1d(job.train, job.validation)
    rows = rows[job.cache.usable[rows]]
    fold, notes = folds(job, rows)
    if fold is None:
        why = f"linear: {notes.pop()}"
        return Choice("linear", why, metric, [Tried("linear", CANDIDATES["linear"].why, why_not=why)], notes)
    clock, tried, found = Clock(60 * minutes), [], {}
    for name, candidate in CANDIDATES.items():
        made = _try(job, name, candidate, rows, fold, clock, tried)
        tried.append(made[0])
        if made[1] is not None:
            found[name] = made[1]
    if not found:
        raise InputError(f"adapter auto: no adapter could be tried. The first: {tried[0].why_not}")
    values, drawn = _trials.replicas(corpus, list(found.values()), REPLICATES, job.training.seed)
    up, scores = _trials.sign(corpus), {}
    for name, value, each in zip(found, values, drawn):
        ends = sorted(up * float(end) for end in interval(each))
        scores[name] = [round(float(number), 6) for number in (up * value, *ends)]
    tried = [replace(one, score=scores[one.name]) if one.name in scores else one for one in tried]
    taken, best = _trials.cheapest(values, drawn)
    return Choice(*_told(list(found), taken, best, values, drawn), metric, tried, notes)


def _told(names: list[str], taken: int, best: int, values: np.ndarray, drawn: np.ndarray) -> tuple[str, str]:
    """The name of what is taken, and why."""
    name, top = names[taken], names[best]
    if len(names) == 1:
        return name, f"{name}: nothing else could be tried"
    if taken == best:
        return name, f"{name}: the best, and no cheaper one is within one standard error of it"
    error = np.nanstd(drawn[best] - drawn[taken], ddof=1)
    return name, (
        f"{name}: cheaper than {top}, which is better by {values[best] - values[taken]:.3f}, no more than the standard "
        f"error of that difference ({error:.3f})"
    )


def folds(job: Job, rows: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
    """The fold of each labelled record (None where there are too few), and notes; then the last one says why.

    As many folds as leave the most labels with records to learn from beside each of them.
    """
    corpus, task, seed = job.corpus, job.corpus.task, job.training.seed
    many = len(np.unique(splits.groups(corpus.store)[rows]))
    if many < FEWEST:
        return None, [f"{many} labelled patients are too few to compare adapters; {FEWEST} are needed"]
    every = [splits.folds(corpus.store, k, seed, rows) for k in range(FOLDS, 1, -1)]
    learnable = [_learnable(corpus, rows, fold) for fold in every]
    best = int(np.argmax([each.sum() for each in learnable]))  # the first of the best
    if task.kind not in LABELS:
        return every[best], []
    few = ", ".join(np.array(task.labels)[~learnable[best]])
    if learnable[best].sum() < (2 if task.kind == "multiclass" else 1):
        return None, [f"too few positive patients to compare adapters ({few}); label more records"]
    return every[best], [f"too few positive patients for these to say much about adapters: {few}"] if few else []


def _learnable(corpus: Corpus, rows: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """(K,) which labels have LEAST positive patients, and one of them beside every fold; none where a fold is empty."""
    learnable = np.ones(len(corpus.task.labels) or 1, bool)
    if not all((fold == k).any() for k in range(int(fold.max()) + 1)) or fold.max() < 1:
        return ~learnable
    if corpus.task.kind in LABELS:
        beside = [_trials.positives(corpus, rows[fold != k]) for k in range(int(fold.max()) + 1)]
        learnable &= (np.min(beside, axis=0) > 0) & (_trials.positives(corpus, rows) >= LEAST)
    return learnable


def _try(job: Job, name: str, candidate: Candidate, rows, fold, clock: Clock, before: list[Tried]) -> tuple:
    """(Tried, answers out of fold or None). A candidate that costs too much is given up after its first fold."""
    took = max((one.seconds for one in before if one.seconds is not None), default=0.0)
    if before and took > clock.left:
        left = max(0, round(clock.left))
        return Tried(name, candidate.why, why_not=f"a cheaper one took {took:.0f} s, and {left} s are left"), None
    if job.progress:
        say(f"trying {name}: {candidate.why}")
    begun, parts = clock.left, []
    k = int(fold.max()) + 1
    try:
        for one in range(k):
            held = rows[fold == one]
            sides = (np.setdiff1d(job.train, held), np.setdiff1d(job.validation, held))
            parts.append(_trials.trial(job, candidate, *sides, held))
            spent = begun - clock.left
            need = spent / (one + 1) * (k - one - 1)
            if before and need > clock.left:
                why = f"one fold of {k} took {spent:.0f} s, the others need more than is left"
                return Tried(name, candidate.why, seconds=spent, why_not=why), None
    except InputError as error:
        return Tried(name, candidate.why, why_not=str(error)), None
    spent = begun - clock.left
    made = Tried(name, candidate.why, seconds=round(spent, 1), parameters=parts[0].parameters)
    return made, _trials.pooled([part.found for part in parts])


def _key(job: Job, minutes: float) -> str:
    """Changes with all that decides a choice."""
    said = {
        "settings": asdict(job.options), "task": asdict(job.corpus.task), "encoder": job.model.fingerprint,
        "store": job.corpus.store.fingerprint, "train": job.train.tolist(), "held": job.validation.tolist(),
        "candidates": [asdict(one) for one in CANDIDATES.values()], "minutes": minutes, "start": job.continues,
    }  # fmt: skip
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
