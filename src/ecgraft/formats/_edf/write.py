"""Record -> EDF+ (16 bits) or BDF+ (24 bits): as close as its digits allow, and the same bytes whenever it is written.

Each lead has the range that it needs. Where all its samples are whole steps of some uV they are stored as such and
read back to the last bit; else its range is cut into 65,534 steps (16,777,214), and the file is within half a step.

Samples that are missing have no code in EDF. Data records in which all leads miss are left out (EDF+D); what is
missing elsewhere is stored at the digital minimum, which no other sample has, and named by annotations "no signal".
Where no whole number of samples makes data records of a duration that 8 characters hold, the last one is filled up with
the last sample, and "Recording ends" says where. Age and sex stay, anything else about the person is X, the date
01.01.85, as EDF+ wants it where it is not to be known. Labels, values and the pseudonym have no place in EDF.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...record import LEADS, InputError, Record
from . import annotations_out
from .header import FIELDS

STEPS = (1000, 500, 250, 200, 100, 50, 25, 20, 10, 5, 4, 2.5, 2, 1.25, 1, 0.5, 0.25, 0.2, 0.1, 0.05, 0.01)  # uV
UNITS = (("uV", 1000), ("mV", 1), ("V", Fraction(1, 1000)))  # name, how many are 1 mV
BOTTOM, TOP = {2: -(2**15), 3: -(2**23)}, {2: 2**15 - 1, 3: 2**23 - 1}
ROUNDED = 2.0**-22  # of a number in float32
LARGEST = 2**22  # bytes of a data record
SHORTEST = Fraction(1, 10)  # s
CUTS = (("high-pass", "HP"), ("low-pass", "LP"), ("notch", "N"))


class Range(NamedTuple):
    """What the digits of a lead mean."""

    unit: str
    per_mv: Fraction  # units in 1 mV
    physical: tuple[str, str]
    digital: tuple[int, int]

    def digits(self, x: np.ndarray) -> np.ndarray:
        """mV -> digital values, the minimum where there is no sample."""
        (low, high), (least, most) = (float(Decimal(p)) for p in self.physical), self.digital
        values = (x.astype(np.float64) * float(self.per_mv) - low) * ((most - least) / (high - low)) + least
        values = np.rint(np.where(np.isnan(x), least, values))
        return np.clip(values, least, most).astype(np.int32)


class Frames(NamedTuple):
    """Data records."""

    samples: int  # of a lead, in each
    seconds: Decimal
    count: int


def save(record: Record, path: Path, writer: str) -> list[Path]:
    width = 3 if path.suffix.lower() == ".bdf" else 2
    C, T = record.signal.shape
    ranges = [_range(x, width, record) for x in record.signal]
    frames = _frames(record.rate, T, C * width)
    labels = _labels(record.leads)
    kept = _kept(record.signal, frames)
    marks = annotations_out.of_record(record, labels, frames.samples * frames.count)
    times = [str(frames.seconds * int(place)) for place in kept]
    notes = annotations_out.pack(times, marks, width)  # (records, bytes)
    kind = "C" if len(kept) == frames.count else "D"
    head = _header(record, writer, width, kind, frames, len(kept), notes.shape[1] // width, list(zip(labels, ranges)))
    with open(path, "wb") as file:
        file.write(head)
        step = max(1, 2**20 // (C * frames.samples))
        for first in range(0, len(kept), step):
            places = kept[first : first + step]
            data = _data(record.signal, ranges, places, frames.samples, width)
            np.concatenate([data, notes[first : first + step]], axis=1).tofile(file)
    return [path]


def _range(x: np.ndarray, width: int, record: Record) -> Range:
    """The finest that holds a lead (T,) mV. The digital minimum is of no sample."""
    there = x[np.isfinite(x)].astype(np.float64)
    if len(there) < np.count_nonzero(~np.isnan(x)):
        raise InputError(f"record {record.id!r}: a sample is infinite, which EDF cannot hold")
    low, high = (there.min(), there.max()) if len(there) else (0.0, 0.0)
    return _whole_steps(there, low, high, width, record) or _fine(low, high, width, record)


def _whole_steps(x: np.ndarray, low: float, high: float, width: int, record: Record) -> Range | None:
    """Where all samples are multiples of one step: their multiples are the digits."""
    stated = record.extra.get("resolution", "")
    own = [Decimal(stated) * 1000] if re.fullmatch(r"\d{1,3}(\.\d{1,9})?", stated) else []
    for step in [*own, *map(Decimal, map(str, STEPS))]:
        for bits in sorted({2, width}, reverse=True):
            least, most = BOTTOM[bits], TOP[bits]
            physical = [_plain(step * least), _plain(step * most)]
            fits = step > 0 and least * float(step) < low * 1000 and high * 1000 <= most * float(step)
            if fits and max(map(len, physical)) <= 8 and _multiples(x, float(step)):
                return Range("uV", Fraction(1000), tuple(physical), (least, most))
    return None


def _multiples(x: np.ndarray, step: float) -> bool:
    """Whether all samples are multiples of a step, to what float32 arithmetic may have left of them."""
    parts = (x[:1000], x) if len(x) > 1000 else (x,)
    return all((np.abs(np.rint(p * (1000 / step)) * (step / 1000) - p) <= np.abs(p) * ROUNDED).all() for p in parts)


def _fine(low: float, high: float, width: int, record: Record) -> Range:
    least, most = BOTTOM[width], TOP[width]
    for unit, per_mv in UNITS:
        bottom, top = Fraction(low) * per_mv, Fraction(high) * per_mv
        spread = (top - bottom) or max(abs(top), Fraction(1)) / 100
        physical = (
            _eight(bottom - spread * 2 / (most - least), ROUND_FLOOR),
            _eight(top + spread / 2**30, ROUND_CEILING),
        )
        if None not in physical:
            return Range(unit, Fraction(per_mv), physical, (least, most))
    raise InputError(f"record {record.id!r}: samples from {low:g} to {high:g} mV, which EDF cannot hold")


def _eight(value: Fraction, rounding: str) -> str | None:
    """The number in 8 characters, rounded that way; None where 8 are not enough."""
    if abs(value) >= 10**8:
        return None
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    for decimals in range(6, -1, -1):
        said = _plain(exact.quantize(Decimal(1).scaleb(-decimals), rounding))
        if len(said) <= 8:
            return said
    return None


def _plain(value: Decimal) -> str:
    """Without an exponent, and without zeros behind the point."""
    said = f"{value:f}"
    said = said.rstrip("0").rstrip(".") if "." in said else said
    return "0" if said in ("-0", "") else said


def _frames(rate: float, length: int, width: int) -> Frames:
    """Data records of about 1 s of an exact duration, the whole recording in them; else the last one is filled up."""
    exact = Fraction(rate).limit_denominator(10**5)
    exact = exact if abs(float(exact) - rate) <= 1e-9 * rate else Fraction(rate)
    most = max(1, LARGEST // width)
    parts = [n for n in range(1, math.isqrt(length) + 1) if length % n == 0]
    for samples in sorted({*parts, *(length // n for n in parts)}, key=lambda n: abs(math.log(n / rate))):
        seconds = _seconds(samples / exact)
        if seconds and (samples / exact >= SHORTEST or samples == length) and samples <= most:
            return Frames(samples, seconds, length // samples)
    unit = exact.numerator
    for prime in (2, 5):
        while unit % prime == 0:
            unit //= prime
    samples = unit * max(1, round(rate / unit))
    if samples > most or not _seconds(samples / exact):  # no duration is exact: the nearest that 8 characters hold
        near = range(min(most, int(rate) + 1), min(most, int(rate) + 500) + 1)
        samples = min(near, key=lambda n: abs(float(Decimal(_eight(n / exact, ROUND_FLOOR) or 0)) * rate / n - 1))
    return Frames(samples, _seconds(samples / exact) or _nearest(samples / exact), -(-length // samples))


def _seconds(value: Fraction) -> Decimal | None:
    """The duration, where it is exact in 8 characters."""
    said = Decimal(value.numerator) / Decimal(value.denominator)
    return said if Fraction(said) == value and len(_plain(said)) <= 8 else None


def _nearest(value: Fraction) -> Decimal:
    said = [Decimal(_eight(value, way) or 0) for way in (ROUND_FLOOR, ROUND_CEILING)]
    return min((s for s in said if s > 0), key=lambda s: abs(Fraction(s) - value))


def _labels(names: tuple[str, ...]) -> list[str]:
    """ "ECG II" in 16 letters of ASCII, each once."""
    found: list[str] = []
    for name in names:
        bare = name.encode("ascii", "replace").decode()
        prefixed = bare if re.match(r"(ECG|EKG)", bare, re.I) and name not in LEADS else f"ECG {bare}"
        label, count = prefixed[:16], 2
        while label in found:
            label, count = f"{prefixed[:13]}-{count}", count + 1
        found.append(label)
    return found


def _kept(signal: np.ndarray, frames: Frames) -> np.ndarray:
    """The places of the data records that are written: the first, the last, and those with a sample."""
    filled = np.zeros(frames.samples * frames.count, bool)
    filled[: signal.shape[1]] = ~np.isnan(signal).all(axis=0)
    filled = filled.reshape(frames.count, frames.samples).any(axis=1)
    filled[[0, -1]] = True
    return np.flatnonzero(filled)


def _data(signal: np.ndarray, ranges: list[Range], places: np.ndarray, samples: int, width: int) -> np.ndarray:
    """Those data records without their annotations, (n, bytes) uint8."""
    at = np.minimum(places[:, None] * samples + np.arange(samples), signal.shape[1] - 1)  # (n, samples)
    digits = np.stack([r.digits(x[at]) for x, r in zip(signal, ranges)], axis=1)  # (n, C, samples)
    data = np.ascontiguousarray(digits.astype("<i4")).view(np.uint8).reshape(*digits.shape, 4)[..., :width]
    return data.reshape(len(places), -1)


def _header(record, writer, width, kind, frames: Frames, count: int, notes: int, leads) -> bytes:
    name = {2: "EDF", 3: "BDF"}[width]
    age = "" if record.age is None else f" age:{round(record.age)}"
    size = 256 * (len(leads) + 2)
    head = b"0       " if width == 2 else b"\xffBIOSEMI"
    fields = ((f"X {record.sex or 'X'} X X{age}", 80), (f"Startdate X X X {writer}", 80), ("01.01.85", 8))
    fields += (("00.00.00", 8), (size, 8), (f"{name}+{kind}", 44), (count, 8), (_plain(frames.seconds), 8))
    fields += ((len(leads) + 1, 4),)
    head += b"".join(_field(said, length) for said, length in fields)
    filters = _filters(record.extra.get("filters", ""))
    rows = [(label, "", r.unit, *r.physical, *r.digital, filters, frames.samples, "") for label, r in leads]
    rows.append((f"{name} Annotations", "", "", -1, 1, BOTTOM[width], TOP[width], "", notes, ""))
    return head + b"".join(_field(s, w) for w, column in zip(FIELDS.values(), zip(*rows)) for s in column)


def _field(said, length: int) -> bytes:
    data = str(said).encode("ascii", "replace")
    if len(data) > length:
        raise InputError(f"{said} needs more than the {length} characters that EDF has for it")
    return data.ljust(length)


def _filters(said: str) -> str:
    cuts = [(short, re.search(rf"{long} (\d+(?:\.\d+)?) Hz", said)) for long, short in CUTS]
    return " ".join(f"{short}:{cut[1]}Hz" for short, cut in cuts if cut)
