"""The sizes that a Parquet file and its pages claim, read by hand before Arrow makes room for them.

Its end and the head of each page are structures of Thrift's compact protocol (github.com/apache/parquet-format,
parquet.thrift: FileMetaData, PageHeader). A page of some bytes can unpack to 2 GiB; what is beyond reason is refused
here. Not by pyarrow's `metadata.row_group(i).column(j)`, which ends the process on a damaged size statistic.
"""

from __future__ import annotations

from ..record import InputError
from . import PACKED, ROOM

LONGEST = 2**16  # bytes of a page's head
FOOTER = 2**26  # bytes of a file's end
UNPACKED, RATIO = 2**25, 512  # bytes that any page may unpack to, and for each packed byte
PAGES = 2**18
DEEPEST = 16
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)


def check(path, columns: set[str]) -> None:
    """InputError where these columns, or their pages, claim more than is reasonable for the bytes of the file."""
    total = 0
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        for chunk in _chunks(_end(file, size, path)):
            if chunk[3][0].decode("utf-8", "replace") in columns:
                total += chunk[5]
                start = min(at for at in (chunk.get(11), chunk[9]) if at)
                if chunk[5] < 0 or not 0 < start <= size or chunk[7] < 0:
                    raise InputError(f"{path}: damaged, a column at {start}; get the file again")
                _pages(file, start, min(start + chunk[7], size), path)
    if total > ROOM + PACKED * size:
        raise InputError(f"{path}: {total} values in {size} bytes; no ECG is compressed so much")


def _end(file, size: int, path) -> bytes:
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or length > min(size - 12, FOOTER):
        raise InputError(f"{path}: its end is missing; get the file again")
    file.seek(size - 8 - length)
    return file.read(length)


def _chunks(footer: bytes):
    """ColumnMetaData of all columns in all groups of rows: 3 its name, 5 values, 7 bytes, 9 and 11 where it starts."""
    for group in _structure(footer, 0, 0)[0].get(4, []):
        for column in group[1]:
            yield column[3]


def _pages(file, at: int, end: int, path) -> None:
    count = 0
    while at < end:
        file.seek(at)
        head, used = _structure(file.read(LONGEST), 0, 0)
        unpacked, packed, count = head[2], head[3], count + 1
        if packed < 0 or unpacked < 0 or count > PAGES:
            raise InputError(f"{path}: damaged, a page of {packed} bytes; get the file again")
        if unpacked > UNPACKED + RATIO * packed:
            raise InputError(f"{path}: a page of {packed} bytes unpacks to {unpacked}; no ECG is compressed so much")
        at += used + packed


def _structure(data: bytes, at: int, depth: int) -> tuple[dict, int]:
    """(values by the number of their field, place behind the structure)."""
    found, field = {}, 0
    while True:
        head = data[at]
        at += 1
        if head == 0:
            return found, at
        kind, step = head & 15, head >> 4
        if step:
            field += step
        else:
            field, at = _integer(data, at)
        found[field], at = (kind == TRUE, at) if kind in (TRUE, FALSE) else _value(data, at, kind, depth)


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple:
    """(value, place behind it)."""
    if depth > DEEPEST:
        raise ValueError("structures in structures without end")
    if kind in (I16, I32, I64):
        return _integer(data, at)
    if kind == BINARY:
        length, at = _varint(data, at)
        return data[at : at + length], at + length
    if kind in (LIST, SET):
        return _list(data, at, depth)
    if kind == STRUCT:
        return _structure(data, at, depth + 1)
    if kind in (BYTE, TRUE, FALSE):
        return data[at], at + 1
    if kind == DOUBLE:
        return data[at : at + 8], at + 8
    raise ValueError(f"a value of type {kind}")


def _list(data: bytes, at: int, depth: int) -> tuple[list, int]:
    head = data[at]
    at += 1
    count = head >> 4
    if count == 15:
        count, at = _varint(data, at)
    if count > len(data):
        raise ValueError(f"a list of {count}")
    found = []
    for _ in range(count):
        value, at = _value(data, at, head & 15, depth + 1)
        found.append(value)
    return found, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number without end")


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """A number with its sign in the last bit."""
    value, at = _varint(data, at)
    return value >> 1 ^ -(value & 1), at
