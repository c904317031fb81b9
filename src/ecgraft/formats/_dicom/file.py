"""A DICOM file as nested items that are read leniently: a wrong VR, a private tag or odd text is no reason to fail.

Elements are found here (PS3.5 chapter 7) and opened when they are asked for, without a copy: half of the time that it
took by pydicom, whose warnings quote dates and names. Its dictionary and its character sets are used, and the tests
hold this reader against it on all its files. All is bounded: what a deflated file may inflate to and how many elements
are looked at; nothing nests on the stack.
"""

from __future__ import annotations

import logging
import re
import struct
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...record import InputError
from .. import PACKED, ROOM

PREAMBLE = 128  # bytes before "DICM"
IMPLICIT = ("1.2.840.10008.1.2", "1.2.840.113619.5.2")  # GE's own differs in the byte order of pixels alone
BIG, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
VISITS = 2**18  # elements that are looked at, and one more for every two bytes of the file; items count as 8
SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())  # VRs with 16 bit lengths
BINARY = {"US": "u2", "SS": "i2", "UL": "u4", "SL": "i4", "UV": "u8", "SV": "i8", "FL": "f4", "FD": "f8"}
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
SIGN = {True: "<", False: ">"}  # by whether the low byte comes first
UNPACK = {low: [struct.Struct(sign + form).unpack_from for form in ("HHI", "H", "I")] for low, sign in SIGN.items()}
OPEN = 0xFFFFFFFF  # a length that is not said: an end is marked
CHARACTERS = re.compile(r"ISO[ _-](IR|2022)[ _-]?(IR)?[ _-]?\d{1,3}|GB18030|GBK")  # others are Python's
CUT = "the file is cut short inside a sequence; export it again"


@contextmanager
def quiet():
    """pydicom says nothing, neither on the screen nor in a log."""
    logger = logging.getLogger("pydicom")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def starts(head: bytes) -> int:
    """Where the first element is, -1 where this is no DICOM file: after "DICM", or at 0 where there is no preamble."""
    if head[PREAMBLE : PREAMBLE + 4] == b"DICM":
        return PREAMBLE + 4
    bare = head[:2] in (b"\x02\0", b"\x08\0", b"\0\x08") and b"1.2.840.10008." in head[:1024]
    return 0 if bare else -1


