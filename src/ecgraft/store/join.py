"""Tables into one, block by block: for adding, merging and removing records."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..record import InputError
from .layout import BLOBS, CATEGORIES, OFFSETS, ROW, ragged
from .table import VOCABULARIES, Table, digest

COLUMNS = ("codes", "values", "vocabularies")
ROWS = 4096  # rows in memory at a time


@dataclass(frozen=True)
class Part:
    """Some rows of a table, ascending. It is opened only while it is read: a process may open few files at a time.

    rows    replaces all rows of the table where samples have moved; `shards` are the names of the numbers in it
    """

    meta: dict
    open: Callable[[], Table]
    index: np.ndarray
    rows: np.ndarray | None = None
    shards: tuple[str, ...] | None = None

    @classmethod
    def of(cls, folder: Path, meta: dict) -> Part:
        """All rows of the table in a folder."""
        return cls(meta, lambda: Table(folder, meta), np.arange(int(meta["records"])))

    def names(self, category: str) -> list:
        """The entries of a category."""
        if category == "shard" and self.shards is not None:
            return list(self.shards)
        names = self.meta["categories"][category]
        return [tuple(entry) for entry in names] if category == "leads" else names


def join(parts: list[Part], folder: Path) -> dict:
    """Writes the rows of `parts`, in order, as a table in `folder`; returns its meta, with the fingerprint.

    Names are sorted, so that the same records in the same order give the same fingerprint whatever way they came.
    A code that a part lacks is "no" where its vocabulary is complete for a record, else unknown.
    """
    survey = [_survey(part) for part in parts]
    meta = {
        "records": sum(len(part.index) for part in parts),
        **{key: sorted({name for part in parts for name in part.meta[key]}) for key in COLUMNS},
        "categories": {name: sorted(set().union(*(used[name] for used, _ in survey))) for name in CATEGORIES},
    }
    if len(meta["vocabularies"]) > VOCABULARIES:
        raise InputError(f"more than {VOCABULARIES} complete vocabularies of labels")
    count = meta["records"]
    shapes = {name: (kind, (sum(sizes[name] for _, sizes in survey),)) for name, kind in BLOBS.items()}
    shapes |= {"rows": (ROW, (count,)), "offsets": (OFFSETS, (count + 1,))}
    shapes |= {"labels": (np.dtype("i1"), (count, len(meta["codes"])))}
    shapes |= {"values": (np.dtype("<f8"), (count, len(meta["values"])))}
    with ExitStack() as stack:
        files = {name: stack.enter_context(Growing(folder / f"{name}.npy", *shape)) for name, shape in shapes.items()}
        ends = np.zeros(1, OFFSETS)
        files["offsets"].write(ends)
        for part in parts:
            ends = _append(part, meta, files, ends)
    return meta | {"fingerprint": _fingerprint(meta, files)}


def new_ones(parts: list[Part]) -> list[Part]:
    """The parts without records that came before, in them or in an earlier part: same source, id and samples."""
    keys = [_keys(part) for part in parts]
    first = np.unique(np.concatenate([*keys, np.empty(0, np.uint64)]), return_index=True)[1]
    starts = np.cumsum([0, *map(len, keys)])
    chosen = [np.sort(first[(first >= a) & (first < b)]) - a for a, b in itertools.pairwise(starts)]
    return [replace(part, index=part.index[which]) for part, which in zip(parts, chosen)]


def without(part: Part, others: list[Part]) -> Part:
    """The part without the records that are in the others."""
    keys = np.concatenate([np.empty(0, np.uint64), *map(_keys, others)])
    return replace(part, index=part.index[~np.isin(_keys(part), keys)])


def _keys(part: Part) -> np.ndarray:
    """64 bits of source, id and samples of each record."""
    table = part.open()
    checksum = table.rows["checksum"]
    names = (f"{table.category('source', i)}\0{table.text('id', i)}\0{checksum[i]}" for i in part.index)
    return np.fromiter((digest(name.encode("utf-8", "replace")) for name in names), np.uint64, len(part.index))


def _survey(part: Part) -> tuple[dict[str, set], dict[str, int]]:
    """Which entries of each category the rows use, and how many items they have in each blob."""
    table, used = part.open(), {name: set() for name in CATEGORIES}
    rows = table.rows if part.rows is None else part.rows
    for start in range(0, len(part.index), ROWS):
        block = rows[part.index[start : start + ROWS]]
        for name in CATEGORIES:
            names = part.names(name)
            used[name] |= {names[number] for number in np.unique(block[name]) if number >= 0}
    offsets = table.offsets
    sizes = {name: int((offsets[name][part.index + 1] - offsets[name][part.index]).sum()) for name in BLOBS}
    return used, sizes


def _append(part: Part, meta: dict, files: dict[str, Growing], ends: np.ndarray) -> np.ndarray:
    """Writes the rows of a part behind those that are there; `ends` (1,) OFFSETS, before and after."""
    translate = _Translation(part, meta)
    table = translate.table
    for start in range(0, len(part.index), ROWS):
        index = part.index[start : start + ROWS]
        rows = translate.rows(index)
        located = rows.copy()
        located["shard"] = located["at"] = 0  # where the samples lie is not part of what they are
        files["rows"].write(rows, located)
        files["labels"].write(translate.labels(index, rows["complete"]))
        files["values"].write(translate.values(index))
        offsets = np.repeat(ends, len(index))
        for name in BLOBS:
            positions, _ = ragged(table.offsets[name], index)
            files[name].write(table.blobs[name][positions])
            offsets[name] += np.cumsum(table.offsets[name][index + 1] - table.offsets[name][index])
        files["offsets"].write(offsets)
        ends = offsets[-1:].copy()
    return ends


class _Translation:
    """The numbers of one part's names as numbers of the joined names."""

    def __init__(self, part: Part, meta: dict):
        self.table = table = part.open()
        self.source = table.rows if part.rows is None else part.rows
        self.shapes = {"labels": len(meta["codes"]), "values": len(meta["values"])}
        self.codes = _places(table.codes, meta["codes"])
        self.value_names = _places(table.value_names, meta["values"])
        self.categories = {
            name: np.append(_places(part.names(name), meta["categories"][name]), -1) for name in CATEGORIES
        }
        self.bits = _places(table.vocabularies, meta["vocabularies"])
        vocabularies = {name: bit for bit, name in enumerate(meta["vocabularies"])}
        self.bit_of_code = np.array([vocabularies.get(code.partition(":")[0], -1) for code in meta["codes"]], int)

    def rows(self, index: np.ndarray) -> np.ndarray:
        rows = self.source[index].copy()
        for name, places in self.categories.items():
            rows[name] = places[rows[name]]  # -1 is the last
        complete = np.zeros(len(rows), np.uint64)
        for old, new in enumerate(self.bits):
            complete |= ((rows["complete"] >> np.uint64(old)) & np.uint64(1)) << np.uint64(new)
        rows["complete"] = complete
        return rows

    def labels(self, index: np.ndarray, complete: np.ndarray) -> np.ndarray:
        bits = np.maximum(self.bit_of_code, 0).astype(np.uint64)
        ruled_out = ((complete[:, None] >> bits) & np.uint64(1)).astype(bool) & (self.bit_of_code >= 0)  # (n, V)
        labels = np.where(ruled_out, np.int8(0), np.int8(-1))
        own = self.table.labels[index]
        labels[:, self.codes] = np.where(own >= 0, own, labels[:, self.codes])
        return labels

    def values(self, index: np.ndarray) -> np.ndarray:
        values = np.full((len(index), self.shapes["values"]), np.nan)
        values[:, self.value_names] = self.table.values[index]
        return values


