"""The Huffman code of SCP-ECG (EN 1064, 5.5 and annex C): section 2's tables, and bits to numbers.

A stream has no marks to start from in its middle, so where one code ends is known only when all before it are read.
Here the code that would start at each bit is looked up for all bits at once, and the chain of those that do start is
followed 16 codes at a step, by jumps that are doubled four times. Tables that switch to each other are one such chain
too: its places are pairs of a table and a bit.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...record import InputError

DEFAULT = 19999  # number of tables that stands for the standard's own one
MOST_TABLES, MOST_PLACES = 8, 2**23  # 8 bits of a lead's bytes, times the tables: more is no ECG
LONGEST, LONGEST_PREFIX, LOOKED_UP = 56, 32, 16  # bits of a code, of its prefix, and of what a lookup table is made for


@dataclass(frozen=True)
class Table:
    """Codes in ascending order of their prefixes; the last of each array stands for what is no code."""

    starts: np.ndarray  # prefix as the first bits of 32
    prefix: np.ndarray  # bits of the prefix
    total: np.ndarray  # bits of the code; what follows the prefix is the number itself, in two's complement
    value: np.ndarray  # the number, where nothing follows
    target: np.ndarray  # table to go on with from here, from 0; -1: the same

    @property
    def bits(self) -> int:
        return int(self.prefix.max())

    @cached_property
    def lookup(self) -> np.ndarray:
        """Code of every window of `bits` bits."""
        return self.find(np.arange(2**self.bits, dtype=np.uint64) << np.uint64(32 - self.bits)).astype(np.uint16)

    def find(self, windows: np.ndarray) -> np.ndarray:
        """Codes that windows of 32 bits begin with."""
        last = len(self.starts)
        code = np.searchsorted(self.starts, windows, side="right") - 1
        inside = (code >= 0) & ((windows ^ self.starts[code]) >> (32 - self.prefix[code]).astype(np.uint64) == 0)
        return np.where(inside, code, last)


def tables(body: bytes) -> list[Table]:
    """The tables of section 2. Raises InputError for what is cut short or no Huffman code."""
    count = struct.unpack_from("<H", body)[0] if len(body) >= 2 else 0
    if count == DEFAULT:
        return [standard()]
    if not 0 < count <= MOST_TABLES:
        raise InputError(f"section 2 has {count} Huffman tables; from 1 to {MOST_TABLES} are read")
    found, place = [], 2
    for number in range(1, count + 1):
        codes = struct.unpack_from("<H", body, place)[0] if place + 2 <= len(body) else 0
        place += 2
        if not codes or place + 9 * codes > len(body):
            raise InputError(f"Huffman table {number} in section 2 is cut short; export the file again")
        found.append(_table(list(struct.iter_unpack("<BBBhI", body[place : place + 9 * codes])), number, count))
        place += 9 * codes
    return found


def standard() -> Table:
    """The table of the standard, annex C: 0; 100 and 101 for 1 and -1; ... and two prefixes for 8 and 16 bits."""
    rows = [(1, 1, 1, 0, 0)]
    for size in range(1, 9):
        ones = (1 << size) - 1
        rows += [(size + 2, size + 2, 1, sign * size, ones | (sign < 0) << (size + 1)) for sign in (1, -1)]
    return _table([*rows, (10, 18, 1, 0, 0b0111111111), (10, 26, 1, 0, 0b1111111111)], 1, 1)


def _table(rows: list[tuple[int, int, int, int, int]], number: int, count: int) -> Table:
    """Rows as in the file: bits of prefix, of code, 0 for a switch, value, and prefix with its first bit lowest."""
    kept = []
    for one, other, mode, value, base in rows:
        prefix, total = sorted((one, other))  # some writers have them the other way round
        if not (1 <= prefix <= LONGEST_PREFIX and total <= LONGEST and total - prefix <= 32):
            raise InputError(f"Huffman table {number}: a code of {prefix} and {total} bits; it is none of SCP-ECG's")
        if mode == 0 and not 1 <= value <= count:
            raise InputError(f"Huffman table {number} switches to table {value} of {count}")
        start = int(f"{base & (1 << prefix) - 1:0{prefix}b}"[::-1], 2) << 32 - prefix
        kept.append((start, prefix, prefix if mode == 0 else total, value, value - 1 if mode == 0 else -1))
    kept.sort()
    ends = [start + (1 << 32 - prefix) for start, prefix, *_ in kept]
    if any(end > following[0] for end, following in zip(ends, kept[1:])):
        raise InputError(f"Huffman table {number}: a code begins like another; export the file again")
    starts, prefix, total, value, target = (list(column) for column in zip(*kept))
    rest = (np.array(column) for column in ([*prefix, 1], [*total, 0], [*value, 0], [*target, -1]))
    return Table(np.array(starts, np.uint64), *rest)


def decode(data: bytes, codes: list[Table]) -> tuple[np.ndarray, np.ndarray]:
    """All the numbers in a lead's bytes, and the bit behind each. Bits that fill the last byte may give zeros more.

    It stops without a word where a code is cut off or is none of the table's.
    """
    size = 8 * len(data) + 1  # places of a table: its bits, and the end
    if size * len(codes) > MOST_PLACES:
        raise InputError(f"{len(data)} bytes for one lead; no SCP-ECG lead is that long")
    padded = np.frombuffer(data + bytes(8), np.uint8)
    found = [_starting(padded, len(data), table) for table in codes]
    jumps = np.concatenate([_next(code, table, i, size) for i, (code, table) in enumerate(zip(found, codes))])
    places = _chain(jumps)
    number, bit = np.divmod(places, size)
    values, ends = np.empty(len(places), np.int64), np.full(len(places), -1)
    for i, (code, table) in enumerate(zip(found, codes)):
        here = np.flatnonzero((number == i) & (bit < size - 1))
        values[here], ends[here] = _numbers(padded, bit[here], code[bit[here]], table, size - 1)
    return values[ends >= 0], ends[ends >= 0]


def _starting(padded: np.ndarray, size: int, table: Table) -> np.ndarray:
    """The code that would start at each bit."""
    words, length = np.zeros(size, np.uint64), 3 if table.bits <= LOOKED_UP else 5
    for i in range(length):
        words = words << np.uint64(8) | padded[i : i + size]
    width = min(table.bits, LOOKED_UP) if length == 3 else 32
    shift = (8 * length - width - np.arange(8)).astype(np.uint64)
    windows = ((words[:, None] >> shift) & np.uint64((1 << width) - 1)).ravel()
    return table.lookup[windows] if length == 3 else table.find(windows)


def _next(code: np.ndarray, table: Table, number: int, size: int) -> np.ndarray:
    """From each place of table `number` to the one after its code; to the end, where there is none."""
    bits = table.total.astype(np.int32)[code]
    behind = np.arange(size - 1, dtype=np.int32) + bits
    target = np.where(table.target < 0, number, table.target).astype(np.int32)[code]
    jumps = np.where((bits == 0) | (behind >= size), number * size + size - 1, target * size + behind)
    return np.append(jumps, number * size + size - 1).astype(np.int32)


def _chain(jumps: np.ndarray) -> np.ndarray:
    """The places that are reached from the first, in order. A jump to itself is the end."""
    doubled = [jumps]
    for _ in range(4):
        doubled.append(doubled[-1][doubled[-1]])
    heads, far = [0], doubled.pop()
    while (place := int(far[heads[-1]])) != heads[-1]:
        heads.append(place)
    places = np.array(heads)
    for near in reversed(doubled):
        places = np.stack([places, near[places]], axis=1).ravel()
    return places


def _numbers(padded: np.ndarray, bit: np.ndarray, code: np.ndarray, table: Table, most: int):
    """Numbers and ends of the codes at `bit`; the end is -1 for a switch and for what is cut off or no code."""
    prefix, total, values = table.prefix[code], table.total[code], table.value[code].astype(np.int64)
    literal = np.flatnonzero(total > prefix)
    if len(literal):
        at = padded[np.minimum((bit[literal] >> 3)[:, None] + np.arange(8), len(padded) - 1)]
        words = np.ascontiguousarray(at).view(">u8")[:, 0].astype(np.uint64)
        words <<= ((bit[literal] & 7) + prefix[literal]).astype(np.uint64)
        values[literal] = words.view(np.int64) >> (64 - (total - prefix)[literal])
    good = (total > 0) & (table.target[code] < 0) & (bit + total <= most)
    return values, np.where(good, bit + total, -1)


def undo_differences(values: np.ndarray, order: int) -> np.ndarray:
    """Samples from first or second differences. They are of 16 bits: what an encoder let overflow comes back."""
    values = values.astype(np.int64)
    if order == 2 and len(values) > 1:
        values[1] -= values[0]
        values[1:] = np.cumsum(values[1:])
    return (np.cumsum(values) if order else values).astype(np.int16).astype(np.int64)
