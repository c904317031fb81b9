"""The table of labels of an import: whose rows belong to which records, and what its columns were taken for."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from ..store.labels import Known, match, read_labels


def said_of(files: list[str], labels: Path, folder: Path, console: Console) -> list[Known | None]:
    """What the table says of each file of the folder. InputError for rows that fit no file, or several."""
    known = read_labels(labels)
    inner = {_inside(name, folder): said for name, said in known.items()}
    found = match(inner if len(inner) == len(known) else known, files, labels)
    for line in _summary([said for said in found if said], len(files)):
        console.print(f"{labels}: {line}")
    return found


def _inside(name: str, folder: Path) -> str:
    """An id that is a path to a file in the folder, as the path inside of it."""
    for start in (folder, folder.resolve()):
        if Path(name).is_relative_to(start):
            name = Path(name).relative_to(start).as_posix()
    return one_spelling(name)


def one_spelling(name: str) -> str:
    """A name in which an umlaut is one letter: macOS writes it as two, spreadsheets as one."""
    return unicodedata.normalize("NFC", name)


def _summary(said: list[Known], files: int) -> Iterator[str]:
    """What a person should see before they train on a column that was taken for something else."""
    names = {
        "labels": sorted({code.partition(":")[2] for row in said for code in row.labels}),
        "numbers": sorted({name for row in said for name in row.values}),
        "about the person:": sorted({name for row in said for name in row.person}),
    }
    if not names["labels"]:
        yield "no label in it; give each label a column of 1 and 0, or all their names in one column `label`"
    if any(names.values()):
        yield "; ".join(f"{what} {', '.join(found)}" for what, found in names.items() if found)
    texts = Counter((column, text) for row in said for column, text in row.extra.items())
    rarest = {column: text for (column, text), _ in texts.most_common()}  # one odd cell makes a column text
    if rarest:
        yield f"only kept as text: {', '.join(f'{column} (such as {text!r})' for column, text in rarest.items())}"
    if len(said) < files:
        yield f"{files - len(said)} of {files} records have no row in it"
