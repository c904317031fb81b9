"""Where HDF5 keeps things: bytes of a file by address, heaps, trees of version 1 and 2.

By The HDF Group, "HDF5 File Format Specification Version 3.0", sections III.A to III.G. Every count is held against
the bytes that are there, and no node is visited twice, so that work ends with the file.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from ...record import InputError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
WORD = {2: "H", 4: "I", 8: "Q"}  # addresses and lengths by their size


class Damaged(ValueError):
    """The file is not what it says."""


class Bytes:
    """A file's bytes, by address from its superblock on. `offset` and `length` are the sizes of its words."""

    def __init__(self, path: Path):
        with open(path, "rb") as file:
            if not file.seek(0, 2):
                raise InputError(f"{path}: the file is empty")
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.path, self.base = path, start(self.map)
        if self.base is None:
            raise InputError(f"{path}: not HDF5; it lacks the signature, or is cut short")
        self.size = len(self.map) - self.base
        self.heaps: dict[int, dict[int, bytes]] = {}
        self.heaped = 0  # bytes of these
        self.offset, self.length, self.root = self._superblock()

    def _superblock(self) -> tuple[int, int, int]:
        version = self.map[self.base + 8]
        if version < 2:
            offset, length = self.map[self.base + 13], self.map[self.base + 14]
            at = 24 + 4 * version  # the four addresses, then the entry of the root
            root = at + 4 * offset + offset
        elif version <= 3:
            offset, length = self.map[self.base + 9], self.map[self.base + 10]
            root = 12 + 3 * offset
        else:
            raise InputError(f"{self.path}: HDF5 superblock version {version} is not known; save it with another one")
        if offset not in WORD or length not in WORD:
            raise Damaged(f"addresses of {offset} and lengths of {length} bytes")
        self.offset, self.length = offset, length
        end = self.unpack("O", root - offset * (3 if version < 2 else 1))[0]
        if end > len(self.map) and not self.nowhere(end):
            raise InputError(f"{self.path}: cut short, {len(self.map)} of {end} bytes; get the file again")
        return offset, length, self.unpack("O", root)[0]

    def read(self, at: int, count: int) -> bytes:
        if not 0 <= at <= self.size or not 0 <= count <= self.size - at:
            raise Damaged(f"{count} bytes at {at}: the file ends at {self.size}")
        return self.map[self.base + at : self.base + at + count]

    def unpack(self, layout: str, at: int) -> tuple:
        """Little-endian numbers at an address; O is an address, L a length."""
        layout = "<" + layout.replace("O", WORD[self.offset]).replace("L", WORD[self.length])
        return struct.unpack(layout, self.read(at, struct.calcsize(layout)))

    def expect(self, at: int, signature: bytes) -> None:
        if self.read(at, 4) != signature:
            raise Damaged(f"no {signature.decode()} at {at}")

    def nowhere(self, address: int) -> bool:
        """Whether an address says that there is nothing."""
        return address == 256**self.offset - 1

    def shared(self, address: int, index: int) -> bytes:
        """An object of a global heap, which holds what has no fixed length."""
        if address not in self.heaps:
            self.expect(address, b"GCOL")
            size = self.unpack("L", address + 8)[0]
            self.heaped += size
            if self.heaped > self.size:
                raise Damaged("heaps that are more than the file")
            data, found, at = self.read(address, size), {}, 16  # heads are padded to 16 bytes
            while at + 16 <= len(data):
                number = int.from_bytes(data[at : at + 2], "little")
                count = int.from_bytes(data[at + 8 : at + 8 + self.length], "little")
                at += 16
                if number == 0:
                    break
                found[number] = data[at : at + count]
                at += -(-count // 8) * 8
            self.heaps[address] = found
        if index not in self.heaps[address]:
            raise Damaged(f"no object {index} in the heap at {address}")
        return self.heaps[address][index]


def start(data) -> int | None:
    """Where the superblock is: at 0, or behind what a user put before it; None where there is none."""
    at = 0
    while at + 48 <= len(data):
        if data[at : at + 8] == SIGNATURE:
            return at
        at = max(512, 2 * at)
    return None


def tree(file: Bytes, root: int, kind: int, key: int, within=None) -> Iterator[tuple[bytes, int]]:
    """(key, address) of the leaves' entries of a version 1 tree whose keys have `key` bytes.

    `within(left, right)`: whether an entry between these keys is wanted.
    """
    todo, seen, step = [(root, None)], set(), key + file.offset
    while todo:
        at, level = todo.pop()
        if at in seen:
            raise Damaged(f"the tree node at {at} stands in it twice")
        seen.add(at)
        file.expect(at, b"TREE")
        found, depth, count = file.unpack("BBH", at + 4)
        if found != kind or (level is not None and depth != level):
            raise Damaged(f"the tree node at {at} is of another kind or level")
        data = file.read(at + 8 + 2 * file.offset, count * step + key)
        keys = [data[i : i + key] for i in range(0, len(data), step)]
        children = [int.from_bytes(data[i + key : i + step], "little") for i in range(0, count * step, step)]
        inside = [i for i in range(count) if within is None or within(keys[i], keys[i + 1])]
        if depth:
            todo += [(children[i], depth - 1) for i in reversed(inside)]
        else:
            yield from ((keys[i], children[i]) for i in inside)


def records(file: Bytes, header: int) -> Iterator[bytes]:
    """The records of a version 2 tree."""
    file.expect(header, b"BTHD")
    node, size, depth = file.unpack("IHH", header + 6)
    root, count = file.unpack("OH", header + 16)
    if not size or node < 16 + size:
        raise Damaged(f"tree records of {size} bytes in nodes of {node}")
    most = (node - 10) // size
    width, total, totals = _enough(most), most, [0]  # bytes of a count, records below, bytes of that by level
    for _ in range(depth):
        pointer = file.offset + width + totals[-1]
        most = (node - 10 - pointer) // (size + pointer)
        total = (most + 1) * total + most
        if most < 1 or total >= 2**64:
            raise Damaged(f"a tree {depth} deep of nodes of {node} bytes")
        totals.append(_enough(total))
    todo, seen = ([(root, count, depth)] if count else []), set()
    while todo:
        at, count, level = todo.pop()
        if at in seen:
            raise Damaged(f"the tree node at {at} stands in it twice")
        seen.add(at)
        file.expect(at, b"BTIN" if level else b"BTLF")
        data = file.read(at + 6, count * size)
        yield from (data[i : i + size] for i in range(0, len(data), size))
        if level:
            pointer = file.offset + width + totals[level - 1]
            data = file.read(at + 6 + count * size, (count + 1) * pointer)
            for i in range(0, len(data), pointer):
                child = int.from_bytes(data[i : i + file.offset], "little")
                below = int.from_bytes(data[i + file.offset : i + file.offset + width], "little")
                todo.append((child, below, level - 1))


def _enough(number: int) -> int:
    """Bytes that hold a number."""
    return max(1, (number.bit_length() + 7) // 8)


class FractalHeap:
    """Objects of different lengths by an ID; blocks that double in size."""

    def __init__(self, file: Bytes, at: int):
        file.expect(at, b"FRHP")
        self.file = file
        self.id_size, filters, self.flags, most = file.unpack("HHBI", at + 5)
        if filters:
            raise InputError(f"{file.path}: a compressed heap is not read; save it with other settings")
        at += 14 + 2 * file.length + 2 * file.offset + 8 * file.length
        self.width, self.first, self.direct, self.bits, _, self.root, self.rows = file.unpack("HLLHHOH", at)
        if not self.width or not self.first or self.direct < self.first or self.bits > 64:
            raise Damaged("a heap of no width")
        self.bytes = -(-self.bits // 8)  # of an offset
        self.count_size = min(_enough(self.direct), _enough(most))

    def get(self, identity: bytes) -> bytes:
        kind = identity[0] >> 4 & 3
        if kind == 2:  # tiny: the ID is the object
            return identity[1 : 2 + (identity[0] & 15)]
        if kind:
            raise InputError(f"{self.file.path}: a very large attribute is not read; keep attributes small")
        at = int.from_bytes(identity[1 : 1 + self.bytes], "little")
        count = int.from_bytes(identity[1 + self.bytes : 1 + self.bytes + self.count_size], "little")
        for start, block in self.blocks:
            if at - start >= 0:
                return self.file.read(block + at - start, count)
        raise Damaged(f"nothing in the heap at {at}")

    @cached_property
    def blocks(self) -> list[tuple[int, int]]:
        """(place in the heap, address) of its blocks, the last first."""
        if not self.rows:
            self.file.expect(self.root, b"FHDB")
            return [(0, self.root)]
        found, todo, seen = [], [(0, self.root, self.rows)], set()
        while todo:
            start, at, rows = todo.pop()
            if at in seen:
                raise Damaged(f"the heap's block at {at} stands in it twice")
            seen.add(at)
            self.file.expect(at, b"FHIB")
            count = rows * self.width
            words = self.file.unpack(f"{count}O", at + 5 + self.file.offset + self.bytes)
            for i, address in enumerate(words):
                size = self.first << max(0, i // self.width - 1)
                if not self.file.nowhere(address):
                    inner = (size // (self.first * self.width)).bit_length()
                    found += [(start, address)] if size <= self.direct else []
                    todo += [(start, address, inner)] if size > self.direct else []
                start += size
        return sorted(found, reverse=True)