def load(path: Path) -> Item:
    """The data set of a file. InputError where it is none, or inflates to more than an ECG does."""
    data = path.read_bytes()
    start = starts(data)
    if start < 0:
        raise InputError("not a DICOM file: neither the word DICM nor a first element is where it must be")
    meta = File(data, True, [VISITS + len(data) // 2])
    found, start = meta.elements(start, len(data), False, group=2)
    syntax = Item(meta, found).text("TransferSyntaxUID")
    if syntax == DEFLATED:
        data, start = _inflate(data[start:]), 0
    implicit, little = _encoding(syntax, data[start : start + 6])
    file = File(data, little, meta.budget)
    return Item(file, file.elements(start, len(data), implicit)[0])


class Element(NamedTuple):
    vr: str  # "" where it is implicit
    start: int  # of the value
    stop: int
    cut: bool  # the file ends before the value does


@dataclass(frozen=True)
class File:
    """Bytes, their order, and how many more elements may be looked at in them."""

    data: bytes
    little: bool
    budget: list[int]
    ends: dict[int, tuple[int, int]] = field(default_factory=dict)  # of values without a length, by where they begin

    @property
    def size(self) -> int:
        return len(self.data)

    def elements(self, at: int, stop: int, implicit: bool, group: int | None = None) -> tuple[dict[int, Element], int]:
        """Tag -> element from `at` on, and where they end: at `stop`, an end of an item, or another group."""
        found: dict[int, Element] = {}
        implicit = implicit or not _is_vr(self.data[at + 4 : at + 6])
        while at + 8 <= stop:
            tag, vr, begin, length = self.header(at, implicit)
            if tag == ITEM_END or (group is not None and tag >> 16 != group):
                return found, at
            end, beyond = self.end(begin, stop, implicit) if length == OPEN else (begin + length,) * 2
            found[tag] = Element(vr, begin, min(end, stop), beyond > stop)
            at = min(beyond, stop)
        return found, at

    def header(self, at: int, implicit: bool) -> tuple[int, str, int, int]:
        """Tag, VR, where the value begins and its length. Marks of items and their ends have no VR."""
        self.budget[0] -= 1
        if self.budget[0] < 0:
            raise InputError("it has more elements than an ECG of its size; is it a DICOM waveform?")
        plain, coded, long = UNPACK[self.little]
        group, element, length = plain(self.data, at)
        vr = b"" if implicit or group == 0xFFFE else self.data[at + 4 : at + 6]
        if not _is_vr(vr):
            return group << 16 | element, "", at + 8, length
        if vr in SHORT:
            return group << 16 | element, vr.decode(), at + 8, coded(self.data, at + 6)[0]
        return group << 16 | element, vr.decode(), at + 12, long(self.data, at + 8)[0] if at + 12 <= self.size else 0

    def end(self, start: int, stop: int, implicit: bool) -> tuple[int, int]:
        """Where a value without a length ends, and where the mark of its end does; beyond `stop` if there is none."""
        at, open_ones = start, [(start, implicit)]  # of each sequence that is open: whether the VRs in it are implicit
        while at + 8 <= stop and start not in self.ends:
            tag, _, begin, length = self.header(at, open_ones[-1][1])
            if tag == ITEM:
                open_ones[-1] = open_ones[-1][0], implicit or not _is_vr(self.data[begin + 4 : begin + 6])
            elif tag == SEQUENCE_END:
                self.ends[open_ones.pop()[0]] = at, begin
            elif length == OPEN:
                open_ones.append((begin, open_ones[-1][1]))
            at = begin if length == OPEN else begin + length
        return self.ends.get(start, (stop, stop + 1))

    def items(self, element: Element):
        """The elements of each item of a sequence."""
        at, stop = element.start, element.stop
        while at + 8 <= stop:
            tag, _, begin, length = self.header(at, True)
            self.budget[0] -= 7
            if tag == SEQUENCE_END:
                return
            if tag != ITEM or (length != OPEN and begin + length > stop):
                raise InputError(CUT)
            found, end = self.elements(begin, stop if length == OPEN else begin + length, element.vr == "")
            yield found
            at = end + 8 if length == OPEN else begin + length


@dataclass(frozen=True)
class Item:
    """The data set of a file or an item of a sequence; values by keyword, empty where there is none."""

    file: File
    found: dict[int, Element]
    encodings: list[str] = field(default_factory=list)

    def element(self, keyword: str) -> Element | None:
        return self.found.get(_known(keyword)[0])

    def raw(self, keyword: str) -> bytes:
        element = self.found.get(_known(keyword)[0])
        return self.file.data[element.start : element.stop] if element else b""

    def text(self, keyword: str) -> str:
        value = self.raw(keyword)
        if value.isascii() and b"\x1b" not in value:
            return value.decode("ascii").strip("\0 ")
        from pydicom.charset import decode_bytes

        try:
            return decode_bytes(value, self._characters(), {9, 10, 12, 13}).strip("\0 ")
        except (LookupError, ValueError):
            return value.decode("latin-1").strip("\0 ")

    def numbers(self, keyword: str) -> np.ndarray:
        """(n,) float64; what is no number is NaN."""
        tag, vr = _known(keyword)
        value, said = self.raw(keyword), self.found[tag].vr if tag in self.found else ""
        kind = BINARY.get(vr if said in ("", "UN") else said)
        if kind:
            size = int(kind[1])
            kind = np.dtype(SIGN[self.file.little] + kind)
            return np.frombuffer(value[: len(value) // size * size], kind).astype(np.float64)
        return np.array([_number(part) for part in value.split(b"\\")] if value.strip(b"\0 ") else [])

    def number(self, keyword: str) -> float | None:
        """The first of `numbers`, None where it is missing or not finite."""
        if _known(keyword)[0] not in self.found:
            return None
        values = self.numbers(keyword)
        return float(values[0]) if len(values) and np.isfinite(values[0]) else None

    def whole(self, keyword: str) -> int:
        """A count, 0 where it is missing or negative."""
        return max(int(self.number(keyword) or 0), 0)

    def items(self, keyword: str) -> list[Item]:
        element = self.element(keyword)
        if element is None:
            return []
        if element.cut:
            raise InputError(CUT)
        return [Item(self.file, found, self._characters()) for found in self.file.items(element)]

    def first(self, keyword: str) -> Item | None:
        return next(iter(self.items(keyword)), None)

    def _characters(self) -> list[str]:
        """Python's names of the character sets that hold here: this item's own, or else those around it."""
        said = self.raw("SpecificCharacterSet")
        if not said.strip(b"\0 "):
            return self.encodings or ["iso8859"]
        from pydicom.charset import convert_encodings

        names = [name.strip("\0 ") for name in said.decode("latin-1").split("\\")[:9]]
        return list(convert_encodings([name if CHARACTERS.fullmatch(name) else "" for name in names]))


@cache
def _known(keyword: str) -> tuple[int, str]:
    """Tag and VR of a keyword in the dictionary."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    return int(tag), dictionary_VR(tag)


def _is_vr(two: bytes) -> bool:
    return len(two) == 2 and two.isalpha() and two.isupper()


def _number(text: bytes) -> float:
    try:
        return float(text.strip(b"\0 "))
    except ValueError:
        return float("nan")


def _encoding(syntax: str, first: bytes) -> tuple[bool, bool]:
    """Whether VRs are implicit and whether the low byte comes first; told by the first element where no syntax says."""
    if syntax:
        return syntax in IMPLICIT, syntax != BIG
    explicit = _is_vr(first[4:6])
    return not explicit, not (explicit and struct.unpack("<H", first[:2])[0] >= 256)


def _inflate(packed: bytes) -> bytes:
    most = ROOM + PACKED * len(packed)
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        whole = machine.decompress(packed, most)
    except zlib.error:
        raise InputError("its deflated part is damaged; export the file again") from None
    if not machine.eof:
        if len(whole) >= most:
            raise InputError(f"{len(packed)} bytes inflate to more than {most}; no ECG is compressed so much")
        raise InputError("its deflated part is cut short; export the file again")
    return whole
