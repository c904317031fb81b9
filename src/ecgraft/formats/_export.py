"""What the XML exports of ECG devices have in common: samples as text, units, dates, filters."""

from __future__ import annotations

import re
import warnings
from datetime import date

import numpy as np

from ..record import InputError, to_millivolt
from . import Given, check_size

MOST = 64  # leads
LARGEST = 2**31  # a digital value beyond it is no sample
LENGTH = {"cm": 1.0, "mm": 0.1, "m": 100.0, "in": 2.54, "inch": 2.54, "inches": 2.54}  # unit -> cm
MASS = {"kg": 1.0, "g": 1e-3, "lb": 0.45359237, "lbs": 0.45359237}  # unit -> kg


def samples(text: str, where: str) -> np.ndarray:
    """The numbers in a text, (T,) float64; separated by commas, semicolons or blanks. NaN where a place is empty."""
    mark = next((mark for mark in ",;" if mark in text), " ")
    text = text.strip()
    text = text[:-1].rstrip() if mark != " " and text.endswith(mark) else text
    if not text:
        return np.empty(0)
    values = _at_once(text, mark)
    if values is None:
        values = _one_by_one(text, mark, where)
    if np.isinf(values).any() or np.nanmax(np.abs(values), initial=0) > LARGEST:
        raise InputError(f"{where}: a number that is no sample; get the file again")
    return values


def _at_once(text: str, mark: str) -> np.ndarray | None:
    """Integers, or decimals; None where there is anything else."""
    for kind in (np.int64, np.float64):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                values = np.fromstring(text, kind, sep=mark)
            except (ValueError, DeprecationWarning):
                continue
        if mark == " " or len(values) == text.count(mark) + 1:
            return values.astype(np.float64)
    return None


def _one_by_one(text: str, mark: str, where: str) -> np.ndarray:
    words = [word.strip() for word in text.split(mark)] if mark != " " else text.split()
    try:
        return np.array([float(word) if word else np.nan for word in words])
    except ValueError as error:
        raise InputError(f"{where}: {str(error)[:60]}, among its samples; get the file again") from error


def millivolt(rows: list[np.ndarray], per_unit: list[float], unit: str, where) -> np.ndarray:
    """Digital values of each lead, of which one is `per_unit` of `unit` -> (C, T) float32 mV; NaN after a short lead.

    A value in uV is divided by 1000: that quotient is right to the last bit, a product with 0.001 need not be.
    """
    if len(rows) > MOST:
        raise InputError(f"{where}: {len(rows)} leads; at most {MOST} are read")
    length = max(len(row) for row in rows)
    check_size(len(rows) * length, where)
    factor = to_millivolt(unit, str(where))
    signal = np.full((len(rows), length), np.nan, np.float32)
    for row, values, step in zip(signal, rows, per_unit):
        scaled = values.astype(np.float64) * step
        row[: len(values)] = scaled / round(1 / factor) if factor < 1 else scaled * factor
    return signal


def step(value: float | None, where: str) -> float:
    """A resolution that makes sense: above 0, and not such that samples overflow."""
    if value is None or not 0 < value < 1e6:
        raise InputError(f"{where}: its resolution is {value}; it must be above 0. Export the file again")
    return value


def one_record(given: Given, where) -> None:
    """InputError for the second record of a file that has one."""
    if given.index:
        raise InputError(f"{where}: it holds one record; read it without index, or with index 0")


def in_unit(value: float | None, unit: str, factors: dict[str, float]) -> float | None:
    """A number in the unit that has factor 1; None where it or its unit is not known."""
    factor = factors.get(unit.strip().lower())
    return None if value is None or factor is None else round(value * factor, 2)


def day(text: str) -> date | None:
    """A date that is written as 1951-01-31, 19510131 or with a time after it; None where there is none."""
    found = re.fullmatch(r"(\d{4})[-/.]?(\d{1,2})[-/.]?(\d{1,2})(?:[T ].*)?", text.strip())
    try:
        return date(*map(int, found.groups())) if found else None
    except ValueError:
        return None


def sex(word: str) -> str | None:
    return {"m": "M", "male": "M", "f": "F", "female": "F"}.get(word.strip().lower())


def filters(high: str | None, low: str | None, notch: str | None) -> str:
    """Limits in Hz, as text; what is not known, off or zero is left out."""
    parts = (("high-pass", high), ("low-pass", low), ("notch", notch))
    known = [(name, str(value).strip()) for name, value in parts if value]
    return ", ".join(
        f"{name} {value} Hz" for name, value in known if re.fullmatch(r"\d[\d. ]*", value) and value != "0"
    )
