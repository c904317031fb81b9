"""MATLAB version 5 to 7 files, as far as ECGs need them: matrices of numbers, text, cells of text, structs.

By MathWorks, "MAT-File Format". Not by scipy.io, which ends the process (segmentation fault) on damaged files. Sizes
are checked before anything is unpacked.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..record import InputError
from . import LARGEST, PACKED, ROOM

NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15  # types of elements
CELL, STRUCT, CHAR, NUMERIC = 1, 2, 4, range(6, 16)  # classes of matrices
COMPLEX = 0x800


def load(path: Path) -> dict[str, np.ndarray | dict]:
    """Variables by name: numbers, text as arrays of str, a struct as a dict; what is something else is left out.

    Raises InputError where it would unpack to more than a record may have, ValueError where it is damaged.
    """
    limit = 8 * LARGEST
    if path.stat().st_size > limit:
        raise InputError(f"{path}: {path.stat().st_size} bytes; one record a file")
    data = path.read_bytes()
    order = "<" if data[126:128] == b"IM" else ">"
    found = {}
    for kind, part in _elements(memoryview(data)[128:], order):
        if kind == COMPRESSED:
            most = min(limit, 8 * (ROOM + PACKED * len(part)))
            unpacked = zlib.decompressobj().decompress(part, most + 1)
            limit -= len(unpacked)
            if len(unpacked) > most:
                raise InputError(f"{path}: unpacks to more than {most} bytes; one record a file")
            kind, part = next(_elements(memoryview(unpacked), order))
        if kind == MATRIX:
            name, value = _matrix(part, order)
            found[name] = value
    return {name: value for name, value in found.items() if value is not None}


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """(type, bytes) of the elements that stand one after the other; short ones share the 8 bytes of their tag."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}2I", data, at)
        start = at + 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        end = start + size
        if end > len(data) or (start == at + 4 and size > 4):
            raise ValueError(f"an element of {size} bytes is cut short")
        yield kind, data[start:end]
        at = end if kind == COMPRESSED else max(at + 8, end + -(end - at) % 8)


def _matrix(data: memoryview, order: str) -> tuple[str, np.ndarray | dict | None]:
    """Name and value of a matrix; None for a class that is not read."""
    parts = list(_elements(data, order))
    if len(parts) < 3:
        return "", None
    (_, flags), (_, dims), (_, name), *rest = parts
    flags = struct.unpack_from(f"{order}I", flags)[0]
    shape = np.frombuffer(dims, f"{order}i4").tolist()
    count, kind = math.prod(shape), flags & 0xFF
    value = None
    if kind in NUMERIC and not flags & COMPLEX:
        value = _numbers(*rest[0], order, count).reshape(shape, order="F")
    elif kind == CHAR:
        letters = _letters(*rest[0], order, count).reshape(shape, order="F")
        value = np.array(["".join(row).strip() for row in np.atleast_2d(letters)])
    elif kind == CELL and count == len(rest):
        texts = [_matrix(part, order)[1] for _, part in rest]
        if all(isinstance(text, np.ndarray) and text.dtype.kind == "U" and text.size == 1 for text in texts):
            value = np.array([text[0] for text in texts])
    elif kind == STRUCT and count == 1:
        value = _fields(rest, order)
    return bytes(name).decode("latin-1"), value


def _numbers(kind: int, data: memoryview, order: str, count: int) -> np.ndarray:
    if kind not in NUMBERS:
        raise ValueError(f"numbers of the unknown type {kind}")
    values = np.frombuffer(data, order + NUMBERS[kind])
    if len(values) != count:
        raise ValueError(f"{len(values)} numbers for a matrix of {count}")
    return values


def _letters(kind: int, data: memoryview, order: str, count: int) -> np.ndarray:
    """(count,) single characters; UTF-8, or units of 8 or 16 bits."""
    text = bytes(data).decode("utf-8") if kind == 16 else bytes(data).decode(f"utf-16-{'lb'[order == '>']}e")
    if kind in (1, 2):
        text = bytes(data).decode("latin-1")
    if len(text) != count:
        raise ValueError(f"{len(text)} letters for a text of {count}")
    return np.array(list(text), "U1")


def _fields(parts: list, order: str) -> dict[str, np.ndarray]:
    """The fields of a struct: length of names, names, values."""
    (_, length), (_, names), *values = parts
    length = struct.unpack_from(f"{order}i", length)[0]
    if length <= 0 or len(names) // length != len(values):
        raise ValueError(f"{len(values)} values for the names of a struct")
    keys = [bytes(names[i : i + length]).split(b"\0")[0].decode("latin-1") for i in range(0, len(names), length)]
    found = {key: _matrix(part, order)[1] for key, (_, part) in zip(keys, values)}
    return {key: value for key, value in found.items() if value is not None}
