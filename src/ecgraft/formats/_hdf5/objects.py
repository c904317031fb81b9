"""What an HDF5 object header says: messages, types, shapes, attributes, links.

"HDF5 File Format Specification Version 3.0", section IV. What it does not say or is not of numbers, text or references
has the type None.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from ...record import InputError
from .store import Bytes, Damaged, FractalHeap, records, tree

SPACE, LINK_INFO, TYPE, OLD_FILL, FILL, LINK, EXTERNAL, LAYOUT = 1, 2, 3, 4, 5, 6, 7, 8
FILTERS, ATTRIBUTE, MORE, SYMBOLS, ATTRIBUTE_INFO = 11, 12, 16, 17, 21
MESSAGES = 4096  # of an object
LONGEST = 2**20  # bytes of an attribute


@dataclass(frozen=True)
class Type:
    """A type of values: numpy's, "text" (of `size` bytes), "vlen" (text or a list of `base`), "reference", or None."""

    kind: str | None
    size: int
    dtype: np.dtype | None = None


def messages(file: Bytes, address: int) -> list[tuple[int, bytes]]:
    """(type, data) of an object's messages; what is shared between objects stands for itself."""
    every = _every(file, address)
    return [(kind, _elsewhere(file, kind, data, address) if flags & 2 else data) for kind, flags, data in every]


def _every(file: Bytes, address: int) -> Iterator[tuple[int, int, bytes]]:
    """(type, flags, data) of the messages in all blocks of an object's header."""
    modern = file.read(address, 4) == b"OHDR"
    todo, seen, count = [_first(file, address)], set(), 0
    while todo:
        start, size, tracked = todo.pop(0)
        if start in seen or count > MESSAGES:
            raise Damaged(f"the object at {address} goes in circles, or has more than {MESSAGES} messages")
        seen.add(start)
        for kind, flags, data in _split(file.read(start, size), modern, tracked):
            count += 1
            if kind == MORE:
                at = int.from_bytes(data[: file.offset], "little")
                more = int.from_bytes(data[file.offset : file.offset + file.length], "little")
                todo.append((at + 4, more - 8, tracked) if modern else (at, more, tracked))
            elif kind:
                yield kind, flags, data


def _first(file: Bytes, address: int) -> tuple[int, int, bool]:
    """Where the first messages start, their bytes, whether each has its order of creation."""
    if file.read(address, 4) != b"OHDR":
        version, _, _, _, size = file.unpack("BBHII", address)
        if version != 1:
            raise Damaged(f"no object at {address}")
        return address + 16, size, False
    flags = file.read(address + 5, 1)[0]
    at = address + 6 + 16 * (flags >> 5 & 1) + 4 * (flags >> 4 & 1)
    wide = 1 << (flags & 3)
    return at + wide, int.from_bytes(file.read(at, wide), "little"), bool(flags & 4)


def _split(data: bytes, modern: bool, tracked: bool) -> Iterator[tuple[int, int, bytes]]:
    """(type, flags, data) of the messages in a block."""
    head, at = (4 + 2 * tracked) if modern else 8, 0
    while at + head <= len(data):
        kind = data[at] if modern else data[at] | data[at + 1] << 8
        size = int.from_bytes(data[at + 1 : at + 3] if modern else data[at + 2 : at + 4], "little")
        flags = data[at + 3] if modern else data[at + 4]
        body = data[at + head : at + head + size]
        if len(body) < size:
            raise Damaged(f"a message of {size} bytes is cut short")
        yield kind, flags, body
        at += head + size


def _elsewhere(file: Bytes, kind: int, data: bytes, address: int) -> bytes:
    """A message that another object has: a type that was given a name."""
    at = {1: 8, 2: 2, 3: 2}.get(data[0])
    where = int.from_bytes(data[at : at + file.offset], "little") if at else None
    if where is None or (data[0] == 3 and data[1] != 2) or where == address or kind != TYPE:
        raise InputError(f"{file.path}: messages in a shared heap are not read; save it with other settings")
    for found, flags, body in _every(file, where):
        if found == kind and not flags & 2:
            return body
    raise Damaged(f"no type at {where}")


def type_of(data: bytes) -> Type:
    kind, bits, size = data[0] & 15, int.from_bytes(data[1:4], "little"), int.from_bytes(data[4:8], "little")
    order = "<>"[bits & 1]
    if kind in (0, 4) and size in (1, 2, 4, 8):
        precise = int.from_bytes(data[8:10], "little") == 0 and int.from_bytes(data[10:12], "little") == 8 * size
        return Type("number" if precise else None, size, np.dtype(f"{order}{'ui'[bits >> 3 & 1 and not kind]}{size}"))
    if kind == 1 and (size, data[13]) in ((2, 5), (4, 8), (8, 11)) and not bits & 64:
        return Type("number", size, np.dtype(f"{order}f{size}"))
    if kind == 3:
        return Type("text", size)
    if kind == 7 and not bits & 15 and size in (4, 8):
        return Type("reference", size, np.dtype(f"<u{size}"))
    if kind == 8 and data[8] & 15 == 0:  # an enumeration: its numbers
        return type_of(data[8:])
    if kind == 9:
        base = Type("text", 1) if bits & 15 == 1 else type_of(data[8:])
        return Type(
            "vlen", size, base.dtype if base.kind == "number" else None if base.kind != "text" else np.dtype("S1")
        )
    return Type(None, size)


