"""The waveforms of an HL7 aECG: series of sequence sets, each a clock and the leads recorded by it.

A sequence set holds what was recorded at the same time; a 3x4 recording has four sets of 2.5 s. They come onto one time
axis, with NaN where a lead was not recorded. Value = origin + digit * scale (HL7 aECG implementation guide, 2005).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

import numpy as np

from ...record import LEADS, InputError, lead_name, to_millivolt
from .. import Given, check_size
from .._channels import unique
from .._said import few
from .words import NO_UNIT, SECONDS, code, digits, moment, quantity, whole

SLOWEST, FASTEST = 20.0, 50_000.0  # Hz: an increment without a unit is in the one that gives an ECG's rate
MOST, LEADS_AT_MOST = 16, 256  # signals of one name, and of all
LONGEST = 40  # letters of a name
HIGHEST = 1e6  # mV


@dataclass(frozen=True)
class Clock:
    """When the samples of a sequence set were taken; `start` in s, since year 1 where it is absolute."""

    rate: float  # Hz
    start: float
    absolute: bool


@dataclass(frozen=True)
class Lead:
    name: str
    clock: Clock
    samples: np.ndarray  # (n,) mV, float64
    resolution: float  # mV
    unit: str


@dataclass
class Axis:
    """The time axis of a signal: where times of the file are on it."""

    rate: float  # Hz
    first: float  # s, of the first sample since `zero`
    zero: float | None  # s since year 1 from which relative times count, None where no clock says it
    length: int

    def place(self, time: float | None, absolute: bool) -> float | None:
        """Where a time in s is, in samples, whether in the signal or not; None where it is not known."""
        if time is None or (absolute and self.zero is None):
            return None
        return (time - (self.zero if absolute else 0.0) - self.first) * self.rate

    def sample(self, time: float | None, absolute: bool) -> int:
        """The sample at a time in s; -1 where it is not known or not in the signal."""
        at = self.place(time, absolute)
        return round(at) if at is not None and -0.5 <= at < self.length - 0.5 else -1


@dataclass
class Signal:
    signal: np.ndarray  # (C, T) float32, mV
    leads: tuple[str, ...]
    axis: Axis
    unit: str
    resolution: list[float]
    assumed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def read(series: Element, path, given: Given) -> Signal:
    """The signal of a series. The leads of the rate that most of them have, where rates differ."""
    assumed, skipped, found = [], [], []
    for sequences in series.findall("component/sequenceSet"):
        found += _set(sequences, path, given, assumed, skipped)
    if not found:
        raise InputError(f"{path}: no lead with samples in its series ({', '.join(few(skipped, 8)) or 'no sequences'})")
    rate = Counter(lead.clock.rate for lead in found).most_common(1)[0][0]
    skipped += [f"{lead.name} ({lead.clock.rate:g} Hz)" for lead in found if lead.clock.rate != rate]
    found = [lead for lead in found if lead.clock.rate == rate]
    axis, starts = _axis(found, moment(series.find("effectiveTime/low")), path)
    signal, leads, order = _laid_out(found, starts, axis, path)
    scale = [found[i].resolution for i in order]
    return Signal(signal, leads, axis, found[order[0]].unit, scale, few(assumed), few(skipped))


def sequences(series: Element) -> list[tuple[str, Element]]:
    """Lead name -> sequence for all leads of a series, in file order; nothing is decoded."""
    pairs = [(_lead(s), s) for set_ in series.findall("component/sequenceSet") for s in set_.iter("sequence")]
    return [(name, sequence) for name, sequence in pairs if name]


def size(series: Element) -> tuple[int, int]:
    """How many leads a series has, and about how long they are, to compare series."""
    leads = sequences(series)
    return len({name for name, _ in leads}), max((len(digits(s.find("value"))) for _, s in leads), default=0)


def _lead(sequence: Element) -> str | None:
    """The name of a sequence's lead; None for a clock, or what is not an ECG."""
    of = sequence.find("code")
    if of is None:
        return None
    said = re.fullmatch(r"\w*?ECG_LEAD_(\w+)", code(sequence), re.I)
    name = said[1] if said else code(sequence) or of.get("displayName", "")
    for known in (name, of.get("displayName", "")):
        if lead_name(known) in LEADS:
            return lead_name(known)
    return lead_name(name[:LONGEST]) if said else None


def _set(sequences: Element, path, given: Given, assumed: list, skipped: list) -> list[Lead]:
    """The leads of one sequence set; its clock is of all of them."""
    clock, named = None, []
    for sequence in sequences.iter("sequence"):
        name, said = _lead(sequence), code(sequence)[:80]
        if name:
            named.append((name, sequence.find("value")))
        elif said.startswith("TIME_") or (sequence.find("value/increment") is not None and clock is None):
            clock = clock or _clock(sequence, said, path, assumed)
        else:
            skipped.append(said or "a sequence without a code")
    if not named:
        return []
    clock = clock or Clock(given.hz(path), 0.0, False)
    leads = [(name, _samples(value, f"{path}, lead {name}", given)) for name, value in named]
    skipped += [f"{name} (no samples)" for name, (samples, *_) in leads if not len(samples)]
    longest = max(len(samples) for _, (samples, *_) in leads)
    for name, (samples, *_) in leads:
        if 0 < len(samples) < longest:
            assumed.append(f"{name} ends {longest - len(samples)} samples before the others")
    return [Lead(name, clock, *found) for name, found in leads if len(found[0])]


