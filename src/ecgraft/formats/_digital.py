"""Digital values as recorders store them -> mV in float32, rounded once."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cached_property

import numpy as np

MANY = 2**16  # values from which on a table of all 16 bit codes is faster than float64
EXACT = 2**24  # integers up to this are exact in float32


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
