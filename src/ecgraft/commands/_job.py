"""A graft in the making: which settings, which records, and the run that trains and packs it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import adapters, views
from ..encoders._leads import for_leads
from ..model import Graft, Model
from ..nn.network import DENSE, HeadConfig, Network, build_head
from ..objectives.supervised import Config as Loss
from ..objectives.supervised import Supervised
from ..record import InputError, UsageError
from ..signal.recipe import Recipe
from ..training import Config as Training
from ..training import Examples, Result, Sampler, fit
from ..training.cost import StepCost, step_cost
from ..training.loop import CHECKPOINT
from . import _allocation, _kept, _mixed, _probe, _score, _semi
from ._examples import Corpus, window_recipe
from ._features import features, kept_features
from ._pack import pack
from ._say import say
from ._settings import Settings, training
from ._unlabelled import Unlabelled, rest_of

LEAST = 2  # positive records of a label, to learn it from


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
    unlabelled: Unlabelled | None = None  # what `semi` learns from
    also: list[Corpus] = dataclasses.field(default_factory=list)  # other stores, all of whose records are learnt from
    allocated: dict = dataclasses.field(default_factory=dict)  # how ranks were found out
    measure: bool = False  # what memory a step needs, before the first
    step_cost: StepCost | None = None
    strategy: Any = None  # how a further task is learnt (_course), instead of by an adapter
    kept: _kept.Kept | None = dataclasses.field(default=None, init=False)  # while it trains: what frozen layers gave

    @cached_property
    def recipe(self) -> Recipe:
        return window_recipe(self.model.recipe, self.options.seconds, self.options.leads)

    @cached_property
    def training(self) -> Training:
        return training(self.options)

    @cached_property
    def cache(self):
        return self.corpus.store.prepared(self.recipe, progress=self.progress)

    def run(self, folder: Path | None = None, save: Callable[[Graft], None] = lambda graft: None) -> Graft:
        """Trains, packs and hands the graft to `save`.

        With a folder a run that was interrupted, even in `save`, goes on when the same one is asked for again.
        """
        network = self.begin(folder)
        self.result = self._filled(network) if self.voting else self._fitted(network, folder)
        return self.finish(network, folder, save)

    def begin(self, folder: Path | None = None) -> Network:
        """Checks what was asked for, clears the folder of another run, and makes the network that is to learn."""
        _probe.check(self.options)
        _allocation.check(self.options)
        _semi.check(self.options)
        _mixed.check(self.options, self.corpus, self.also)
        if "cutmix" in self.options.augment and self.corpus.task.kind in ("peaks", "beats"):
            raise UsageError(
                f"augment: cutmix takes the signal of R peaks away, and task {self.corpus.task.name!r} is of them"
            )
        self._leave_out()
        self._check_classes()
        self.calibration, self.examples = self._scaled(self.corpus.examples(self.train, self.cache))
        if folder:
            self._claim(folder)
        if _allocation.wanted(self.options):
            self._allocate(self.examples)
        return self._network()

    def finish(self, network: Network, folder: Path | None = None, save=lambda graft: None) -> Graft:
        """Packs what has learnt and hands the graft to `save`."""
        graft = pack(self, network.to("cpu").eval())
        save(graft)
        for checkpoint in folder.rglob(CHECKPOINT) if folder else ():
            checkpoint.unlink()
        return graft

    def _filled(self, network: Network) -> Result:
        """Gives neighbours their records; nothing is learnt."""
        rows = _probe.voters(self.train, self.training.seed)
        _probe.fill(network.heads[self.name], self.features(rows), self.corpus.y[rows], self.corpus.known_each[rows])
        return Result(score=self._score({})(network.to(self.device))) if len(self.validation) else Result()

    def _fitted(self, network: Network, folder: Path | None) -> Result:
        """Trains what is free in the network."""
        learner, examples, augment = network, self.examples, self._views()
        if self.probing:
            (learner, examples), augment = self._probing(network, examples), None
        elif self.options.cache and not self.options.augment and not self.options.semi and not self.mixed:
            rows = np.union1d(self.train, self.validation)
            self.kept = _kept.keep(
                network, self.model.fingerprint, self.cache, rows, self.device, self._note, self.progress
            )
        if self.kept:
            learner, examples = self.kept.network, replace(examples, cache=self.kept.cache)
        sampler = self._batches(examples)
        objective = self.objective(learner, augment)
        if self.options.semi:
            objective, sampler = _semi.around(objective, sampler, self._unlabelled, self.options, self.training.steps)
        self.step_cost = step_cost(objective.to(self.device), sampler(0)) if self.measure else None
        try:
            learn = self.strategy.learn if self.strategy else Job.fit
            result = learn(self, objective, sampler, self.training, folder)
        finally:
            if self.mixed:
                sampler.close()
        if self.probing:
            learner.fold()
        self.kept = None
        return result

    def _views(self) -> Callable | None:
        return views.build(self.options.augment, self.recipe)

    def supervised(self, network: Network) -> Supervised:
        """What the network minimises on the job's batches."""
        return self.objective(network, self._views())

    def objective(self, network: Network, augment: Callable | None) -> Supervised:
        return Supervised(network, {self.name: self.corpus.task}, Loss(smoothing=self.options.smoothing), augment)

    def fit(
        self, objective, batches: Callable[[int], dict], how: Training, folder: Path | None, title: str = "adapt",
        validate: bool = True,
    ) -> Result:  # fmt: skip
        """One run of the training loop; the validation part chooses the weights, where there is one."""
        score = self._score(self.calibration)
        return fit(
            objective, batches, how,
            validate=(lambda made: score(made.network)) if validate and len(self.validation) else None,
            device=self.device, folder=folder, title=f"{title} {self.name}", progress=self.progress,
        )  # fmt: skip

    @property
    def mixed(self) -> bool:
        """Whether it learns from more than the records of its store."""
        return bool(self.options.simulated or self.also)

    def _batches(self, examples: Examples) -> Callable[[int], dict]:
        if not self.mixed:
            return self._sampler(examples, self.options.balance)
        also = [(corpus, corpus.store.prepared(self.recipe, progress=self.progress)) for corpus in self.also]
        return _mixed.batches(examples, also, self.recipe, self.options, self.training.seed, self.device)

    def _sampler(self, examples: Examples, balance: float) -> Sampler:
        seed, samples = self.training.seed, self.recipe.samples
        return Sampler(examples, self.options.batch, samples, seed=seed, balance=balance, device=self.device)

    def _unlabelled(self) -> Examples:
        """The unlabelled records that are like the labelled ones: `unlabelled`, or the rest of the store."""
        if self.unlabelled is None:
            self.unlabelled = rest_of(self.corpus, np.union1d(self.train, self.validation))
        return self.unlabelled.examples(self.recipe, self.cache.present[self.train], self.progress)

    def _allocate(self, examples: Examples) -> None:
        """Finds the ranks that the labelled records ask for; they stand in the options from now on."""
        plain = self._network(replace(self.options, adapter="linear", adapter_config={}))
        adapters.detach(plain.encoder)
        objective = Supervised(plain, {self.name: self.corpus.task}, Loss(smoothing=self.options.smoothing))
        found = _allocation.found(objective, self._sampler(examples, 0.0), self.options, self.device)
        trials = [replace(self, options=options, progress=False) for options in found.options]
        if len(trials) > 1:  # chosen on the validation part
            for trial in trials:
                trial.run()
            found.scores = [trial.result.score for trial in trials]
        self.options, self.allocated = found.best(), found.card()

    def answer(self, network: Network | _probe.Probe, rows: np.ndarray) -> _score.Answers:
        """What a network of this job, or a probe in the making, says of records."""
        if self.probing:
            h = self.features(rows)
            return _score.Answers(
                rows, logits=_probe.logits(network.eval().heads[self.name], h, self.device), features=h
            )
        onward = self.kept is not None and network is self.kept.network
        return _score.answer(network, self.corpus, rows, self.kept.cache if onward else self.cache, device=self.device)

    @property
    def probing(self) -> bool:
        """Whether there is only a head per record on features that never change, so that they are computed once."""
        options = self.options
        fixed = self.voting or (options.adapter == "linear" and not (options.augment or options.semi or self.mixed))
        return fixed and self.corpus.task.kind not in DENSE and options.head.kind != "decoder"

    @property
    def voting(self) -> bool:
        """Whether the head is neighbours, which learn nothing."""
        return self.options.head.kind == "knn"

    def features(self, rows: np.ndarray) -> np.ndarray:
        """The pooled features of the model's own encoder, (n, D)."""
        if not self.options.cache:
            return features(self.model.encoder, self.recipe, self.cache, rows, self.device)
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
        run |= {"strategy": self.strategy.identity} if self.strategy else {}
        run |= {
            "start": self.continues,
            "store": self.corpus.store.fingerprint,
            "unlabelled": [self.unlabelled.store.fingerprint, self.unlabelled.rows.tolist()] if self.unlabelled else [],
            "also": [corpus.store.fingerprint for corpus in self.also],
            "train": self.train.tolist(),
            "held": self.validation.tolist(),
        }
        key = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
        note = folder / "run.txt"
        if not note.is_file() or note.read_text() != key:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            note.write_text(key)

    def _network(self, options: Settings | None = None) -> Network:
        """The model's encoder, copied, with the adapter in it, and a new head."""
        options = options or self.options
        with torch.random.fork_rng():
            torch.manual_seed(self.training.seed)
            if self.strategy:
                encoder = self.strategy.encoder(self.recipe.leads, self.training.seed)
            else:
                encoder = for_leads(self.model.encoder, self.recipe.leads)
                adapters.attach(encoder, options.adapter, options.adapter_config)
            head = build_head(self.corpus.task, encoder, options.head)
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

    def _leave_out(self) -> None:
        """Leaves out records that have none of the recipe's leads. InputError where no training record has one."""
        asked, rows = len(self.train), self.train
        self.train, self.validation = (rows[self.cache.usable[rows]] for rows in (self.train, self.validation))
        if asked and not len(self.train):
            store = self.corpus.store
            there = list(dict.fromkeys(lead for row in rows[:100] for lead in store.leads(int(row))))
            raise InputError(
                f"{store.path}: none of {asked} training records has a lead of {' '.join(self.recipe.leads)}, which "
                f"the task is to read; they have {' '.join(there)}: choose among those with leads=[...]"
            )

    def _check_classes(self) -> None:
        """Raises InputError for a part that cannot teach the task."""
        if not len(self.train):
            raise InputError(f"task {self.corpus.task.name!r}: no training record left; give a larger --budget")
        if self.corpus.task.kind not in ("multiclass", "multilabel"):
            return
        positive = (self.corpus.y[self.train] * self.corpus.known_each[self.train]).sum(0)
        few = {label: int(n) for label, n in zip(self.corpus.task.labels, positive) if n < LEAST}
        if not few or self.continues:
            return
        counts = ", ".join(f"{label} has {n}" for label, n in few.items())
        where = f"task {self.corpus.task.name!r}, {len(self.train)} training records of {self.corpus.store.path}"
        if self.options.rare == "refuse" or len(few) == len(self.corpus.task.labels):
            raise InputError(
                f"{where}: a label needs {LEAST} positive records to be learnt from, and {counts}. Label more records, "
                "give a larger --budget, leave these labels out of the task, or go on all the same with rare=note"
            )
        self._note(f"{where}: {counts}: too few to learn from")

    def _note(self, text: str) -> None:
        if self.progress:
            say(text, mark="note:")
