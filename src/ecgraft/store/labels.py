"""A file of labels that a person made for their own ECGs: a table with a row per record.

    id;patient;age;sex;AF;LVH;QTc          id;label
    ward1/0001;p17;64;F;1;no;431           0001;AF|LVH
    ward1/0002;p18;;M;0;;                  0002;normal

Comma, semicolon or tab; UTF-8 (with or without mark), UTF-16 or Latin-1. `id` (or record, file, ecg_id ...) is a file
name or path, with or without ending. A column of 1, 0, yes, no, true, false and blank (unknown) is a label, code
"own:NAME"; a text column `label` holds the labels that apply, and no others do; numbers go to `Record.values`; other
text is kept in `Record.extra`.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..record import InputError, Record

ID = ("id", "record_id", "ecg_id", "record", "filename", "file_name", "file", "path", "ecg", "name")
PATIENT = ("patient", "patient_id", "subject", "subject_id", "pid")
LABEL = ("label", "labels")
YES_NO = {"1": 1, "1.0": 1, "yes": 1, "true": 1, "y": 1, "0": 0, "0.0": 0, "no": 0, "false": 0, "n": 0}
SEX = {"f": "F", "female": "F", "w": "F", "m": "M", "male": "M", "": None, "u": None, "unknown": None}
SPLIT = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation"}
SPLIT |= {"dev": "validation", "test": "test", "": None}
LARGEST = 2**28  # bytes
VOCABULARY = "own"


@dataclass(frozen=True)
class Known:
    """What the file says about one record; None or empty where it says nothing."""

    labels: dict[str, int] = field(default_factory=dict)
    complete: frozenset[str] = frozenset()
    values: dict[str, float] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    person: dict[str, object] = field(default_factory=dict)  # patient, age, sex, report, split

    def of(self, record: Record) -> Record:
        """The record with what is known put into it."""
        return record.but(
            labels=record.labels | self.labels,
            complete=record.complete | self.complete,
            values=record.values | self.values,
            extra=record.extra | self.extra,
            **self.person,
        )


def read_labels(path: Path | str) -> dict[str, Known]:
    """id -> what the file says about it. InputError names file, line and column of what cannot be understood."""
    path = Path(path)
    names, rows = _table(path)
    key = _find(names, ID)
    if key is None:
        raise InputError(
            f"{path}: no column `id` (or {', '.join(ID[1:])}); its columns are {', '.join(names)}. "
            "The first line must name the columns; call the one with the names of the ECG files `id`"
        )
    columns = {name: _Column(path, name, [row[k] for _, row in rows]) for k, name in enumerate(names)}
    ids = columns.pop(key).texts
    _check_ids(path, ids, [line for line, _ in rows])
    reader = _Reader(columns)
    return {name: reader(k, line) for k, (name, (line, _)) in enumerate(zip(ids, rows))}


def match(known: dict[str, Known], paths: list[str], where) -> list[Known | None]:
    """What is known of each record, by its path (or a database's id). InputError for ids that fit none, or several."""
    fits: dict[str, set[int]] = {}
    for k, path in enumerate(paths):
        pure = PurePosixPath(path.replace("\\", "/"))
        for name in {str(pure), str(pure.with_suffix("")), pure.name, pure.stem}:
            fits.setdefault(name, set()).add(k)
    normal = {name: str(PurePosixPath(name.replace("\\", "/"))) for name in known}
    strange = [name for name in known if normal[name] not in fits]
    if strange:
        raise InputError(
            f"{where}: {len(strange)} of {len(known)} ids fit no record: {_some(strange)}. An id is the name or path "
            f"of a file, with or without ending; there are {_some(paths)}"
        )
    found: list[Known | None] = [None] * len(paths)
    for name, said in known.items():
        which = sorted(fits[normal[name]])
        if len(which) > 1:
            raise InputError(f"{where}: id {name!r} fits {_some([paths[k] for k in which])}; write the path")
        if found[which[0]] is not None:
            raise InputError(f"{where}: two ids fit {paths[which[0]]}; {name!r} is one of them")
        found[which[0]] = said
    return found


class _Column:
    """A column and what kind of thing it holds."""

    def __init__(self, path: Path, name: str, texts: list[str]):
        self.path, self.name, self.texts = path, name, texts
        self.low = [text.lower() for text in texts]
        filled = [text for text in self.low if text]
        self.empty = not filled
        self.is_label = bool(filled) and all(text in YES_NO for text in filled)
        self.is_number = bool(filled) and all(_number(text) is not None for text in filled)

    def number(self, k: int, line: int) -> float | None:
        value = _number(self.low[k])
        if value is None and self.low[k]:
            raise InputError(f"{self.path}, line {line}: {self.name} {self.texts[k]!r} is no number")
        return value

    def choice(self, k: int, line: int, choices: dict):
        if self.low[k] not in choices:
            known = ", ".join(sorted({str(value) for value in choices.values() if value}))
            raise InputError(f"{self.path}, line {line}: {self.name} {self.texts[k]!r}; write one of {known}")
        return choices[self.low[k]]


class _Reader:
    """What each column means; `reader(k, line)` is what row k says."""

    def __init__(self, columns: dict[str, _Column]):
        listed = _find(columns, LABEL)
        self.listed = columns[listed] if listed is not None and not columns[listed].is_label else None
        aliases = {
            "patient": PATIENT,
            "age": ("age",),
            "sex": ("sex", "gender"),
            "report": ("report",),
            "split": ("split",),
        }
        found = {field: _find(columns, names) for field, names in aliases.items()}
        self.person = {field: columns[name] for field, name in found.items() if name is not None}
        others = [c for c in columns.values() if c is not self.listed and c not in self.person.values() and not c.empty]
        self.binary = [c for c in others if c.is_label]
        self.numbers = [c for c in others if c.is_number and not c.is_label]
        self.texts = [c for c in others if not c.is_number and not c.is_label]
        self.every = {name for text in self.listed.texts for name in _names(text)} if self.listed else set()

    def __call__(self, k: int, line: int) -> Known:
        labels = {f"{VOCABULARY}:{c.name}": YES_NO[c.low[k]] for c in self.binary if c.low[k]}
        applies = _names(self.listed.texts[k]) if self.listed else []
        if applies:  # beside columns of yes and no the vocabulary is not complete: the other names are said to be "no"
            said = self.every if self.binary else applies
            labels |= {f"{VOCABULARY}:{name}": int(name in applies) for name in sorted(said)}
        complete = frozenset({VOCABULARY} if applies and not self.binary else ())
        values = {c.name: value for c in self.numbers if (value := _number(c.low[k])) is not None}
        extra = {c.name: c.texts[k] for c in self.texts if c.texts[k]}
        person = {field: self._person(field, column, k, line) for field, column in self.person.items()}
        return Known(labels, complete, values, extra, {field: v for field, v in person.items() if v is not None})

    def _person(self, field: str, column: _Column, k: int, line: int):
        match field:
            case "age":
                return column.number(k, line)
            case "sex":
                return column.choice(k, line, SEX)
            case "split":
                return column.choice(k, line, SPLIT)
            case _:
                return column.texts[k] or None


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Column names, and (line, cells) of each row."""
    text = _text(path)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        lines = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
        read = [(lines.line_num, [cell.strip() for cell in row]) for row in lines]
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as a table ({error})") from error
    read = [(line, row) for line, row in read if any(row)]
    if len(read) < 2:
        raise InputError(
            f"{path}: {'only a line of column names' if read else 'empty'}; it needs a row for each record"
        )
    names = read[0][1]
    while names and not names[-1]:
        names.pop()
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path}: two columns are called {twice[0]!r}")
    for line, row in read[1:]:
        if any(row[len(names) :]):
            raise InputError(
                f"{path}, line {line}: {len(row)} cells for {len(names)} columns; quote cells with {delimiter!r}"
            )
    return names, [(line, (row + [""] * len(names))[: len(names)]) for line, row in read[1:]]


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: {path.stat().st_size} bytes; is this a file of labels?")
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if raw[:4] == b"PK\x03\x04":
        raise InputError(f"{path}: this is a workbook; save its sheet as CSV")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _check_ids(path: Path, ids: list[str], lines: list[int]) -> None:
    seen: dict[str, int] = {}
    for name, line in zip(ids, lines):
        if not name:
            raise InputError(f"{path}, line {line}: no id")
        if name in seen:
            raise InputError(
                f"{path}, line {line}: id {name!r} stood in line {seen[name]} already; a record has one row"
            )
        seen[name] = line


def _find(names, among: tuple[str, ...]) -> str | None:
    """The column that goes by one of the names, the first of them that is there."""
    low = {name.lower().replace(" ", "_"): name for name in names}
    return next((low[name] for name in among if name in low), None)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.replace(";", "|").split("|") if name.strip()]


def _number(text: str) -> float | None:
    """A finite number, with point or comma."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (" ..." if len(names) > 5 else "")
