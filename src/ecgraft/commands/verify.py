"""ecgraft verify: whether a model folder is whole, and every graft answers as it did when it was written."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Annotated

import torch

from ..model import Graft, Model, reference
from ..model.model import DEFAULT, PACKAGED
from ..record import InputError, UsageError
from ..store.layout import read_json
from ..training.loop import CHECKPOINT
from ._blocks import plain, show, table
from ._say import say

LISTING = "model.json"
CLOSE = 1e-5  # of the largest value kept: what another machine or torch version may move an answer by
NONE = "no reference: written by an earlier version"


def verify(
    model: Annotated[str, "model folder"] = DEFAULT,
    *,
    update: Annotated[bool, "give a reference answer to grafts that have none; one that is there stays"] = False,
    progress: Annotated[bool, "print what is found"] = True,
) -> list[dict]:
    """Checks that a model folder is whole and that every graft answers as it did when it was written.

    The encoder is held against its fingerprint, each graft against its checksum, the folder against its listing. Then
    each graft answers an ECG that never changes; the answer must be that in its file, bit for bit. On another machine
    or torch version it may be off by 1e-5 of the largest value.

    A graft that was being added when that was interrupted is noted: the others are whole, and it can be finished.
    """
    folder = _folder(model, update)
    loaded, wrong, begun = _load(folder)
    hint = "" if folder == PACKAGED else " (--update writes one)"
    found = [_compared(loaded, graft, hint) for graft in loaded.grafts.values()]
    found = [row | {"listed": row["graft"] not in begun} for row in found]
    moved = [row["graft"] for row in found if row["state"] == "moved"]
    if update and not wrong and not moved:
        _update(folder, loaded, found)
    if progress:
        _show(model, found)
        for name in begun:
            say(_advice(model, loaded.graft(name)), mark="note:")
    if moved:
        wrong.append(
            f"not as written: {', '.join(moved)} (a weight, the code or the machine has changed the answers). Restore "
            "the folder from a copy, or evaluate these grafts again before you rely on them"
        )
    if wrong:
        raise InputError(f"{model}: {'; '.join(wrong)}")
    if progress:
        rest = f" ({', '.join(begun)} left out)" if begun else ""
        say(f"{model} is whole: encoder {loaded.fingerprint} and {len(found) - len(begun)} grafts{rest}")
    return found


def _folder(model: str, update: bool) -> Path:
    if str(model) == DEFAULT:
        if update:
            raise UsageError("verify: the model that comes with ecgraft stays as it is; --update is for your own")
        return PACKAGED
    if Path(model).is_file():
        raise UsageError(f"verify: {model} is a file; give the model folder that it belongs to")
    return Path(model)


def _load(folder: Path) -> tuple[Model, list[str], list[str]]:
    """The model; what the listing and the folder do not agree about; and the grafts of interrupted commands.

    InputError where a file is damaged.
    """
    if not (folder / "encoder.safetensors").is_file():
        Model.load(folder)  # says so
    there = {file.stem for file in (folder / "grafts").glob("*.safetensors")}
    listing, begun = _listing(folder, there)
    wrong = _unlisted(listing["grafts"].keys(), there - set(begun))
    try:
        model = Model.load(folder)
    except InputError as error:  # it may be one whose weights build on those of a graft that is missing
        raise InputError("; ".join([str(error), *wrong])) from error
    wrong += [f"graft {name!r} lies in a file of another name" for name in sorted(model.grafts.keys() - there)]
    if (folder / LISTING).exists() and listing.get("encoder") != model.fingerprint:
        wrong.append(f"{LISTING} is of encoder {listing.get('encoder')}, the encoder there is {model.fingerprint}")
    return model, wrong, begun


def _listing(folder: Path, there: set[str]) -> tuple[dict, list[str]]:
    """The listing, and the grafts that it lacks since the command that adds them was interrupted before it wrote it.

    Such a command leaves the state of its training. Where it was the first of a folder there is no listing yet.
    """
    left = sorted(name for name in there if any((folder / "training" / name).rglob(CHECKPOINT)))
    if left and not (folder / LISTING).exists():
        return {"grafts": dict.fromkeys(there - set(left))}, left
    listing = read_json(folder / LISTING)
    if not isinstance(listing.get("grafts"), dict):
        raise InputError(f"{folder / LISTING}: damaged, it lists no grafts; restore it from a copy")
    return listing, [name for name in left if name not in listing["grafts"]]


def _advice(model: str, graft: Graft) -> str:
    """What to do about a graft that is not listed yet."""
    command = plain(graft.card.get("command") or "command")
    return (
        f"graft {graft.name!r} was being added when that was interrupted: run the same {command} again, or take it "
        f"away with ecgraft grafts {model} --remove {graft.name}"
    )


def _unlisted(listed: Set[str], there: Set[str]) -> list[str]:
    wrong = [
        f"graft {name!r} is listed in {LISTING}, and its file is not in grafts/: restore it from a copy"
        for name in sorted(listed - there)
    ]
    return wrong + [
        f"grafts/{plain(name)}.safetensors is there, and not listed in {LISTING}: move it out, and put it in with "
        "ecgraft grafts M --add FILE if it belongs here"
        for name in sorted(there - listed)
    ]


def _compared(model: Model, graft: Graft, hint: str) -> dict:
    """What can be said of a graft: `state` is same, close, moved, none or text; `difference` as `_difference` says."""
    kept, row = graft.part("reference"), {"graft": graft.name, "task": graft.task.kind, "difference": None}
    if not graft.answers:
        return row | {"state": "text", "said": "a text side, which answers no task: its file is as it was written"}
    if not kept:
        return row | {"state": "none", "said": NONE + hint}
    now = {name.removeprefix(reference.PREFIX): tensor for name, tensor in reference.of(model, graft.name).items()}
    if kept.keys() == now.keys() and torch.equal(kept["digest"], now["digest"]):
        return row | {"difference": 0.0, "state": "same", "said": "same, bit for bit"}
    row["difference"] = off = _difference(kept.get("values"), now["values"])
    if off < CLOSE and graft.card.get("reference") != reference.environment():
        return row | {"state": "close", "said": f"same to {off:.1g} on another machine or torch version"}
    return row | {"state": "moved", "said": f"moved by {off:.1e} of the largest value" if off else "moved, by little"}


def _difference(then: torch.Tensor | None, now: torch.Tensor) -> float:
    """The largest difference of the kept values, as a part of the largest value; infinite where they do not match."""
    if then is None or then.shape != now.shape:
        return float("inf")
    off = float((then.double() - now.double()).abs().max()) / (float(then.double().abs().max()) or 1.0)
    return off if off == off else float("inf")


def _update(folder: Path, model: Model, found: list[dict]) -> None:
    """Writes the files of grafts that have no reference again, with one; says so in their rows."""
    for row in found:
        if row["state"] == "none":
            graft = reference.added(model, model.graft(row["graft"]))
            graft.save(folder / "grafts" / f"{graft.name}.safetensors")
            row |= {"state": "written", "said": "reference written: from now on a change shows"}


def _show(model: str, found: list[dict]) -> None:
    rows = table("graft", "task", "answer to the reference ECG")
    for row in found:
        rows.add_row(*(plain(row[key]) for key in ("graft", "task", "said")))
    show([(f"model {model}" + ("" if found else ": no grafts yet"), rows)])
