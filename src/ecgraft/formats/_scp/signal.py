"""Sections 4 to 6 of SCP-ECG: the samples, from reference beats, residuals and bimodal compression.

A file may hold the rhythm as it was, or what is left of it after the reference beat was subtracted at every QRS that
is like it; and that may be decimated outside of protected areas (see _scp.bimodal).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

import numpy as np

from ...record import InputError
from . import bimodal
from .huffman import Table, decode, tables, undo_differences
from .leads import MINUS_AVR, Lead
from .sections import File

ORDERS = ("amplitudes", "first differences", "second differences")
MOST_SUBTRACTED = 2**25  # samples of reference beats in all leads
BEAT = np.dtype([("kind", "<u2"), ("start", "<u4"), ("fiducial", "<u4"), ("stop", "<u4")])  # samples from 1
AREA = np.dtype([("start", "<u4"), ("stop", "<u4")])


@dataclass(frozen=True)
class Block:
    """Section 5 or 6: what each lead stores."""

    number: int
    unit: int  # nV
    interval: int  # us between samples
    order: int  # of differences
    bimodal: bool
    parts: list[bytes]  # of each lead
    codes: list[Table]  # Huffman tables; none where numbers are of 16 bits

    @property
    def how(self) -> str:
        return ("Huffman-coded " if self.codes else "") + ORDERS[self.order]

    def only(self, rows: list[int]) -> Block:
        return replace(self, parts=[self.parts[i] for i in rows])

    def numbers(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """What lead i stores, and how many bits are left behind each number."""
        part = self.parts[i]
        if self.codes:
            values, ends = decode(part, self.codes)
            return values, 8 * len(part) - ends
        values = np.frombuffer(part[: len(part) // 2 * 2], "<i2")
        return values, 8 * len(part) - 16 * np.arange(1, len(values) + 1)

    def samples(self, i: int, count: int, name: str) -> np.ndarray:
        """(count,) integers. Raises InputError where the lead stores fewer."""
        values, _ = self.numbers(i)
        if len(values) < count:
            raise InputError(
                f"section {self.number}: lead {name} is cut short, {len(values)} of {count} samples; "
                "export the file again"
            )
        return undo_differences(values[:count], self.order)


@dataclass(frozen=True)
class Places:
    """Section 4: where the beats are."""

    milliseconds: int = 0  # of the reference beat
    fiducial: int = 0  # its sample that lies on the beats' fiducials, from 1
    beats: np.ndarray = field(default_factory=lambda: np.zeros(0, BEAT))
    areas: np.ndarray = field(default_factory=lambda: np.zeros(0, AREA))  # protected: nothing is decimated


def block(file: File, number: int, count: int) -> Block:
    """Section 5 or 6 of `count` leads."""
    body = file.need(number)
    if len(body) < 6 + 2 * count:
        raise InputError(f"section {number} is cut short; export the file again")
    unit, interval, order, flag = struct.unpack_from("<HHBB", body)
    if unit == 0 or interval == 0 or order >= len(ORDERS):
        what = f"unit {unit} nV, interval {interval} us, differences of order {order}"
        raise InputError(f"section {number}: {what}; its samples have no meaning. Export the file again")
    width = 4 if file.version >= 30 and _fits(body, count, "I") else 2
    sizes = struct.unpack_from(f"<{count}{'I' if width == 4 else 'H'}", body, 6)
    if 6 + width * count + sum(sizes) > len(body):
        raise InputError(f"section {number} is cut short, its leads take {sum(sizes)} bytes; export the file again")
    ends = 6 + width * count + np.cumsum(sizes)
    parts = [body[end - size : end] for size, end in zip(sizes, ends.tolist())]
    codes = tables(file.get(2)) if file.get(2) else []
    return Block(number, unit, interval, order, bool(flag) and file.version < 30, parts, codes)


def _fits(body: bytes, count: int, kind: str) -> bool:
    """Whether lengths of 4 bytes, as SCP-ECG 3 may have them, fill the section to the last byte or two."""
    size = 6 + struct.calcsize(f"<{count}{kind}")
    return len(body) >= size and 0 <= len(body) - size - sum(struct.unpack_from(f"<{count}{kind}", body, 6)) <= 1


def places(body: bytes) -> Places:
    """Section 4; nothing where it is missing. Version 1 has no protected areas: there the subtracted ones are."""
    if len(body) < 6:
        return Places()
    milliseconds, fiducial, count = struct.unpack_from("<HHH", body)
    if 6 + BEAT.itemsize * count > len(body):
        raise InputError(f"section 4 is cut short: {count} beats do not fit; export the file again")
    beats = np.frombuffer(body, BEAT, count, 6)
    behind = 6 + BEAT.itemsize * count
    if behind + AREA.itemsize * count <= len(body):
        areas = np.frombuffer(body, AREA, count, behind)
    else:
        areas = np.array(list(zip(beats["start"], beats["stop"])), AREA)
    return Places(milliseconds, fiducial, beats, areas)


def length(beat: Block, found: Places) -> int:
    """Samples of the reference beat. Raises InputError where section 5 has none, or section 4 does not say it."""
    shortest = min(len(part) for part in beat.parts)
    if shortest == 0:
        raise InputError("section 5 has no reference beat of each lead; export the file again")
    count = round(1000 * found.milliseconds / beat.interval)
    if count == 0 and beat.codes:
        raise InputError("section 4 does not say how long the reference beat of section 5 is; export the file again")
    return count or shortest // 2


def reference(beat: Block, found: Places, leads: list[Lead]) -> np.ndarray:
    """(C, N) integers of section 5, as they are stored. Raises InputError for one cut short."""
    count = length(beat, found)
    return np.array([beat.samples(i, count, lead.name) for i, lead in enumerate(leads)])


def sign(lead: Lead) -> int:
    """-1 for a lead that is stored as its negative."""
    return -1 if lead.code == MINUS_AVR else 1


@dataclass(frozen=True)
class Subtracted:
    """What was subtracted from the rhythm: at sample `at` (from 1) the reference beat's `index`; and the zones."""

    at: np.ndarray
    index: np.ndarray
    zones: np.ndarray  # BEAT
    beats: np.ndarray  # (C, N) integers
    unit: int  # nV