class Growing:
    """An .npy file of known shape that is written piece by piece and hashed on the way."""

    def __init__(self, path: Path, dtype: np.dtype, shape: tuple[int, ...]):
        self.file, self.hash = open(path, "wb"), hashlib.sha256()  # noqa: SIM115
        self.dtype = dtype
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(self.file, header)

    def write(self, piece: np.ndarray, hashed: np.ndarray | None = None) -> None:
        data = np.ascontiguousarray(piece, self.dtype).tobytes()
        self.file.write(data)
        self.hash.update(data if hashed is None else hashed.tobytes())

    def __enter__(self) -> Growing:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.file.flush()
            os.fsync(self.file.fileno())
        self.file.close()


def _places(names: list, among: list) -> np.ndarray:
    """Where each name stands in `among`; -1 where it does not (no row uses it)."""
    place = {name: k for k, name in enumerate(among)}
    return np.array([place.get(name, -1) for name in names], int)


def _fingerprint(meta: dict, files: dict[str, Growing]) -> str:
    """Of all that the table says, samples included by their checksums."""
    names = {key: value for key, value in meta.items() if key != "categories"}
    names |= {key: value for key, value in meta["categories"].items() if key != "shard"}
    parts = {name: file.hash.hexdigest() for name, file in files.items()}
    return hashlib.sha256(json.dumps([names, parts], sort_keys=True).encode()).hexdigest()[:16]
