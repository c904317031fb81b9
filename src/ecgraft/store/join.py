"""Tables into one, block by block: for adding, merging and removing records."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..record import InputError
from .layout import BLOBS, CATEGORIES, OFFSETS, ROW, ragged
from .table import VOCABULARIES, Table, digest

ROWS = 4096  # rows in memory at a time


@dataclass(frozen=True)
class Part:
    """Some rows of a table, ascending. `rows` replaces the table's rows (all of them) where samples have moved."""

    table: Table
    index: np.ndarray
    rows: np.ndarray | None = None
    shards: tuple[str, ...] | None = None  # what the numbers in `rows["shard"]` mean

    @classmethod
    def whole(cls, table: Table) -> Part:
        return cls(table, np.arange(len(table)))

    def names(self, category: str) -> list:
        return list(self.shards) if category == "shard" and self.shards else self.table.categories[category]

    def take(self, index: np.ndarray) -> np.ndarray:
        """(n,) ROW."""
        return (self.table.rows if self.rows is None else self.rows)[index]


def join(parts: list[Part], folder: Path) -> dict:
    """Writes the rows of `parts`, in order, as a table in `folder`; returns its meta, with the fingerprint.

    Names are sorted, so that the same records in the same order give the same fingerprint whatever way they came.
    A code that a part lacks is "no" where its vocabulary is complete for a record, else unknown.
    """
    meta = {
        "records": sum(len(part.index) for part in parts),
        "codes": sorted({code for part in parts for code in part.table.codes}),
        "values": sorted({name for part in parts for name in part.table.value_names}),
        "vocabularies": sorted({name for part in parts for name in part.table.vocabularies}),
        "categories": {name: _used(parts, name) for name in CATEGORIES},
    }
    if len(meta["vocabularies"]) > VOCABULARIES:
        raise InputError(f"more than {VOCABULARIES} complete vocabularies of labels")
    count = meta["records"]
    sizes = {name: sum(_total(part, name) for part in parts) for name in BLOBS}
    files = {name: _Growing(folder / f"{name}.npy", kind, (sizes[name],)) for name, kind in BLOBS.items()}
    files["rows"] = _Growing(folder / "rows.npy", ROW, (count,))
    files["offsets"] = _Growing(folder / "offsets.npy", OFFSETS, (count + 1,))
    files["labels"] = _Growing(folder / "labels.npy", np.dtype("i1"), (count, len(meta["codes"])))
    files["values"] = _Growing(folder / "values.npy", np.dtype("<f8"), (count, len(meta["values"])))
    try:
        _fill(parts, meta, files)
    finally:
        for file in files.values():
            file.close()
    return meta | {"fingerprint": _fingerprint(meta, files)}


def new_ones(parts: list[Part]) -> list[Part]:
    """The parts without records that came before, in them or in an earlier part: same source, id and samples."""
    keys = [_keys(part) for part in parts]
    first = np.unique(np.concatenate([*keys, np.empty(0, np.uint64)]), return_index=True)[1]
    starts = np.cumsum([0, *map(len, keys)])
    chosen = [np.sort(first[(first >= a) & (first < b)]) - a for a, b in zip(starts[:-1], starts[1:])]
    return [replace(part, index=part.index[which]) for part, which in zip(parts, chosen)]


def without(part: Part, others: list[Part]) -> Part:
    """The part without the records that are in the others."""
    keys = np.concatenate([np.empty(0, np.uint64), *map(_keys, others)])
    return replace(part, index=part.index[~np.isin(_keys(part), keys)])


def _keys(part: Part) -> np.ndarray:
    """64 bits of source, id and samples of each record."""
    table, checksum = part.table, part.table.rows["checksum"]
    names = (f"{table.category('source', i)}\0{table.text('id', i)}\0{checksum[i]}" for i in part.index)
    return np.fromiter((digest(name.encode("utf-8", "replace")) for name in names), np.uint64, len(part.index))


def _fill(parts: list[Part], meta: dict, files: dict[str, _Growing]) -> None:
    ends = np.zeros(1, OFFSETS)
    files["offsets"].write(ends)
    for part in parts:
        translate = _Translation(part, meta)
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
                table_offsets = part.table.offsets[name]
                positions, _ = ragged(table_offsets, index)
                files[name].write(part.table.blobs[name][positions])
                offsets[name] += np.cumsum(table_offsets[index + 1] - table_offsets[index])
            files["offsets"].write(offsets)
            ends = offsets[-1:].copy()


class _Translation:
    """The numbers of one part's names as numbers of the joined names."""

    def __init__(self, part: Part, meta: dict):
        self.part, table = part, part.table
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
        rows = self.part.take(index).copy()
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
        own = self.part.table.labels[index]
        labels[:, self.codes] = np.where(own >= 0, own, labels[:, self.codes])
        return labels

    def values(self, index: np.ndarray) -> np.ndarray:
        values = np.full((len(index), self.shapes["values"]), np.nan)
        values[:, self.value_names] = self.part.table.values[index]
        return values


class _Growing:
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

    def close(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()


def _used(parts: list[Part], category: str) -> list:
    """The entries that the chosen rows use, sorted."""
    used = set()
    for part in parts:
        names = part.names(category)
        for start in range(0, len(part.index), ROWS):
            numbers = np.unique(part.take(part.index[start : start + ROWS])[category])
            used |= {names[number] for number in numbers if number >= 0}
    return sorted(used)


def _total(part: Part, name: str) -> int:
    offsets = part.table.offsets[name]
    return int((offsets[part.index + 1] - offsets[part.index]).sum())


def _places(names: list, among: list) -> np.ndarray:
    """Where each name stands in `among`; -1 where it does not (no row uses it)."""
    place = {name: k for k, name in enumerate(among)}
    return np.array([place.get(name, -1) for name in names], int)


def _fingerprint(meta: dict, files: dict[str, _Growing]) -> str:
    """Of all that the table says, samples included by their checksums."""
    names = {key: value for key, value in meta.items() if key != "categories"}
    names |= {key: value for key, value in meta["categories"].items() if key != "shard"}
    parts = {name: file.hash.hexdigest() for name, file in files.items()}
    return hashlib.sha256(json.dumps([names, parts], sort_keys=True).encode()).hexdigest()[:16]
