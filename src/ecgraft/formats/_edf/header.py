"""EDF and BDF headers: 256 bytes of ASCII for the file and 256 for each signal, in fields of fixed width.

By https://www.edfplus.info/specs/edf.html and edfplus.html, and BioSemi's page on BDF. Read with tolerance, as
recorders write it: letters beyond ASCII, decimal commas, NUL for blanks, a wrong size of the header, -1 data records.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from ...record import InputError

FIELDS = {  # of a signal -> bytes; a field stands for all signals before the next one begins
    "label": 16,
    "transducer": 80,
    "unit": 8,
    "physical_min": 8,
    "physical_max": 8,
    "digital_min": 8,
    "digital_max": 8,
    "filters": 80,
    "samples": 8,
    "reserved": 32,
}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?")
COUNT = re.compile(r"[+-]?\d+(\.0*)?")
VERSION = re.compile(rb"0[ \0]{7}|\xffBIOSEMI")


@dataclass(frozen=True)
class Signal:
    """One signal; its texts as they stand in the file."""

    label: str
    unit: str
    physical: tuple[str, str]  # what digital minimum and maximum are, in `unit`
    digital: tuple[str, str]
    filters: str
    samples: int  # in a data record
    first: int  # samples of the data record before its own

    @property
    def annotations(self) -> bool:
        return self.label.lower() in ("edf annotations", "bdf annotations")


@dataclass(frozen=True)
class Header:
    path: Path
    width: int  # bytes of a sample: 2 (EDF), 3 (BDF)
    plus: str  # "C" continuous or "D" discontinuous, by EDF+; "" for plain EDF
    patient: str
    recording: str
    date: str  # dd.mm.yy
    seconds: Fraction  # of a data record
    decimals: int  # digits behind the point of `seconds` as it is written
    records: int  # complete data records
    rest: int  # samples of a last data record that is cut short
    start: int  # bytes before the first data record
    signals: tuple[Signal, ...]
    assumed: tuple[str, ...]

    @property
    def samples(self) -> int:
        """In a data record, of all signals."""
        return sum(signal.samples for signal in self.signals)


def looks_like(head: bytes) -> bool:
    """Whether the first bytes of a file are an EDF or BDF header."""
    counts = [head[start:stop].strip(b" \0") for start, stop in ((184, 192), (236, 244), (252, 256))]
    whole = len(head) >= 256 and VERSION.fullmatch(head[:8]) is not None
    return whole and all(re.fullmatch(rb"[+-]?\d+(\.0*)?", count) for count in counts)


def parse(path: Path) -> Header:
    """Raises InputError for what is no EDF, or too damaged to say where its samples are."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(256)
        if not looks_like(head):
            raise InputError(f"{path}: no EDF or BDF header; its first 256 bytes are damaged or of something else")
        count = _count(head[252:256], "number of signals")
        if not 0 < count <= (size - 256) // 256:
            raise InputError(f"{path}: {count} signals announced in a file of {size} bytes; get the file again")
        signals = _signals(file.read(256 * count), count)
    width = 3 if head[:1] == b"\xff" else 2
    plus = re.match(r"[EB]DF\+([CD])", text(head[192:236]))
    seconds = text(head[244:252]).replace(",", ".")
    if not NUMBER.fullmatch(seconds) or number(seconds) < 0:
        raise InputError(f"{path}: {seconds!r} is no duration of a data record in seconds")
    frame = width * sum(signal.samples for signal in signals)
    stated = _count(head[236:244], "number of data records")
    start, assumed = _start(_count(head[184:192], "size of the header"), 256 * (count + 1), size, stated * frame)
    records, rest, more = _records(stated, size - start, frame, width)
    return Header(
        path=path,
        width=width,
        plus=plus[1] if plus else "",
        patient=text(head[8:88]),
        recording=text(head[88:168]),
        date=text(head[168:176]),
        seconds=number(seconds),
        decimals=len(seconds.partition(".")[2]),
        records=records,
        rest=rest,
        start=start,
        signals=signals,
        assumed=(*assumed, *more),
    )


def text(field: bytes) -> str:
    """A field's text, stripped; UTF-8 or else Latin-1, without what cannot be printed."""
    try:
        said = field.strip(b" \0").decode("utf-8")
        if said.isprintable():
            return said.strip()
    except UnicodeDecodeError:
        said = field.decode("latin-1")
    return "".join(letter for letter in said if letter.isprintable()).strip()


@lru_cache(1000)
def number(said: str) -> Fraction | None:
    """Exactly what a field says; None where it says no number, or one beyond 1e12."""
    said = said.replace(",", ".").strip()
    value = Fraction(said) if NUMBER.fullmatch(said) else None
    return value if value is not None and abs(value) <= 10**12 else None


def _count(field: bytes, what: str) -> int:
    said = text(field)
    if not COUNT.fullmatch(said):
        raise InputError(f"the {what} in the header is {said!r}, which is no whole number")
    return int(said.partition(".")[0])


def _signals(data: bytes, count: int) -> tuple[Signal, ...]:
    columns, at = {}, 0
    for name, width in FIELDS.items():
        columns[name] = [data[at + i * width : at + (i + 1) * width] for i in range(count)]
        at += count * width
    found, first = [], 0
    for i in range(count):
        said = {name: text(columns[name][i]) for name in FIELDS if name != "samples"}
        samples = _count(columns["samples"][i], f"number of samples of signal {i + 1}")
        if samples < 0:
            raise InputError(f"signal {i + 1} has {samples} samples in a data record")
        physical, digital = (said["physical_min"], said["physical_max"]), (said["digital_min"], said["digital_max"])
        found.append(Signal(said["label"], said["unit"], physical, digital, said["filters"], samples, first))
        first += samples
    if not first:
        raise InputError("no signal has samples: the file has a header alone")
    return tuple(found)


def _start(stated: int, computed: int, size: int, data: int) -> tuple[int, list[str]]:
    """Where the samples begin: behind the signals' headers, unless the file is as long as the stated size says."""
    if stated == computed:
        return computed, []
    if data > 0 and stated > computed and size == stated + data:
        return stated, [f"the samples begin after {stated} bytes, as the header says, and not after {computed}"]
    return computed, [f"the samples begin after {computed} bytes; the header says {stated}"]


def _records(stated: int, there: int, frame: int, width: int) -> tuple[int, int, list[str]]:
    """Complete data records, samples of one that is cut short, what was assumed."""
    whole, rest = divmod(there, frame)
    rest //= width
    if stated <= 0:
        said = "the recording was not finished" if stated < 0 else "the header says 0 data records"
        return whole, rest, [f"{said}; {whole} data records found"]
    if whole < stated:
        cut = " and a part of one" if rest else ""
        return whole, rest, [f"cut short: {whole} data records{cut} of {stated}"]
    left = there - stated * frame
    return stated, 0, [f"{left} bytes behind the last data record are no samples"] if left else []
