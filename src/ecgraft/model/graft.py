"""A graft: what one task adds to an encoder, as one file that says what it is."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..formats import reading
from ..nn import files
from ..record import InputError, UsageError
from ..signal.recipe import Recipe
from ..tasks import Task

FORMAT = 4  # of the file; older ones stay readable: 1 knows no conformal limits and no distance, 2 no text, 3 no k-NN
FIELDS = ("name", "adapter", "adapter_config", "head", "encoder", "thresholds", "calibration", "conformal", "distance")
FIELDS += ("text",)


@dataclass
class Graft:
    """`tensors` override the encoder's ("encoder.NAME"), belong to the head ("head.NAME") or to "distance.NAME".

    head         what the head is built from (nn.network.HeadConfig, nn.text_side.Config)
    encoder      fingerprint of the encoder that it stands on
    thresholds   label -> probability from which on the answer is yes (score >= threshold)
    calibration  of classes what metrics.calibrate.probability takes, {"temperature": t} or an isotonic map;
                 {"mean": m, "sd": s} of the values for regression
    conformal    what metrics.conformal fitted on validation records; {} where nothing is known
    distance     {"limit": features farther than this from the training records are unusual (None: cannot be told),
                 "records": how many the limit comes from}; the tensors "distance.NAME" say how far they are
    text         identity of the text encoder (nn.text), of a text side; {} else
    metrics      name -> {"value", "low", "high"}, with "of" saying on what it was measured
    card         how it was trained: command, seed, data, versions
    """

    name: str
    task: Task
    recipe: Recipe
    adapter: str
    head: dict
    encoder: str
    tensors: dict[str, torch.Tensor]
    adapter_config: dict = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    calibration: dict[str, float] = field(default_factory=dict)
    conformal: dict = field(default_factory=dict)
    distance: dict = field(default_factory=dict)
    text: dict = field(default_factory=dict)
    metrics: dict = field(default_factory=dict)
    card: dict = field(default_factory=dict)

    def __post_init__(self):
        check_name(self.name)

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors of "encoder", "head" or "distance", without that prefix."""
        return {name.removeprefix(prefix + "."): t for name, t in self.tensors.items() if name.startswith(prefix + ".")}

    @property
    def own_trunk(self) -> bool:
        """Whether it changes the encoder, so that it cannot share a pass with other grafts."""
        return any(name.startswith("encoder.") for name in self.tensors)

    @property
    def answers(self) -> bool:
        """Whether it answers a task; else it is a text side, which joins ECGs and reports."""
        return self.task.kind != "text"

    def save(self, path: Path) -> None:
        header = {key: getattr(self, key) for key in (*FIELDS, "metrics", "card")}
        header |= {"kind": "graft", "format_version": FORMAT}
        header |= {"task": dataclasses.asdict(self.task), "recipe": self.recipe.to_dict()}
        files.save(path, self.tensors, header)

    @classmethod
    def load(cls, path: Path) -> Graft:
        tensors, header = files.load(path, "graft")
        check_header(path, header, "graft", FORMAT)
        known = {f.name for f in dataclasses.fields(cls)}
        with reading(path, "graft"):
            task, recipe = Task(**header.pop("task")), Recipe.from_dict(header.pop("recipe"))
            return cls(tensors=tensors, task=task, recipe=recipe, **{k: v for k, v in header.items() if k in known})


def check_name(name: str) -> str:
    """The name, which is that of a file too. UsageError where it could be no module, or a file elsewhere."""
    if not re.fullmatch(r"\w[\w -]*", name):
        raise UsageError(f"graft name {name!r}: take letters, digits, _ and - (--name my-task)")
    return name


def check_header(path: Path, header: dict, kind: str, newest: int) -> None:
    """Raises InputError if a file is of another kind or of a newer format than this version reads."""
    if header.get("kind") != kind:
        raise InputError(f"{path}: this is a file of kind {header.get('kind')!r}, not {kind!r}")
    if header.get("format_version", 0) > newest:
        raise InputError(f"{path}: written by a newer ecgraft (format {header['format_version']}); upgrade ecgraft")
