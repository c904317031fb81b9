"""HDF5 files: groups, datasets of numbers and text, attributes. Samples are read where they stand, a part if asked.

Not by h5py: libhdf5 2.0 ends the process (segmentation fault) or never comes back on damaged files, one in 600 of
small changes to a valid one. Nothing but the file is read: soft and external links are not followed, virtual datasets
and external raw data are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np

from ...record import InputError
from .. import check_size, reading
from .chunks import IMPLICIT, SINGLE, grid, places, unpack
from .objects import (
    EXTERNAL,
    FILL,
    FILTERS,
    LAYOUT,
    OLD_FILL,
    SPACE,
    TYPE,
    Type,
    attributes,
    links,
    messages,
    space_of,
    type_of,
    values,
)
from .store import Bytes, Damaged, start

MEMBERS = 20_000  # of a group
CHUNKS = 2**16  # that are looked for, whatever the size of the file


def begins(head: bytes) -> bool:
    """Whether a file's first bytes have the signature, at 0 or behind a user's own 512, 1024 or 2048 bytes."""
    return start(head + bytes(48)) is not None


def opened(path) -> Group:
    """The root group. Raises InputError where the file is missing or not HDF5."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with reading(path, "HDF5"):
        file = Bytes(path)
        return Group(file, file.root)


@dataclass(frozen=True)
class Node:
    """An object in a file, by its address."""

    file: Bytes
    address: int

    @cached_property
    def messages(self) -> list[tuple[int, bytes]]:
        return messages(self.file, self.address)

    @cached_property
    def attributes(self) -> dict[str, np.ndarray]:
        return attributes(self.file, self.messages)

    def at(self, address: int) -> Group | Dataset:
        """The object that a link or a reference leads to."""
        kinds = {kind for kind, _ in messages(self.file, address)}
        return Dataset(self.file, address) if LAYOUT in kinds else Group(self.file, address)

    def said(self, *kinds: int) -> bytes | None:
        """The first message of one of these types."""
        return next((data for kind in kinds for found, data in self.messages if found == kind), None)


class Group(Node):
    """Members by name. Works in a `with` too."""

    @cached_property
    def names(self) -> dict[str, int | None]:
        """Addresses of the members; None for links that are not followed."""
        found = {}
        for name, address in links(self.file, self.messages):
            found[name] = address
            if len(found) > MEMBERS:
                raise InputError(f"{self.file.path}: a group of more than {MEMBERS} members; no ECGs are kept so")
        return found

    def __contains__(self, name: str) -> bool:
        return self.names.get(name) is not None

    def __getitem__(self, name: str) -> Group | Dataset:
        if self.names.get(name) is None:
            there = ", ".join(list(self.names)[:12]) or "nothing"
            raise InputError(f"{self.file.path}: no {name!r} in it; there is {there}")
        return self.at(self.names[name])

    def get(self, name: str) -> Group | Dataset | None:
        address = self.names.get(name)
        return None if address is None else self.at(address)

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_) -> None:
        """The file is closed when nothing of it is used any more."""


