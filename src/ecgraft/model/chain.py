"""Grafts whose weights are in common: each stands on the one before it, and reads of its weights, never of later ones.

A task's own weights lie in its own file, beside one bit for each weight of the encoder (nn.shared.Ledger). So the file
of a task never changes again, a further task is one more file, and what a task computes with follows from its file and
those before it. `graft.shared` says
root         free: weights that no task owns are not there; encoder: they are those of the encoder, and read
stem         whether the convolutions that read the signal are each task's own (private) or shared
after        name and fingerprint of the graft that it stands on; {} for the first
fingerprint  of its bits and values and of all that they stand on
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..nn import files, shared
from ..record import InputError, UsageError
from ..signal.recipe import Recipe
from .graft import Graft

OWN = ("leads", "seconds", "slot")  # of a task's recipe; in all else it is that of the model
ONE_SCALE = "convolutions that tasks share need one rate, filter and normalisation"


def order(grafts: dict[str, Graft]) -> list[Graft]:
    """The grafts with shared weights, the first one first. InputError where one is missing, or two follow the same."""
    left = {name: graft for name, graft in grafts.items() if graft.shared}
    found: list[Graft] = []
    while left:
        last = found[-1].name if found else None
        following = [graft for graft in left.values() if graft.shared["after"].get("graft") == last]
        if len(following) != 1:
            names = ", ".join(sorted(left))
            said = f"nothing stands on {last or 'the encoder'}" if not following else "two stand on the same one"
            raise InputError(f"grafts {names}: their weights build on each other, but {said}; is a file missing?")
        found.append(left.pop(following[0].name))
    return found


def in_turn(grafts: dict[str, Graft]) -> list[Graft]:
    """All grafts, each after those that it stands on. InputError as `order`."""
    return [*order(grafts), *(graft for graft in grafts.values() if not graft.shared)]


def check(grafts: dict[str, Graft], graft: Graft, recipe: Recipe | None = None) -> None:
    """InputError where a graft with shared weights does not follow on the last one, or would replace another.

    recipe  of the model: the graft's may differ from it in `OWN` alone
    """
    others = {name: each for name, each in grafts.items() if name != graft.name}
    if graft.name in grafts and grafts[graft.name].shared and grafts[graft.name] is not order(grafts)[-1]:
        raise InputError(f"graft {graft.name!r}: later tasks read its weights, so that it cannot be replaced")
    if not graft.shared:
        return
    if recipe and (differ := apart(graft.recipe.to_dict(), recipe)):
        raise InputError(f"graft {graft.name!r}: it was made for {differ}, and {ONE_SCALE}")
    last, after = (order(others) or [None])[-1], graft.shared["after"]
    if (last.name if last else None) != after.get("graft"):
        there = f"the last one here is {last.name!r}" if last else "there is none here"
        raise InputError(f"graft {graft.name!r} stands on graft {after.get('graft') or '(none)'!r}, but {there}")
    if last and last.shared["fingerprint"] != after.get("fingerprint"):
        raise InputError(
            f"graft {graft.name!r} stands on weights {after.get('fingerprint')} of graft {last.name!r}, which are "
            f"{last.shared['fingerprint']} here: it belongs to another model, or a file was changed"
        )
    if last and any(last.shared[key] != graft.shared[key] for key in ("root", "stem")):
        raise InputError(f"graft {graft.name!r}: shares its weights in another way than {last.name!r}")
    if fingerprint(graft) != graft.shared["fingerprint"]:
        raise InputError(f"graft {graft.name!r}: damaged: its weights are not those that were written")


def apart(asked: dict, recipe: Recipe) -> str:
    """What a recipe's values say otherwise than the recipe of a model, but for `OWN`; empty where nothing does."""
    here, differ = recipe.to_dict(), []
    for key, value in asked.items():
        if key not in OWN and value != here[key]:
            differ.append(f"{key} {value} (this model: {here[key]})")
    return ", ".join(differ)


def check_last(grafts: dict[str, Graft], name: str) -> None:
    """UsageError for a graft whose weights others read."""
    chain = [graft.name for graft in order(grafts)]
    if name in chain[:-1]:
        later = ", ".join(chain[chain.index(name) + 1 :])
        raise UsageError(f"graft {name!r}: later tasks read its weights ({later}); remove those first, the last first")


def fingerprint(graft: Graft) -> str:
    """Covers the encoder, the task's own weights and bits, and those of all tasks before it."""
    described = {"encoder": graft.encoder} | {key: graft.shared[key] for key in ("root", "stem", "after")}
    return fingerprint_of(graft.tensors, described)


def fingerprint_of(tensors: dict[str, Tensor], described: dict) -> str:
    """`described`: fingerprint of the encoder, root, stem and after."""
    missing = [name for name in (shared.READS, shared.OWN) if name not in tensors]
    if missing:
        raise InputError(f"tensor {missing[0]!r} is missing")
    return files.fingerprint({name: tensors[name] for name in (shared.READS, shared.OWN)}, described)


def ledger(model, before: str | None = None) -> shared.Ledger:
    """Who owns which weight after all tasks, or before the task of that name."""
    chain = order(model.grafts)
    first = chain[0].shared if chain else {"root": "free", "stem": "private"}
    made = start(model, first["root"], first["stem"])
    for graft in chain:
        if graft.name == before:
            break
        made.enter(graft.tensors)
    return made


def start(model, root: str, stem: str) -> shared.Ledger:
    """The ledger before the first task."""
    made = shared.Ledger.empty(shared.shapes(model.encoder, stem))
    return made.of_encoder(model.encoder) if root == "encoder" else made


def composed(model, graft: Graft) -> dict[str, Tensor]:
    """What the graft puts in place of the encoder's tensors: its weights, by selection, and what is its own."""
    weights = ledger(model, graft.name).read(graft.tensors)
    return {f"{name}.weight": value for name, value in weights.items()} | graft.part("encoder")


def shares(model) -> dict[str, dict[str, float]]:
    """Task -> {"owns": share of the weights, "reads": share that is not 0}, and "(free)" -> {"owns"}."""
    chain, made = order(model.grafts), ledger(model)
    found = {}
    for number, graft in enumerate(chain, made.tasks - len(chain) + 1):
        bits = graft.tensors[shared.READS]
        read = sum(int(((bits >> k) & 1).sum()) for k in range(8)) if bits.dtype == torch.uint8 else 0
        found[graft.name] = {"owns": made.owned(number), "reads": read / max(1, made.size)}
    return found | {"(free)": {"owns": made.owned(0)}}
