"""A model with two tasks of three that share the weights of a small encoder, and how a further one is added."""

from __future__ import annotations

import shutil
from pathlib import Path

import ecgraft
from ecgraft.model import Model, chain

SMALL = {"leads": ("I", "II", "V1"), "stem": 4, "stem_kernel": 3, "widths": (4, 4, 4, 8), "kernels": (3, 3, 3, 3)}
QUICK = {"steps": 8, "batch": 4, "rare": "note", "seconds": 1.0, "augment": {}, "progress": False}
WORDS = ["--steps", "8", "batch=4", "rare=note", "seconds=1", "augment={}", "--no-progress"]


def begin(path: Path) -> Path:
    """A store, a blank encoder ("blank") and a copy of it with two tasks ("model"); the path of the last."""
    ecgraft.simulate(to=path / "store", count=24, seed=5, seconds=2.0, rate=250.0, progress=False)
    Model.empty("resnet18", SMALL).save(path / "blank")
    shutil.copytree(path / "blank", path / "model")
    extend(path, "model", "findings", tasks=3)
    extend(path, "model", "qrs", leads=["II"])
    return path / "model"


def extend(place: Path, folder: Path | str, task: str, **given):
    return ecgraft.extend(place / "store", model=str(place / folder), task=task, **(QUICK | given))


def file(folder: Path, name: str) -> Path:
    return folder / "grafts" / f"{name}.safetensors"


def free(folder: Path) -> float:
    return chain.shares(Model.load(folder))["(free)"]["owns"]
