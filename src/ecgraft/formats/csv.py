"""Text tables (CSV, TSV): a row per sample, a column per lead, with or without names, units and a time column.

Delimiter (comma, semicolon, tab, bar, blanks) and decimal sign (point or comma) are found by trying. The rate comes
from the lines above the table, or from the time column where there is one. A table with a row per lead is turned. So
exports of Apple's Health app, of Polar and Movesense loggers and of PhysioNet (`rdsamp -c`) are read. Or a row per
record, with its signal as a list in a cell: so Withings and Fitbit export ECGs.

`write`: a time column, and a column per lead with its unit; what is read back has the same bits.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ..record import InputError, Record
from . import HEAD, LARGEST, Given, check_size
from ._arrays import chosen, of_last_file, one_of
from ._channels import MOST
from ._table import columns, rows
from ._table.about import about, apples
from ._table.columns import Table
from ._table.layout import CLOCK, EMPTY, Layout, look

TITLE = "CSV"
GUESSES = True
ENDINGS = (".csv", ".tsv")
QUOTE = '"'
NEAR = 1e-5  # intervals have six digits
FIRST = 2**20  # bytes that are looked at to find the layout


def claims(path: Path, head: bytes) -> int:
    if path.name == "RECORDS":  # PhysioNet's list of the records in a folder; of some databases they are numbers
        return 0
    text = _text(head)
    found = look(text, whole=len(head) < HEAD) if text else None
    if found is None:
        return int(bool(text) and rows.looks(text))
    told = bool(found.names) and any(unit in ("mv", "uv", "µv", "v") for unit in found.units)
    return 1 if told or text.count("\n") >= 8 or found.columns > 100 else 0


def count(path: Path, given: Given) -> int:
    return 1 if _layout(path) else rows.count(path)


def read(path: Path, given: Given) -> Record:
    layout = _layout(path)
    if layout is None:
        return one_of(rows.count(path), partial(rows.arrays, path), path, given, ", one in each row")
    chosen(None, given, path)
    values, clock = _values(path, layout)  # (T, columns)
    said = about(list(layout.above), given)
    if layout.names is None and not clock and len(values) <= MOST and len(values) < layout.columns:
        turned = Table(values.T, None, (None,) * len(values))
        return columns.record(turned, said, path, given, "a row per lead")
    if layout.interval is not None:
        said = replace(said, rate=said.rate or columns.simplest(1 / layout.interval, NEAR))
        layout = replace(layout, units=(None, *layout.units[1:]))
    names = None if apples(list(layout.above)) else layout.names
    return columns.record(Table(values, names, layout.units, 0 if clock else None), said, path, given)


def write(record: Record, path: Path) -> list[Path]:
    """The record as a table: seconds, and mV of each lead; an empty cell where there is no sample."""
    mark = "\t" if path.suffix.lower() == ".tsv" else ","
    time, stated = _time_cells(record.signal.shape[1], record.rate, path)
    cells = [np.where(np.isfinite(samples), samples.astype(np.str_), "").tolist() for samples in record.signal]
    names = ["time (s)", *(f"{name} (mV)" for name in record.leads)]
    names = [f'"{name.replace(QUOTE, 2 * QUOTE)}"' if {mark, QUOTE} & set(name) else name for name in names]
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(f"{stated}{mark.join(names)}\n")
        file.writelines(mark.join(row) + "\n" for row in zip(time.tolist(), *cells))
    return [path]


def _time_cells(T: int, rate: float, path) -> tuple[np.ndarray, str]:
    """Times as text, with as few digits as give back the rate, and a line that states it where none do."""
    seconds = np.arange(T) / rate
    for digits in (3, 4, 6, 9, 12):
        rounded = np.round(seconds, digits)
        if T > 1 and rounded[1] > 0 and columns.rate_of(rounded, 1.0, path) == rate:
            return np.char.mod(f"%.{digits}f", rounded), ""
    return np.char.mod("%.12f", seconds), f"# Sampling rate: {rate!r} Hz\n"


@of_last_file
def _layout(path: Path) -> Layout | None:
    """None where there is a row per record."""
    size = path.stat().st_size
    if size > 16 * LARGEST:
        raise InputError(f"{path}: {size} bytes of text; split the recording")
    with open(path, "rb") as file:
        text = _text(file.read(FIRST))
    layout = look(text, whole=size <= FIRST) if text else None
    if layout is None and not (text and rows.looks(text)):
        raise InputError(f"{path}: no table of numbers; an ECG in CSV has a row per sample and a column per lead")
    return layout


def _text(data: bytes) -> str | None:
    """The text of a file's beginning, None where it is binary."""
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        cut = error.start > len(data) - 4  # a letter cut in two at the end
        return data.decode("utf-8-sig" if cut else "latin-1", errors="ignore")


def _values(path: Path, layout: Layout) -> tuple[np.ndarray, bool]:
    """(T, columns) numbers, NaN where a cell is empty; whether the first column is of times of day, now in seconds."""
    import pandas

    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        try:
            frame = _frame(path, layout)
        except pandas.errors.ParserWarning as error:
            raise InputError(f"{path}: rows with more cells than its first has; give all the same") from error
    check_size(frame.size, path)
    clock = not pandas.api.types.is_numeric_dtype(frame[0]) and CLOCK.fullmatch(str(frame[0][0]).strip("'[] "))
    if clock:
        frame[0] = _seconds(frame[0], path)
    for column in frame.columns:
        if not pandas.api.types.is_numeric_dtype(frame[column]):
            bad = frame[column][pandas.to_numeric(frame[column], errors="coerce").isna() & frame[column].notna()]
            row, name = int(bad.index[0]) + 1, layout.names[column] if layout.names else column + 1
            raise InputError(f"{path}: column {name}, row {row} of the numbers: {bad.iloc[0]!r} is not a number")
    return frame.to_numpy(np.float64), bool(clock)


def _frame(path: Path, layout: Layout):
    import pandas

    return pandas.read_csv(
        path,
        sep=r"\s+" if layout.delimiter == " " else layout.delimiter,
        decimal=layout.decimal,
        header=None,
        skiprows=layout.skip,
        names=range(layout.columns),
        index_col=False,
        comment="#",
        na_values=[word for empty in EMPTY for word in (empty, empty.upper())],
        skipinitialspace=True,
        encoding_errors="replace",
        low_memory=False,
    )


def _seconds(cells, path: Path):
    """Times of day, or dates with them, as text -> seconds."""
    import pandas

    text = cells.astype(str).str.strip("'[] ").str.replace(",", ".")
    if text.str.match(r"\d{4}-").all():
        times = pandas.to_datetime(text, format="ISO8601", utc=True)
        return (times - times[0]).dt.total_seconds()
    parts = text.str.split(":", expand=True).apply(pandas.to_numeric, errors="coerce")
    if parts.isna().any(axis=None):
        raise InputError(f"{path}: some times in its first column are not like 0:00.004")
    return sum(parts[i] * 60.0 ** (len(parts.columns) - 1 - i) for i in parts.columns)
