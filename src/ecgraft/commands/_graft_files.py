"""What is done with the grafts of a model folder: one put in or taken away, folded into an encoder, two compared."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import adapters
from ..encoders._leads import for_leads
from ..formats import naming, reading
from ..model import Graft, Model, reference
from ..nn import text_side
from ..plugs import configure
from ..record import UsageError
from . import _seen
from ._unseen import home_of

SKIPPED = "num_batches_tracked"  # counts, no weights


def add(folder: Path, file: Path) -> Graft:
    """Puts the graft of a file into the model. InputError where it stands on another encoder, or does not fit it."""
    model, graft = Model.load(folder), Graft.load(file)
    if graft.name in model.grafts:
        raise UsageError(
            f"{folder} has a graft {graft.name!r} already; take that away first (ecgraft grafts {folder} --remove "
            f"{graft.name})"
        )
    with naming(file):
        model.add(graft)
        if graft.answers:
            model.network(graft.name)
        else:
            _check_text_side(model, graft)
    model.save(folder)
    return graft


def remove(folder: Path, name: str) -> list[Path]:
    """Takes a graft and the folder of its training away; what is gone. Encoder and other grafts stay as they are."""
    model = Model.load(folder)
    model.graft(name)  # names the nearest where there is none
    gone = [folder / "grafts" / f"{name}.safetensors"]
    model.remove(name)
    model.save(folder)
    training = folder / "training" / name
    if training.is_dir():
        shutil.rmtree(training)
        gone.append(training)
    return gone


def merge(folder: str, name: str, to: Path, made: Model | None = None) -> Model:
    """Writes the `merged` model, or what was `made` of it. What the encoder and the graft have learnt from is noted of
    the new encoder."""
    new = made or merged(Model.load(folder), name)
    with fresh(to) as beside:
        new.save(beside)
        _keep_persons(home_of(folder), name, beside / "training" / _seen.PRETRAINING)
    return new


def merged(model: Model, name: str) -> Model:
    """A model whose encoder has the adapter of a graft in it, and whose only graft is the head of that one.

    It reads the leads of that graft. UsageError where the adapter cannot be merged.
    """
    graft, encoder = reference.without(model.graft(name)), model.network(name).encoder
    try:
        adapters.merge(encoder)
    except UsageError as error:
        raise UsageError(f"graft {name!r}: {error}; its adapter computes more than another weight would") from error
    origin = {"graft": name, "adapter": graft.adapter, "encoder": model.fingerprint}
    seen = _seen.joined([model.seen, graft.tensors]) if model.seen or graft.part("seen") else {}
    card = {key: value for key, value in model.card.items() if key != "blank"}
    recipe = model.recipe if graft.recipe.leads == model.recipe.leads else graft.recipe
    new = Model(encoder, recipe, card | {"merged from": origin}, seen=seen)
    own = {key: value for key, value in graft.tensors.items() if not key.startswith(("encoder.", "shared."))}
    new.add(
        replace(
            graft, adapter="linear", adapter_config={}, encoder=new.fingerprint, tensors=own, shared={},
            card=graft.card | {"merged from": origin},
        )
    )  # fmt: skip
    return new


def _keep_persons(home: Path | None, name: str, folder: Path) -> None:
    """Writes the keys of the patients that an encoder or its graft has learnt from, where they are known."""
    files = [home / "training" / part / _seen.PERSONS for part in (_seen.PRETRAINING, name)] if home else []
    known = [np.load(file, allow_pickle=False) for file in files if file.is_file()]
    if known:
        folder.mkdir(parents=True)
        np.save(folder / _seen.PERSONS, np.unique(np.concatenate(known)))


def _check_text_side(model: Model, graft: Graft) -> None:
    config = configure(text_side.Config, graft.head, f"head of graft {graft.name!r}")
    with reading(f"graft {graft.name!r}", "weights of its text side"):
        text_side.TextSide(config, model.encoder.width).load_state_dict(graft.part("head"))


@contextmanager
def fresh(to: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `to` when all is written. UsageError where something is there already."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(f"{to}: something is there already; give a new folder with --to")
    beside = to.with_name(f"{to.name}.{os.getpid()}.part")
    beside.mkdir(parents=True)
    try:
        yield beside
        if to.is_dir():
            to.rmdir()
        os.replace(beside, to)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def cosines(model: Model, one: str, two: str) -> dict[str, float]:
    """Cosine of what two grafts changed in the encoder, by tensor that both changed; "all" of them together."""
    changes = [_change(model, name) for name in (one, two)]
    both = [key for key in changes[0] if key in changes[1] and changes[0][key].shape == changes[1][key].shape]
    pairs = {key: tuple(change[key].double().flatten() for change in changes) for key in both}
    if pairs:
        pairs["all"] = tuple(torch.cat(parts) for parts in zip(*pairs.values()))
    return {key: _cosine(*pair) for key, pair in pairs.items()}


def _change(model: Model, name: str) -> dict[str, Tensor]:
    """Tensor -> what a graft adds to it; of an adapter that cannot be merged, to its own tensors, from 0."""
    if not model.graft(name).own_trunk:
        return {}
    encoder = copy.deepcopy(model.network(name).encoder)
    try:
        adapters.merge(encoder)
        after = encoder.state_dict()
    except UsageError:
        after = adapters.saved(encoder)
    before = for_leads(model.encoder, encoder.leads).state_dict()
    change = {key: value - before[key] if key in before else value for key, value in after.items()}
    return {key: value for key, value in change.items() if not key.endswith(SKIPPED) and value.any()}


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / np.sqrt(float(a @ a) * float(b @ b)))