def space_of(file: Bytes, data: bytes) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """(shape, limits): () is one value, None none at all; a limit is -1 where it may grow without end."""
    version, rank, flags = data[:3]
    if version not in (1, 2) or rank > 32:
        raise Damaged(f"dataspace version {version} of {rank} axes")
    if version == 2 and data[3] == 2:
        return None, ()
    at, wide = 8 if version == 1 else 4, file.length
    words = [
        int.from_bytes(data[i : i + wide], "little") for i in range(at, at + rank * wide * (1 + (flags & 1)), wide)
    ]
    shape = tuple(words[:rank])
    limits = tuple(-1 if w == 256**wide - 1 else w for w in words[rank:]) or shape
    return shape, limits


def attributes(file: Bytes, found: list[tuple[int, bytes]]) -> dict[str, np.ndarray]:
    """Attributes by name: numbers, or text as arrays of str; what is something else, or damaged, is left out."""
    said = {}
    for kind, data in found:
        if kind == ATTRIBUTE:
            said.update(_attribute(file, data))
        elif kind == ATTRIBUTE_INFO:
            heap, names = _two(file, data, 2 + 2 * (data[1] & 1))
            if not file.nowhere(heap):
                objects = FractalHeap(file, heap)
                for i, record in enumerate(records(file, names)):
                    if i < MESSAGES:
                        said.update(_attribute(file, objects.get(record)))
    return said


def _two(file: Bytes, data: bytes, at: int) -> tuple[int, int]:
    """Two addresses."""
    middle = at + file.offset
    return int.from_bytes(data[at:middle], "little"), int.from_bytes(data[middle : middle + file.offset], "little")


def _attribute(file: Bytes, data: bytes) -> dict[str, np.ndarray]:
    version, flags = data[:2]
    sizes = [int.from_bytes(data[i : i + 2], "little") for i in (2, 4, 6)]
    at, parts = 9 if version == 3 else 8, []
    for size in sizes:
        parts.append(data[at : at + size])
        at += -(-size // 8) * 8 if version == 1 else size
    name = parts[0].split(b"\0")[0].decode("utf-8", "replace")
    try:
        kind = type_of(_elsewhere(file, TYPE, parts[1], -1) if version > 1 and flags & 1 else parts[1])
        shape, _ = space_of(file, parts[2])
        if shape is None or kind.kind in (None, "reference") or prod(shape) * kind.size > len(data) - at:
            return {}
        return {name: values(file, kind, shape, data[at:])}
    except (ValueError, IndexError):
        return {}


def values(file: Bytes, kind: Type, shape: tuple[int, ...], data: bytes) -> np.ndarray:
    """An array of numbers, of str, of addresses (references), or of lists."""
    count = prod(shape)
    if kind.kind in ("number", "reference"):
        return np.frombuffer(data, kind.dtype, count).reshape(shape)
    if count * kind.size > LONGEST or (kind.kind == "text" and not kind.size):
        raise Damaged(f"{count} texts of {kind.size} bytes")
    items = [data[i * kind.size : (i + 1) * kind.size] for i in range(count)]
    if kind.kind == "vlen":
        if kind.dtype is None or (kind.dtype.kind != "S" and count != 1):
            raise Damaged("lists of no numbers")
        items = [_shared(file, item) for item in items]
        if kind.dtype.kind != "S":
            return np.frombuffer(items[0], kind.dtype)
    texts = [item.split(b"\0")[0].decode("utf-8", "replace").strip() for item in items]
    if sum(map(len, texts)) > LONGEST:
        raise Damaged("text without end")
    return np.array(texts, dtype=object).astype(str).reshape(shape)


def _shared(file: Bytes, item: bytes) -> bytes:
    """What a length, an address and a number in the heap there point to."""
    address = int.from_bytes(item[4 : 4 + file.offset], "little")
    if not int.from_bytes(item[:4], "little") or not address:
        return b""
    return file.shared(address, int.from_bytes(item[4 + file.offset : 8 + file.offset], "little"))


def links(file: Bytes, found: list[tuple[int, bytes]]) -> Iterator[tuple[str, int | None]]:
    """(name, address) of a group's members; None for a link to another place or file, which is not followed."""
    for kind, data in found:
        if kind == LINK:
            yield _link(file, data)
        elif kind == SYMBOLS:
            yield from _symbols(file, *_two(file, data, 0))
        elif kind == LINK_INFO:
            heap, names = _two(file, data, 2 + 8 * (data[1] & 1))
            if not file.nowhere(heap):
                objects = FractalHeap(file, heap)
                yield from (_link(file, objects.get(record[4:])) for record in records(file, names))


def _link(file: Bytes, data: bytes) -> tuple[str, int | None]:
    flags, at = data[1], 2
    kind = data[at] if flags & 8 else 0
    at += bool(flags & 8) + 8 * bool(flags & 4) + bool(flags & 16)
    wide = 1 << (flags & 3)
    end = at + wide + int.from_bytes(data[at : at + wide], "little")
    name, address = data[at + wide : end], data[end : end + file.offset]
    hard = kind == 0 and len(address) == file.offset
    return name.decode("utf-8", "replace"), int.from_bytes(address, "little") if hard else None


def _symbols(file: Bytes, root: int, heap: int) -> Iterator[tuple[str, int | None]]:
    file.expect(heap, b"HEAP")
    size, _, where = file.unpack("LLO", heap + 8)
    names, step = file.read(where, size), 2 * file.offset + 24
    for _, node in tree(file, root, 0, file.length):
        file.expect(node, b"SNOD")
        data = file.read(node + 8, file.unpack("H", node + 6)[0] * step)
        for i in range(0, len(data), step):
            at, address = _two(file, data, i)
            soft = data[i + 2 * file.offset] == 2
            yield names[at : at + 4096].split(b"\0")[0].decode("utf-8", "replace"), None if soft else address
