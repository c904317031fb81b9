"""The lists that come with databases: RECORDS, CSV tables, numbers in text."""

from __future__ import annotations

import csv
import math
from pathlib import Path, PurePosixPath

from ..record import InputError


def inside(folder: Path, name: str) -> str:
    """The path of `name` in a list of the database; InputError where it leads out of the folder."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if not name or parts.is_absolute() or ".." in parts.parts or ":" in name:
        raise InputError(f"{folder}: its list names the file {name!r}, which is not inside of the folder")
    return str(folder / parts)


def listed(folder: Path) -> list[str]:
    """The record names in RECORDS, or those of the headers where there is no list."""
    names = folder / "RECORDS"
    if names.is_file():
        return [line.strip() for line in names.read_text().splitlines() if line.strip()]
    return sorted(path.stem for path in folder.glob("*.hea"))


def table(path: Path, columns: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """The rows of a CSV file with a header; InputError where a needed column is missing."""
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or [])]
        if missing:
            raise InputError(f"{path}: no column {missing[0]!r}; it has {', '.join(reader.fieldnames or ['none'])}")
        return [{key: (value or "").strip() for key, value in row.items() if key is not None} for row in reader]


def number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
