"""ecgraft plan: which score to expect with 10, 50, 200, 1,000 labels, and with which adapter, from labels there are."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.console import Console

from .. import __version__, tasks
from ..metrics.bootstrap import Estimate
from ..model import Model
from ..model.model import DEFAULT
from ..plugs import configure
from ..record import InputError, UsageError
from ..store import Store, splits
from . import _expected, _plan_page, _score, _trials
from ._blocks import table
from ._examples import Corpus
from ._expected import Expected, Measured
from ._job import Job
from ._say import say
from ._settings import Settings, fitting_steps, with_defaults
from ._trials import LABELS, Clock
from .adapt import pick_device

LEAST = 20  # labelled records
EACH = 4  # patients with a label, so that it is learnt from and scored on
FIRST = 10  # labels of the smallest fit
SPLITS = 8  # at most
SURE = 3  # splits that the cheapest adapter gets whatever the time
HELD, MOST = 1 / 3, 500  # share of the records that a split holds out, and at most how many


def plan(
    store: Annotated[Path, "store with some labelled records"],
    *,
    task: Annotated[str, "task: a name, a YAML file, or own (the labels of your own file)"],
    model: Annotated[str, "model folder or encoder file to stand on"] = DEFAULT,
    labels: Annotated[str, "numbers of labels to say the score for, separated by commas"] = "10,50,200,1000",
    adapters: Annotated[str, "adapters to try beside linear: lrc-last, norm, lrc, rd_lora, full"] = "lrc-last,full",
    minutes: Annotated[float, "time to find it out in"] = 15.0,
    to: Annotated[Path | None, "folder for plan.json and plan.html"] = None,
    seed: Annotated[int, "seed of the splits and the fits"] = 0,
    device: Annotated[str, "where to compute: auto, cpu, cuda or mps"] = "auto",
    progress: Annotated[bool, "show progress"] = True,
    **settings: Annotated[Any, Settings],
) -> dict:
    """Says which score to expect with so many labels, with an interval, and which adapter to take.

    From short fits on the labelled records outside the test part: fewer labels than there are, scored on those that are
    left, and a curve through these scores. What lies beyond the labels that there are is marked as extrapolated.
    """
    if "adapter" in settings or "adapter_config" in settings:
        raise UsageError("plan: it compares adapters; say which with --adapters, not with adapter=")
    at, candidates = _numbers(labels), _trials.named(adapters)
    opened, base = Store(store), Model.base(model)
    corpus = Corpus.open(opened, tasks.find(task, opened))
    name = corpus.task.name
    options = configure(Settings, {**settings, "adapter": "linear"}, "plan")
    start, none = base.grafts.get(name), np.zeros(0, np.int64)
    job = Job(base, corpus, none, none, options, name, start, pick_device(device), progress)
    rows = np.union1d(corpus.rows("train"), corpus.rows("validation"))
    summary, expected = measure(job, rows[job.cache.usable[rows]], candidates, at, minutes, seed)
    if progress:
        show(summary)
    if to:
        write(Path(to), summary, _plan_page.page(summary, expected))
        if progress:
            say(f"plan: {Path(to) / 'plan.html'}")
    return summary


def measure(
    job: Job, rows: np.ndarray, candidates: dict, at: np.ndarray, minutes: float, seed: int = 0, most: int = SPLITS
) -> tuple[dict, dict[str, Expected]]:
    """The plan as JSON has it, and what is expected of each adapter, from the labelled records `rows`."""
    corpus, clock = job.corpus, Clock(60 * minutes)
    notes = check(corpus, rows)
    made = {name: Measured(name) for name in candidates}
    left: dict[str, str] = {}
    for number in range(most):
        split = cut(corpus, rows, seed + number)
        for name in candidates:
            sure = name == "linear" and number < SURE
            if name not in left and (sure or _affordable(made, name, clock)):
                _fit(job, candidates[name], made[name], split, clock, sure, left)
    late = [name for name, one in made.items() if not one.splits and name not in left]
    left |= {name: "no time was left for it; give more --minutes" for name in late if len(made["linear"].splits)}
    there = {name: one for name, one in made.items() if len(one.labels) > 1}
    if not there:
        raise InputError(f"{corpus.store.path}: no fit could be scored. {'; '.join(left.values())}")
    expected = {name: _expected.expect(corpus, one, at, seed) for name, one in there.items()}
    summary = told(corpus, rows, there, expected, at) | {"notes": notes, "left out": left}
    summary |= {"seed": seed, "model": job.model.fingerprint, "seconds": round(60 * minutes - clock.left)}
    return summary | {"version": __version__, "notice": "for research only; not a medical device"}, expected


@dataclass(frozen=True)
class Split:
    """A division of the labelled records: `held` is scored on; `few` are nested choices of the rest by their number."""

    seed: int
    held: np.ndarray
    few: dict[int, np.ndarray]


def cut(corpus: Corpus, rows: np.ndarray, seed: int) -> Split:
    """A third is held out; of the rest 10, 20, 40 ... and all are taken."""
    strata = _trials.strata(corpus)
    held = splits.few(corpus.store, rows, strata, HELD, seed)
    rest = np.setdiff1d(rows, held)
    if len(held) > MOST:
        held = splits.few(corpus.store, held, strata, MOST, seed)
    counts = [FIRST]
    while counts[-1] * 2 <= 0.75 * len(rest):
        counts.append(counts[-1] * 2)
    few = {count: splits.few(corpus.store, rest, strata, count, seed) for count in counts}
    return Split(seed, held, few | {len(rows) - round(HELD * len(rows)): rest})


def check(corpus: Corpus, rows: np.ndarray) -> list[str]:
    """Notes on labels that are too rare. InputError where a plan has nothing to stand on."""
    where = f"{corpus.store.path}, task {corpus.task.name!r}"
    if len(rows) < LEAST:
        raise InputError(
            f"{where}: {len(rows)} labelled records outside the test part; a plan needs {LEAST}. Label a few more"
        )
    if corpus.task.kind not in LABELS:
        return []
    count = _trials.positives(corpus, rows)
    few = ", ".join(f"{label} has {n}" for label, n in zip(corpus.task.labels, count) if n < EACH)
    if (count >= EACH).sum() < (2 if corpus.task.kind == "multiclass" else 1):
        raise InputError(
            f"{where}: a label needs {EACH} positive patients outside the test part to be planned for, and {few}. "
            "Label more of these"
        )
    return [f"too few positive patients to say much: {few}"] if few else []


def _affordable(made: dict[str, Measured], name: str, clock: Clock) -> bool:
    """Whether a split of this adapter fits into the time that is left: it takes as long as its last ones.

    Before its first it takes at least as long as a split of a cheaper one.
    """
    own = made[name].seconds / max(len(made[name].splits), 1)
    return clock.left > max([own, *(one.seconds / max(len(one.splits), 1) for one in _before(made, name))])


def _before(made: dict[str, Measured], name: str) -> list[Measured]:
    names = list(made)
    return [made[one] for one in names[: names.index(name)]]


def _fit(job: Job, candidate, made: Measured, split: Split, clock: Clock, sure: bool, left: dict) -> None:
    """All fits of an adapter in one split, the smallest first; in the first split it may turn out as too expensive."""
    begun, first, found = clock.left, not made.splits, {}
    if job.progress:
        say(f"{made.name}, split {len(made.splits) + 1}")
    for labels, chosen in split.few.items():
        held = splits.few(
            job.corpus.store, chosen, job.corpus.y if job.corpus.task.kind in LABELS else None, 0.2, split.seed + 1
        )
        train = np.setdiff1d(chosen, held)
        options = with_defaults(job.options, fitting_steps(len(train), job.options.batch), split.seed)
        try:
            trial = _trials.trial(replace(job, options=options), candidate, train, held, split.held)
        except InputError as error:
            left[f"{made.name}, {labels} labels"] = str(error)
            continue
        found[labels], made.parameters = trial.found, trial.parameters
        spent = begun - clock.left
        if first and not sure and spent * (len(split.few) / len(found) - 1) > clock.left:
            left[made.name] = f"one fit took {spent / len(found):.0f} s: too long for the time that is left"
            return
    for labels, answers in found.items():
        made.add(labels, split.seed, answers)
    made.seconds += begun - clock.left


def told(corpus: Corpus, rows: np.ndarray, made: dict[str, Measured], expected: dict[str, Expected], at) -> dict:
    """What was found, as JSON has it."""
    up, names = _trials.sign(corpus), list(made)
    beyond = max(int(one.labels.max()) for one in made.values())
    asked = []
    for k, labels in enumerate(at.tolist()):
        means = np.stack([expected[name].means[k] for name in names])
        middle = [expected[name].asked[k, 0] for name in names]
        taken, best = _trials.cheapest(middle, means)
        scores = {name: _score.plain(_expected.as_estimate(expected[name].asked[k], up)) for name in names}
        line = {"labels": labels, "extrapolated": labels > beyond, "adapter": names[taken], "best": names[best]}
        asked.append(line | {"scores": scores})
    adapters = {}
    for name, one in made.items():
        points = zip(one.labels.tolist(), expected[name].measured)
        adapters[name] = {
            "about": _trials.CANDIDATES[name].why, "trained parameters": one.parameters,
            "splits": len(one.splits), "seconds": round(one.seconds, 1),
            "measured": {str(n): _score.plain(_expected.as_estimate(three, up)) for n, three in points},
        }  # fmt: skip
    return {
        "task": corpus.task.name, "metric": _score.headline(corpus.task), "store": corpus.store.fingerprint,
        "labelled": len(rows), "largest fit": beyond, "level": _expected.LEVEL, "expected": asked, "adapters": adapters,
    }  # fmt: skip


def estimate(said: dict) -> Estimate:
    """An Estimate from its JSON."""
    return Estimate(*(np.nan if said[key] is None else said[key] for key in ("value", "low", "high")))


def show(summary: dict) -> None:
    """The table, on the standard output."""
    names = list(summary["adapters"])
    rows = table("labels", *names, "take", "")
    for line in summary["expected"]:
        cells = [estimate(line["scores"][name]) for name in names]
        said = [f"{cell.value:.3f} ({cell.low:.3f} to {cell.high:.3f})" for cell in cells]
        rows.add_row(f"{line['labels']:,}", *said, line["adapter"], "extrapolated" if line["extrapolated"] else "")
    console = Console(markup=False, highlight=False)
    console.print(
        f"{summary['task']}: {summary['metric']} to expect by number of labels ({summary['level']:.0%} intervals), "
        f"from {summary['labelled']} labelled records", style="bold", soft_wrap=True,
    )  # fmt: skip
    console.print(rows)
    for note in [*summary["notes"], *(f"{what}: {why}" for what, why in summary["left out"].items())]:
        say(note, mark="note:")


def write(to: Path, summary: dict, page) -> None:
    """plan.json and plan.html, each replaced whole."""
    to.mkdir(parents=True, exist_ok=True)
    for name, text in (("plan.json", json.dumps(summary, indent=2)), ("plan.html", page.html())):
        beside = to / f"{name}.part"
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, to / name)


def _numbers(labels: str) -> np.ndarray:
    words = [word.strip() for word in str(labels).split(",") if word.strip()]
    if not words or not all(word.isdigit() and int(word) > 1 for word in words):
        raise UsageError(f"--labels {labels}: give numbers of labels of at least 2, separated by commas (10,50,200)")
    return np.array(sorted({int(word) for word in words}))
