"""Prompts: how the labels of a task are said in reports, for models that are asked with words. One YAML file each.

    version: 1
    labels:
      fibrillation:
        present: [atrial fibrillation, Vorhofflimmern]
        absent: [sinus rhythm]          # optional: what a report says instead
        codes: ["scp:AFIB"]             # optional: what makes the label a yes, where no task says it

Those of ecgraft stand in `prompts/TASK.yaml`. A change of wording is a new version.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .. import plugs
from ..record import InputError, UsageError
from . import Task

FOLDER = Path(__file__).with_name("prompts")
FORM = "prompts are a mapping with version and labels; see ecgraft.tasks._prompts"
KEYS, PARTS = ("version", "labels"), ("present", "absent", "codes")


@dataclass(frozen=True)
class Phrases:
    """How a label is said, how its absence is, and the codes that mean it."""

    present: tuple[str, ...]
    absent: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompts:
    name: str
    version: str
    labels: dict[str, Phrases]

    @property
    def title(self) -> str:
        return f"{self.name}, version {self.version}"

    def task(self, asked: Task | None = None) -> Task:
        """The task `asked` with those of its labels that have prompts, or (None) the one that the codes here describe.

        Raises UsageError where a label here is not one of the task's.
        """
        if asked is None:
            bare = [label for label, phrases in self.labels.items() if not phrases.codes]
            if bare:
                raise UsageError(f"{self.name}: label {bare[0]!r} has no codes; give codes, or say --task")
            codes = {label: phrases.codes for label, phrases in self.labels.items()}
            return Task(self.name, "multilabel", tuple(codes), codes)
        if asked.kind not in ("multilabel", "multiclass"):
            raise UsageError(f"task {asked.name}: a task of kind {asked.kind} has no labels to ask for with words")
        for label in self.labels:
            if label not in asked.labels:
                raise UsageError(
                    f"{self.name}: task {asked.name!r} has no label {label!r}; {plugs.nearest(label, asked.labels)}"
                )
        labels = tuple(label for label in asked.labels if label in self.labels)
        return replace(asked, labels=labels, codes={label: asked.codes[label] for label in labels})


def find(name: str) -> Prompts:
    """Those of a YAML file, or of ecgraft's task of that name."""
    if name.endswith((".yaml", ".yml")):
        return read(Path(name))
    known = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    if name not in known:
        hint = f"{plugs.nearest(name, known)}, or give a file with --prompts FILE.yaml"
        raise UsageError(f"no prompts for {name!r}; {hint}")
    return read(FOLDER / f"{name}.yaml")


def read(path: Path) -> Prompts:
    """Prompts from a YAML file. InputError or UsageError names the file where it is not one."""
    content = plugs.read_mapping(path, FORM)
    _known(path, content, KEYS, "")
    version, labels = content.get("version"), content.get("labels")
    if not isinstance(version, int | str) or not isinstance(labels, dict) or not labels:
        raise InputError(f"{path}: {FORM}")
    return Prompts(path.stem, str(version), {str(label): _phrases(path, label, said) for label, said in labels.items()})


def _phrases(path: Path, label, said) -> Phrases:
    if not isinstance(said, dict):
        raise InputError(f"{path}: label {label}: give its prompts as present: [...]")
    _known(path, said, PARTS, f"label {label}: ")
    lists = {part: [given] if isinstance(given, str) else given for part, given in said.items() if given is not None}
    for part, given in lists.items():
        if not isinstance(given, list) or not all(isinstance(text, str) and text.strip() for text in given):
            raise InputError(f"{path}: label {label}: {part} must be a list of texts (put numbers and no in quotes)")
    if not lists.get("present"):
        raise InputError(f"{path}: label {label}: it has no present prompts")
    return Phrases(**{part: tuple(given) for part, given in lists.items()})


def _known(path: Path, content: dict, known: tuple, where: str) -> None:
    for key in content:
        if key not in known:
            raise UsageError(f"{path}: {where}unknown key {key!r}; {plugs.nearest(str(key), known)}")
