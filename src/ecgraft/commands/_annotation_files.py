"""predict --annotations: waves and beats as WFDB annotation files, in samples at the record's own rate.

RECORD.atr    waves of the leads together, what is not readable (~) and where no P waves are (notes)
RECORD.ii ... waves of each lead, named as in LUDB
RECORD.GRAFT  the beats of a graft that finds or classifies them (RECORD.qrs)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..formats._wfdb import annotations_out as out
from ..model import Prediction
from ..record import Record, UsageError

TOGETHER = "atr"
TAKEN = (TOGETHER, "hea", "dat", "part")  # names that are no lead's
KINDS = ("waves", "beats", "peaks")  # of grafts that say where something is


def check(folder: Path, kinds: dict[str, str]) -> None:
    """UsageError where nothing could be written. kinds: graft -> the kind of its task."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--annotations {folder}: this is a file; give a folder")
    if not set(kinds.values()) & set(KINDS):
        asked = ", ".join(kinds) or "none"
        raise UsageError(f"--annotations: of the grafts asked ({asked}) none says where waves or beats are; see --task")
    waves = [name for name, kind in kinds.items() if kind == "waves"]
    if len(waves) > 1:
        raise UsageError(f"--annotations: {' and '.join(waves)} would both write RECORD.{TOGETHER}; see --task")


def claim(folder: Path, record: Record, file: Path, claimed: dict[str, Path], kinds: dict[str, str]) -> None:
    """Keeps the record's name for `file`. UsageError where another of `claimed` has it, or its files are there."""
    name = safe(record.id)
    other = claimed.setdefault(name.casefold(), file)
    if other is not file:
        raise UsageError(f"--annotations: {other} and {file} would both write {name}.*; give each a folder of its own")
    for graft, kind in kinds.items():
        if kind in KINDS:
            _free(folder / f"{name}.{TOGETHER if kind == 'waves' else safe(graft)}")


def write(folder: Path, said: Iterable[tuple[Record, dict[str, Prediction]]]) -> list[Path]:
    """Writes every file beside, then renames; nothing where one of them is there already."""
    made = {folder / name: content for each in said for name, content in files(*each).items()}
    for path in made:
        _free(path)
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in made.items():
        beside = path.with_name(path.name + ".part")
        beside.write_bytes(content)
        os.replace(beside, path)
    return list(made)


def files(record: Record, predictions: dict[str, Prediction]) -> dict[str, bytes]:
    """File name -> content."""
    name, marks, taken = safe(record.id), {}, {*TAKEN, *map(safe, predictions)}
    for graft, said in predictions.items():
        if said.waves is not None:
            remarks = [(a, b, out.NOISE, "not readable", "readable") for a, b in said.unreadable]
            remarks += [(a, b, out.COMMENT, "no P waves from here", "no P waves up to here") for a, b in said.no_p]
            last = record.signal.shape[1] - 1
            remarks = [(a, min(b, last), *rest) for a, b, *rest in remarks]
            marks[TOGETHER] = out.of_waves(said.together, remarks)
            for i, lead in enumerate(said.leads):
                marks[_extension(lead, taken)] = out.of_waves(said.waves[said.waves["lead"] == i])
        elif said.beats is not None:
            marks[safe(graft)] = out.of_beats(said.beats)
    return {f"{name}.{extension}": out.encode(its, record.rate) for extension, its in marks.items()}


def safe(name: str) -> str:
    """Letters, digits, - and _, as the names of WFDB records."""
    return re.sub(r"[^\w-]+", "_", name, flags=re.ASCII).strip("_") or "record"


def _extension(lead: str, taken: set[str]) -> str:
    """A lead's: its name in small letters, with _ behind where another file has that."""
    extension = safe(lead).lower()
    while extension in taken:
        extension += "_"
    taken.add(extension)
    return extension


def _free(path: Path) -> None:
    if path.exists():
        raise UsageError(f"--annotations: {path} is there already; remove it or give another folder")
