"""Tasks: a named set of labels, waves or a number, and how it is scored. One file here per task, named like it.

A file has `TASK`. A task of the user's own is a YAML file, or "own": whatever the label file of the import held.

    name: af_or_sinus
    kind: multiclass            # multiclass, multilabel or regression
    labels:
      fibrillation: ["scp:AFIB", "snomed:164889003"]
      sinus rhythm: ["scp:SR", "snomed:426783006"]
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .. import plugs
from ..record import InputError, UsageError

METRICS = {  # kind -> what a task of it is judged by, unless the task says otherwise
    "multiclass": "macro f1",
    "multilabel": "macro auroc",
    "waves": "mean f1",
    "beats": "macro f1",
    "peaks": "f1",
    "regression": "mae",
    "text": "recall@10",  # not asked of a record: the side of a model that reads reports
}


@dataclass(frozen=True)
class Task:
    """What is asked of a record.

    labels  the classes, in the order of the outputs.
    codes   label -> the codes that mean it; a code carries its vocabulary ("scp:NORM"). For beats: WFDB symbols.
            List a vocabulary only where its codes here are all that it has for the label: their absence means "no".
    value   what a regression predicts: "age", or a name in the records' values.
    metric  the main one; "" takes that of the kind.
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()
    codes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    value: str | None = None
    metric: str = ""

    def __post_init__(self):
        object.__setattr__(self, "labels", tuple(self.labels))  # lists, where it was read from JSON
        object.__setattr__(self, "codes", {label: tuple(codes) for label, codes in self.codes.items()})
        object.__setattr__(self, "metric", self.metric or METRICS.get(self.kind, ""))
        if self.kind not in METRICS:
            raise UsageError(f"task {self.name}: no kind {self.kind!r}; {plugs.nearest(self.kind, METRICS)}")
        if (self.kind == "regression") != (self.value is not None):
            raise UsageError(f"task {self.name}: a regression, and nothing else, has a value")
        if self.kind in ("multiclass", "multilabel", "beats") and set(self.labels) != set(self.codes):
            raise UsageError(f"task {self.name}: give every label its codes, and no code without a label")
        if self.kind in ("multiclass", "beats") and len(self.labels) < 2:
            raise UsageError(f"task {self.name}: a {self.kind} task needs two labels; it has {len(self.labels)}")
        if len(set(self.labels)) < len(self.labels) or not (self.labels or self.value or self.kind == "text"):
            raise UsageError(f"task {self.name}: no labels, or one of them twice")


