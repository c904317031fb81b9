"""A graft in the making: which settings, which records, and the run that trains and packs it."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import hashlib
import json
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from .. import __version__, adapters, views
from ..model import Graft, Model
from ..nn.network import DENSE, HeadConfig, Network, build_head
from ..objectives.supervised import Config as Loss
from ..objectives.supervised import Supervised
from ..plugs import configure
from ..record import InputError
from ..signal.recipe import Recipe
from ..training import Config as Training
from ..training import Examples, Result, Sampler, fit
from ..training.loop import CHECKPOINT
from . import _calibrate, _probe, _score
from ._examples import Corpus, window_recipe
from ._features import features, kept_features
from ._say import say

TRAINING = {"rate": 1e-3, "average": 0.98}  # where adapting differs from the defaults of training.Config
PASSES, STEPS = 40, (200, 3000)  # how long a graft is trained where nobody says so


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """How a graft is trained.

    adapter         what may change in the encoder, by name
    adapter_config  settings of the adapter
    seconds         window, s (default: the encoder's own)
    batch           windows in a step
    balance         0: records in turn; 1: classes equally often
    smoothing       share of a class target that is spread over the other classes
    augment         views that are laid over the training windows, by name, with their settings
    start           graft: from the head of the model's own graft of that name, if it fits; new: from a new head
    head            dropout and width of the head; leads: joint (one pass) or each (one by one); kind: linear, or knn
                    (nearest neighbours on a frozen encoder: nothing is learnt, what is said of training is not used)
    training        steps, rate ... (training.Config); where they are not given: TRAINING, and `fitting_steps`
    calibrate       how probabilities are corrected on the validation part: temperature, isotonic or none
    coverage        share of the records whose true answer is to be among those that are called possible
    """

    adapter: str = "full"
    adapter_config: dict = Field(default_factory=dict)
    seconds: float | None = Field(None, gt=0)
    batch: int = Field(32, ge=1)
    balance: float = Field(0.0, ge=0, le=1)
    smoothing: float = Field(0.0, ge=0, lt=1)
    augment: dict[str, dict] = Field(default_factory=lambda: {"gain": {}, "noise": {}, "lead_loss": {}})
    start: Literal["graft", "new"] = "graft"
    head: HeadConfig = HeadConfig()
    training: dict = Field(default_factory=dict)
    calibrate: Literal["temperature", "isotonic", "none"] = "temperature"
    coverage: float = Field(0.9, gt=0, lt=1)


def with_defaults(options: Settings, steps: int, seed: int) -> Settings:
    """The settings with what the training leaves open filled in."""
    return replace(options, training=TRAINING | {"steps": steps, "seed": seed} | options.training)


def fitting_steps(records: int, batch: int, least: int = STEPS[0], most: int = STEPS[1], passes: int = PASSES) -> int:
    """Steps for a graft: `passes` over the records, but at least `least` and at most `most`."""
    return min(max(round(passes * records / batch), least), most)


@dataclasses.dataclass
class Job:
    """A graft in the making: learnt from the rows `train` of a corpus; `validation` chooses weights and thresholds."""

    model: Model
    corpus: Corpus
    train: np.ndarray
    validation: np.ndarray
    options: Settings
    name: str
    start: Graft | None = None  # whose head the new one may begin from
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

    def run(self, folder: Path | None = None, save: Callable[[Graft], None] = lambda graft: None) -> Graft:
        """Trains, packs and hands the graft to `save`.

        With a folder a run that was interrupted, even in `save`, goes on when the same one is asked for again.
        """
        _probe.check(self.options)
        network = self._network()
        self.train, self.validation = (rows[self.cache.usable[rows]] for rows in (self.train, self.validation))
        self._check_classes()
        calibration, examples = self._scaled(self.corpus.examples(self.train, self.cache))
        if folder:
            self._claim(folder)
        self.result = self._filled(network) if self.voting else self._fitted(network, examples, calibration, folder)
        graft = self._pack(network.to("cpu").eval(), calibration, self.result)
        save(graft)
        if folder:
            (folder / CHECKPOINT).unlink(missing_ok=True)
        return graft

    def _filled(self, network: Network) -> Result:
        """Gives neighbours their records; nothing is learnt."""
        rows = _probe.voters(self.train, self.training.seed)
        _probe.fill(network.heads[self.name], self.features(rows), self.corpus.y[rows], self.corpus.known_each[rows])
        return Result(score=self._score({})(network.to(self.device))) if len(self.validation) else Result()

    def _fitted(self, network: Network, examples: Examples, calibration: dict, folder: Path | None) -> Result:
        """Trains what is free in the network."""
        learner, augment = network, views.build(self.options.augment, self.recipe)
        if self.probing:
            (learner, examples), augment = self._probing(network, examples), None
        loss = Loss(smoothing=self.options.smoothing)
        sampler = Sampler(
            examples, self.options.batch, self.recipe.samples,
            seed=self.training.seed, balance=self.options.balance, device=self.device,
        )  # fmt: skip
        score = self._score(calibration)
        result = fit(
            Supervised(learner, {self.name: self.corpus.task}, loss, augment), sampler, self.training,
            validate=(lambda made: score(made.network)) if len(self.validation) else None,
            device=self.device, folder=folder, title=f"adapt {self.name}", progress=self.progress,
        )  # fmt: skip
        if self.probing:
            learner.fold()
        return result

    def answer(self, network: Network | _probe.Probe, rows: np.ndarray) -> _score.Answers:
        """What a network of this job, or a probe in the making, says of records."""
        if self.probing:
            h = self.features(rows)
            return _score.Answers(
                rows, logits=_probe.logits(network.eval().heads[self.name], h, self.device), features=h
            )
        return _score.answer(network, self.corpus, rows, self.cache, device=self.device)

    @property
    def probing(self) -> bool:
        """Whether there is only a head per record on features that never change, so that they are computed once."""
        options = self.options
        fixed = self.voting or (options.adapter == "linear" and not options.augment)
        return fixed and self.corpus.task.kind not in DENSE

    @property
    def voting(self) -> bool:
        """Whether the head is neighbours, which learn nothing."""
        return self.options.head.kind == "knn"

    def features(self, rows: np.ndarray) -> np.ndarray:
        """The pooled features of the model's own encoder, (n, D)."""
        return kept_features(self.model, self.recipe, self.cache, rows, self.device)

    def _probing(self, network: Network, examples: Examples) -> tuple[_probe.Probe, _probe.FeatureExamples]:
        h = self.features(examples.index)
        probe = _probe.Probe(self.name, network.heads[self.name], h)
        if self.corpus.task.kind != "regression" and not self.continues:
            probe.start_at(examples.y, examples.known)
        return probe, _probe.FeatureExamples(h, examples.y, examples.known)

    def _claim(self, folder: Path) -> None:
        """Clears the folder of what another run has left: one with other settings, records or encoder."""
        run = {"settings": asdict(self.options), "task": asdict(self.corpus.task), "encoder": self.model.fingerprint}
        run |= {
            "start": self.continues,
            "store": self.corpus.store.fingerprint,
            "train": self.train.tolist(),
            "held": self.validation.tolist(),
        }
        key = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
        note = folder / "run.txt"
        if not note.is_file() or note.read_text() != key:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            note.write_text(key)

    def _network(self) -> Network:
        """The model's encoder, copied, with the adapter in it, and a new head."""
        with torch.random.fork_rng():
            torch.manual_seed(self.training.seed)
            encoder = copy.deepcopy(self.model.encoder)
            adapters.attach(encoder, self.options.adapter, self.options.adapter_config)
            head = build_head(self.corpus.task, encoder, self.options.head)
        if self.continues:
            head.load_state_dict(self.start.part("head"))
        return Network(encoder, {self.name: head}, self.recipe)

    @property
    def continues(self) -> bool:
        """Whether there is a head on the plain encoder for the same outputs, and the new one is to begin with it."""
        start, wanted = self.start, self.options.start == "graft"
        if start is None or not wanted or start.own_trunk or self.voting:
            return False
        head = asdict(HeadConfig()) | start.head  # an older file does not name them all
        return start.task.labels == self.corpus.task.labels and head == asdict(self.options.head)

    def _score(self, calibration: dict):
        def score(network: Network | _probe.Probe) -> float:
            found = self.answer(network, self.validation)
            if found.logits is not None and not np.isfinite(found.logits).all():
                raise InputError("the weights grew beyond all bounds; lower the learning rate (training.rate=0.0003)")
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
            raise InputError(
                f"task {self.corpus.task.name!r}: no class has a positive record in the training part of "
                f"{self.corpus.store.path}; label more records, or give a larger --budget"
            )
        if without:
            self._note(f"no positive training record of {', '.join(without)}: the graft cannot learn it")

    def _note(self, text: str) -> None:
        if self.progress:
            say(text, mark="note:")

    def _some_features(self, network: Network) -> np.ndarray:
        """The pooled features of training records, for the distance that tells what is unlike them."""
        rows = _calibrate.some(self.train)
        if self.probing:
            return self.features(rows)
        return features(network.encoder, self.recipe, self.cache, rows, self.device)

    def _pack(self, network: Network, calibration: dict, result) -> Graft:
        found = self.answer(network.to(self.device), self.validation) if len(self.validation) else None
        fitted = _calibrate.fit(
            self.corpus, found, self._some_features(network), calibration, self.options.calibrate, self.options.coverage
        )
        network.to("cpu")
        tensors = {f"encoder.{key}": value for key, value in adapters.saved(network.encoder).items()}
        tensors |= {f"head.{key}": value for key, value in network.heads[self.name].state_dict().items()}
        tensors |= fitted.tensors
        card = {
            "date": datetime.date.today().isoformat(),
            "records": {"train": len(self.train), "validation": len(self.validation)},
            "settings": asdict(self.options),
            "score on validation": {self.corpus.task.metric: result.score, "step": result.step} if found else None,
            "trained parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
            "versions": {"ecgraft": __version__, "torch": torch.__version__, "python": platform.python_version()},
        }
        if self.voting:
            card["neighbours"] = _probe.told(len(self.train))
        return Graft(
            self.name, self.corpus.task, self.recipe, self.options.adapter, asdict(self.options.head),
            self.model.fingerprint, {key: value.detach().clone() for key, value in tensors.items()},
            adapter_config=self.options.adapter_config, thresholds=fitted.thresholds, calibration=fitted.calibration,
            conformal=fitted.conformal, distance=fitted.distance, card=card,
        )  # fmt: skip
