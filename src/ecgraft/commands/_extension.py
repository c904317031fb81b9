"""Where a further task goes: a model folder that is there, or one that begins with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ..continual import BASE, SHARED
from ..model import Graft, Model, blank, chain, reference
from ..model.model import DEFAULT
from ..plugs import configure, nearest
from ..record import InputError, UsageError
from ..signal.recipe import Recipe
from ..store.layout import read_json
from ..store.lock import Lock
from ..training.loop import CHECKPOINT
from .adapt import check_free

LISTING = "model.json"


@dataclass
class Place:
    """A model folder, and the model on which its next task is learnt.

    begun  whether the folder is there; else `base` becomes the folder together with its task
    """

    folder: Path
    base: Model
    begun: bool

    def training(self, name: str) -> Path:
        return self.folder / "training" / name

    def check_name(self, name: str) -> None:
        """UsageError where the model has a graft of this name.

        One that an interrupted extension has written, and not listed, is taken off `base`: it is written again.
        """
        if name not in self.base.grafts:
            return
        listing = self.folder / LISTING
        listed = read_json(listing).get("grafts", {}) if listing.is_file() else {}
        if name not in listed and any(self.training(name).rglob(CHECKPOINT)):
            self.base.remove(name)
            return
        later = _after(self.base, name)
        if later:
            what = f", and later tasks read its weights ({', '.join(later)}), so that it cannot be replaced: choose"
        elif self.begun:
            what = f": take it away (ecgraft grafts {self.folder} --remove {name}), or choose"
        else:
            what = ", from the model that it begins with: choose"
        raise UsageError(f"{self.folder} has a graft {name!r} already{what} another name with --name")

    def put(self, graft: Graft) -> None:
        """Writes the graft into the folder: one new file, then the listing. Those of other tasks are not touched.

        InputError where another task has been added or taken away since `base` was read.
        """
        message = f"{self.folder}: another process is adding a task to it; run the command again when that is done"
        with Lock(self.folder / "training" / "extend.lock", message):
            model = Model.load(self.folder) if self.begun else self.base
            if _end(model, graft.name) != _end(self.base, graft.name) or model.fingerprint != self.base.fingerprint:
                raise InputError(
                    f"{self.folder}: its tasks are not those that {graft.name!r} was learnt on: one was added or taken "
                    "away meanwhile. Nothing was written; run the command again"
                )
            model.add(graft)
            model.save(self.folder)


def opened(model: str, to: Path | None, encoder: str, plug: ModuleType, recipe: dict) -> Place:
    """The place for a task by a strategy's plug; nothing is written. InputError and UsageError where there is none.

    recipe  what the person said of it
    """
    folder = Path(to or model)
    if encoder and to:
        raise UsageError("--encoder begins a new model in the folder --model: leave --to away")
    if not to and str(model) == DEFAULT:
        raise UsageError(f"the model that comes with ecgraft stays as it is: --model {DEFAULT} --to FOLDER copies it")
    if not to and folder.is_file():
        raise UsageError(f"--model {model}: this is a file; give a folder for the model with --to")
    check_free(folder)
    begun = (folder / "encoder.safetensors").is_file() and (not to or (folder / LISTING).is_file())
    if encoder and not begun:
        return Place(folder, _blank(encoder, plug, recipe), False)
    if not to and not begun:
        raise InputError(
            f"{model}: no model there. Begin one with --encoder multires, or with that of another: --model {DEFAULT} "
            f"--to {model}"
        )
    base = Model.load(folder) if begun else _copied(Model.load(model))
    _check_recipe(recipe, base, folder if begun else model)
    if begun:
        _check_same(folder, base, encoder, model if to else None)
    if plug.START == BASE and base.blank:
        blank.refuse(folder)
    return Place(folder, base, begun)


def answers(model: Model) -> dict[str, bytes]:
    """What each graft answers to the ECG that never changes (model.reference), to the last bit."""
    names = [name for name, graft in model.grafts.items() if graft.answers]
    return {name: bytes(reference.of(model, name)["reference.digest"].tolist()) for name in names}


def moved(model: Model, now: dict[str, bytes]) -> list[str]:
    """Grafts that do not answer as when they were written, on the same machine."""
    kept = {name: model.graft(name).part("reference").get("digest") for name in now}
    same = {name for name in now if model.graft(name).card.get("reference") == reference.environment()}
    return [name for name in same if kept[name] is not None and bytes(kept[name].tolist()) != now[name]]


def _blank(encoder: str, plug: ModuleType, recipe: dict) -> Model:
    """A new model without weights, whose tasks bring them all."""
    if plug.START != SHARED:
        raise UsageError(
            "--encoder begins a model whose weights belong to its tasks, as --strategy isolate learns them; begin one "
            "for this strategy with ecgraft pretrain, or with ecgraft adapt --encoder"
        )
    _check_keys(recipe)
    config = {"rate": recipe["rate"]} if "rate" in recipe else {}
    made = Model.empty(encoder, config)
    return Model.empty(encoder, config, configure(Recipe, made.recipe.to_dict() | recipe, "recipe"))


def _copied(model: Model) -> Model:
    """The encoder, and the grafts whose weights a further task reads."""
    copy = Model(model.encoder, model.recipe, model.card, seen=model.seen)
    for graft in chain.order(model.grafts):
        copy.add(graft)
    return copy


def _check_same(folder: Path, there: Model, encoder: str, model: str | None) -> None:
    """InputError where the model at the folder is not on the encoder that was asked for."""
    if encoder and not (there.blank and there.encoder.name == encoder):
        kind = f"a blank {there.encoder.name}" if there.blank else f"an encoder {there.encoder.name} with weights"
        raise InputError(f"{folder}: there already, with {kind}; leave --encoder away, or give a new folder")
    if model and Model.load(model).fingerprint != there.fingerprint:
        raise InputError(f"{folder}: stands on another encoder than {model}; choose a new folder with --to")


def _check_keys(recipe: dict) -> None:
    for key in recipe:
        if key not in Recipe.__dataclass_fields__:
            raise UsageError(f"recipe: unknown key {key!r}; {nearest(key, Recipe.__dataclass_fields__)}")
        if key in chain.OWN:
            raise UsageError(f"recipe.{key}: a task has leads and a window of its own by leads=[I, II] and seconds=5")


def _check_recipe(asked: dict, model: Model, where: Path | str) -> None:
    """UsageError where something else is asked for than the recipe of the model."""
    _check_keys(asked)
    values = configure(Recipe, model.recipe.to_dict() | asked, "recipe").to_dict()
    differ = chain.apart({key: values[key] for key in asked}, model.recipe)
    if differ:
        own = model.recipe
        raise UsageError(
            f"recipe: {differ}. {where} was made for {own.rate:g} Hz and {own.low or 0:g}-{own.high or own.rate / 2:g} "
            "Hz: convolutions that tasks share need one time scale. Begin a new model for it: another folder, with "
            "--encoder and these words"
        )


def _after(model: Model, name: str) -> list[str]:
    """The tasks that stand on the weights of one."""
    names = [graft.name for graft in chain.order(model.grafts)]
    return names[names.index(name) + 1 :] if name in names else []


def _end(model: Model, name: str) -> str:
    """Fingerprint of the weights that a task of this name stands on; empty where it is the first."""
    before = [graft for graft in chain.order(model.grafts) if graft.name != name]
    return before[-1].shared["fingerprint"] if before else ""
