"""Lists of a million rows: a few columns at a time, never the whole."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from ..record import InputError


def first_line(path: Path) -> str:
    """The first line of a text file, "" where there is none: enough to tell one database's list from another's."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return file.readline(1000).strip()
    except OSError:
        return ""


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[list[str]]:
    """These columns of a CSV file, row by row. Raises InputError where the file or a column is missing."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        missing = [name for name in columns if name not in header]
        if missing:
            raise InputError(f"{path}: no column {missing[0]!r}; it has {', '.join(header[:40]) or 'none'}")
        wanted = [header.index(name) for name in columns]
        for number, line in enumerate(lines, start=2):
            if line and len(line) < len(header):
                raise InputError(f"{path}, line {number}: {len(line)} of {len(header)} columns; is the file complete?")
            if line:
                yield [line[index].strip() for index in wanted]
