"""What a text table looks like: delimiter, decimal sign, names, units, where its numbers begin."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..record import MILLIVOLT

EMPTY = ("", "nan", "na", "null", "none", "-", "n/a")
TIMES = {
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "ms": 1e-3,
    "msec": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
CLOCK = re.compile(r"(\d{4}-\d\d-\d\d[ T])?(\d+:)?\d{1,2}:\d{1,2}([.,]\d+)?Z?")  # h:m:s.ms, m:s.ms, with a date
LAYOUTS = [("\t", "."), (";", "."), (",", "."), ("|", "."), (" ", ".")]
LAYOUTS += [("\t", ","), (";", ","), ("|", ","), (" ", ",")]
HEADING = 40  # lines before the first number, at most
BODY = 100  # lines of numbers that are looked at


@dataclass(frozen=True)
class Layout:
    delimiter: str  # " " is any run of blanks
    decimal: str
    skip: int  # lines before the first row of numbers
    columns: int
    names: tuple[str, ...] | None
    units: tuple[str | None, ...]  # None where it is not said


def look(text: str, whole: bool) -> Layout | None:
    """The layout of the first lines of a file, None where they are no table of numbers.

    `whole`: the text ends where the file ends; otherwise its last line may be cut and is not looked at.
    """
    lines = text.splitlines()[: HEADING + BODY]
    lines = lines[:-1] if not whole and len(lines) > 1 else lines
    best = None
    for delimiter, decimal in LAYOUTS:
        found = _try(lines, delimiter, decimal, cut=not whole and len(lines) == 1)
        if found and (best is None or found.columns > best.columns):
            best = found
    return best


def split(line: str, delimiter: str) -> list[str]:
    cells = line.split() if delimiter == " " else line.rstrip("\r\n").split(delimiter)
    return [cell.strip().strip("\"'").strip() for cell in cells]


def comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith(("#", "%"))


def _try(lines: list[str], delimiter: str, decimal: str, cut: bool) -> Layout | None:
    """The layout with this delimiter and decimal sign, if every line from some line on is of numbers."""
    start = next((i for i, line in enumerate(lines[: HEADING + 1]) if _numeric(line, delimiter, decimal, cut)), None)
    if start is None:
        return None
    body = [line for line in lines[start:] if not comment(line)]
    columns = len(split(body[0], delimiter))
    good = sum(_numeric(line, delimiter, decimal, cut) for line in body)
    if good < 0.9 * len(body) or columns == 0:
        return None
    heading = [split(line, delimiter) for line in lines[:start] if not comment(line)]
    heading = [cells for cells in heading if len(cells) == columns]
    return Layout(delimiter, decimal, start, columns, *_heading(heading, columns))


def _numeric(line: str, delimiter: str, decimal: str, cut: bool) -> bool:
    """Whether a line is of numbers; its first cell may be a time of day, a cell may be empty but not all of them."""
    if comment(line):
        return False
    cells = split(line, delimiter)
    cells = cells[:-1] if cut else cells
    first = cells[:1] if cells and CLOCK.fullmatch(cells[0]) else []
    numbers = [cell.replace(",", ".") if decimal == "," else cell for cell in cells[len(first) :]]
    filled = [cell for cell in numbers if cell.lower() not in EMPTY]
    return bool(filled) and all(NUMBER.fullmatch(cell) for cell in filled)


def _heading(rows: list[list[str]], columns: int) -> tuple[tuple[str, ...] | None, tuple[str | None, ...]]:
    """Names and units from the lines above the numbers: a row of names, then one of units or "II (mV)"."""
    if not rows:
        return None, (None,) * columns
    names, units = rows[-1], [None] * columns
    if len(rows) > 1 and sum(_unit(cell) is not None for cell in rows[-1]) * 2 >= columns:
        names, units = rows[-2], [_unit(cell) for cell in rows[-1]]
    bare = []
    for i, name in enumerate(names):
        match = re.fullmatch(r"(.*?)\s*[\[(]\s*([^\])]+?)\s*[\])]", name)
        unit = match and _unit(match[2])
        units[i] = unit or units[i]
        bare.append(match[1] if unit else name)
    return tuple(bare), tuple(units)


def _unit(cell: str) -> str | None:
    """The unit that a cell is, in lower case; None where it is none."""
    word = cell.strip(" ()[]").lower()
    other = re.fullmatch(r"(h+:)?mm:ss([.,]m+)?|mmhg|bpm|%|ohm|nu|a\.?u\.?|adu|g|°?c", word)
    return word if word in MILLIVOLT or word in TIMES or other else None
