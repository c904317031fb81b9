"""A graft: what one task adds to an encoder, as one file that says what it is."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..formats import reading
from ..nn import files
from ..nn.network import DENSE
from ..record import InputError, UsageError
from ..signal.recipe import Recipe
from ..tasks import Task
from . import reference

FORMAT = 5  # of the file; older ones stay readable: 1 knows no conformal limits and no distance, 2 no text, 3 no k-NN,
# 4 no weights in common with other tasks
FIELDS = ("name", "adapter", "adapter_config", "head", "encoder", "thresholds", "calibration", "conformal", "distance")
FIELDS += ("text", "shared")
CHECKSUM = "checksum"  # key of the header: files.fingerprint of the tensors and of all else in the header


@dataclass
class Graft:
    """`tensors` override the encoder's ("encoder.NAME"), belong to the head ("head.NAME"), to "distance.NAME", or to
    "reference.NAME" (model.reference).

    head         what the head is built from (nn.network.HeadConfig, nn.text_side.Config)
    encoder      fingerprint of the encoder that it stands on
    thresholds   label -> probability from which on the answer is yes (score >= threshold)
    calibration  of classes what metrics.calibrate.probability takes, {"temperature": t} or an isotonic map;
                 {"mean": m, "sd": s} of the values for regression
    conformal    what metrics.conformal fitted on validation records; {} where nothing is known
    distance     {"limit": features farther than this from the training records are unusual (None: cannot be told),
                 "records": how many the limit comes from}; the tensors "distance.NAME" say how far they are
    text         identity of the text encoder (nn.text), of a text side; {} else
    shared       what its weights stand on, where tasks have them in common (model.chain); {} else
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
    shared: dict = field(default_factory=dict)
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
        header = self._header()
        files.save(path, self.tensors, header | {CHECKSUM: files.fingerprint(self.tensors, header)})

    def is_in(self, path: Path) -> bool:
        """Whether the file there says the same already, in whatever format it is written and with any reference."""
        try:
            there, own = reference.without(Graft.load(path)), reference.without(self)
        except InputError:
            return False
        same = there._header() == own._header() and there.tensors.keys() == own.tensors.keys()
        pairs = [(value, own.tensors[name]) for name, value in there.tensors.items()] if same else []
        return same and all(a.dtype == b.dtype and torch.equal(a, b.cpu()) for a, b in pairs)

    def _header(self) -> dict:
        """All but the tensors, as JSON gives it back."""
        header = {key: getattr(self, key) for key in (*FIELDS, "metrics", "card")}
        header |= {"kind": "graft", "format_version": FORMAT}
        header |= {"task": dataclasses.asdict(self.task), "recipe": self.recipe.to_dict()}
        return json.loads(json.dumps(header))

    @classmethod
    def load(cls, path: Path) -> Graft:
        tensors, header = files.load(path, "graft")
        check_header(path, header, "graft", FORMAT)
        checksum = header.pop(CHECKSUM, None)  # files of earlier versions have none
        if checksum is not None and checksum != files.fingerprint(tensors, header):
            raise InputError(f"{path}: damaged: some of it is not what was written; copy it again from where it came")
        known = {f.name for f in dataclasses.fields(cls)}
        with reading(path, "graft"):
            try:
                task, recipe = Task(**header.pop("task")), Recipe.from_dict(header.pop("recipe"))
                given = {key: value for key, value in header.items() if key in known}
                graft = cls(tensors=tensors, task=task, recipe=recipe, **given)
            except UsageError as error:  # what is wrong is in the file, not in a command
                raise InputError(str(error)) from error
            check_parts(graft)
            return graft


def check_name(name: str) -> str:
    """The name, which is that of a file too. UsageError where it could be no module, or a file elsewhere."""
    if not re.fullmatch(r"\w[\w -]*", name):
        raise UsageError(f"graft name {name!r}: take letters, digits, _ and - (--name my-task)")
    return name