def targets(task: Task, codes: list[str], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A store's label table as the targets of a task: y (N, K) int8 in {0, 1} and known (N, K) bool.

    codes   the V columns of `labels`
    labels  (N, V) int8: 1 yes, 0 no, -1 unknown

    A label is yes where any of its codes is. It is no where one vocabulary rules it out: all of the label's codes that
    the table has of this vocabulary are 0. Else it is unknown, and y is 0. In a multiclass task a record with exactly
    one yes is known; others are unknown.
    """
    if task.kind not in ("multiclass", "multilabel"):
        raise UsageError(f"task {task.name}: a {task.kind} task has no labels per record")
    y = np.zeros((len(labels), len(task.labels)), np.int8)  # (N, K)
    known = np.zeros(y.shape, bool)  # (N, K)
    column = {code: index for index, code in enumerate(codes)}
    for k, label in enumerate(task.labels):
        for columns in _columns(task.codes[label], column):
            block = labels[:, columns]  # (N, codes of one vocabulary)
            yes = (block == 1).any(1)
            y[:, k] |= yes
            known[:, k] |= yes | (block == 0).all(1)
    if task.kind == "multiclass":
        known[:] = (y.sum(1) == 1)[:, None]
        y[~known] = 0
    return y, known


def _columns(codes: tuple[str, ...], column: dict[str, int]) -> list[list[int]]:
    """The columns of a label's codes, one list per vocabulary."""
    groups: dict[str, list[int]] = {}
    for code in codes:
        if code in column:
            groups.setdefault(code.partition(":")[0], []).append(column[code])
    return list(groups.values())


def beat_classes(task: Task, symbols: np.ndarray) -> np.ndarray:
    """WFDB beat symbols (N,) S1 -> index of their label (N,) int8; -1 where no label has the symbol."""
    table = np.full(256, -1, np.int8)
    for k, label in enumerate(task.labels):
        table[[ord(symbol) for symbol in task.codes[label]]] = k
    return table[np.ascontiguousarray(symbols, "S1").view(np.uint8)]


def find(name: str | Path, store=None) -> Task:
    """The task of that name; of a YAML file; or "own": the codes "own:..." of `store`.

    NAME/LABEL or NAME/LABEL+LABEL is a part of one (`part`).
    """
    name = str(name)
    whole, stroke, labels = name.partition("/")
    if stroke and whole in plugs.names("tasks"):
        return part(plugs.find("tasks", whole).TASK, labels.split("+"))
    if name.endswith((".yaml", ".yml")):
        return read(name)
    if Path(name).is_file():
        raise UsageError(f"task {name}: this is a file, but not of YAML; a table of labels goes to ecgraft import")
    return own(store) if name == "own" else plugs.find("tasks", name).TASK


def part(task: Task, labels: list[str]) -> Task:
    """Some labels of a task of classes: of several exclusive ones a task of exclusive classes, of one a yes or no."""
    if task.kind not in ("multiclass", "multilabel"):
        raise UsageError(f"task {task.name}: a {task.kind} task has no labels to take some of")
    for label in labels:
        if label not in task.labels:
            raise UsageError(f"task {task.name}: no label {label!r}; {plugs.nearest(label, task.labels)}")
    kind = task.kind if len(labels) > 1 else "multilabel"
    words = (re.sub(r"\W+", " ", label).strip() or f"label {task.labels.index(label) + 1}" for label in labels)
    name = " ".join([task.name, *words])
    return Task(name, kind, tuple(labels), {label: task.codes[label] for label in labels})


def own(store) -> Task:
    """The task that a user's label file describes: multiclass where each labelled record has exactly one label."""
    codes = [code for code in store.codes if code.startswith("own:")] if store is not None else []
    if not codes:
        where = getattr(store, "path", "no store")
        raise InputError(f"{where}: no labels of your own in it for task own; import it with --labels FILE.csv")
    names = tuple(code.removeprefix("own:") for code in codes)
    labels = store.labels[:, [list(store.codes).index(code) for code in codes]]
    labelled = labels[(labels >= 0).any(1)]
    single = len(codes) > 1 and len(labelled) and ((labelled == 1).sum(1) == 1).all()
    return Task("own", "multiclass" if single else "multilabel", names, {n: (c,) for n, c in zip(names, codes)})


def read(path: str | Path) -> Task:
    """A task from a YAML file. Raises InputError that names the file where it is not one."""
    path = Path(path)
    content = plugs.read_mapping(path, "a task is a mapping with kind and labels; see ecgraft.tasks")
    for key in content:
        if key not in ("name", "kind", "labels", "value", "metric"):
            known = ("name", "kind", "labels", "value", "metric")
            raise UsageError(f"{path}: unknown key {key!r}; {plugs.nearest(str(key), known)}")
    codes = _codes(content.get("labels") or {}, path)
    name, kind, value = (content.get(key) for key in ("name", "kind", "value"))
    if str(kind) in ("waves", "beats", "peaks", "text"):
        raise UsageError(f"{path}: a task of one's own is multiclass, multilabel or regression, not {kind}")
    labels = tuple(codes) or ((str(value),) if value else ())
    return Task(str(name or path.stem), str(kind), labels, codes, value, str(content.get("metric") or ""))


def _codes(labels, path: Path) -> dict[str, tuple[str, ...]]:
    """The labels of a YAML file with their codes, checked."""
    if not isinstance(labels, dict):
        raise InputError(f"{path}: labels must be a mapping of label to codes")
    codes = {}
    for label, listed in labels.items():
        listed = [listed] if isinstance(listed, str) else listed
        if not isinstance(listed, list) or not all(isinstance(code, str) and ":" in code for code in listed):
            raise InputError(f'{path}: label {label}: give codes with their vocabulary, such as ["scp:AFIB"]')
        codes[str(label)] = tuple(listed)
    return codes
