"""Parquet: a table with a row per sample and a column per lead, or with a row per record, whose signal is a list.

A row per record has `signal` (a list of leads, or of samples; a single list is one lead), or a list in a column for
each lead, and in other columns what is said of it: fs, leads, unit, age, sex. Columns may be named "II (mV)"; rate,
unit and leads may stand in the metadata of the file or of a column, or in the `attrs` of a pandas table.

Through pyarrow, an optional dependency: in 800,000 damaged files reading never crashed (looking at the statistics of a
column did). What columns and pages claim is looked at before, by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..record import LEADS, InputError, Record, lead_name
from . import Given, _arrays, _parquet_pages, check_size
from ._table.about import of_pairs
from ._table.columns import Table, record
from ._table.layout import named

TITLE = "Parquet"
MOST = 1000  # columns
LARGE = 2**22  # values from which on columns are read one after the other
DAY = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}  # units of times


def claims(path: Path, head: bytes) -> int:
    return 2 if head.startswith((b"PAR1", b"PARE")) else 0


def count(path: Path, given: Given) -> int:
    rows = _rows(path)
    return rows.file.metadata.num_rows if rows.signals else 1


def read(path: Path, given: Given) -> Record:
    rows = _rows(path)
    if not rows.signals:
        _arrays.chosen(None, given, path)
        return _table(rows, path, given)
    total = rows.file.metadata.num_rows
    if not total:
        raise InputError(f"{path}: no records in it")
    return _arrays.one_of(total, partial(_row, rows), path, given, ", one in each row")


@dataclass
class Rows:
    """An open file. The next row comes without reading those before it again."""

    path: Path
    file: object  # pyarrow.parquet.ParquetFile
    signals: list[str]  # columns of lists of numbers; none where rows are samples
    said: list[tuple[str, str]]  # of the whole table
    batches: object = None
    next: int = 0

    def at(self, index: int):
        """The row, as a batch of one."""
        if self.batches is None or index < self.next:
            columns = [
                f.name for f in self.file.schema_arrow if f.name in self.signals or _key(f.name) in _arrays.ABOUT
            ]
            _parquet_pages.check(self.path, set(columns))
            self.batches, self.next = self.file.iter_batches(1, columns=columns, use_threads=False), 0
        while self.next <= index:
            batch = next(self.batches, None)
            self.next += 1
            if batch is None or batch.num_rows != 1:
                self.batches = None
                raise InputError(f"{self.path}: row {self.next - 1} is missing; get the file again")
        return batch


@_arrays.of_last_file
def _rows(path: Path) -> Rows:
    """The open file."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(f"{path}: Parquet needs pyarrow; install it with: pip install 'ecgraft[formats]'") from error
    with open(path, "rb") as file:
        if file.read(4) == b"PARE":
            raise InputError(f"{path}: encrypted Parquet is not read; write it without encryption")
    limits = {"thrift_string_size_limit": 2**24, "thrift_container_size_limit": 2**18}
    file = pyarrow.parquet.ParquetFile(path, memory_map=False, pre_buffer=False, **limits)
    schema = file.schema_arrow
    if len(schema) > MOST:
        raise InputError(f"{path}: {len(schema)} columns; a lead is a column, or a record a row")
    return Rows(path, file, _signals(schema, path), _said(schema))


def _key(name: str) -> str:
    return _arrays.key(named(name)[0])


def _signals(schema, path: Path) -> list[str]:
    """The columns that hold a record's signal in each row: one of lists in lists, or a list for each lead, or one."""
    depths = {field.name: _depth(field.type) for field in schema}
    for depth in (2, 1):
        found = [n for n, d in depths.items() if d == depth and _key(n) not in _arrays.ABOUT]
        leads = [n for n in found if lead_name(named(n)[0]) in LEADS]
        preferred = [n for name in _arrays.SIGNAL for n in found if _key(n) == name]
        if depth == 1 and leads and not preferred[:1]:
            return leads
        if preferred or len(found) == 1:
            return (preferred or found)[:1]
        if found:
            raise InputError(f"{path}: which of {', '.join(found[:12])} is the ECG? Name it 'signal', or keep one")
    return []


def _depth(kind) -> int:
    """How many lists are around numbers; -1 where there are no numbers inside."""
    from pyarrow import types

    depth = 0
    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind, depth = kind.value_type, depth + 1
    return depth if types.is_integer(kind) or types.is_floating(kind) else -1


def _said(schema) -> list[tuple[str, str]]:
    """Keys and values of the file's metadata, and of the `attrs` of a pandas table in it."""
    found = {}
    for key, value in (schema.metadata or {}).items():
        if key == b"pandas":
            attributes = json.loads(value).get("attributes", {})
            found |= {str(k): _plain(v) for k, v in attributes.items()} if isinstance(attributes, dict) else {}
        elif len(value) < 2**16:
            found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    return list(found.items())


