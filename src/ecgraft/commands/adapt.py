"""ecgraft adapt: a graft for one task, trained from the labelled records of a store."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import platform
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import rich
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from rich.markup import escape

from .. import __version__, adapters, tasks, views
from ..model import Graft, Model
from ..model.model import DEFAULT
from ..nn.network import HeadConfig, Network, build_head
from ..objectives.supervised import Config as Loss
from ..objectives.supervised import Supervised
from ..plugs import configure
from ..record import InputError, UsageError
from ..signal.recipe import Recipe
from ..store import Store
from ..training import Config as Training
from ..training import Examples, Sampler, fit
from . import _score
from ._examples import Corpus, window_recipe


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """How a graft is trained; what is None is chosen by the kind of task and the number of labelled records.

    seconds    window (None: the encoder's own)
    balance    0: records in turn; 1: classes equally often (Sampler)
    augment    views that are laid over the training windows, by name, with their settings
    head       dropout and width of the head; leads: "joint" or "each"
    training   steps, rate ... (training.Config)
    """

    adapter: str = "full"
    adapter_config: dict = Field(default_factory=dict)
    seconds: float | None = None
    batch: int = Field(32, ge=1)
    balance: float = Field(0.0, ge=0, le=1)
    smoothing: float = 0.0
    augment: dict[str, dict] = Field(default_factory=lambda: {"gain": {}, "noise": {}, "lead_loss": {}})
    head: HeadConfig = HeadConfig()
    training: dict = Field(default_factory=dict)


def adapt(
    store: Annotated[Path, "store with labelled records"],
    *,
    task: Annotated[str, "task: a name, a YAML file, or own (the labels of your own file)"],
    to: Annotated[Path, "model folder to write; if it is there, the graft is added to it"],
    model: Annotated[str, "model folder or encoder file to stand on (default: TO, else the encoder of ecgraft)"] = "",
    encoder: Annotated[str, "start from an untrained encoder of this name instead of a model"] = "",
    adapter: Annotated[str, "what may change: linear (head only) or full"] = "full",
    budget: Annotated[float, "labelled records to use: below 1 a share, above it a number; 1 = all"] = 1.0,
    name: Annotated[str, "name of the graft (default: the task's)"] = "",
    steps: Annotated[int, "training steps (0: chosen by the number of records)"] = 0,
    seed: Annotated[int, "seed of the choice of records, the head and the batches"] = 0,
    device: Annotated[str, "where to compute: auto, cpu, cuda or mps"] = "auto",
    progress: Annotated[bool, "show progress"] = True,
    **settings: Annotated[Any, Settings],
) -> Graft:
    """Trains a graft for one task, on a frozen or free encoder, and writes it into a model folder."""
    opened = Store(store)
    corpus = Corpus.open(opened, tasks.find(task, opened))
    base = open_base(Path(to), model, encoder, seed)
    options = with_defaults(configure(Settings, {"adapter": adapter, **settings}, "adapt"), steps, seed)
    train, validation = corpus.few(budget, seed)
    job = Job(base, corpus, train, validation, options, name or corpus.task.name, pick_device(device), progress)
    graft = job.run(Path(to) / "training" / job.name)
    graft.card |= {"budget": budget, "store": opened.fingerprint, "command": "ecgraft adapt"}
    base.add(graft)
    base.save(Path(to))
    return graft


def open_base(to: Path, model: str, encoder: str, seed: int) -> Model:
    """The model to stand on: a fresh encoder, the one that is named, the one at `to`, or the one of ecgraft."""
    if encoder and model:
        raise UsageError("give --encoder (untrained) or --model, not both")
    there = (to / "encoder.safetensors").exists()
    if there and not encoder and not model:
        return Model.load(to)
    base = Model.fresh(encoder, seed=seed) if encoder else Model.load(model or DEFAULT)
    if there:
        kept = Model.load(to)
        if kept.fingerprint != base.fingerprint:
            raise InputError(f"{to}: stands on another encoder; choose a new folder with --to")
        return kept
    return base


def with_defaults(options: Settings, steps: int, seed: int) -> Settings:
    """The settings with steps and seed put into the training's."""
    training = {"seed": seed} | options.training | ({"steps": steps} if steps else {})
    return replace(options, training=training)


def pick_device(name: str) -> torch.device:
    """The device by name; "auto" is the fastest there is. Raises UsageError where it is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    if not there.get(name.partition(":")[0], False):
        raise UsageError(f"device {name!r} is not there; there is {', '.join(k for k, v in there.items() if v)}")
    return torch.device(name)


@dataclasses.dataclass
class Job:
    """A graft in the making: learnt from the rows `train` of a corpus; `validation` chooses weights and thresholds."""

    model: Model
    corpus: Corpus
    train: np.ndarray
    validation: np.ndarray
    options: Settings
    name: str
    device: torch.device | str = "cpu"
    progress: bool = True

    @cached_property
    def recipe(self) -> Recipe:
        return window_recipe(self.model.recipe, self.options.seconds)

    @cached_property
    def training(self) -> Training:
        return configure(Training, self.options.training, "training")

    @cached_property
    def cache(self):
        return self.corpus.store.prepared(self.recipe, progress=self.progress)

    def run(self, folder: Path | None = None) -> Graft:
        """Trains and packs. With a folder an interrupted run goes on when it is called again."""
        self.train, self.validation = (rows[self.cache.usable[rows]] for rows in (self.train, self.validation))
        self._check_classes()
        network = self._network()
        calibration, examples = self._scaled(self.corpus.examples(self.train, self.cache))
        options = self.options
        objective = Supervised(
            network, {self.name: self.corpus.task}, Loss(smoothing=options.smoothing), views.build(options.augment)
        )
        sampler = Sampler(
            examples, options.batch, self.recipe.samples,
            seed=self.training.seed, balance=options.balance, device=self.device,
        )  # fmt: skip
        result = fit(
            objective, sampler, self.training, validate=self._score(calibration) if len(self.validation) else None,
            device=self.device, folder=folder, title=f"adapt {self.name}", progress=self.progress,
        )  # fmt: skip
        return self._pack(network.to("cpu").eval(), calibration, result)

    def _network(self) -> Network:
        """The model's encoder, copied, with the adapter in it, and a new head."""
        with torch.random.fork_rng():
            torch.manual_seed(self.training.seed)
            encoder = copy.deepcopy(self.model.encoder)
            adapters.attach(encoder, self.options.adapter, self.options.adapter_config)
            head = build_head(self.corpus.task, encoder, self.options.head)
        return Network(encoder, {self.name: head}, self.recipe)

    def _score(self, calibration: dict):
        def score(objective: Supervised) -> float:
            found = _score.answer(objective.network, self.corpus, self.validation, self.cache, device=self.device)
            return _score.main_score(self.corpus, found, calibration)

        return score

    def _scaled(self, examples: Examples) -> tuple[dict, Examples]:
        """For regression: values in units of their spread over the training part."""
        if self.corpus.task.kind != "regression":
            return {}, examples
        mean, sd = float(examples.y.mean()), float(examples.y.std()) or 1.0
        return {"mean": mean, "sd": sd}, replace(examples, y=(examples.y - mean) / sd)

    def _check_classes(self) -> None:
        """Raises InputError for a part that cannot teach the task."""
        if not len(self.train):
            raise InputError(f"task {self.corpus.task.name!r}: no training record left; give a larger --budget")
        if self.corpus.task.kind not in ("multiclass", "multilabel"):
            return
        positive = (self.corpus.y[self.train] * self.corpus.known_each[self.train]).sum(0)
        without = [label for label, n in zip(self.corpus.task.labels, positive) if n == 0]
        if len(without) == len(self.corpus.task.labels):
            raise InputError(f"task {self.corpus.task.name!r}: no class has a positive record in the training part")
        if without:
            self._say(f"no positive training record of {', '.join(without)}: the graft cannot learn it")

    def _say(self, text: str) -> None:
        if self.progress:
            rich.print(f"[yellow]note:[/yellow] {escape(text)}")

    def _pack(self, network: Network, calibration: dict, result) -> Graft:
        thresholds: dict = {}
        if len(self.validation):
            found = _score.answer(network, self.corpus, self.validation, self.cache)
            fitted, thresholds = _score.calibrated(self.corpus, found)
            calibration = calibration | fitted
        tensors = {f"encoder.{key}": value for key, value in adapters.saved(network.encoder).items()}
        tensors |= {f"head.{key}": value for key, value in network.heads[self.name].state_dict().items()}
        card = {
            "date": datetime.date.today().isoformat(),
            "records": {"train": len(self.train), "validation": len(self.validation)},
            "settings": asdict(self.options),
            "score on validation": {self.corpus.task.metric: result.score, "step": result.step},
            "trained parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
            "versions": {"ecgraft": __version__, "torch": torch.__version__, "python": platform.python_version()},
        }
        return Graft(
            self.name, self.corpus.task, self.recipe, self.options.adapter, asdict(self.options.head),
            self.model.fingerprint, {key: value.detach().clone() for key, value in tensors.items()},
            adapter_config=self.options.adapter_config, thresholds=thresholds, calibration=calibration, card=card,
        )  # fmt: skip
