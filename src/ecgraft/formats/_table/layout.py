"""What a text table looks like: delimiter, decimal sign, names, units, where its numbers begin."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass

from ...record import MILLIVOLT
from .about import apples, is_about
from .columns import TIMES

EMPTY = ("", "nan", "na", "null", "none", "-", "n/a")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
CLOCK = re.compile(  # h:m:s.ms, m:s.ms, with a date
    r"(\d{4}-\d\d-\d\d[ T])?(\d+:)?\d{1,2}:\d{1,2}([.,]\d+)?(Z|[+-]\d\d:?\d\d)?"
)
LAYOUTS = [("\t", "."), (";", "."), (",", "."), ("|", "."), (" ", ".")]
LAYOUTS += [("\t", ","), (";", ","), ("|", ","), (" ", ",")]
HEADING = 40  # lines before the first number, at most
BODY = 60  # lines of numbers that are looked at
WIDEST = 2**16  # characters of a line above the numbers
INTERVAL = re.compile(r"(\d*\.?\d+(?:e-?\d+)?)\s*s(ec)?", re.I)  # unit of sample numbers in exports of PhysioNet


@dataclass(frozen=True)
class Layout:
    delimiter: str  # " " is any run of blanks
    decimal: str
    skip: int  # lines before the first row of numbers
    columns: int
    names: tuple[str, ...] | None
    units: tuple[str | None, ...]  # None where it is not said
    above: tuple[str, ...] = ()  # the lines before the first row of numbers
    interval: float | None = None  # s, where the first column is of sample numbers


def look(text: str, whole: bool) -> Layout | None:
    """The layout of the first lines of a file, None where they are no table of numbers.

    `whole`: the text ends where the file ends; otherwise its last line may be cut and is not looked at.
    """
    lines = re.split(r"\r\n|\n|\r", text, maxsplit=HEADING + BODY)
    lines = lines[: HEADING + BODY] if len(lines) > HEADING + BODY or whole or len(lines) == 1 else lines[:-1]
    if apples(lines):
        return _apple(lines)
    best, all_lines = None, "\n".join(lines)
    for delimiter, decimal in LAYOUTS:
        if (delimiter != "\t" and delimiter not in all_lines) or (decimal == "," and "," not in all_lines):
            continue
        found = _try(lines, delimiter, decimal, cut=not whole and len(lines) == 1)
        if found and (best is None or found.columns > best.columns):
            best = found
    return best


def split(line: str, delimiter: str) -> list[str]:
    if '"' in line and delimiter != " " and len(line) < WIDEST:
        cells = next(csv.reader([line.strip("\r\n")], delimiter=delimiter, skipinitialspace=True), [])
    else:
        cells = line.split() if delimiter == " " else line.rstrip("\r\n").split(delimiter)
    return [cell.strip().strip("\"'").strip() for cell in cells]


def comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith(("#", "%"))


def _apple(lines: list[str]) -> Layout | None:
    """The column below the heading of Apple's Health app; its numbers may have decimal commas."""
    numbers = [i for i, line in enumerate(lines) if NUMBER.fullmatch(line.strip().replace(",", ".")) and i > 8]
    if not numbers:
        return None
    decimal = "," if any("," in lines[i] for i in numbers) else "."
    return Layout("\t", decimal, numbers[0], 1, None, (None,), tuple(lines[: numbers[0]]))


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
    above = [line for line in lines[:start] if len(line) < WIDEST]
    heading = [split(line, delimiter) for line in above if not comment(line) and not is_about(line, columns)]
    heading = [cells for cells in heading if len(cells) == columns]
    return Layout(delimiter, decimal, start, columns, *_heading(heading, columns, tuple(above)))


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


def _heading(rows: list[list[str]], columns: int, above: tuple[str, ...]) -> tuple:
    """Names and units from the lines above the numbers: a row of names, then one of units or "II (mV)"."""
    if not rows:
        return None, (None,) * columns, above
    names, units, interval = rows[-1], [None] * columns, None
    if len(rows) > 1 and sum(_unit(cell) is not None for cell in rows[-1]) * 2 >= columns:
        names, units = rows[-2], [_unit(cell) for cell in rows[-1]]
        found = INTERVAL.fullmatch(rows[-1][0])
        interval = float(found[1]) if found and float(found[1]) > 1e-5 else None
    bare = []
    for i, name in enumerate(names):
        bare_name, unit = named(name)
        units[i] = unit or units[i]
        bare.append(bare_name)
    return tuple(bare), tuple(units), above, interval


def named(text: str) -> tuple[str, str | None]:
    """ "II (mV)" or "II [mV]" -> its name and its unit; None where it has none."""
    match = re.fullmatch(r"(.*?)\s*[\[(]\s*([^\])]+?)\s*[\])]", text)
    unit = match and _unit(match[2])
    return (match[1], unit) if unit else (text, None)


def _unit(cell: str) -> str | None:
    """The unit that a cell is, in lower case; None where it is none."""
    word = cell.strip(" ()[]").lower()
    other = re.fullmatch(r"(h+:)?mm:ss([.,]m+)?|mmhg|bpm|%|ohm|nu|a\.?u\.?|adu|m?g|°?c|[mk]?pa|(d|m|r)?ps|hz", word)
    return word if word in MILLIVOLT or word in TIMES or other or INTERVAL.fullmatch(word) else None
