"""A model: one encoder, which never changes, and the grafts that stand on it. On disk a folder.

encoder.safetensors      weights (none where the encoder is blank), architecture, recipe, how it was pretrained
grafts/NAME.safetensors  one per task
model.json               what is in the folder, for people and for `ecgraft info`
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import torch
from torch import nn

from .. import adapters, encoders
from ..encoders._leads import for_leads
from ..formats import naming, reading
from ..nn import files
from ..nn.network import HeadConfig, Network, build_head
from ..plugs import configure, nearest
from ..record import InputError, UsageError
from ..signal.recipe import Recipe
from . import blank, chain, reference, together
from .graft import Graft, check_header

FORMAT = 1
DEFAULT = "default"  # the name of the model that comes with ecgraft
HOW_TO_ASK = "ecgraft predict --prompts FILE, ecgraft evaluate --zero-shot or --retrieval"
NOTHING = ((), "", [])  # kept of predictions: grafts, device, and what `ready` made of them
PACKAGED = Path(__file__).with_name("default")


class Model:
    """`encoder` is a built encoder plug; `card` says how it was pretrained, `seen` on which records.

    `seen` holds tensors "seen.NAME" (checksums and sketches of shapes), for the check of tests against them.
    """

    def __init__(
        self, encoder: nn.Module, recipe: Recipe, card: dict | None = None, described: dict | None = None,
        seen: dict[str, torch.Tensor] | None = None,
    ):  # fmt: skip
        """`described`: architecture and recipe as the encoder's file has them, which the fingerprint covers."""
        self.encoder, self.recipe, self.card = encoder.eval(), recipe, card or {}
        self.seen = seen or {}
        self.grafts: dict[str, Graft] = {}
        self._described = described or _describe(encoder, recipe)
        self._fingerprint: str | None = None
        self._removed: set[str] = set()
        self._kept: tuple = NOTHING

    @property
    def fingerprint(self) -> str:
        """Changes when a weight, the architecture or the recipe of the encoder does."""
        if self._fingerprint is None:
            self._fingerprint = files.fingerprint(self.encoder.state_dict(), self._described)
        return self._fingerprint

    @property
    def blank(self) -> bool:
        """Whether the encoder has no weights of its own: all are zero."""
        return blank.is_zero(self.encoder)

    def add(self, graft: Graft) -> None:
        """Puts a graft on; one of the same name is replaced. Raises InputError if it stands on another encoder."""
        self._check_encoder(graft)
        chain.check(self.grafts, graft, self.recipe)
        self.grafts[graft.name] = graft
        self._removed.discard(graft.name)
        self._kept = NOTHING

    def _check_encoder(self, graft: Graft) -> None:
        if graft.encoder != self.fingerprint:
            raise InputError(
                f"graft {graft.name!r} stands on encoder {graft.encoder}, this model's is {self.fingerprint}: "
                "adapt the task again on this encoder, or load the model that the graft was made for"
            )

    def remove(self, name: str) -> Graft:
        """Takes a graft off, and gives it back; `save` then deletes its file."""
        graft = self.graft(name)
        chain.check_last(self.grafts, name)
        del self.grafts[name]
        self._removed.add(name)
        self._kept = NOTHING
        return graft

    def graft(self, name: str) -> Graft:
        if name not in self.grafts:
            raise UsageError(f"this model has no graft {name!r}; {nearest(name, self.grafts)}")
        return self.grafts[name]

    def network(self, name: str) -> Network:
        """Encoder and head of one graft, in eval mode. The model's own encoder is not touched by what is done to it."""
        graft = self.graft(name)
        if not graft.answers:
            raise UsageError(
                f"graft {name!r} is the text side of this model and answers no task by itself: {HOW_TO_ASK}"
            )
        encoder = for_leads(self.encoder, graft.recipe.leads)
        with reading(f"graft {name!r}", "weights of its encoder and head"):
            adapters.attach(encoder, *(("full",) if graft.shared else (graft.adapter, graft.adapter_config)))
            head = build_head(graft.task, encoder, configure(HeadConfig, graft.head, f"head of graft {name!r}"))
            adapters.restore(encoder, chain.composed(self, graft) if graft.shared else graft.part("encoder"))
            head.load_state_dict(graft.part("head"))
        return Network(encoder, {name: head}, graft.recipe).eval()

    def predict(
        self, record, tasks: list[str] | None = None, device: str = "cpu", union: list[str] | None = None
    ) -> dict:
        """Task -> `Prediction` for one record; all grafts that answer a task unless `tasks` names some.

        Several run in one pass, which equals each of them alone to 1e-5; one alone gives the same bits every time.
        With a `union` of grafts there is one more, "union": one answer over all their labels (model.union). These run
        too, or they alone where `tasks` names none.
        """
        from . import union as unions
        from .predict import predict_all

        joined = unions.members(self, union) if union is not None else []
        every = [name for name, graft in self.grafts.items() if graft.answers]
        said = predict_all(self, list(dict.fromkeys([*(tasks or joined or every), *joined])), record, device)
        return said | ({unions.UNION: unions.answer(self, joined, said)} if joined else {})

    def ready(self, names: list[str], device: str = "cpu") -> list:
        """[(recipe, infer.Ready)] that together run these grafts; kept for the next record, until another is asked."""
        grafts, (kept, place, made) = [self.graft(name) for name in names], self._kept
        if place != device or len(kept) != len(grafts) or any(a is not b for a, b in zip(kept, grafts)):
            self._kept = NOTHING  # two sets are never held at once
            made = together.ready(self, grafts, device)
            self._kept = (grafts, device, made)
        return made

    def save(self, folder: Path) -> None:
        """Writes the folder; each file is replaced whole, the encoder only if it is not there yet.

        A graft that is written gets its reference answer, if it has none. The files of grafts that were removed are
        deleted; others that are there stay. The listing is written last.
        """
        path = folder / "encoder.safetensors"
        if not path.exists():
            header = {"kind": "encoder", "format_version": FORMAT, **self._described}
            header |= {"card": self.card, "fingerprint": self.fingerprint} | ({"blank": True} if self.blank else {})
            files.save(path, ({} if self.blank else self.encoder.state_dict()) | self.seen, header)
        elif _load_encoder(path).fingerprint != self.fingerprint:
            raise InputError(f"{folder}: holds another encoder; choose a new folder with --to")
        for graft in chain.in_turn(self.grafts):
            file = folder / "grafts" / f"{graft.name}.safetensors"
            if not graft.is_in(file):
                self.grafts[graft.name] = reference.added(self, graft)
                self.grafts[graft.name].save(file)
        for name in self._removed:
            (folder / "grafts" / f"{name}.safetensors").unlink(missing_ok=True)
        listing = {"kind": "model", "format_version": FORMAT, "encoder": self.fingerprint}
        listing["grafts"] = {g.name: {"task": g.task.kind, "adapter": g.adapter} for g in self.grafts.values()}
        beside = folder / "model.json.part"
        beside.write_text(json.dumps(listing, indent=2))
        os.replace(beside, folder / "model.json")

    @classmethod
    def load(cls, path: str | Path = DEFAULT) -> Model:
        """A model folder, an encoder file, or "default": the model of ecgraft (`./default` is a folder)."""
        path = PACKAGED if str(path) == DEFAULT else Path(path)
        if path.is_file():
            return _load_encoder(path)
        if not (path / "encoder.safetensors").is_file():
            raise InputError(f"{path}: no model there (encoder.safetensors and grafts); ecgraft adapt makes one")
        model, found, where = _load_encoder(path / "encoder.safetensors"), {}, {}
        for file in sorted((path / "grafts").glob("*.safetensors")):
            graft = Graft.load(file)
            with naming(file):
                model._check_encoder(graft)
            if graft.name in found:
                raise InputError(
                    f"{file}: holds graft {graft.name!r}, and so does another file here; take one of them away"
                )
            found[graft.name], where[graft.name] = graft, file
        with naming(path):
            turns = chain.in_turn(found)
        for graft in turns:
            with naming(where[graft.name]):
                model.add(graft)
        model.grafts = {name: model.grafts[name] for name in found}
        return model

    @classmethod
    def base(cls, path: str | Path = DEFAULT) -> Model:
        """`load`, for what needs the encoder's own weights: UsageError where they are blank."""
        model = cls.load(path)
        if model.blank:
            blank.refuse(path)
        return model

    @classmethod
    def fresh(cls, encoder: str, config: dict | None = None, recipe: Recipe | None = None, seed: int = 0) -> Model:
        """A model with an untrained encoder: the start of training from scratch."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            built = encoders.build(encoder, config or {})
        recipe = recipe or Recipe(leads=built.leads, rate=built.rate)
        return cls(built, recipe, {"pretraining": "none", "seed": seed})

    @classmethod
    def empty(cls, encoder: str, config: dict | None = None, recipe: Recipe | None = None) -> Model:
        """A model with a blank encoder: all its weights are zero, and those of its tasks take their places."""
        fresh = cls.fresh(encoder, config, recipe)
        return cls(blank.zero(fresh.encoder), fresh.recipe, dict(blank.CARD))


def _describe(encoder: nn.Module, recipe: Recipe) -> dict:
    """What an encoder is, besides its weights, as JSON gives it back.

    A setting that is None by default, and is, is left out: a further one of that kind changes no fingerprint.
    """
    unsaid = {f.name for f in dataclasses.fields(encoder.config) if f.default is None}
    config = {k: v for k, v in dataclasses.asdict(encoder.config).items() if v is not None or k not in unsaid}
    described = {"name": encoder.name, "config": config, "recipe": recipe.to_dict()}
    return json.loads(json.dumps(described))


def _load_encoder(path: Path) -> Model:
    tensors, header = files.load(path, "encoder")
    check_header(path, header, "encoder", FORMAT)
    with reading(path, "encoder"):
        seen = {name: tensors.pop(name) for name in list(tensors) if name.startswith("seen.")}
        _check_sizes(path, header, tensors)
        encoder = encoders.build(header["name"], header["config"])
        blank.zero(encoder) if header.get("blank") else encoder.load_state_dict(tensors)
        described = {key: header[key] for key in ("name", "config", "recipe")}
        model = Model(encoder, Recipe.from_dict(header["recipe"]), header.get("card", {}), described, seen)
        if model.fingerprint != header["fingerprint"]:
            raise InputError(f"{path}: damaged: its fingerprint is {model.fingerprint}, not {header['fingerprint']}")
    return model


def _check_sizes(path: Path, header: dict, tensors: dict[str, torch.Tensor]) -> None:
    """InputError where the architecture would be larger than its weights are: nothing is allocated for it before."""
    if "." in header["name"]:  # an encoder of somebody's own may need real tensors to be built
        return
    with torch.device("meta"):
        built = encoders.build(header["name"], header["config"]).state_dict()
    if header.get("blank"):
        return blank.check(path, built.values(), tensors)
    expected = {name: value.shape for name, value in built.items()}
    for name in sorted(expected.keys() | tensors.keys()):
        given = tensors[name].shape if name in tensors else None
        if given != expected.get(name):
            raise InputError(
                f"{path}: damaged: tensor {name!r} has shape {given}, its architecture {expected.get(name)}"
            )
