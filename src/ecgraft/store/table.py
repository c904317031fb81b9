"""The table of a store: a folder of arrays that are memory-mapped, so that a million records take no memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..record import InputError, Record
from .layout import ANNOTATIONS, BLOBS, CATEGORIES, OFFSETS, ROW, check_name, memory_map

VOCABULARIES = 64  # bits of ROW "complete"
BLOCK = 65536  # rows that are looked at in one go


class Table:
    """The arrays of a folder, with the names that its `meta` gives to their columns and categories.

    meta  records, codes, values, vocabularies: lists of names; categories: name -> list, for CATEGORIES
    """

    def __init__(self, folder: Path, meta: dict):
        self.folder, self.meta = folder, meta
        try:
            self._open(folder, meta)
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise InputError(f"{folder}: damaged, its description lacks {error}") from error

    def _open(self, folder: Path, meta: dict) -> None:
        count = int(meta["records"])
        self.codes = [str(code) for code in meta["codes"]]
        self.value_names = [str(name) for name in meta["values"]]
        self.vocabularies = [str(name) for name in meta["vocabularies"]]
        self.categories = {name: list(meta["categories"][name]) for name in CATEGORIES}
        self.categories["leads"] = [tuple(map(str, names)) for names in self.categories["leads"]]
        for shard in self.categories["shard"]:
            check_name(shard, folder)
        self.rows = memory_map(folder / "rows.npy", ROW, (count,))
        self.offsets = memory_map(folder / "offsets.npy", OFFSETS, (count + 1,))
        self.labels = memory_map(folder / "labels.npy", np.dtype("i1"), (count, len(self.codes)))
        self.values = memory_map(folder / "values.npy", np.dtype("<f8"), (count, len(self.value_names)))
        ends = self.offsets[-1]
        self.blobs = {
            name: memory_map(folder / f"{name}.npy", kind, (int(ends[name]),)) for name, kind in BLOBS.items()
        }
        self._check()

    def _check(self) -> None:
        """Numbers that lead nowhere are found here, once, and not as a crash later."""
        widths = np.array([len(names) for names in self.categories["leads"]] or [0])
        for start in range(0, len(self.rows), BLOCK):
            rows, offsets = self.rows[start : start + BLOCK], self.offsets[start : start + BLOCK + 1]
            good = all((rows[name] < len(self.categories[name])).all() for name in CATEGORIES)
            good &= all((rows[name] >= 0).all() for name in ("leads", "shard", "at"))
            good &= all((offsets[name] >= 0).all() and (np.diff(offsets[name]) >= 0).all() for name in BLOBS)
            good = good and (np.diff(offsets["lead"]) == widths[rows["leads"]]).all()
            if not (good and (rows["length"] > 0).all() and (rows["rate"] > 0).all()):
                raise InputError(f"{self.folder}: damaged; import the records again")

    def __len__(self) -> int:
        return len(self.rows)

    def blob(self, name: str, i: int) -> np.ndarray:
        """What blob `name` has of record i."""
        return self.blobs[name][self.offsets[name][i] : self.offsets[name][i + 1]]

    def text(self, name: str, i: int) -> str:
        return self.blob(name, i).tobytes().decode("utf-8", "replace")

    def category(self, name: str, i: int):
        """The category of record i; None where it has none."""
        code = self.rows[name][i]
        return self.categories[name][code] if code >= 0 else None

    def ends(self) -> dict[str, int]:
        """Shard -> the sample at which the last of the table's records in it ends."""
        counts = np.array([len(names) for names in self.categories["leads"]] or [0])
        last = self.rows["at"] + counts[self.rows["leads"]] * self.rows["length"]
        found = np.zeros(len(self.categories["shard"]), np.int64)
        np.maximum.at(found, self.rows["shard"], last)
        return dict(zip(self.categories["shard"], found.tolist()))


class Texts(Sequence):
    """A text column: `column[i]` is read when it is asked for."""

    def __init__(self, read, count: int):
        self._read, self._count = read, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self._read(k) for k in range(*i.indices(self._count))]
        if not -self._count <= i < self._count:
            raise IndexError(i)
        return self._read(int(i) % self._count)