def subtracted(found: Places, beats: np.ndarray, unit: int, first: int, last: int) -> Subtracted:
    """From the beats of kind 0, which are like the reference beat; between samples `first` and `last` of the ECG."""
    C, N = beats.shape
    zones = found.beats[(found.beats["kind"] == 0) & (found.beats["start"] > 0)]
    shift = zones["fiducial"].astype(np.int64) - found.fiducial  # sample of the beat's sample 0
    start = np.maximum(np.maximum(zones["start"].astype(np.int64), shift + 1), first)
    length = np.maximum(np.minimum(np.minimum(zones["stop"].astype(np.int64), shift + N), last) - start + 1, 0)
    if length.sum() * C > MOST_SUBTRACTED:
        raise InputError(f"section 4 subtracts {length.sum()} samples from each lead; export the file again")
    at = np.repeat(start - np.cumsum(length) + length, length) + np.arange(length.sum())
    return Subtracted(at, at - np.repeat(shift, length) - 1, zones, beats, unit)


def rhythm(rest: Block, factor: int, found: Places, off: Subtracted | None, leads: list[Lead]):
    """Yields for each lead its samples (T,), integers in nV; None where it stores nothing.

    factor  samples to a number outside of the protected areas
    """
    decimated = iter(_decimated(rest, factor, found, off, leads)) if factor > 1 else None
    for i, lead in enumerate(leads):
        if not rest.parts[i]:
            yield None
            continue
        samples = next(decimated) if decimated else rest.samples(i, lead.stop - lead.start + 1, lead.name)
        samples = samples * rest.unit
        if off:
            here = (off.at >= lead.start) & (off.at <= lead.stop)
            np.add.at(samples, off.at[here] - lead.start, off.beats[i, off.index[here]] * off.unit)
        yield samples * sign(lead)


def _decimated(rest: Block, factor: int, found: Places, off: Subtracted | None, leads: list[Lead]):
    """Yields the samples of each lead that stores something, interpolated and smoothed."""
    there = [(i, lead) for i, lead in enumerate(leads) if rest.parts[i]]
    if sum(lead.stop - lead.start + 1 for _, lead in there) > bimodal.LONGEST:
        raise InputError(f"bimodal compression of more than {bimodal.LONGEST} samples; split the recording")
    stored = [rest.numbers(i) for i, _ in there]
    plans = _plans(factor, found, [lead for _, lead in there], [bits for _, bits in stored])
    for (_, lead), (values, _), plan in zip(there, stored, plans):
        samples = bimodal.restore(undo_differences(values[: plan.count], rest.order), plan, factor)
        keep = plan.protected.copy()
        if off:  # the residual jumps at both ends of a zone
            ends = np.concatenate([off.zones["start"], off.zones["stop"]]).astype(np.int64) - lead.start
            ends = np.concatenate([ends[: len(ends) // 2] - 1, ends, ends[len(ends) // 2 :] + 1])
            keep[ends[(ends >= 0) & (ends < len(keep))]] = True
        yield bimodal.smooth(samples, keep)


def _plans(factor: int, found: Places, leads: list[Lead], spare: list[np.ndarray]) -> list[bimodal.Plan]:
    """The first way that is just what the leads store; else the first for which they store enough."""
    second = None
    for protect, one_for_rest in bimodal.WAYS:
        made = {}  # leads of the same span share a plan
        for lead in leads:
            if (lead.start, lead.stop) not in made:
                areas = _areas(found.areas if protect else found.areas[:0], lead)
                made[lead.start, lead.stop] = bimodal.plan(areas, factor, one_for_rest)
        plans = [made[lead.start, lead.stop] for lead in leads]
        enough, exact = bimodal.fits(plans, spare)
        if exact:
            return plans
        second = second or (plans if enough else None)
    if second is None:
        raise InputError("section 6: its leads store too few samples for their protected areas; export the file again")
    return second


def _areas(areas: np.ndarray, lead: Lead) -> np.ndarray:
    """(T,) bool: which samples of a lead are protected."""
    start = np.maximum(areas["start"].astype(np.int64), lead.start) - lead.start
    stop = np.minimum(areas["stop"].astype(np.int64), lead.stop) - lead.start + 1
    inside = (areas["start"] > 0) & (start < stop)
    depth = np.zeros(lead.stop - lead.start + 2, np.int64)
    np.add.at(depth, start[inside], 1)
    np.add.at(depth, stop[inside], -1)
    return np.cumsum(depth)[:-1] > 0
