"""Text tables (CSV, TSV): a row per sample, a column per lead, with or without names, units and a time column.

Delimiter (comma, semicolon, tab, bar, blanks) and decimal sign (point or comma) are found by trying. The rate comes
from the time column where there is one. A table with a row per lead is turned.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..record import InputError, Record
from . import HEAD, LARGEST, Given, check_size
from ._channels import is_ecg, unique
from ._table import CLOCK, EMPTY, TIMES, Layout, look

TITLE = "CSV"
FIRST = 2**20  # bytes that are looked at to find the layout
MOST = 64  # leads
TIME = re.compile(r"'?(time|t|elapsed.*|time ?stamp|date.*|zeit|temps|tiempo|seconds?|sec|ms)\b.*", re.I)
COUNT = re.compile(r"'?(sample|index|idx|n|no|nr|frame|row|unnamed).*", re.I)
SLOWEST, FASTEST = 20.0, 50_000.0  # Hz; a time column without unit is in the one that gives an ECG's rate


def claims(path: Path, head: bytes) -> int:
    text = _text(head)
    found = look(text, whole=len(head) < HEAD) if text else None
    return 1 if found and (text.count("\n") >= 8 or found.columns > 100) else 0


def read(path: Path, given: Given = Given()) -> Record:  # noqa: B008
    layout = _layout(path)
    values, clock = _values(path, layout)  # (T, columns)
    if layout.names is None and not clock and len(values) <= MOST and len(values) < layout.columns:
        turned = Layout(layout.delimiter, layout.decimal, 0, len(values), None, (None,) * len(values))
        return _record(values.T, list(range(len(values))), turned, given, path, None, "a row per lead")
    time = 0 if clock else _time_column(values, layout)
    if time is None or _is_count(values[:, time], layout, time):
        rate, assumed = None, ""
    else:
        rate, assumed = _rate(values[:, time], "s" if clock else layout.units[time], given, path)
    columns = [i for i in range(layout.columns) if i != time]
    return _record(values, columns, layout, given, path, rate, assumed)


def _layout(path: Path) -> Layout:
    size = path.stat().st_size
    if size > 16 * LARGEST:
        raise InputError(f"{path}: {size} bytes of text; split the recording")
    with open(path, "rb") as file:
        text = _text(file.read(FIRST))
    layout = look(text, whole=size <= FIRST) if text else None
    if layout is None:
        raise InputError(f"{path}: no table of numbers; an ECG in CSV has a row per sample and a column per lead")
    return layout


def _record(values, columns: list[int], layout: Layout, given: Given, path: Path, rate, assumed: str) -> Record:
    """`rate` is None where the file does not say it."""
    units = layout.units
    silent = any(units[i] is None for i in columns if not layout.names or is_ecg(layout.names[i], None))
    given.require(path, rate=rate is None, unit=silent, names=0 if layout.names else len(columns))
    names = [layout.names[i] for i in columns] if layout.names else given.names(len(columns), path)
    named = list(zip(columns, names))
    kept = [(i, n) for i, n in named if is_ecg(n, units[i]) and not np.isnan(values[:, i]).all()]
    if not kept:
        raise InputError(f"{path}: no ECG among its columns ({', '.join(names) or 'none but time'})")
    scale = [given.scale(f"{path}, lead {n}", units[i]) for i, n in kept]
    signal = values[:, [i for i, _ in kept]].T * np.array(scale)[:, None]  # (C, T)
    extra = {"assumed": assumed, "skipped": ", ".join(n for pair in named if pair not in kept for n in pair[1:])}
    extra, leads = {key: text for key, text in extra.items() if text}, unique(n for _, n in kept)
    return Record(signal.astype(np.float32), rate or given.hz(path), leads, id=path.stem, extra=extra)


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

    frame = pandas.read_csv(
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


def _seconds(cells, path: Path):
    """Times of day, or dates with them, as text -> seconds."""
    import pandas

    text = cells.astype(str).str.strip("'[] ").str.replace(",", ".")
    if text.str.match(r"\d{4}-").all():
        times = pandas.to_datetime(text, format="ISO8601")
        return (times - times[0]).dt.total_seconds()
    parts = text.str.split(":", expand=True).apply(pandas.to_numeric, errors="coerce")
    if parts.isna().any(axis=None):
        raise InputError(f"{path}: some times in its first column are not like 0:00.004")
    return sum(parts[i] * 60.0 ** (len(parts.columns) - 1 - i) for i in parts.columns)


def _time_column(values: np.ndarray, layout: Layout) -> int | None:
    """By its name or unit; without names, a first column that rises evenly."""
    for i in range(layout.columns):
        named = layout.names and (TIME.fullmatch(layout.names[i]) or (i == 0 and COUNT.fullmatch(layout.names[i])))
        if named or layout.units[i] in TIMES:
            return i
    step = np.diff(values[:, 0])
    even = layout.columns > 1 and len(step) > 2 and step.min() > 0 and step.max() < 2 * step.min()
    return 0 if even and (not layout.names or not layout.names[0]) else None


def _is_count(column: np.ndarray, layout: Layout, i: int) -> bool:
    """Sample numbers, which say nothing of the rate."""
    named = layout.names and COUNT.fullmatch(layout.names[i])
    return bool(named) or (layout.units[i] is None and bool((np.diff(column) == 1).all()))


def _rate(time: np.ndarray, unit: str | None, given: Given, path: Path) -> tuple[float, str]:
    """Hz from times, and what was assumed. Without a unit: the rate given, or the unit that makes a rate of an ECG."""
    step = np.diff(time)
    if len(step) == 0 or not np.isfinite(step).all() or step.min() < 0 or time[-1] <= time[0]:
        raise InputError(f"{path}: its time column does not rise; take it out and give the rate")
    mean = (time[-1] - time[0]) / len(step)
    if step.max() > 2.5 * mean:
        row = int(step.argmax()) + 1
        raise InputError(f"{path}: its time column has a gap after row {row}; resample it evenly first")
    if unit in TIMES:
        return _round(1 / (mean * TIMES[unit])), ""
    for name in ("s", "ms", "us", "ns") if given.rate is None else ():
        rate = 1 / (mean * TIMES[name])
        if SLOWEST <= rate <= FASTEST:
            return _round(rate), f"time column in {name}"
    return given.hz(path), ""


def _round(rate: float) -> float:
    """Times are written with few digits: a rate within 0.1 % of a whole number is that number."""
    return float(round(rate)) if abs(rate - round(rate)) < 1e-3 * rate else rate