class TableBuilder:
    """Rows of a table to be, in memory; meant for some hundred records."""

    def __init__(self):
        self.rows: list[tuple] = []
        self.blobs: dict[str, list[bytes]] = {name: [] for name in BLOBS}
        self.labels: list[dict[str, int]] = []
        self.values: list[dict[str, float]] = []
        self.known = {name: {} for name in (*CATEGORIES, "vocabularies")}  # name -> entry -> its number

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, record: Record, lead: np.ndarray, gaps: bool, checksum: int, place: tuple[str, int]) -> None:
        """A record whose samples stand at `place` (shard, sample)."""
        has = [getattr(record, name) is not None for name in ANNOTATIONS]
        complete = sum(1 << self._number("vocabularies", name) for name in sorted(record.complete))
        category = [record.source or None, record.sex, record.split, record.leads]
        numbers = [self._number(name, entry) for name, entry in zip(CATEGORIES, category)]
        age = np.nan if record.age is None else record.age
        fold = -1 if record.fold is None else record.fold
        self.rows.append(
            (record.rate, record.signal.shape[1], age, fold, *numbers, *has, gaps, complete, person(record), checksum)
            + (self._number("shard", place[0]), place[1])
        )
        self.labels.append(record.labels)
        self.values.append(record.values)
        texts = [record.id, record.patient, record.report, json.dumps(record.extra) if record.extra else ""]
        arrays = [lead, *(getattr(record, name) for name in ANNOTATIONS)]
        for name, text in zip(("id", "patient", "report", "extra"), texts):
            self.blobs[name].append((text or "").encode("utf-8", "replace"))
        for name, array in zip(("lead", *ANNOTATIONS), arrays):
            self.blobs[name].append(b"" if array is None else np.asarray(array, BLOBS[name]).tobytes())

    def _number(self, name: str, entry) -> int:
        """The number of a category's entry, a new one where it is new; -1 for None."""
        known = self.known[name]
        if entry is None:
            return -1
        if name == "vocabularies" and entry not in known and len(known) == VOCABULARIES:
            raise InputError(f"more than {VOCABULARIES} complete vocabularies of labels")
        return known.setdefault(entry, len(known))

    def save(self, folder: Path) -> None:
        """Writes the arrays and meta.json."""
        codes = sorted({code for labels in self.labels for code in labels})
        names = sorted({name for values in self.values for name in values})
        np.save(folder / "rows.npy", np.array(self.rows, ROW))
        np.save(folder / "labels.npy", matrix(self.labels, codes, np.dtype("i1"), -1))
        np.save(folder / "values.npy", matrix(self.values, names, np.dtype("<f8"), np.nan))
        offsets = np.zeros(len(self) + 1, OFFSETS)
        for name, kind in BLOBS.items():
            offsets[name][1:] = np.cumsum([len(piece) // kind.itemsize for piece in self.blobs[name]])
            np.save(folder / f"{name}.npy", np.frombuffer(b"".join(self.blobs[name]), kind))
        np.save(folder / "offsets.npy", offsets)
        meta = {"records": len(self), "codes": codes, "values": names, "vocabularies": list(self.known["vocabularies"])}
        meta["categories"] = {name: list(self.known[name]) for name in CATEGORIES}
        (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def matrix(entries: list[dict], names: list[str], dtype: np.dtype, empty) -> np.ndarray:
    """Mappings as rows of a matrix with a column per name; `empty` where a name is not in one."""
    found = np.full((len(entries), len(names)), empty, dtype)
    column = {name: k for k, name in enumerate(names)}
    for row, entry in zip(found, entries):
        for name, value in entry.items():
            row[column[name]] = value
    return found


def person(record: Record) -> int:
    """64 bits that tell patients apart; a record without patient is a patient of its own."""
    return digest((record.patient or f"\0{record.source}\0{record.id}").encode("utf-8", "replace"))


def digest(*pieces) -> int:
    """64 bits of a cryptographic hash."""
    found = hashlib.blake2b(digest_size=8)
    for piece in pieces:
        found.update(piece)
    return int.from_bytes(found.digest(), "little")
