"""Columns of numbers with names and units, as text tables and Parquet hold them -> Record.

The rate comes from a heading, or from a column of times: evenly spaced ones, or one time for every few samples.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...record import InputError, Record
from .. import Given, check_size, resolution, told
from .._arrays import millivolts
from .._channels import is_ecg, says_nothing, unique

TIME = re.compile(r"'?(.* )?(time|t|elapsed.*|time ?stamp|date.*|zeit|temps|tiempo|seconds?|sec|ms)\b.*", re.I)
COUNT = re.compile(r"'?(sample|index|idx|n|no|nr|frame|row|unnamed|level_0|__index_level_0__).*", re.I)
SLOWEST, FASTEST = 20.0, 50_000.0  # Hz; a time column without unit is in the one that gives an ECG's rate
NEAR = 1e-3  # a rate that jittering times give is a whole number if it is as near as that
DIGITS = 12  # decimals that times are looked for with
TIMES = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3}
TIMES |= {"milliseconds": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9, "min": 60.0}


@dataclass(frozen=True)
class About:
    """What is said of a whole table. Names and numbers of persons are for `given.patient` alone."""

    rate: float | None = None  # Hz
    unit: str | None = None
    step: float | None = None  # mV per digital unit
    leads: tuple[str, ...] | None = None
    age: float | None = None
    sex: str | None = None
    patient: str | None = None  # a pseudonym
    report: str | None = None
    labels: dict[str, int] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    device: str = ""
    derived: str = ""


@dataclass(frozen=True)
class Table:
    """values (T, columns) float64; a column that is of times of day is in seconds."""

    values: np.ndarray
    names: tuple[str, ...] | None
    units: tuple[str | None, ...]  # None where it is not said
    clock: int | None = None  # the column that was times of day

    def name(self, i: int) -> str:
        return self.names[i] if self.names else ""


def record(table: Table, about: About, path: Path, given: Given, assumed: str = "") -> Record:
    """The columns that are ECGs. `assumed`: what the reader took for granted."""
    times, counts = _times(table)
    rate, said = about.rate, ""
    if rate is None and times:
        rate, said = _first_rate(table, times, path, given)
    columns = [i for i in range(table.values.shape[1]) if i not in (*times, *counts)]
    named, own = _named(table, about, columns, path, given, rate)
    kept = [(i, name) for i, name in named if _is_kept(table, i, name)]
    if not kept:
        there = ", ".join(name for _, name in named)
        raise InputError(f"{path}: no ECG among its columns ({there or 'none but time'})")
    check_size(len(kept) * len(table.values), path)
    units = [table.units[i] or about.unit for i, _ in kept]
    scale = [_scale(about, unit, f"{path}, lead {name}", given) for (_, name), unit in zip(kept, units)]
    signal, holes = millivolts([table.values[:, i] for i, _ in kept], scale)
    others = [name for i, name in named if (i, name) not in kept]
    return Record(
        signal,
        rate or given.hz(path),
        unique(name for _, name in kept) if own else tuple(name for _, name in kept),
        id=path.stem,
        patient=about.patient,
        age=about.age,
        sex=about.sex,
        labels=about.labels,
        values=about.values,
        report=about.report,
        extra=told(
            unit=", ".join(dict.fromkeys(filter(None, units))) or (about.step is None and given.unit) or "",
            resolution=resolution(scale),
            assumed=[text for text in (assumed, said, holes) if text],
            skipped=", ".join(others),
            device=about.device,
            derived=about.derived,
        ),
    )


def rate_of(time: np.ndarray, unit: float, path) -> float:
    """Hz from times in `unit` s. InputError where they fall or have a gap.

    Times that are even to their last digit give the rate as precisely as they can: the simplest number that they can
    mean. Jittering ones give a simple number that is near.
    """
    step = np.diff(time)
    if len(step) == 0 or not np.isfinite(step).all() or step.min() < 0 or time[-1] <= time[0]:
        raise InputError(f"{path}: its time column does not rise; take it out and give the rate")
    each = 1
    if (step == 0).any():
        time, each = _batches(time)
        step = np.diff(time)
    mean = (time[-1] - time[0]) / max(len(step), 1)
    if len(step) == 0 or step.max() > 2.5 * mean:
        row = int(step.argmax()) * each + 1 if len(step) else 1
        raise InputError(f"{path}: its time column has a gap after row {row}; resample it evenly first")
    rate, digit = each / (mean * unit), _digit(time)
    even = np.abs(step - mean).max() <= 1.01 * digit + 1e-9 * mean
    return simplest(rate, digit / (time[-1] - time[0]) + 1e-9 if even else NEAR)


def simplest(rate: float, near: float) -> float:
    """The number of the fewest decimals that is as near as that, relative to it."""
    rounded = (float(round(rate, digits)) for digits in range(10))
    return next((number for number in rounded if abs(rate - number) <= near * rate), float(f"{rate:.12g}"))


def _batches(time: np.ndarray) -> tuple[np.ndarray, int]:
    """The different times, and for how many samples each stands; the first and last may stand for fewer."""
    times, counts = np.unique(time, return_counts=True)
    whole = counts[1:-1] if len(counts) > 2 else counts[:1]
    each = int(whole[0])
    if (whole != each).any() or counts.max() > each:
        return time, 1
    return (times if counts[0] == each else times[1:]), each


def _digit(time: np.ndarray) -> float:
    """What the last decimal of the times stands for; 0 where they have more than DIGITS."""
    some = np.concatenate([time[:200], time[-200:]])
    for digits in range(DIGITS):
        scaled = some * 10.0**digits
        if np.abs(scaled - np.rint(scaled)).max() <= 1e-9 * max(1.0, np.abs(scaled).max() * 1e-3):
            return 10.0**-digits
    return 0.0


def _times(table: Table) -> tuple[list[int], list[int]]:
    """The columns of times, the most telling first, and those of sample numbers."""
    C = table.values.shape[1]
    counts = [i for i in range(C) if table.names and COUNT.fullmatch(table.name(i)) and table.units[i] is None]
    stated = [i for i in range(C) if table.units[i] in TIMES and i != table.clock]
    if table.clock is not None:
        return [*stated, table.clock], counts
    if stated:
        return sorted(stated, key=lambda i: not TIME.fullmatch(table.name(i))), counts
    first = table.values[:, 0]
    if C == 1 or 0 in counts or not len(first):
        return ([0] if table.names and TIME.fullmatch(table.name(0)) else []), counts
    step = np.diff(first)
    even = len(step) > 2 and np.isfinite(step).all() and step.min() > 0 and step.max() < 1.5 * np.median(step)
    if table.names and TIME.fullmatch(table.name(0)) and table.units[0] is None:
        return [0], counts
    if not even or (table.names and table.name(0)):
        return [], counts
    return ([], [*counts, 0]) if (step == 1).all() else ([0], counts)


def _first_rate(table: Table, times: list[int], path: Path, given: Given) -> tuple[float | None, str]:
    """The rate of the first time column that is even; the error of the first where none is."""
    failed = None
    for i in times:
        try:
            return _rate(table, i, path, given)
        except InputError as error:
            failed = failed or error
    if given.rate is not None and len(times) > 1:
        return None, ""
    raise failed


def _rate(table: Table, i: int, path: Path, given: Given) -> tuple[float | None, str]:
    """Hz and what was assumed. Without a unit: the rate given, or the unit that makes a rate of an ECG."""
    time = table.values[:, i]
    if i == table.clock:
        return rate_of(time, 1.0, path), ""
    if table.units[i] in TIMES:
        return rate_of(time, TIMES[table.units[i]], path), ""
    if len(time) > 2 and (np.diff(time) == 1).all():  # sample numbers, which say nothing of the rate
        return None, ""
    rate = rate_of(time, 1.0, path)
    for name, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)) if given.rate is None else ():
        if SLOWEST <= rate / factor <= FASTEST:
            return rate_of(time, factor, path), f"time column in {name}"
    return None, ""


def _named(table: Table, about: About, columns: list[int], path: Path, given: Given, rate):
    """(column, name), and whether the names are the file's own; InputError that tells all that is missing."""
    leads = about.leads if about.leads and len(about.leads) == len(columns) else None
    own = table.names is not None and any(table.name(i) for i in columns)
    ecgs = [i for i in columns if not own or is_ecg(table.name(i), table.units[i])]
    silent = about.unit is None and about.step is None and any(table.units[i] is None for i in ecgs)
    known = own or leads is not None or not columns
    given.require(path, rate=rate is None, unit=silent, names=0 if known else len(columns))
    if own and given.leads and len(given.leads) == len(ecgs) and all(says_nothing(table.name(i)) for i in ecgs):
        new = dict(zip(ecgs, given.leads))
        return [(i, new.get(i) or table.name(i) or f"column {i + 1}") for i in columns], True
    if own:
        return [(i, table.name(i) or f"column {i + 1}") for i in columns], True
    return list(zip(columns, leads or given.names(len(columns), path))) if columns else [], leads is not None


def _is_kept(table: Table, i: int, name: str) -> bool:
    """An ECG; an empty column is one only where its unit is said."""
    return is_ecg(name, table.units[i]) and (table.units[i] is not None or not np.isnan(table.values[:, i]).all())


def _scale(about: About, unit: str | None, where: str, given: Given) -> float:
    return about.step if unit is None and about.step is not None else given.scale(where, unit)
