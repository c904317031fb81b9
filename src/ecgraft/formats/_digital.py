"""Digital values as recorders store them, binary or as text -> mV in float32, rounded once."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction
from functools import cached_property

import numpy as np

from ..record import MILLIVOLT, InputError, to_millivolt
from ..signal.leads import LIMB
from . import Given, check_size
from ._channels import MOST

MANY = 2**16  # values from which on a table of all 16 bit codes is faster than float64
EXACT = 2**24  # integers up to this are exact in float32
LARGEST = 2**31  # a digital value beyond it is no sample


class Scale:
    """`mV = gain * digital + offset` in rational numbers: `(a * digital + b) / c` with integers.

    So one division rounds, and 0 mV is 0 whatever the offset is; a sum of rounded numbers would not be. Where the
    integers are exact in float32, that is enough: rounding a quotient to 53 bits and then to 24 gives the same.
    `missing`: the code that stands for no sample; it becomes NaN.
    """

    def __init__(self, gain: Fraction, offset: Fraction = Fraction(0), missing: int | None = None):
        common = math.lcm(gain.denominator, offset.denominator)
        a, b, c = gain * common, offset * common, Fraction(common)
        self.terms = float(a), float(b), float(c)
        self.short = abs(a) * 2**15 + abs(b) <= EXACT and c <= EXACT  # float32 is enough for 16 bits
        self.missing = missing
        self.gone = 0  # samples with the code `missing`, so far

    def __call__(self, digital: np.ndarray) -> np.ndarray:
        """float32 mV of the same shape."""
        small = digital.dtype.itemsize <= 2
        if small and not self.short and digital.size >= MANY and digital.dtype == np.int16:
            result = self._table.take(digital.view(np.uint16), mode="clip")
        else:
            result = self._computed(digital, np.float32 if small and self.short else np.float64)
        gone = 0 if self.missing is None else np.count_nonzero(digital == self.missing)
        if gone:
            result[digital == self.missing] = np.nan
            self.gone += gone
        return result

    @cached_property
    def _table(self) -> np.ndarray:  # (65536,)
        """mV of every code of 16 bits, at the place that it has as an unsigned number."""
        return self._computed(np.arange(2**16, dtype=np.uint16).view(np.int16), np.float64)

    def _computed(self, digital: np.ndarray, kind: type) -> np.ndarray:
        values = digital.astype(kind)
        for operation, term, neutral in zip((np.multiply, np.add, np.divide), self.terms, (1, 0, 1)):
            if term != neutral:
                operation(values, kind(term), out=values)
        with np.errstate(over="ignore"):
            return values.astype(np.float32, copy=False)


def int24(data: np.ndarray, order: str = "<") -> np.ndarray:  # (..., 3) uint8 -> (...) int32
    """Signed numbers of three bytes each."""
    wide = np.zeros((*data.shape[:-1], 4), np.uint8)
    wide[..., slice(1, 4) if order == "<" else slice(0, 3)] = data
    return (wide.view(f"{order}i4")[..., 0] >> 8).astype(np.int32, copy=False)


def numbers(text: str, where: str) -> np.ndarray:
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


def complete(row: np.ndarray, count: float, where: str) -> np.ndarray:
    """A lead's values, at least one and as many as the file says. InputError for one that is cut short."""
    if len(row) < max(count, 1):
        raise InputError(f"{where} is cut short, {len(row)} of {count:.0f} samples; export it again")
    return row


def millivolt(rows: list[np.ndarray], per_unit: list[float], unit: str, where) -> np.ndarray:
    """Digital values of each lead, each `per_unit` of `unit` -> (C, T) float32 mV; NaN after a short lead."""
    if len(rows) > MOST:
        raise InputError(f"{where}: {len(rows)} leads; at most {MOST} are read")
    length = max(len(row) for row in rows)
    check_size(len(rows) * length, where)
    factor = to_millivolt(unit, str(where))
    signal = np.full((len(rows), length), np.nan, np.float32)
    for row, values, size in zip(signal, rows, per_unit):
        row[: len(values)] = scaled(values.astype(np.float64) * size, factor)
    return signal


def scaled(values: np.ndarray, factor: float) -> np.ndarray:
    """Values times a factor, in float64.

    One that is 1 over a whole number (0.001 for uV) divides by that: the quotient is right to the last bit.
    """
    whole = round(1 / factor) if factor < 1 else 0
    return values / np.float64(whole) if whole and abs(whole * factor - 1) < 1e-12 else values * np.float64(factor)


def step(value: float | None, where) -> float:
    """A resolution that makes sense: above 0, and not such that samples overflow."""
    if value is None or not 0 < value < 1e6:
        raise InputError(f"{where}: its resolution is {value}; it must be above 0. Export the file again")
    return value


def unit_name(stated: str, given: Given, where) -> str:
    """The unit that a file states, else the given one, in the letters of "mV", "uV", "V", "nV"."""
    given.scale(where, stated)
    known = stated.strip() if stated.strip().lower() in MILLIVOLT else given.unit
    return {"uv": "uV", "mv": "mV", "nv": "nV", "v": "V"}.get(known.lower(), known)


def limb_lead(name: str, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """A limb lead from I and II; of whole numbers it is exact, halves are not rounded."""
    a, b = LIMB[name]
    return a * one + b * two
