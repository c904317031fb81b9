"""Public databases: one file here per database, for the whole download and for a part of it alike.

A database has `NAME` (its title), `LICENCE`, `CITATION`, `HOMEPAGE`; `matches(folder) -> bool`;
`entries(folder, **options) -> [Entry]`, cheap: it reads lists, not signals; and `read(entry) -> Record`, which works
in any process and raises InputError where the record's files are missing or broken.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from .. import plugs
from ..formats import reading
from ..record import InputError, Record, UsageError

LOOK = 64  # folders in a folder that are looked at


@dataclass(frozen=True)
class Entry:
    """One record that a database lists: small, picklable, enough for `read`."""

    dataset: str  # plug name
    id: str  # unique in the database
    path: str  # of the record; for WFDB without ending
    meta: dict = field(default_factory=dict)  # what the database's own lists say


def detect(folder) -> str | None:
    """The database that a folder holds; None where it is none that ecgraft knows."""
    folder = check_folder(folder)
    found = [name for name in plugs.names("datasets") if _module(name).matches(folder)]
    if len(found) > 1:
        raise UsageError(f"{folder}: could be {' or '.join(found)}; say which with dataset (--dataset {found[0]})")
    return found[0] if found else None


def inside(folder) -> dict[str, Path]:
    """The databases that a folder is, or holds in its folders (the first LOOK of them), by name."""
    folder = check_folder(folder)
    children = sorted(path for path in folder.iterdir() if path.is_dir())[:LOOK]
    return {name: place for place in (*reversed(children), folder) if (name := detect(place))}


def entries(name: str, folder, **options) -> list[Entry]:
    """The records of database `name` in a folder. InputError where there is none; options are the database's own."""
    module, folder = _module(name), check_folder(folder)
    known = list(inspect.signature(module.entries).parameters)[1:]
    for key in options:
        if key not in known:
            raise UsageError(f"{name}: unknown option {key!r}; {plugs.nearest(key, known)}")
    with reading(folder, module.NAME):
        found = module.entries(folder, **options)
    if not found:
        raise InputError(f"{folder}: no record of {module.NAME}; is this the folder of the database?")
    return found


def read(entry: Entry) -> Record:
    """The record of an entry. Raises InputError that names the file which is missing or broken."""
    module = _module(entry.dataset)
    with reading(entry.path, module.NAME):
        return module.read(entry)


def records(name: str, folder, broken: list | None = None, **options) -> Iterator[Record]:
    """Every record of a database, one after the other.

    A record that cannot be read raises InputError; with a list `broken` it is left out and (id, reason) put there.
    """
    for entry in entries(name, folder, **options):
        try:
            record = read(entry)
        except InputError as error:
            if broken is None:
                raise
            broken.append((entry.id, str(error)))
        else:
            yield record


def check_folder(folder) -> Path:
    """The folder as a Path, or an InputError."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder" if not folder.exists() else f"{folder}: this is not a folder")
    return folder


@cache
def _module(name: str):
    return plugs.find("datasets", name)