def _plain(value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _table(rows: Rows, path: Path, given: Given) -> Record:
    """A row per sample."""
    from pyarrow import types

    schema = rows.file.schema_arrow
    times = [f.name for f in schema if types.is_timestamp(f.type) or types.is_duration(f.type) or types.is_time(f.type)]
    columns = [f.name for f in schema if f.name in times or _depth(f.type) == 0]
    if not columns:
        there = ", ".join(f"{f.name}: {f.type}" for f in list(schema)[:12])
        raise InputError(f"{path}: no columns of numbers, and no lists of them ({there or 'it is empty'})")
    check_size(rows.file.metadata.num_rows * len(columns), path, packed=path.stat().st_size)
    _parquet_pages.check(path, set(columns))
    values = np.empty((rows.file.metadata.num_rows, len(columns)))
    together = len(columns) if values.size < LARGE else 1  # columns that are read at once
    for i in range(0, len(columns), together):
        table = rows.file.read(columns=columns[i : i + together], use_threads=False)
        for j, name in enumerate(columns[i : i + together]):
            values[:, i + j] = _numbers(table.column(name), name in times)
    if not len(values):
        raise InputError(f"{path}: no samples in it")
    stated = {f.name: _unit(f) for f in schema if f.name in columns}
    both = [named(name) for name in columns]
    units = ["s" if name in times else unit or stated[name] for name, (_, unit) in zip(columns, both)]
    return record(Table(values, tuple(n for n, _ in both), tuple(units)), of_pairs(rows.said, given), path, given)


def _numbers(column, time: bool) -> np.ndarray:
    """float64 of a column, NaN where there is none; times as seconds from the first."""
    import pyarrow

    if time:
        unit = DAY[column.type.unit]
        column = column.cast(pyarrow.int32() if pyarrow.types.is_time32(column.type) else pyarrow.int64())
        numbers = np.asarray(column.to_numpy(), np.float64 if column.null_count else np.int64)
        return (numbers - numbers[:1]) * unit
    with np.errstate(invalid="ignore"):
        return np.asarray(column.to_numpy(), np.float64)


def _unit(field) -> str | None:
    """The unit that a column's own metadata states."""
    said = {_arrays.key(k.decode("utf-8", "replace")): v for k, v in (field.metadata or {}).items()}
    unit = next((said[name] for name in _arrays.UNIT if name in said), b"")
    return unit.decode("utf-8", "replace").strip().lower()[:20] or None


def _row(rows: Rows, index: int) -> dict[str, np.ndarray]:
    """The arrays of one record, by name."""
    batch = rows.at(index)
    where = f"{rows.path}, row {index}"
    said = {name: np.array([text]) for name, text in rows.said}
    said |= {
        name: array
        for name in batch.schema.names
        if name not in rows.signals
        for array in [_about(batch.column(name))]
        if array is not None
    }
    signals = [_signal(batch.column(name), where) for name in rows.signals]
    if len(rows.signals) == 1 and lead_name(named(rows.signals[0])[0]) not in LEADS:
        unit = named(rows.signals[0])[1] or _unit(batch.schema.field(rows.signals[0]))
        return said | {"signal": signals[0]} | ({"unit": np.array([unit])} if unit else {})
    if len({s.shape for s in signals}) != 1 or signals[0].ndim != 1:
        raise InputError(f"{where}: its leads are of different lengths; give all the same")
    names, units = zip(*(named(name) for name in rows.signals))
    said |= {"unit": np.array(units)} if all(units) else {}
    return said | {"signal": np.stack(signals), "leads": np.array(names)}


def _signal(column, where: str) -> np.ndarray:
    """(T,) or (rows, columns) numbers of the one list in a column."""
    inner = column[0].values
    if inner is None:
        raise InputError(f"{where}: there is no signal in it")
    if _depth(inner.type) == 0:
        return inner.to_numpy(zero_copy_only=False)
    lengths = {len(part.values) if part.values is not None else 0 for part in inner}
    if len(lengths) != 1 or len(inner) > _arrays.LONGEST:
        raise InputError(f"{where}: the lists in it are of {len(lengths)} different lengths; give all the same")
    return inner.flatten().to_numpy(zero_copy_only=False).reshape(len(inner), -1)


def _about(column) -> np.ndarray | None:
    """What a column says of one record, as an array; None where it says nothing."""
    value = column[0].as_py()
    if value is None or isinstance(value, dict | bytes) or (isinstance(value, list) and not value):
        return None
    array = np.array(value if isinstance(value, list) else [value])
    return array if array.dtype.kind in "iufU" else None
