"""A corpus on disk, opened for reading."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..plugs import nearest
from ..record import InputError, Record, UsageError
from ..signal.recipe import Recipe
from . import quantise
from .layout import ANNOTATIONS, SIGNALS, map_samples, read_head, size_of
from .prepare import prepare
from .prepared import PreparedCache
from .table import Table, Texts

TEXTS = ("id", "patient", "report")
NAMES = ("source", "sex", "split")
NUMBERS = ("rate", "length", "age", "fold", "person", "checksum")


class Store:
    """Records at their native rate, length and leads. Nothing of it is held in memory but what is asked for.

    codes   the V label codes, in the order of the columns of `labels` (N, V) int8: 1 yes, 0 no, -1 unknown
    Raises InputError where the folder is no store, or damaged.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.head = read_head(self.path)
        self.fingerprint = self.head["fingerprint"]
        self.table = Table(self.path / self.head["table"], self.head)
        self.codes, self.labels = self.table.codes, self.table.labels
        self.shards = [self.path / SIGNALS / name for name in self.table.categories["shard"]]
        for name, end in self.table.ends().items():
            if size_of(self.path, name) < end:
                raise InputError(f"{self.path / SIGNALS / name}: missing or cut short; import the records again")
        self._maps: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.table)

    def column(self, name: str) -> Texts:
        """A text per record, read when asked for: id, patient, report ("" for none); source, sex, split (or None)."""
        if name in TEXTS:
            return Texts(lambda i: self.table.text(name, i), len(self))
        if name in NAMES:
            return Texts(lambda i: self.table.category(name, i), len(self))
        raise UsageError(f"no text column {name!r}; {nearest(name, TEXTS + NAMES)}")

    def category(self, name: str) -> tuple[np.ndarray, list]:
        """source, sex, split or leads as numbers (N,) into a list of names; -1 for none."""
        return self.table.rows[name], self.table.categories[name]

    def number(self, name: str) -> np.ndarray:
        """A number per record (N,): rate (Hz), length (samples), age (NaN unknown), fold (-1 none), or one of `values`.

        `person` and `checksum` are 64-bit keys of the patient and of the samples.
        """
        if name in NUMBERS:
            return self.table.rows[name]
        if name in self.values:
            return self.table.values[:, self.values.index(name)]
        raise UsageError(f"{self.path}: no number {name!r}; {nearest(name, [*NUMBERS, *self.values])}")

    @property
    def values(self) -> list[str]:
        """The names of what records have in `Record.values`."""
        return self.table.value_names

    def has(self, annotation: str) -> np.ndarray:
        """Which records have waves, scored, beats or rhythms, (N,) bool."""
        if annotation not in ANNOTATIONS:
            raise UsageError(f"no annotation {annotation!r}; {nearest(annotation, ANNOTATIONS)}")
        return self.table.rows[f"has_{annotation}"]

    def leads(self, i: int) -> tuple[str, ...]:
        return self.table.category("leads", i)

    def waves(self, i: int) -> np.ndarray:
        """WAVE rows of record i, at its own rate."""
        return self.table.blob("waves", i)

    def scored(self, i: int) -> np.ndarray:
        return self.table.blob("scored", i)

    def beats(self, i: int) -> np.ndarray:
        return self.table.blob("beats", i)

    def rhythms(self, i: int) -> np.ndarray:
        return self.table.blob("rhythms", i)

    def signal(self, i: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """(C, T) float32 mV, NaN where there is no sample."""
        codes = self._codes(i)[:, start:stop]
        return quantise.decode(codes, self.table.blob("lead", i), bool(self.table.rows["gaps"][i]))

    def record(self, i: int) -> Record:
        """All that is known of record i."""
        if not -len(self) <= i < len(self):
            raise UsageError(f"{self.path}: no record {i}; it has {len(self)}")
        i, table = i % len(self), self.table
        row = table.rows[i]
        complete = frozenset(n for bit, n in enumerate(table.vocabularies) if int(row["complete"]) >> bit & 1)
        values = {name: float(v) for name, v in zip(self.values, table.values[i]) if not np.isnan(v)}
        annotations = {name: np.array(table.blob(name, i)) if row[f"has_{name}"] else None for name in ANNOTATIONS}
        return Record(
            self.signal(i), float(row["rate"]), self.leads(i), id=table.text("id", i),
            patient=table.text("patient", i) or None, age=None if np.isnan(row["age"]) else float(row["age"]),
            sex=table.category("sex", i), labels=self._labels(i, complete), complete=complete, values=values,
            report=table.text("report", i) or None, source=table.category("source", i) or "",
            split=table.category("split", i), fold=None if row["fold"] < 0 else int(row["fold"]),
            extra=self.extra(i), **annotations,
        )  # fmt: skip

    def windows(self, index: np.ndarray, start: np.ndarray, samples: int) -> np.ndarray:
        """Windows of records that share leads and rate: (B, C, samples) float32 mV at the native rate.

        Raises InputError where leads or rates differ or a window reaches beyond its record.
        """
        index, start = np.asarray(index), np.asarray(start)
        rows = self.table.rows[index]
        self._check_windows(rows, start, samples)
        C = len(self.table.categories["leads"][rows["leads"][0]])
        out = np.empty((len(index), C, samples), np.float32)
        leads = self.table.blobs["lead"][self.table.offsets["lead"][index][:, None] + np.arange(C)]  # (B, C)
        places = zip(rows["shard"].tolist(), rows["at"].tolist(), rows["length"].tolist(), start.tolist())
        for window, lead, gaps, (shard, at, T, first) in zip(out, leads, rows["gaps"].tolist(), places):
            codes = self._shard(shard)[at : at + C * T].reshape(C, T)[:, first : first + samples]
            quantise.decode(codes, lead, gaps, out=window)
        return out

    def _check_windows(self, rows: np.ndarray, start: np.ndarray, samples: int) -> None:
        if not len(rows):
            raise InputError(f"{self.path}: windows of no records")
        if (rows["leads"] != rows["leads"][0]).any() or (rows["rate"] != rows["rate"][0]).any():
            raise InputError(f"{self.path}: these records differ in leads or rate; use `prepared` with a recipe")
        if (start < 0).any() or (start + samples > rows["length"]).any():
            raise InputError(f"{self.path}: a window of {samples} samples reaches beyond its record")

    def prepared(self, recipe: Recipe, progress: bool = False, workers: int | None = None) -> PreparedCache:
        """The records as `recipe` prepares them; made on first use, kept beside the store, resumable."""
        return prepare(self, recipe, progress, workers)

    def find(self, name: str, text: str) -> np.ndarray:
        """The records whose id, patient or report is exactly `text`."""
        wanted = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
        offsets, blob = self.table.offsets[name], self.table.blobs[name]
        same = np.flatnonzero(np.diff(offsets) == len(wanted))
        for k, byte in enumerate(wanted):
            same = same[blob[offsets[same] + k] == byte]
        return same

    def _shard(self, number: int) -> np.ndarray:
        if number not in self._maps:
            self._maps[number] = map_samples(self.shards[number])
        return self._maps[number]

    def _codes(self, i: int) -> np.ndarray:
        """(C, T) int16, memory-mapped."""
        row = self.table.rows[i]
        C, T, at = len(self.leads(i)), int(row["length"]), int(row["at"])
        return self._shard(int(row["shard"]))[at : at + C * T].reshape(C, T)

    def _labels(self, i: int, complete: frozenset[str]) -> dict[str, int]:
        """What is known; the "no" of a complete vocabulary goes without saying."""
        known = zip(self.codes, self.labels[i].tolist())
        return {c: v for c, v in known if v == 1 or (v == 0 and c.partition(":")[0] not in complete)}

    def extra(self, i: int) -> dict[str, str]:
        """What else is known of record i, as text; nothing where that is damaged."""
        try:
            found = json.loads(self.table.text("extra", i) or "{}")
        except (ValueError, RecursionError):
            found = {}
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