def _clock(sequence: Element, of: str, path, assumed: list) -> Clock:
    """From a start and an increment (GLIST_TS, GLIST_PQ), or from a list of times (SLIST_PQ)."""
    value = sequence.find("value")
    children = {child.tag: child for child in (value if value is not None else ())}
    head, increment = children.get("head", children.get("origin")), children.get("increment", children.get("scale"))
    first, many = _even(children.get("digits"), path)
    step = quantity(increment, SECONDS, bare=1.0)
    if step is None or not 1e-6 < step * many < 1e6:
        raise InputError(f"{path}: its clock has no increment that is a time; export the file again")
    if increment.get("unit", "").strip() in NO_UNIT:
        unit = next((u for u in ("s", "ms", "us") if SLOWEST <= 1 / (step * many * SECONDS[u]) <= FASTEST), "s")
        step *= SECONDS[unit]
        assumed.append(f"its clock is in {unit}")
    dated = of == "TIME_ABSOLUTE" or (of != "TIME_RELATIVE" and value.get("type", "").endswith("_TS"))
    start = moment(head) if dated else quantity(head, SECONDS, bare=1.0)
    return Clock(_hz(step * many), (start or 0.0) + first * step, dated and start is not None)


def _even(times: Element | None, path) -> tuple[float, float]:
    """The first of a list of times and the step between them; (0, 1) where there is no list."""
    if times is None:
        return 0.0, 1.0
    found = whole(times.text or "", f"{path}, clock").astype(np.float64)
    jumps = np.diff(found)
    if not len(jumps) or not jumps[0] > 0 or (jumps != jumps[0]).any():
        raise InputError(f"{path}: its times do not rise evenly; resample it first")
    return float(found[0]), float(jumps[0])


def _hz(step: float) -> float:
    """Increments are written with few digits: a rate within 0.01 % of a whole number is that number."""
    rate = 1 / step
    return float(round(rate)) if abs(rate - round(rate)) < 1e-4 * rate else rate


def _samples(value: Element | None, where: str, given: Given) -> tuple[np.ndarray, float, str]:
    """(n,) mV, the resolution in mV, the unit."""
    numbers = whole(digits(value), where)
    if not len(numbers):
        return numbers, 1.0, ""
    parts = {tag: value.find(tag) for tag in ("scale", "origin")}
    units = {tag: "" if e is None else e.get("unit", "").strip() for tag, e in parts.items()}
    unit = next((unit for unit in units.values() if unit not in NO_UNIT), None)
    factor = given.scale(where, unit)
    found = {"scale": factor, "origin": 0.0}
    for tag, element in parts.items():
        if element is not None and (element.get("value") or element.text or "").strip():
            own = to_millivolt(units[tag], where) if units[tag] not in NO_UNIT else factor
            found[tag] = quantity(element, {units[tag]: own}, bare=own)
        if found[tag] is None or (tag == "scale" and found[tag] == 0):
            raise InputError(f"{where}: its {tag} is no number that can be; export the file again")
    with np.errstate(over="ignore", invalid="ignore"):
        samples = numbers * found["scale"] + found["origin"]
    if not np.nanmax(np.abs(samples), initial=0) < HIGHEST:
        raise InputError(f"{where}: samples of more than 1000 V; its scale or its unit is wrong")
    return samples, abs(found["scale"]), unit or given.unit


def _axis(found: list[Lead], low: float | None, path) -> tuple[Axis, list[int]]:
    """The axis that holds all leads, and the sample on it where each begins."""
    absolute = [lead.clock.start for lead in found if lead.clock.absolute]
    zero = min(absolute) if absolute else low
    since = [lead.clock.start - (zero if lead.clock.absolute else 0.0) for lead in found]
    rate, first = found[0].clock.rate, min(since)
    starts = [(start - first) * rate for start in since]
    if max(starts) > 2**40:
        raise InputError(f"{path}: its sequence sets begin years apart; split the recording")
    starts = [round(start) for start in starts]
    length = max(start + len(lead.samples) for start, lead in zip(starts, found))
    return Axis(rate, first, zero, length), starts


def _laid_out(found: list[Lead], starts: list[int], axis: Axis, path):
    """(C, T) with each lead where it was recorded, the names, and the lead in `found` that began each row.

    Parts of a lead that follow each other are one row; a lead that was recorded twice at a time has two.
    """
    rows: dict[str, list[list[int]]] = {lead.name: [] for lead in found}
    for i in sorted(range(len(found)), key=lambda i: (starts[i], -len(found[i].samples))):
        same = rows[found[i].name]
        row = next((row for row in same if starts[row[-1]] + len(found[row[-1]].samples) <= starts[i]), None)
        if row is None and len(same) == MOST:
            raise InputError(f"{path}: lead {found[i].name} stands there more than {MOST} times; split the recording")
        same.append([i]) if row is None else row.append(i)
    parts = [row for same in rows.values() for row in same]
    if len(parts) > LEADS_AT_MOST:
        raise InputError(f"{path}: {len(parts)} leads; at most {LEADS_AT_MOST} are read")
    check_size(len(parts) * axis.length, path, packed=2 * sum(len(lead.samples) for lead in found))
    signal = np.full((len(parts), axis.length), np.nan, np.float32)
    for y, row in enumerate(parts):
        for i in row:
            signal[y, starts[i] : starts[i] + len(found[i].samples)] = found[i].samples
    return signal, unique(found[row[0]].name for row in parts), [row[0] for row in parts]