def check_header(path: Path, header: dict, kind: str, newest: int) -> None:
    """Raises InputError if a file is of another kind or of a newer format than this version reads."""
    if not isinstance(header, dict):
        raise InputError(f"{path}: not a file of kind {kind!r}; its header is no mapping")
    if header.get("kind") != kind:
        raise InputError(f"{path}: this is a file of kind {header.get('kind')!r}, not {kind!r}")
    version = header.get("format_version", 0)
    if not isinstance(version, int):
        raise InputError(f"{path}: its format version is {version!r}, which is no number; is it damaged?")
    if version > newest:
        raise InputError(f"{path}: written by a newer ecgraft (format {version}); upgrade ecgraft")


def check_parts(graft: Graft) -> None:
    """Raises InputError where the parts of a graft do not belong together. Nothing is built, however large it says.

    Whether the tensors fit the encoder is found out by `Model.network`.
    """
    for key in ("adapter", "encoder"):
        if not isinstance(getattr(graft, key), str):
            raise InputError(f"its {key} is {getattr(graft, key)!r}, not a name")
    for key in (
        "adapter_config",
        "head",
        "thresholds",
        "calibration",
        "conformal",
        "distance",
        "text",
        "shared",
        "metrics",
        "card",
    ):
        if not isinstance(getattr(graft, key), dict):
            raise InputError(f"its {key} is no mapping")
    _check_shared(graft.shared)
    labels = len(graft.task.labels)
    for what, found in (("limits", graft.conformal.get("limits")), ("curves", graft.calibration.get("isotonic"))):
        if found is not None and len(found) != labels:
            raise InputError(f"{len(found)} {what} for the {labels} labels of task {graft.task.name!r}")
    if not all(isinstance(value, int | float) for value in graft.thresholds.values()):
        raise InputError("a threshold that is no number")
    _check_head(graft, max(1, labels))


def _check_shared(said: dict) -> None:
    """What model.chain reads of a graft."""
    if said and not (
        {"root", "stem", "after", "fingerprint"} <= said.keys()
        and (said["root"] in ("free", "encoder") and said["stem"] in ("private", "shared"))
        and isinstance(said["after"], dict)
    ):
        raise InputError(f"it says {said} of the weights that it has in common with other tasks, which makes no sense")


def _check_head(graft: Graft, outputs: int) -> None:
    """The settings and labels that a head is built from, against its tensors."""
    head = {name: tuple(tensor.shape) for name, tensor in graft.part("head").items()}
    needed = _needed(graft)
    for name in needed.keys() - head.keys():
        raise InputError(f"tensor 'head.{name}' is missing")
    for name, (key, axis) in needed.items():
        if key and key in graft.head and head[name][axis] != graft.head[key]:
            raise InputError(f"its head says {key} {graft.head[key]}, but tensor 'head.{name}' has shape {head[name]}")
    answers = {"linear.weight": (0, False), "targets": (1, False), "out.weight": (0, True)}  # axis; for every lead
    for name, (axis, leads) in answers.items():
        if name in needed and (head[name][axis] % outputs if leads else head[name][axis] != outputs):
            raise InputError(
                f"task {graft.task.name!r} has {outputs} outputs; tensor 'head.{name}' of shape {head[name]} has others"
            )


def _needed(graft: Graft) -> dict[str, tuple[str, int]]:
    """Tensors that its head cannot be without: the setting that says how large an axis is ("": none), and the axis."""
    if graft.task.kind == "text":
        mlp = {"ecg.0.weight": ("hidden", 0), "ecg.3.weight": ("outputs", 0)}
        return {"text.weight": ("text_width", 1)} | (mlp if graft.head.get("ecg_projection") == "mlp" else {})
    kind, dense = graft.head.get("kind"), graft.task.kind in DENSE
    if kind == "decoder":
        cascade = "" if graft.head.get("cascade") == "lowest" else "cascade"
        return {"join.conv.weight": ("", 0), "out.weight": ("", 0)} if dense else {"linear.weight": (cascade, 1)}
    if dense:
        return {"laterals.0.weight": ("width", 0), "out.weight": ("", 0)}
    return {"targets" if kind == "knn" else "linear.weight": ("", 0)}
