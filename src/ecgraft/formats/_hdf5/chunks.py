"""The chunks of an HDF5 dataset: where they are, and how they are unpacked.

"HDF5 File Format Specification Version 3.0", sections III.A.1, VII (indexes of chunks) and IV.A.2.l (filters). What a
chunk unpacks to is bounded by its size, which the dataset bounds.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from math import ceil, prod

import numpy as np

from ...record import InputError
from .store import Bytes, Damaged, records, tree

DEFLATE, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32000
FILTERS = {4: "szip", 5: "n-bit", 6: "scale-offset", 307: "bzip2", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle"}
FILTERS |= {32015: "zstandard", 32013: "zfp", 32026: "blosc2"}
SINGLE, IMPLICIT, FIXED, EXTENSIBLE, TREE2 = 1, 2, 3, 4, 5  # indexes of layout version 4
Place = tuple[int, int | None, int]  # address, bytes (None: unpacked), mask of the filters that were left out


def places(file: Bytes, layout: dict, limits: tuple[int, ...], low, high) -> Iterator[tuple[tuple[int, ...], Place]]:
    """(place in the grid, Place) of the chunks from grid place `low` to before `high`, without those never written.

    limits: how large the dataset may grow, -1 where without end; layout: chunk (its shape), index, address and what
    the index needs.
    """
    if file.nowhere(layout["address"]):
        return
    kind = layout["index"]
    if kind == 0:
        found = _tree1(file, layout, low, high)
    elif kind == TREE2:
        found = _tree2(file, layout, len(low))
    else:
        found = _arrays(file, layout, limits, low, high)
    for place, (address, size, mask) in found:
        if not file.nowhere(address) and all(a <= p < b for a, p, b in zip(low, place, high)):
            yield place, (address, size, mask)


def _tree1(file: Bytes, layout: dict, low, high):
    chunk = layout["chunk"]
    rank = len(chunk)

    def row(key: bytes) -> int:
        return int.from_bytes(key[8:16], "little") // chunk[0]

    def wanted(left: bytes, right: bytes) -> bool:
        return row(left) < high[0] and row(right) >= low[0]

    for key, address in tree(file, layout["address"], 1, 16 + 8 * rank, wanted):
        size, mask = np.frombuffer(key, "<u4", 2).tolist()
        offsets = np.frombuffer(key, "<u8", rank, 8).tolist()
        yield tuple(o // c for o, c in zip(offsets, chunk)), (address, size, mask)


def _tree2(file: Bytes, layout: dict, rank: int):
    for record in records(file, layout["address"]):
        place = np.frombuffer(record[-8 * rank :], "<u8").tolist()
        if len(record) < file.offset + 8 * rank:
            raise Damaged("records of a tree of chunks that are too short")
        yield tuple(place), _element(file, record[: -8 * rank])


def _element(file: Bytes, data: bytes) -> Place:
    """Address, and for filtered chunks size and mask."""
    address = int.from_bytes(data[: file.offset], "little")
    if len(data) == file.offset:
        return address, None, 0
    return address, int.from_bytes(data[file.offset : -4], "little"), int.from_bytes(data[-4:], "little")


def _arrays(file: Bytes, layout: dict, limits, low, high):
    """Indexes that number the chunks, the axis that may grow without end first."""
    chunk, kind = layout["chunk"], layout["index"]
    ends = [i for i, limit in enumerate(limits) if limit < 0]
    order = ends[:1] + [i for i in range(len(chunk)) if i not in ends[:1]]
    grid = [max(1, -(-limits[i] // chunk[i])) for i in order]
    find = {FIXED: _fixed, EXTENSIBLE: _extensible}[kind](file, layout) if kind in (FIXED, EXTENSIBLE) else None
    for place in np.ndindex(*(b - a for a, b in zip(low, high))):
        place = tuple(p + a for p, a in zip(place, low))
        number = 0
        for i, count in zip(order, grid):
            number = number * count + place[i]
        if kind == SINGLE:
            yield place, (layout["address"], layout["size"], layout["mask"])
        elif kind == IMPLICIT:
            yield place, (layout["address"] + number * layout["bytes"], None, 0)
        else:
            element = find(number)
            if element is not None:
                yield place, _element(file, element)


def _fixed(file: Bytes, layout: dict):
    """number -> element of a fixed array."""
    at = layout["address"]
    file.expect(at, b"FAHD")
    size, bits, count, block = file.unpack("BBLO", at + 6)
    page = 1 << min(bits, 62)
    start, paged = block + 6 + file.offset, count > page
    bitmap = file.read(start, -(-count // page) + 7 >> 3) if paged else b""
    start += len(bitmap) + 4 * paged

    def find(number: int) -> bytes | None:
        if file.nowhere(block) or number >= count:
            return None
        p = number // page
        if paged and not bitmap[p >> 3] >> (7 - p % 8) & 1:
            return None
        return file.read(start + number * size + 4 * p * paged, size)

    return find


def _extensible(file: Bytes, layout: dict):
    """number -> element of an extensible array: some in its index block, then in data blocks that grow."""
    at = layout["address"]
    file.expect(at, b"EAHD")
    size, bits, inside, least, pointers, page_bits = file.unpack("6B", at + 6)
    index = file.unpack("O", at + 12 + 6 * file.length)[0]
    if not least or least & (least - 1) or pointers < 1 or bits > 64 or file.nowhere(index):
        raise Damaged("an extensible array of no size")
    wide, page = -(-bits // 8), 1 << min(page_bits, 62)
    direct = 2 * (pointers.bit_length() - 1)  # super blocks whose data blocks the index block names
    blocks = index + 6 + file.offset + inside * size
    supers = blocks + 2 * (pointers - 1) * file.offset

    def find(number: int) -> bytes | None:
        if number < inside:
            return file.read(index + 6 + file.offset + number * size, size)
        number, before, u = number - inside, 0, 0
        while number >= (1 << u // 2) * (least << (u + 1) // 2):
            number -= (1 << u // 2) * (least << (u + 1) // 2)
            before, u = before + (1 << u // 2), u + 1
        count = least << (u + 1) // 2  # elements of a data block
        which, number = divmod(number, count)
        if u < direct:
            block = file.unpack("O", blocks + (before + which) * file.offset)[0]
        else:
            above = file.unpack("O", supers + (u - direct) * file.offset)[0]
            if file.nowhere(above):
                return None
            bitmaps = (1 << u // 2) * (-(-count // page) + 7 >> 3) if count > page else 0
            block = file.unpack("O", above + 6 + file.offset + wide + bitmaps + which * file.offset)[0]
        if file.nowhere(block):
            return None
        paged = count > page
        return file.read(block + 6 + file.offset + wide + number * size + 4 * paged * (1 + number // page), size)

    return find


def unpack(file: Bytes, place: Place, filters: list[tuple[int, tuple[int, ...]]], size: int, item: int) -> bytes:
    """The `size` bytes of a chunk of values of `item` bytes."""
    address, stored, mask = place
    if stored is not None and stored > 2 * size + 4096:
        raise Damaged(f"a chunk of {size} bytes that takes {stored}")
    data = file.read(address, size if stored is None else stored)
    for i, (kind, values) in reversed(list(enumerate(filters))):
        if mask >> i & 1:
            continue
        if kind == DEFLATE:
            data = zlib.decompressobj().decompress(data, size + 8)
        elif kind == LZF:
            data = _lzf(data, size + 8)
        elif kind == FLETCHER32:
            data = _checked(data)
        elif kind == SHUFFLE:
            data = _unshuffled(data, values[0] if values else item)
        else:
            name = FILTERS.get(kind, "unknown")
            raise InputError(
                f"{file.path}: compressed with filter {kind} ({name}), which is not read; save it again with gzip"
            )
    if len(data) != size:
        raise Damaged(f"a chunk unpacks to {len(data)} of {size} bytes")
    return data


def _unshuffled(data: bytes, item: int) -> bytes:
    """First bytes of all values, then second bytes, ... -> values; what is left over stands at the end."""
    if item < 2:
        return data
    count = len(data) // item
    whole = np.frombuffer(data, np.uint8, count * item).reshape(item, count)
    return whole.T.tobytes() + data[count * item :]


def _checked(data: bytes) -> bytes:
    """Data without its Fletcher checksum of 32 bits, which has to be right."""
    body, said = data[:-4], int.from_bytes(data[-4:], "little")
    words = np.frombuffer(body + b"\0" * (len(body) % 2), ">u2").astype(np.uint64)
    first = int(words.sum()) % 65535 or 65535 * bool(words.any())
    weights = np.arange(len(words), 0, -1, dtype=np.uint64)
    second = int((words * weights % 65535).sum()) % 65535 or 65535 * bool(words.any())
    alike = {(a << 16 | b) for a in {second, second % 65535} for b in {first, first % 65535}}
    if len(data) < 4 or said not in alike:
        raise InputError("the checksum of a chunk is wrong: its samples are damaged; get the file again")
    return body


def _lzf(data: bytes, most: int) -> bytes:
    """LZF, as h5py writes it: runs of literals, and copies of what came before."""
    out, at = bytearray(), 0
    while at < len(data) and len(out) <= most:
        control = data[at]
        at += 1
        if control < 32:
            out += data[at : at + control + 1]
            at += control + 1
            continue
        count = control >> 5
        if count == 7:
            count += data[at]
            at += 1
        back = ((control & 31) << 8 | data[at]) + 1
        at += 1
        if back > len(out):
            raise Damaged("LZF copies from before the beginning")
        piece, count = out[-back:][: count + 2], count + 2
        out += (piece * ceil(count / len(piece)))[:count]
    return bytes(out)


def grid(low, high, chunk) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Grid places of the chunks that hold [low, high), and how many values these chunks have."""
    first = tuple(a // c for a, c in zip(low, chunk))
    last = tuple(-(-b // c) for b, c in zip(high, chunk))
    return first, last, prod(b - a for a, b in zip(first, last)) * prod(chunk)
