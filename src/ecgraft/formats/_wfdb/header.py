"""WFDB headers (.hea): what the files of a record hold.

The grammar is that of https://wfdb.io/spec/header-files.html and of the wfdb library, which it follows to the letter
but for this: a file's name may have several dots, a unit any letters, a rate an exponent, and a time of day is never
taken for the length. No part of a pattern gives back what it has taken, so the time is in proportion to the line; a
name has no / and so lies in the folder of the header. The library's own parser costs 1 ms for 12 leads, and drops
letters beyond ASCII (µV becomes V).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...record import InputError
from .. import _person

LONGEST = 2**23  # bytes of a header (a week in segments of a few seconds)
LINE = 2000  # letters of a line that is no comment
SIGNALS = 1024  # of a record
DIGITS = 15  # of a number
FORMATS = ("8", "16", "24", "32", "61", "80", "160", "212", "310", "311", "508", "516", "524")

RECORD = re.compile(
    r"""
    (?P<name>[-\w.]++) (?:/(?P<segments>\d++))?+
    [ \t]++ (?P<signals>\d++) (?!\S)
    (?:[ \t]++ (?P<rate>\d*+\.?+\d*+(?:[eE][-+]?+\d++)?+) (?:/[-.\de]*+)?+ (?:\([-.\de]*+\)?+)?+ (?!\S))?+
    (?:[ \t]++ (?P<length>\d++) (?!\S))?+
    """,
    re.VERBOSE,
)
SIGNAL = re.compile(
    r"""
    (?P<file>~?+[-\w.]*+)
    [ \t]++ (?P<format>\d++) x?+(?P<per_frame>\d*+) :?+(?P<skew>\d*+) \+?+(?P<offset>\d*+)
    [ \t]*+ (?P<gain>-?+\d*+\.?+\d*+[eE]?+[-+]?+\d*+) \(?+(?P<baseline>-?+\d*+)\)?+ /?+(?P<unit>\S*+)
    [ \t]*+ \d*+ [ \t]*+ (?P<zero>-?+\d*+) [ \t]*+ (?P<initial>-?+\d*+) [ \t]*+ -?+\d*+ [ \t]*+ \d*+
    [ \t]*+ (?P<name>[^\t\n\r\f\v]*+)
    """,
    re.VERBOSE,
)
SEGMENT = re.compile(r"(?P<name>[-\w.]*+~?+)[ \t]++(?P<frames>\d++)(?!\S)")


class Channel(NamedTuple):
    """One signal line."""

    file: str  # "~" where there are no samples
    format: str
    per_frame: int  # samples in each frame of the record
    skew: int  # frames that it comes late in the file
    offset: int  # bytes before the first sample; samples in FLAC
    gain: float  # digital units per `unit`; 0 where the header does not say
    baseline: int  # digital value at 0
    unit: str
    initial: int  # what the differences of format 8 start from
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

    def of_files(self) -> dict[str, list[int]]:
        """Signal file -> the places of its channels, as they follow each other in it."""
        places: dict[str, list[int]] = {}
        for place, channel in enumerate(self.channels):
            places.setdefault(channel.file, []).append(place)
        return places

    def person(self) -> dict:
        """Age and sex as comments say them: "#Age: 74", "# <age>: 51 <sex>: F", "# 69 M 1085" (MIT-BIH)."""
        text = "\n".join(self.comments)
        first = re.match(r"(\d{1,3}) ([MF])\b", text)
        if first:
            return {"age": float(first[1]), "sex": first[2]}
        age = re.search(r"\bage>?[ \t]*+:[ \t]*+(\d{1,3}(?:\.\d{1,3})?)\b", text, re.IGNORECASE)
        sex = re.search(r"\b(?:sex|gender)>?[ \t]*+:[ \t]*+([^\W\d_]+)", text, re.IGNORECASE)
        return {"age": float(age[1]) if age else None, "sex": _person.sex(sex[1]) if sex else None}


def parse(path) -> Header:
    """The header at `path`. Raises InputError where it is missing or breaks the grammar."""
    path = Path(path)
    first, lines, comments = _lines(path)
    record = _match(RECORD, first, path, "record line")
    if record["rate"] is None and len(first.split()) > 2:
        raise InputError(f"{path}: the rate in {first[:80]!r} is not a number above 0")
    count = _whole(record["segments"] or record["signals"], path)
    if len(lines) < count:
        raise InputError(f"{path}: {count} lines announced but {len(lines)} found; is it complete?")
    if record["segments"] and not count:
        raise InputError(f"{path}: a record in 0 segments")
    if record["segments"] is None and count > SIGNALS:
        raise InputError(f"{path}: {count} signals in one record; at most {SIGNALS} are read")
    channels, parts = (), ()
    if record["segments"]:
        found = (_match(SEGMENT, line, path, "segment line") for line in lines[:count])
        parts = tuple((part["name"], _whole(part["frames"], path)) for part in found)
    else:
        found = (_match(SIGNAL, line, path, "signal line") for line in lines[:count])
        channels = tuple(_channel(match, path, i, count) for i, match in enumerate(found))
    rate = _number(record["rate"] or "250", path)
    return Header(path, rate, _whole(record["length"], path) or None, channels, parts, comments)


def looks_like(head: bytes) -> bool:
    """Whether the first bytes of a file are a WFDB header: a record line, then a signal or segment line."""
    if b"\0" in head:
        return False
    lines = [line.strip() for line in head.removeprefix(b"\xef\xbb\xbf").decode("latin-1").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    record = RECORD.match(lines[0]) if lines else None
    if record is None or len(lines) == 1:
        return record is not None and record["signals"] == "0"
    if record["segments"]:
        return SEGMENT.match(lines[1]) is not None
    signal = re.match(r"(?:~|[-\w.]++)[ \t]++(\d++)", lines[1])
    return signal is not None and (signal[1] in FORMATS or (signal[1] == "0" and lines[1].startswith("~")))


def _lines(path: Path) -> tuple[str, list[str], tuple[str, ...]]:
    """Record line, the lines after it, comments."""
    try:
        with open(path, "rb") as file:
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if len(data) > LONGEST:
        raise InputError(f"{path}: larger than {LONGEST} bytes; this is no header")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n")]
    comments = tuple(line[1:].strip() for line in lines if line.startswith("#"))
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise InputError(f"{path}: the header is empty")
    return lines[0], lines[1:], comments


def _match(pattern: re.Pattern, line: str, path: Path, what: str) -> re.Match:
    match = pattern.match(line) if len(line) <= LINE else None
    if match is None:
        raise InputError(f"{path}: cannot understand the {what} {line[:80]!r}")
    return match


def _channel(fields: re.Match, path: Path, index: int, count: int) -> Channel:
    file, format, per_frame, skew, offset, gain, baseline, unit, zero, initial, name = fields.groups()
    return Channel(
        file=file,
        format=format,
        per_frame=max(_whole(per_frame, path, 1), 1),
        skew=_whole(skew, path),
        offset=_whole(offset, path),
        gain=_number(gain or "0", path),
        baseline=_whole(baseline or zero, path),
        unit=unit or "mV",
        initial=_whole(initial, path),
        name=name.strip() or ("ECG" if count == 1 else f"ECG{index + 1}"),
    )


def _whole(digits: str | None, path: Path, default: int = 0) -> int:
    """The integer; `default` for none."""
    if not digits:
        return default
    if len(digits) > DIGITS or digits == "-":
        raise InputError(f"{path}: cannot understand the number {digits[:30]!r}")
    return int(digits)


def _number(text: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise InputError(f"{path}: cannot understand the number {text[:30]!r}")
    return value
