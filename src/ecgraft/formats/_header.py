"""WFDB headers (.hea): what the files of a record hold, by the grammar of the wfdb library.

https://wfdb.io/wfdb/header-5.html. The library's own `rdheader` costs 1 ms for 12 leads, as much as everything else
together, and drops letters beyond ASCII (µV becomes V), so its patterns are used and its parser is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..record import InputError

LONGEST = 2**24  # bytes of a header (a week in segments of a few seconds)


@dataclass(frozen=True)
class Channel:
    """One signal line."""

    file: str  # "~" where there are no samples
    format: str
    per_frame: int  # samples in each frame of the record
    skew: int
    offset: int  # bytes before the first sample
    gain: float  # digital units per `unit`; 0 where the header does not say
    baseline: int  # digital value at 0
    unit: str
    name: str


@dataclass(frozen=True)
class Header:
    path: Path  # of the .hea file
    rate: float  # frames per second
    length: int | None  # frames, None where the header does not say
    channels: tuple[Channel, ...]
    segments: tuple[tuple[str, int], ...]  # (record, frames) of a record in several segments; "~" is a gap
    comments: tuple[str, ...]  # without the leading #

    def __post_init__(self):
        if not 0 < self.rate <= 100_000:
            raise InputError(f"{self.path}: rate {self.rate} Hz; it must be above 0 and at most 100000")

    def files(self) -> list[Path]:
        """The signal files and the headers of segments, in the folder of the header."""
        names = [c.file for c in self.channels] + [f"{name}.hea" for name, _ in self.segments]
        return [self.path.parent / name for name in dict.fromkeys(names) if not name.startswith("~")]

    def person(self) -> dict:
        """Age and sex as comments say them: "#Age: 74", "# <age>: 51 <sex>: F", "# 69 M 1085" (MIT-BIH)."""
        text = "\n".join(self.comments)
        first = re.match(r"(\d{1,3}) ([MF])\b", text)
        if first:
            return {"age": float(first[1]), "sex": first[2]}
        age = re.search(r"\bage>?\s*:\s*(\d{1,3})\b", text, re.IGNORECASE)
        sex = re.search(r"\bsex>?\s*:\s*([MF])", text, re.IGNORECASE)
        return {"age": float(age[1]) if age else None, "sex": sex[1].upper() if sex else None}


def parse(path) -> Header:
    """The header at `path`. Raises InputError where it is missing or breaks the grammar.

    The grammar has no / in file names, so a header cannot name a file outside of its folder.
    """
    from wfdb.io.header import rx_record, rx_segment, rx_signal

    path = Path(path)
    first, lines, comments = _lines(path)
    _, segments, count, rate, _, _, length, *_ = _match(rx_record, first, path, "record line").groups()
    if not rate and len(first.split()) > 2:
        raise InputError(f"{path}: the rate in {first!r} is not a number above 0")
    count = int(segments or count)
    if len(lines) < count:
        raise InputError(f"{path}: {count} lines announced but {len(lines)} found; is it complete?")
    if segments:
        found = (_match(rx_segment, line, path, "segment line").groups() for line in lines[:count])
        channels, parts = (), tuple((part, int(frames)) for part, frames in found)
    else:
        found = (_match(rx_signal, line, path, "signal line").groups() for line in lines[:count])
        channels, parts = tuple(_channel(fields, i, count) for i, fields in enumerate(found)), ()
    return Header(path, float(rate or 250), int(length or 0) or None, channels, parts, comments)


def looks_like(head: bytes) -> bool:
    """Whether the first bytes of a file are a WFDB header: a record line, then a signal or segment line."""
    if b"\0" in head:
        return False
    lines = [line.strip() for line in head.decode("latin-1").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    record = re.match(r"[-\w]+(/\d+)?[ \t]+(\d+)([ \t]|$)", lines[0]) if lines else None
    if record is None or len(lines) == 1:
        return record is not None and record[2] == "0"
    line = r"[-\w]+~?|~" if record[1] else r"~|[-\w]+\.\w+"
    return re.match(rf"({line})[ \t]+\d+", lines[1]) is not None


def _lines(path: Path) -> tuple[str, list[str], tuple[str, ...]]:
    """Record line, the lines after it, comments."""
    try:
        with open(path, "rb") as file:
            text = file.read(LONGEST)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    try:
        lines = text.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = text.decode("latin-1").splitlines()
    lines = [line.strip() for line in lines]
    comments = tuple(line[1:].strip() for line in lines if line.startswith("#"))
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise InputError(f"{path}: the header is empty")
    return lines[0], lines[1:], comments


def _match(pattern: re.Pattern, line: str, path: Path, what: str) -> re.Match:
    match = pattern.match(line)
    if match is None:
        raise InputError(f"{path}: cannot understand the {what} {line[:80]!r}")
    return match


def _channel(fields: tuple[str, ...], index: int, count: int) -> Channel:
    file, fmt, per_frame, skew, offset, gain, baseline, unit, _, zero, _, _, _, name = fields
    return Channel(
        file=file,
        format=fmt,
        per_frame=int(per_frame or 1),
        skew=int(skew or 0),
        offset=int(offset or 0),
        gain=float(gain or 0),
        baseline=int(baseline or zero or 0),
        unit=unit or "mV",
        name=name.strip() or ("ECG" if count == 1 else f"ECG{index + 1}"),
    )
