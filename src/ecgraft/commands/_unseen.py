"""Which records a graft is scored on: what it has learnt from is refused, left out or allowed, and always said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..model import Graft, Model
from ..model.model import DEFAULT
from ..plugs import nearest
from ..record import InputError, UsageError
from . import _against, _score, _seen
from ._examples import Corpus
from ._say import say

RULES = ("refuse", "drop", "allow")


def home_of(model: str) -> Path | None:
    """The folder of a model of your own; None for that of ecgraft, which a folder of the same name is not."""
    return Path(model) if str(model) != DEFAULT and Path(model).is_dir() else None


def unseen(model: Model, graft: Graft | None, home, corpus: Corpus, part: str, rule: str, progress: bool) -> tuple:
    """The rows of a part that are to be scored, and what of the part was learnt from, as plain values.

    graft: None for the encoder alone. home: the model's folder, or None. A part that is not the test was learnt from by
    intent: nothing is refused, all is noted.
    """
    if rule not in RULES:
        raise UsageError(f"--leaks {rule!r}: {nearest(rule, RULES)}")
    rows, store = corpus.rows(part), corpus.store
    trained = [_seen.PRETRAINING, *([graft.name] if graft else [])] if home else []
    persons = [home / "training" / name / _seen.PERSONS for name in trained]
    found = _seen.find([model.seen, graft.tensors if graft else {}], persons, store, rows, progress)
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


def learnt_from(corpus: Corpus, found: _score.Answers, seen: dict) -> int:
    """How many of the scored records are among those that `unseen` has noted."""
    ids = corpus.store.column("id")
    noted = {name for those in seen.values() if isinstance(those, list) for name in those}
    return sum(ids[int(i)] in noted for i in found.rows)
