"""SCP-ECG (EN 1064, ISO 11073-91064, versions 1 to 3): resting ECGs of electrocardiographs, compressed in several ways.

Sections 1 to 8 and 11 are read: `_scp.sections` has the frame, `_scp.signal` the samples, `_scp.about` the patient,
`_scp.findings` what was measured and stated. An amplitude is an integer of so many nV, told in mV.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..record import BEAT, LEADS, InputError, Record
from . import Given, check_size, resolution, told
from ._digital import limb_lead
from ._given import NO_MEDIAN
from ._said import extent, report
from ._scp.about import About, about
from ._scp.bimodal import factor as decimation
from ._scp.findings import Measured, Statements, measured, statements, waves
from ._scp.leads import CALIBRATION, MINUS_AVR, Lead, derived, leads
from ._scp.sections import File, begins, load, named
from ._scp.signal import Places, block, length, places, reference, rhythm, sign, subtracted

TITLE = "SCP-ECG"
MEDIAN = True
NANOVOLTS = 1e6  # in a mV
SUBTRACTED = 1  # flag of section 3: of the reference beat


def claims(path: Path, head: bytes) -> int:
    return begins(head)


@dataclass
class Waveform:
    """The samples of a file, and what it takes to place in them what the file says of their times."""

    signal: np.ndarray  # (C, T) mV
    names: tuple[str, ...]
    rate: float
    units: list[int]  # nV
    first: int = 1  # sample of the file, from 1, that is sample 0
    found: Places = field(default_factory=Places)  # its beats
    notes: dict = field(default_factory=dict)


def read(path: Path, given: Given) -> Record:
    """Raises InputError for a file without a waveform, cut short, or damaged where its samples are."""
    file = load(path)
    notes = {"assumed": file.assumed, "skipped": file.skipped(), "derived": []}
    named_leads, flags = leads(file.need(3), given)
    rows = [i for i, lead in enumerate(named_leads) if lead.code not in CALIBRATION]
    if not rows:
        raise InputError("section 3 has calibration pulses alone, no ECG")
    notes["skipped"] += [f"{lead.name} (calibration)" for lead in named_leads if lead.code in CALIBRATION]
    notes["derived"] += ["aVR from -aVR"] * any(lead.code == MINUS_AVR for lead in named_leads)
    if given.median:
        wave = _median(file, named_leads, rows, notes)
    else:
        wave = _rhythm(file, named_leads, rows, flags, notes)
    who = _optional(about, file, 1, notes) or About()
    notes["derived"] += who.derived
    findings = _findings(file, who, wave, given.median, notes)
    extra = told(unit="nV", resolution=resolution([unit / NANOVOLTS for unit in wave.units]), **notes, **wave.notes)
    return Record(
        wave.signal,
        wave.rate,
        wave.names,
        id=path.stem,
        patient=given.patient(*who.identity),
        age=who.age,
        sex=who.sex,
        extra=extra | told(device=who.device, filters=who.filters),
        **findings,
    )


def _rhythm(file: File, all_leads: list[Lead], rows: list[int], flags: int, notes: dict) -> Waveform:
    kept = [all_leads[i] for i in rows]
    first, last = min(lead.start for lead in kept), max(lead.stop for lead in kept)
    check_size(len(kept) * (last - first + 1), "section 3", packed=file.size)
    rest = block(file, 6, len(all_leads)).only(rows)
    uses = bool(flags & SUBTRACTED)
    beat = block(file, 5, len(all_leads)).only(rows) if uses or (rest.bimodal and file.get(5)) else None
    found = places(file.get(4)) if beat else _optional(places, file, 4, notes) or Places()
    factor = decimation(rest.interval, beat.interval) if beat else 1
    off = subtracted(found, reference(beat, found, kept), beat.unit, first, last) if uses else None
    rate = _hertz((beat if factor > 1 else rest).interval, notes)
    signal, names = _assemble(kept, rhythm(rest, factor, found, off, kept), first, last, notes)
    how = [rest.how] + ["reference beat subtracted"] * uses + ["bimodal (not lossless)"] * (factor > 1)
    units = [rest.unit, beat.unit] if uses else [rest.unit]
    median, interval = _reference(file, len(all_leads), rows, found, notes)
    if interval not in (0, rest.interval) and factor == 1 and len(found.beats):
        notes["skipped"].append(f"{named(4)}, counted at another rate than the rhythm's")
        found = Places()
    return Waveform(signal, names, rate, units, first, found, {"compression": ", ".join(how), "median": median})


def _assemble(kept: list[Lead], samples, first: int, last: int, notes: dict) -> tuple[np.ndarray, tuple[str, ...]]:
    """(C, T) mV on the time of the whole ECG, NaN where a lead was not recorded; and names. samples: in nV."""
    limbs = derived(tuple(lead.name for lead in kept))
    names = [lead.name for lead in kept] + limbs
    order = [*LEADS, *(name for name in names if name not in LEADS)] if limbs else names
    signal = np.full((len(names), last - first + 1), np.nan, np.float32)
    two, silent = np.full((2, signal.shape[1] if limbs else 0), np.nan), []
    for lead, row in zip(kept, samples):
        if row is None:
            silent.append(lead.name)
            continue
        span = slice(lead.start - first, lead.stop - first + 1)
        signal[order.index(lead.name), span] = row / NANOVOLTS
        if limbs and lead.name in ("I", "II"):
            two[int(lead.name == "II"), span] = row
    for name in limbs:
        signal[order.index(name)] = limb_lead(name, *two) / NANOVOLTS
    notes["derived"] += [f"{', '.join(limbs)} from I and II, halves not rounded"] if limbs else []
    return _without(signal, order, silent, notes)


def _without(
    signal: np.ndarray, names: list[str], silent: list[str], notes: dict
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The leads that have samples."""
    heard = [i for i, name in enumerate(names) if name not in silent and not np.isnan(signal[i]).all()]
    if not heard:
        raise InputError("section 6 stores nothing of any lead; export the ECG with its waveform")
    notes["skipped"] += [f"{name} (nothing stored)" for name in silent]
    return signal if len(heard) == len(names) else signal[heard], tuple(names[i] for i in heard)


