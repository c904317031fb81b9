"""Results of a bench: a Parquet file with a row per finished cell, and beside it what each cell's scores are made of.

The file is replaced whole after every cell, and a cell that is in it is not computed again. A cell whose evidence was
written when the run was killed, but not yet its row, is taken up by the next run.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...record import InputError
from ...store.lock import Lock
from ...tasks import Task
from .._score import Answers
from .protocol import Protocol

FILE = "results.parquet"
EVIDENCE = "evidence"
RUNS = "runs"  # checkpoints of cells that are being computed
PARTS = ("logits", "counts", "confusion")  # of the answers, what scores are made of
FORMAT = 1


class Results:
    """`with Results(folder, protocol) as results`: one process at a time writes; `results.rows` are dicts."""

    def __init__(self, folder: Path, protocol: Protocol):
        self.folder, self.protocol = Path(folder), protocol
        self.path = self.folder / FILE
        self.rows: list[dict] = []
        (self.folder / EVIDENCE).mkdir(parents=True, exist_ok=True)
        busy = f"{self.folder}: another bench writes its results here; wait for it, or choose another --to"
        self.lock = Lock(self.folder / ".lock", busy, patience=0.5)

    def __enter__(self) -> Results:
        self.lock.acquire()
        try:
            self.rows = [row for row in self._read() if _evidence(self.folder, row["key"]).is_file()]
            self._take_up()
            self._tidy()
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.lock.release()

    @property
    def done(self) -> set[str]:
        return {row["key"] for row in self.rows}

    def add(self, *rows: dict) -> None:
        """Finished cells; the file is replaced at once."""
        twice = self.done & {row["key"] for row in rows}
        if twice:
            raise InputError(f"{self.path}: cell {sorted(twice)[0]} is in it already")
        self.rows += rows
        self.write()

    def write(self) -> None:
        """The file, replaced at once by what `rows` are now."""
        arrow, parquet = _pyarrow()
        note = {"protocol": self.protocol.name, "version": self.protocol.version, "format": FORMAT}
        table = arrow.Table.from_pylist(_even(self.rows)).replace_schema_metadata({"ecgraft": json.dumps(note)})
        beside = self.path.with_name(FILE + ".part")
        parquet.write_table(table, beside)
        os.replace(beside, self.path)

    def _take_up(self) -> None:
        """Cells that were finished when an earlier run was killed before it could write their rows."""
        left = [path for path in sorted((self.folder / EVIDENCE).glob("*.npz")) if path.stem not in self.done]
        rows = [_load(path)[1]["row"] for path in left]
        rows = [r for r in rows if (r["protocol"], r["version"]) == (self.protocol.name, self.protocol.version)]
        if rows:
            self.add(*rows)

    def _tidy(self) -> None:
        """What a run that was killed has left of cells that are finished."""
        for place in (self.folder / RUNS).glob("*"):
            if place.name in self.done:
                shutil.rmtree(place, ignore_errors=True)

    def _read(self) -> list[dict]:
        if not self.path.is_file():
            return []
        arrow, parquet = _pyarrow()
        try:
            table = parquet.read_table(self.path)
            note = json.loads((table.schema.metadata or {})[b"ecgraft"])
        except (OSError, ValueError, KeyError, arrow.ArrowException) as error:
            raise InputError(f"{self.path}: not the results of a bench, or damaged ({error}); move it away") from error
        found = (note.get("protocol"), note.get("version"), note.get("format"))
        wanted = (self.protocol.name, self.protocol.version, FORMAT)
        if found != wanted:
            raise InputError(
                f"{self.path}: holds results of protocol {found[0]!r}, version {found[1]}; this is {wanted[0]!r}, "
                f"version {wanted[1]}. Choose another --to, or move the old results away"
            )
        return table.to_pylist()


def _even(rows: list[dict]) -> list[dict]:
    """The rows with the same columns each, in the order in which they came up."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]


def _pyarrow():
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError("ecgraft bench keeps its results in Parquet: pip install 'ecgraft[bench]'") from error
    return pyarrow, pyarrow.parquet


@dataclass(frozen=True)
class Kept:
    """What the scores of a finished cell are computed from again: it stands for a corpus in `_score.scorer`.

    person  (n,) a key of the patient of each test record
    """

    task: Task
    found: Answers
    y: np.ndarray | None  # (n, K)
    known_each: np.ndarray | None  # (n, K)
    person: np.ndarray
    calibration: dict
    thresholds: dict


def keep(folder: Path, corpus, found: Answers, graft, row: dict) -> None:
    """Writes the evidence of a cell and its row of results, whole or not at all."""
    arrays = {"person": np.asarray(corpus.store.number("person"))[found.rows]}
    for name in PARTS:
        if getattr(found, name) is not None:
            arrays[name] = getattr(found, name)
    if corpus.y is not None:
        arrays |= {"y": corpus.y[found.rows], "known": corpus.known_each[found.rows]}
    said = {"calibration": graft.calibration, "thresholds": graft.thresholds, "row": row}
    path = _evidence(folder, row["key"])
    beside = path.with_suffix(".part")
    with beside.open("wb") as file:
        np.savez_compressed(file, said=np.array(json.dumps(said)), **arrays)
    os.replace(beside, path)


def kept(folder: Path, key: str, task: Task) -> Kept:
    """The evidence of a cell. Raises InputError where it is missing or damaged."""
    arrays, said = _load(_evidence(folder, key))
    person = arrays["person"]
    found = Answers(np.arange(len(person)), **{name: arrays.get(name) for name in PARTS})
    return Kept(task, found, arrays.get("y"), arrays.get("known"), person, said["calibration"], said["thresholds"])


def _load(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(str(arrays.pop("said")))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: damaged ({error}); delete it, and its cell is computed again") from error


def _evidence(folder: Path, key: str) -> Path:
    return folder / EVIDENCE / f"{key}.npz"
