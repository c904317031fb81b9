"""Scoring the text side of a model: zero-shot answers to a task, or retrieval of reports and ECGs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..model import Model
from ..record import UsageError
from ..store import Store
from . import _retrieval, _zero_shot
from ._say import say


@dataclass(frozen=True)
class Options:
    """On what and how it is scored, as `evaluate` takes it."""

    home: Path | None  # the model's folder
    part: str
    leaks: str
    replicates: int
    seed: int
    device: object
    progress: bool


def check(model: Model, task: str, zero_shot: bool, prompts: str, retrieval: bool, text: str, against: str) -> None:
    """UsageError for options of evaluate that do not go together."""
    words = zero_shot or retrieval
    faults = {
        "--zero-shot or --retrieval, one at a time": zero_shot and retrieval,
        "--prompts goes with --zero-shot": prompts and not zero_shot,
        "--text goes with --zero-shot or --retrieval": text and not words,
        "--against compares grafts, not what a model says by words": against and words,
        "--retrieval reads reports, not the labels of a --task": task and retrieval,
        "--task is missing; see ecgraft evaluate --help": not (task or retrieval or prompts),
        f"{task!r} is the model's text side: --zero-shot --task NAME or --retrieval scores it": (
            not words and task in model.grafts and not model.grafts[task].answers
        ),
    }
    for fault, there in faults.items():
        if there:
            raise UsageError(f"evaluate: {fault}")


def score(
    model: Model, where: str, store: Store, asked: tuple[str, str] | None, folder: str, options: Options
) -> tuple:
    """(summary, page): zero-shot with `asked`, (task, prompts), else retrieval. folder: of the text model, or ""."""
    if asked:
        summary, page, headline = _zero_shot.evaluate(model, where, store, *asked, folder, options)
    else:
        summary, page, headline = _retrieval.evaluate(model, where, store, folder, options)
    summary |= {
        "model": model.fingerprint, "store": store.fingerprint, "part": options.part, "seed": options.seed,
        "replicates": options.replicates, "version": __version__, "notice": "for research only; not a medical device",
    }  # fmt: skip
    if options.progress:
        name, found = headline
        say(f"{name} {found.value:.3f} ({found.low:.3f} to {found.high:.3f}), {summary['records']} records")
    return summary, page