class Dataset(Node):
    """An array in the file: `dataset[3]` reads row 3, `dataset[:]` all of it, `take` a part along another axis."""

    @cached_property
    def type(self) -> Type:
        data = self.said(TYPE)
        return type_of(data) if data else Type(None, 0)

    @property
    def dtype(self) -> np.dtype:
        """numpy's type; of objects for what is neither numbers nor text."""
        if self.type.kind in ("text", "vlen"):
            return np.dtype("U1") if self.type.kind == "text" or self.type.dtype == "S1" else np.dtype(object)
        return self.type.dtype if self.type.kind == "number" else np.dtype(object)

    @cached_property
    def space(self) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
        return space_of(self.file, self.said(SPACE) or b"")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.space[0] if self.space[0] is not None else (0,)

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: prod(self.shape))

    def __getitem__(self, key) -> np.ndarray:
        if isinstance(key, int | np.integer):
            return self.take(int(key), 0)
        if key in (Ellipsis, (), slice(None)):
            return self.part((0,) * self.ndim, self.shape)
        raise TypeError(f"{key!r}: a row, or all")

    def take(self, index: int, axis: int) -> np.ndarray:
        """What stands at `index` of an axis; the axis is gone."""
        axis %= self.ndim
        if not 0 <= index < self.shape[axis]:
            raise InputError(f"{self.file.path}: no {index}; there are {self.shape[axis]}")
        low, high = [0] * self.ndim, list(self.shape)
        low[axis], high[axis] = index, index + 1
        return self.part(tuple(low), tuple(high)).squeeze(axis)

    def part(self, low: tuple[int, ...], high: tuple[int, ...]) -> np.ndarray:
        """[low, high) of the axes."""
        if self.type.kind is None:
            raise InputError(f"{self.file.path}: holds what are neither numbers nor text")
        if self.said(EXTERNAL) is not None:
            raise InputError(f"{self.file.path}: its samples stand in another file, which is not read; copy them in")
        shape = tuple(b - a for a, b in zip(low, high))
        check_size(prod(shape), self.file.path, packed=self.file.size)
        layout = _layout(self.file, self.said(LAYOUT), self.type.size)
        if "chunk" in layout:
            return self._chunks(layout, low, shape)
        data, at, item = layout.get("data"), layout.get("address"), self.type.size
        if data is None and self.file.nowhere(at):
            return self._empty(shape)
        whole = prod(self.shape) * item
        if data is None:
            self.file.read(at, 0), self.file.read(at + whole, 0)  # both ends are in the file
            data = memoryview(self.file.map)[self.file.base + at : self.file.base + at + whole]
        if self.type.kind in ("text", "vlen") or not self.ndim:
            if shape != self.shape:
                raise InputError(f"{self.file.path}: a part of a list of texts is not read")
            return values(self.file, self.type, shape, bytes(data))
        array = np.frombuffer(data, self.type.dtype, prod(self.shape)).reshape(self.shape)
        return array[tuple(slice(a, b) for a, b in zip(low, high))].copy()

    def _chunks(self, layout: dict, low: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
        chunk, item, high = layout["chunk"], self.type.size, tuple(a + n for a, n in zip(low, shape))
        if len(chunk) != self.ndim or 0 in chunk:
            raise Damaged(f"chunks of {chunk} in a dataset of {self.shape}")
        if not prod(shape):
            return self._empty(shape)
        first, last, count = grid(low, high, chunk)
        check_size(count * max(1, item // 8), self.file.path, packed=self.file.size)
        check_chunks(count // prod(chunk), self.file)
        filters, texts = _filters(self.said(FILTERS)), self.type.kind in ("text", "vlen")
        array = np.full(shape, "", object) if texts else self._empty(shape)
        for place, where in places(self.file, layout, self.space[1], first, last):
            size = prod(chunk) * item
            plain = layout["index"] == SINGLE and where[1] is None
            data = unpack(self.file, where, [] if plain else filters, size, item)
            block = values(self.file, self.type, chunk, data)
            begin = [p * c for p, c in zip(place, chunk)]
            inner = tuple(slice(max(a - s, 0), b - s) for a, b, s in zip(low, high, begin))
            outer = tuple(slice(max(s - a, 0), s + c - a) for a, s, c in zip(low, begin, chunk))
            array[outer] = block[inner]
        return array.astype(str) if texts else array

    def _empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """An array of the value that stands for what was never written."""
        if self.type.kind in ("text", "vlen"):
            return np.full(shape, "", "U1")
        array = np.zeros(shape, self.type.dtype)
        value = _fill(self.said(FILL, OLD_FILL), self.said(FILL) is None)
        if len(value) == self.type.size:
            array[...] = np.frombuffer(value, self.type.dtype)[0]
        return array


def check_chunks(count: int, file: Bytes) -> None:
    """Each chunk that is there has 8 bytes at least in an index."""
    if count > CHUNKS + file.size // 8:
        raise InputError(f"{file.path}: {count} chunks in {file.size} bytes; save it in larger ones")


def _fill(data: bytes | None, old: bool) -> bytes:
    if data is None:
        return b""
    if not old and data[0] == 3:
        at = 2 if data[1] & 32 else None
    else:
        at = 0 if old else (4 if data[0] == 1 or data[3] else None)
    return data[at + 4 : at + 4 + int.from_bytes(data[at : at + 4], "little")] if at is not None else b""


def _filters(data: bytes | None) -> list[tuple[int, tuple[int, ...]]]:
    """(filter, its values) in the order in which they were applied."""
    if data is None:
        return []
    found, at = [], 8 if data[0] == 1 else 2
    for _ in range(min(data[1], 32)):
        kind = int.from_bytes(data[at : at + 2], "little")
        named = data[0] == 1 or kind >= 256
        name = int.from_bytes(data[at + 2 : at + 4], "little") if named else 0
        count = int.from_bytes(data[at + 4 + 2 * named - 0 : at + 6 + 2 * named], "little")
        at += 6 + 2 * named
        at += -(-name // 8) * 8 if data[0] == 1 else name
        found.append((kind, tuple(np.frombuffer(data, "<u4", count, at).tolist())))
        at += 4 * count + (4 if data[0] == 1 and count % 2 else 0)
    return found


def _layout(file: Bytes, data: bytes, item: int) -> dict:
    """`data` (in the header), or `address` of samples end to end, or of the `index` of a `chunk`."""
    version, kind = data[0], data[2] if data[0] < 3 else data[1]
    if version > 5 or kind > 3:
        raise InputError(f"{file.path}: layout {kind} of version {version} is not known; save it with other settings")
    if kind == 3:
        raise InputError(
            f"{file.path}: a virtual dataset, whose samples stand in other places; copy them into one file"
        )
    if version < 3:
        return _old_layout(file, data, kind)
    if kind == 0:
        return {"data": data[4 : 4 + int.from_bytes(data[2:4], "little")]}
    if kind == 1:
        return {"address": int.from_bytes(data[2 : 2 + file.offset], "little")}
    rank = data[2] if version == 3 else data[3]
    if version == 3:
        at = 3 + file.offset
        chunk = np.frombuffer(data, "<u4", rank, at).tolist()
        return {"index": 0, "address": int.from_bytes(data[3:at], "little"), "chunk": tuple(chunk[:-1])}
    return _new_layout(file, data, rank, item)


def _old_layout(file: Bytes, data: bytes, kind: int) -> dict:
    rank, at = data[1], 8 + file.offset * (kind > 0)
    words = np.frombuffer(data, "<u4", rank + (kind == 0), at).tolist()
    if kind == 0:
        return {"data": data[at + 4 * (rank + 1) :][: words[-1]]}
    address = int.from_bytes(data[8:at], "little")
    return {"index": 0, "address": address, "chunk": tuple(words[:-1])} if kind == 2 else {"address": address}


def _new_layout(file: Bytes, data: bytes, rank: int, item: int) -> dict:
    flags, wide = data[2], data[4]
    at = 5 + rank * wide
    words = [int.from_bytes(data[i : i + wide], "little") for i in range(5, at, wide)]
    index, chunk = data[at], tuple(words[:-1])
    found = {"index": index, "chunk": chunk, "bytes": prod(chunk) * item, "size": None, "mask": 0}
    at += 1 + {IMPLICIT: 0, 3: 1, 4: 5, 5: 6}.get(index, 0)
    if index == SINGLE and flags & 2:
        found |= {"size": int.from_bytes(data[at : at + file.length], "little")}
        found |= {"mask": int.from_bytes(data[at + file.length : at + file.length + 4], "little")}
        at += file.length + 4
    if not 1 <= index <= 5 or wide > 8:
        raise Damaged(f"an index of chunks of type {index}")
    return found | {"address": int.from_bytes(data[at : at + file.offset], "little")}
