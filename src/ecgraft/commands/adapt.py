"""ecgraft adapt: a graft for one task, trained from the labelled records of a store."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch

from .. import plugs
from ..adapters._ranks import AUTO
from ..model import Graft, Model
from ..model.model import DEFAULT
from ..plugs import configure
from ..record import InputError, UsageError
from ..store import Store
from ._choose import choose
from ._examples import Corpus
from ._labelled import note_origin, open_job
from ._say import say
from ._settings import Settings
from ._unlabelled import of_store

USUAL = "lrc"  # adapter; an untrained encoder has to learn as a whole


def adapt(
    store: Annotated[Path, "store with labelled records"],
    *,
    task: Annotated[str, "task: a name, a YAML file, or own (the labels of your own file)"],
    to: Annotated[Path, "model folder to write; if it is there, the graft is added to it"],
    model: Annotated[str, "model folder or encoder file to stand on (default: TO, else that of ecgraft)"] = "",
    encoder: Annotated[str, "start from an untrained encoder of this name instead of a model"] = "",
    adapter: Annotated[
        str, "linear (the head alone), lrc, rd_lora, norm, bias, full, auto (default: lrc, or full)"
    ] = "",
    rank: Annotated[str, "of lrc and rd_lora: a number, auto (by importance), or 3% (of the encoder's weights)"] = "",
    budget: Annotated[float, "labelled records to use: below 1 a share, above it a number; 1 = all"] = 1.0,
    semi: Annotated[str, "learn from records without labels too: semi_bn, fixmatch or mean_teacher"] = "",
    also: Annotated[list[Path] | None, "more stores whose labelled records are all learnt from"] = None,
    unlabelled: Annotated[Path | None, "store of records without labels (default: the rest of STORE)"] = None,
    minutes: Annotated[float, "for --adapter auto: time to find the best one in"] = 10.0,
    name: Annotated[str, "name of the graft (default: the task's)"] = "",
    steps: Annotated[int, "training steps (0: chosen by the number of records)"] = 0,
    seed: Annotated[int, "seed of the choice of records, the head and the batches"] = 0,
    device: Annotated[str, "where to compute: auto, cpu, cuda or mps"] = "auto",
    progress: Annotated[bool, "show progress"] = True,
    **settings: Annotated[Any, Settings],
) -> Graft:
    """Trains a graft for one task, on a frozen or free encoder, and writes it into a model folder."""
    base, start = open_base(Path(to), model, encoder, seed)
    auto, adapter = adapter == AUTO, adapter or ("full" if encoder else USUAL)
    options = configure(Settings, {"adapter": "linear" if auto else adapter, "semi": semi, **settings}, "adapt")
    options = with_rank(options, rank)
    if unlabelled and not semi:
        raise UsageError("--unlabelled: say how to learn from these records: --semi semi_bn, fixmatch or mean_teacher")
    given = {"name": name, "budget": budget, "steps": steps, "seed": seed, "progress": progress}
    job = open_job(base, store, task, options, device=pick_device(device), **given)
    name, folder, job.start = job.name, Path(to) / "training" / job.name, start.get(job.name)
    job.also = [Corpus.open(Store(path), job.corpus.task) for path in also or []]
    if unlabelled:
        job.unlabelled = of_store(unlabelled, job.corpus, progress)
    chosen = choose(job, minutes, folder.with_name(f"{name}-choice.json")) if auto else None
    if chosen:
        job.options = chosen.applied(job.options)
        if progress:
            chosen.show()

    def save(graft: Graft) -> None:
        told = {"chosen": chosen.card()} if chosen else {}
        note_origin(graft, job, folder, told | {"budget": budget, "command": "ecgraft adapt"})
        base.add(graft)
        base.save(Path(to))

    graft = job.run(folder, save)
    if progress:
        say(f"graft {name} is in {to}")
        say(f"next: ecgraft evaluate {store} --model {to} --task {name} --to report")
    return graft


def with_rank(options: Settings, rank: str) -> Settings:
    """The settings with `--rank`: a number, "auto", or a share of the encoder's weights ("3%")."""
    if not rank:
        return options
    plug = plugs.find("adapters", options.adapter)
    if "rank" not in plug.Config.__dataclass_fields__:
        raise UsageError(f"adapter {options.adapter!r} has no ranks; --rank is for lrc and rd_lora")
    if rank == AUTO or rank.isdigit():
        said: dict = {"rank": AUTO if rank == AUTO else int(rank)}
    elif re.fullmatch(r"\d+(\.\d+)?%", rank) and 0 < float(rank[:-1]) < 100:
        said = {"budget": float(rank[:-1]) / 100}
    else:
        raise UsageError(f"--rank {rank}: give a number (8), a share of the encoder's weights (3%), or auto")
    return replace(options, adapter_config=options.adapter_config | said)


def open_base(to: Path, model: str, encoder: str, seed: int) -> tuple[Model, dict[str, Graft]]:
    """The model at `to` that the graft is added to, and the grafts that a new one may begin from.

    It stands on a fresh encoder, on the model that is named, or on that of ecgraft; one that is at `to` already must
    stand on the same. The start is never taken from `to`, so that a command that is repeated gives the same graft.
    """
    if encoder and model:
        raise UsageError("give --encoder (untrained) or --model, not both")
    check_free(to)
    base = Model.fresh(encoder, seed=seed) if encoder else Model.base(model or DEFAULT)
    start = dict(base.grafts)
    if (to / "encoder.safetensors").exists():
        there = Model.base(to)
        if there.fingerprint != base.fingerprint and (encoder or model):
            raise InputError(f"{to}: stands on another encoder; choose a new folder with --to")
        if there.fingerprint != base.fingerprint:
            start = {}
        base = there
    return base, start


def check_free(to: Path) -> None:
    """UsageError if a model cannot be put at `to` because something else is there."""
    if to.exists() and not to.is_dir():
        raise UsageError(f"{to}: this is a file; give a new folder for the model")
    ours = any((to / name).exists() for name in ("encoder.safetensors", "training"))
    if to.is_dir() and not ours and any(to.iterdir()):
        raise UsageError(f"{to}: this folder has other files and is no model; give a new folder with --to")


def pick_device(name: str) -> torch.device:
    """The device by name; "auto" is the fastest there is. Raises UsageError where it is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    if not there.get(name.partition(":")[0], False):
        raise UsageError(f"device {name!r} is not there; there is {', '.join(k for k, v in there.items() if v)}")
    return torch.device(name)