def _median(file: File, all_leads: list[Lead], rows: list[int], notes: dict) -> Waveform:
    if not file.get(5):
        raise InputError(NO_MEDIAN)
    beat, found = block(file, 5, len(all_leads)).only(rows), places(file.get(4))
    kept = [all_leads[i] for i in rows]
    count = length(beat, found)
    check_size(len(kept) * count, "section 5", packed=file.size)
    here = [Lead(lead.name, lead.code, 1, count) for lead in kept]
    samples = (row * sign(lead) * beat.unit for row, lead in zip(reference(beat, found, kept), kept))
    signal, names = _assemble(here, samples, 1, count, notes)
    return Waveform(signal, names, _hertz(beat.interval, notes), [beat.unit], notes={"compression": beat.how})


def _reference(file: File, count: int, rows: list[int], found: Places, notes: dict) -> tuple[str, int]:
    """That there is a median beat, and its interval (us); "" and 0 where there is none."""
    if 5 not in file.bodies:
        return "", 0
    try:
        beat = block(file, 5, count).only(rows)
        rate = _hertz(beat.interval, {"assumed": []})
        return extent(length(beat, found), rate, len(rows)), beat.interval
    except InputError:
        notes["skipped"].append(f"{named(5)}, which is empty or cut short")
        return "", 0


def _hertz(interval: int, notes: dict) -> float:
    """From an interval in whole us: the whole rate that gives it when rounded, where there is one."""
    rate = 1e6 / interval
    whole = round(rate)
    if whole == rate or interval not in (round(1e6 / max(whole, 1)), int(1e6 / max(whole, 1))):
        return rate
    notes["assumed"].append(f"{whole} Hz, as the interval of {interval} us is rounded")
    return float(whole)


def _optional(parse, file: File, number: int, notes: dict, *more):
    """What `parse` makes of a section without which the ECG can be read; None where it is missing or damaged."""
    if number not in file.bodies:
        return None
    try:
        return parse(file.bodies[number], *more)
    except (InputError, struct.error) as error:
        notes["skipped"].append(f"{named(number)}, which {error if isinstance(error, InputError) else 'is cut short'}")
        return None


def _findings(file: File, who: About, wave: Waveform, median: bool, notes: dict) -> dict:
    """What Record holds of sections 4, 7, 8 and 11."""
    values = _optional(measured, file, 7, notes) or Measured()
    text = _optional(statements, file, 8, notes, False, who.codec) or Statements()
    codes = _optional(statements, file, 11, notes, True, who.codec) or Statements()
    notes["pacemaker"] = f"{values.spikes} spikes" if values.spikes else ""
    if text.lines and text.rank > codes.rank >= 0:
        codes.labels.clear()
        notes["skipped"].append(f"{named(11)}, which are less confirmed than those in section 8")
    lines = text.lines if text.lines and text.rank >= codes.rank else codes.lines or text.lines
    kept = [line for line in lines if not who.persons & set(re.findall(r"\w{3,}", line.casefold()))]
    notes["skipped"] += ["statements that name a person"] * (len(kept) < len(lines))
    found = {"values": who.values | values.values, "labels": codes.labels, "report": report(kept)}
    if not median:
        found["beats"] = _beats(wave)
        beats = len(wave.found.beats)
        found["waves"] = waves(values, beats, wave.rate, wave.first, wave.signal.shape[1])
    return found


def _beats(wave: Waveform) -> np.ndarray | None:
    """BEAT of section 4's fiducials. Its types say which beats are alike, not what they are."""
    length = wave.signal.shape[1]
    at = {int(fiducial) - wave.first for fiducial in wave.found.beats["fiducial"]}
    inside = sorted(sample for sample in at if 0 <= sample < length)
    return np.array([(sample, b"?") for sample in inside], BEAT) if inside else None
