"""ecgraft pretrain: an encoder from records without labels, simulated ECGs, or both."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as config_class

from .. import __version__
from ..model import Model
from ..nn import ranks
from ..plugs import configure
from ..record import InputError, UsageError
from ..signal.recipe import Recipe
from ..store.layout import read_json, write_json
from ..training import Ahead, Mixture, Result, fit
from ..training import Config as Training
from ..training.loop import CHECKPOINT
from . import _objective, _pretraining_page, _seen, _sources
from ._pool import Pool, long_enough, open_pool
from ._ranks import together, wait
from ._say import say
from .adapt import pick_device

TRAINING = {"steps": 2000, "rate": 1e-3, "keep": "last"}  # where pretraining differs from the defaults of Training
FOLDER = Path("training") / _seen.PRETRAINING
RUN = "run.json"


@config_class(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """How an encoder is pretrained.

    encoder_config    settings of the encoder
    objective_config  settings of the objective; of joint: parts.NAME.KEY
    recipe            what of the recipe is not the encoder's: low, high, mains, normalise
    seconds           window, s
    batch             windows in a step, of each process
    simulated         share of a batch that is simulated when it is needed
    simulator         settings of the simulator
    text              text encoder of reports, by name or folder (cetp)
    beats             MODEL:GRAFT that says the classes of beats (beat_ssl); none: they come from clusters
    noise             folder of NSTDB, whose noise is then laid over the views
    training          steps, rate ... (training.Config)
    threads           that make batches ahead of the training
    """

    encoder_config: dict = Field(default_factory=dict)
    objective_config: dict = Field(default_factory=dict)
    recipe: dict = Field(default_factory=dict)
    seconds: float = Field(10.0, gt=0)
    batch: int = Field(64, ge=1)
    simulated: float = Field(0.0, ge=0, le=1)
    simulator: dict = Field(default_factory=dict)
    text: str = _sources.TEXT
    beats: str = ""
    noise: str = ""
    training: dict = Field(default_factory=dict)
    threads: int = Field(1, ge=1)


def pretrain(
    stores: Annotated[list[Path], "stores of records; none with simulated=1"] = (),
    *,
    to: Annotated[Path, "model folder to write"],
    objective: Annotated[str, "simclr, byol, bell, beat_ssl, cetp, joint, or supervised (labels of the simulator)"],
    encoder: Annotated[str, "architecture, by name"] = "resnet18",
    model: Annotated[str, "go on from the encoder of this model instead"] = "",
    records: Annotated[int, "use only so many records of the stores (0: all)"] = 0,
    steps: Annotated[int, "training steps (0: as training.steps says)"] = 0,
    seed: Annotated[int, "seed of weights, batches and views"] = 0,
    device: Annotated[str, "where to compute: auto, cpu, cuda or mps"] = "auto",
    progress: Annotated[bool, "show progress"] = True,
    **settings: Annotated[Any, Settings],
) -> Model:
    """Pretrains an encoder; no record of a test part, nor a copy of one, is among those that it learns from.

    Interrupted, it goes on when the same command is repeated. With torchrun several processes share the work.
    """
    options = configure(Settings, settings, "pretrain")
    training = TRAINING | ({"steps": steps} if steps else {}) | {"seed": seed} | options.training
    options = replace(options, training=training)
    plan = Plan(objective, encoder, model, records, options)
    stores = [stores] if isinstance(stores, str | Path) else stores
    plan.check()
    with together(pick_device(device)) as place:
        pool = open_pool(list(dict.fromkeys(map(Path, stores))), progress=progress and ranks.rank() == 0)
        made = run(plan, pool, Path(to), place, progress and ranks.rank() == 0)
    if progress and ranks.rank() == 0:
        say(f"encoder and report are in {to}")
        say(f"next: ecgraft evaluate STORE --model {to} --task TASK --probe --to report")
    return made


@dataclass(frozen=True)
class Plan:
    """What is asked for, besides the records."""

    objective: str
    encoder: str = "resnet18"
    model: str = ""
    records: int = 0
    options: Settings = field(default_factory=Settings)

    @property
    def training(self) -> Training:
        return configure(Training, self.options.training, "training")

    def start(self) -> Model:
        """The encoder as it is before the first step."""
        if self.model:
            return self._going_on()
        fresh = Model.fresh(self.encoder, self.options.encoder_config, seed=self.training.seed)
        values = self.options.recipe
        for name in ("leads", "rate", "seconds"):
            if name in values:
                raise UsageError(f"recipe.{name}: that is the encoder's (encoder_config.{name}=...), or seconds=...")
        recipe = configure(Recipe, fresh.recipe.to_dict() | values | {"seconds": self.options.seconds}, "recipe")
        return Model(fresh.encoder, recipe)

    def _going_on(self) -> Model:
        """The encoder of a model, without its grafts."""
        before, options = Model.base(self.model), self.options
        for name, given in (("encoder_config", options.encoder_config), ("recipe", options.recipe)):
            if given:
                raise UsageError(f"{name}: these are those of the model {self.model}; leave them out")
        if options.seconds not in (Settings().seconds, before.recipe.seconds):
            raise UsageError(f"seconds={options.seconds:g}: the window of {self.model} is {before.recipe.seconds:g} s")
        return Model(before.encoder, before.recipe, before.card, seen=before.seen)

    def check(self) -> None:
        """UsageError for what no run could do."""
        options = self.options
        _objective.check(self.objective, options.objective_config)
        _sources.check(_objective.needs(self.objective, options.objective_config), options.simulator)
        made = round(options.batch * options.simulated)
        if options.batch < 2:
            raise UsageError("pretrain: a batch of one compares nothing; give batch=2 or more")
        if self.records < 0:
            raise UsageError(f"pretrain: records {self.records}: how many, or 0 for all")
        if 0 < options.simulated < 1 and made in (0, options.batch):
            raise UsageError(
                f"pretrain: simulated={options.simulated:g} of a batch of {options.batch} is {made or 'none'}; take "
                "larger batches, or simulated=0 or 1"
            )
        if self.training.seed < 0:
            raise UsageError(f"pretrain: seed {self.training.seed}: it must be at least 0")


def run(plan: Plan, pool: Pool, to: Path, device: torch.device, progress: bool) -> Model:
    """Trains and writes the model folder; a finished one of the same plan is only loaded."""
    plan.check()
    base = plan.start()
    if not len(pool) and plan.options.simulated < 1:
        raise UsageError("pretrain: give a store with records outside its test part, or simulated=1")
    for remark in _remarks(plan, pool) if progress else ():
        say(remark, mark="note:")
    pool = pool if plan.options.simulated < 1 else Pool([], [])
    pool, caches = long_enough(pool, base.recipe, progress)
    pool = pool.few(plan.records, plan.training.seed)
    if _begun(plan, pool, base, to):
        if progress:
            say(f"{to}: pretrained already, with these settings and records", mark="note:")
        return Model.load(to)
    wanted = _objective.needs(plan.objective, plan.options.objective_config)
    sources = _sources.Sources(pool, caches, base.recipe, plan.options, wanted, plan.training.seed, progress)
    objective = _built(plan, base, sources)
    result = _fit(plan, objective, sources, base.recipe, to, device, progress)
    model = _packed(plan, base, pool, objective, sources, result, progress)
    if ranks.rank() == 0:
        _seen.note_persons(to / FOLDER, list(zip(pool.stores, pool.rows)))
        _pretraining_page.write(to, model, objective, sources, result, plan.objective)
        model.save(to)
        (to / FOLDER / CHECKPOINT).unlink(missing_ok=True)
    return model


def _remarks(plan: Plan, pool: Pool) -> list[str]:
    """What may not be as it was meant."""
    options, found = plan.options, []
    if options.simulated == 1 and len(pool):
        found.append("simulated=1: nothing of the stores is used")
    if plan.objective == _objective.SUPERVISED and not options.simulated:
        found.append("supervised without simulated ECGs learns from the labels of the stores alone")
    records = min(len(pool), plan.records or len(pool))
    if options.simulated < 1 and round(options.batch * (1 - options.simulated)) > records:
        found.append(f"{records} records are fewer than a batch: some come several times in it, as if they were others")
    if options.noise and not _objective.has_noise(plan.objective, options.objective_config):
        found.append(f"noise={options.noise}: {plan.objective} has no view of this name; give it one with views.noise")
    return found


def _begun(plan: Plan, pool: Pool, base: Model, to: Path) -> bool:
    """Whether the folder holds this run, done. Notes what is run there; InputError where that is something else.

    A run that has kept nothing yet, not even a checkpoint, may be replaced.
    """
    said = json.loads(json.dumps(asdict(plan) | {
        "start": base.fingerprint, "processes": ranks.world(),
        "records": {f"{store.path.name} {store.fingerprint}": len(rows) for store, rows in zip(pool.stores, pool.rows)},
    }))  # fmt: skip
    note, done = to / FOLDER / RUN, is_done(to)
    if note.is_file():
        there = read_json(note)
        there["options"] = json.loads(json.dumps(asdict(Settings()))) | there.get("options", {})  # of an older version
        other = _differences(there, said)
        if other and (done or (to / FOLDER / CHECKPOINT).exists()):
            told = "; ".join(other)
            raise InputError(f"{to}: holds a run with another config: {told}. Choose another --to, or delete it")
    elif to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise UsageError(f"{to}: there is something else in this place; give a new folder with --to")
    wait()  # until all processes have looked
    if ranks.rank() == 0 and not done:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_json(note, said)
    return done


def is_done(to: Path) -> bool:
    """Whether a pretraining has written its whole model here; model.json comes last."""
    return (to / "model.json").exists()


def _differences(there: dict, said: dict, where: str = "") -> list[str]:
    """In what two configs differ, key by key, mappings from inside."""
    found = []
    for key in {**there, **said}:
        was, now = there.get(key), said.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            found += _differences(was, now, f"{where}{key}.")
        elif was != now:
            found.append(f"{where}{key} was {was}, is {now}")
    return found


def _built(plan: Plan, base: Model, sources: _sources.Sources) -> torch.nn.Module:
    """The objective on the encoder, with what it wants to know of the corpus."""
    known = sources.known() | {"steps": plan.training.steps}
    with torch.random.fork_rng():
        torch.manual_seed(plan.training.seed)
        values, noise = plan.options.objective_config, plan.options.noise
        objective = _objective.build(plan.objective, values, known, base.encoder.train(), base.recipe, noise)
    sources.prepare(objective)
    return objective


def _fit(plan: Plan, objective, sources, recipe: Recipe, to: Path, device, progress: bool) -> Result:
    mixture = Mixture(
        sources.examples, plan.options.batch, recipe.samples, seed=plan.training.seed, simulated=sources.simulated,
        share=plan.options.simulated, rank=ranks.rank(), world=ranks.world(), device=device,
    )  # fmt: skip
    ahead = Ahead(mixture, 2 + 2 * plan.options.threads, plan.options.threads)
    try:
        title = f"pretrain {plan.objective}"
        return fit(objective, ahead, plan.training, device=device, folder=to / FOLDER, title=title, progress=progress)
    finally:
        ahead.close()


def _packed(plan: Plan, base: Model, pool: Pool, objective, sources, result: Result, progress: bool) -> Model:
    """The encoder with its card and what it has seen; the text side, where there is one, is a graft."""
    seen = [_seen.tensors(store, rows, progress) for store, rows in zip(pool.stores, pool.rows) if len(rows)]
    seen += [base.seen] if base.seen else []
    card = {
        "pretraining": plan.objective,
        "command": "ecgraft pretrain",
        "records": pool.counts(),
        "left out": pool.left_out,
        "simulated": round(plan.options.simulated, 4),
        "settings": dataclasses.asdict(plan.options),
        "step ms": None if math.isnan(result.seconds) else result.seconds * 1e3,
        "waited for data": None if math.isnan(result.waited) else result.waited,
        "last": {key: value for row in result.log[-1:] for key, value in row.items()},
        "versions": {"ecgraft": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    card |= {"goes on from": base.card} if plan.model else {}
    objective.to("cpu")
    model = Model(base.encoder, base.recipe, card, seen=_seen.joined(seen) if seen else None)
    for graft in sources.grafts(objective, model, card):
        model.add(graft)
    return model
