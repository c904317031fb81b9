"""DICOM waveforms (PS3.3 A.34, C.10.9): 12-lead, general, 32-bit and ambulatory ECGs; of other waveforms the ECG leads.

The rhythm is read, or the median beat with median=True; groups of leads that were recorded one after the other are put
together by their time offsets. A sample is exactly (sample x sensitivity x correction factor + baseline), rounded once
to float32. Images and documents are refused with what they are: a drawing of an ECG has no samples.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from ..record import InputError, Record
from . import Given, _person, _said, resolution, told
from ._dicom.file import Item, load, quiet, starts
from ._dicom.groups import Group, Part, groups, joined_parts, medians, rank, signal
from ._dicom.notes import notes, waves_and_beats
from ._dicom.write import write
from ._given import NO_MEDIAN, NOBODY

__all__ = ["ENDINGS", "TITLE", "claims", "read", "write"]
TITLE = "DICOM"
MEDIAN = True
ENDINGS = (".dcm",)
DIRECTORY = "1.2.840.10008.1.3.10"
DRAWN = "a drawing of an ECG has no samples: export the ECG as a DICOM waveform"


def claims(path: Path, head: bytes) -> int:
    return 2 if starts(head) >= 0 else 0


def read(path: Path, given: Given) -> Record:
    """The ECG of a DICOM file; a file holds one.

    Raises InputError for objects without a waveform, waveforms without an ECG, and what is cut short.
    """
    with quiet():
        data = load(path)
        found, wrong = groups(data)
        if not found:
            raise InputError(f"{path}: {_other(data)}")
        return _record(path, data, found, wrong, given)


def _record(path: Path, data: Item, found: list[Group], wrong: list[str], given: Given) -> Record:
    beats = medians(found)
    chosen, left = _chosen(path, found, beats, given)
    made, steps, padded = signal(chosen, given, path)  # (C, T)
    rate = chosen[0].group.rate or given.hz(path)
    people = _people(data)
    said = notes(data, people)
    beat = max(beats, key=rank, default=None)
    waves, peaks, elsewhere = waves_and_beats(said, chosen, found, beat)
    age, derived = _age(data)
    known, assumed = _body(data)
    channels = [part.group.channels[place] for part in chosen for place in part.leads.values()]
    marks = [f"{elsewhere} marks of the median beat or another group"] if elsewhere else []
    lines = [f"{said.hidden} lines of text that name somebody"] if said.hidden else []
    extra = told(
        unit=list(dict.fromkeys(c.unit or given.unit or "" for c in channels)),
        resolution=resolution(list(map(abs, steps.values()))),
        assumed=[*assumed, *sorted(said.assumed), *_assumed(channels, padded, chosen)],
        derived=[*derived, *_derived(channels, chosen)],
        skipped=[*left, *wrong, *marks, *lines],
        median="" if given.median or not beat else str(beat),
        device=_device(data),
        filters=_filters(channels),
        status=[f"{c.name} {c.status.lower()}" for c in channels if c.status not in ("", "OK")],
    )
    record = Record(made, rate, tuple(steps), labels=said.labels, values=said.values | known, extra=extra)
    return record.but(
        report=_said.report(said.report, _said.names(people)),
        waves=waves,
        beats=peaks,
        id=path.stem,
        age=age,
        **_who(data, given),
    )


def _who(data: Item, given: Given) -> dict[str, str | None]:
    """Sex, and the pseudonym of the patient."""
    sex, said = data.text("PatientSex").upper(), (data.text(f"Patient{key}") for key in ("ID", "Name", "BirthDate"))
    return {"sex": sex if sex in ("F", "M") else None, "patient": given.patient(*said)}


def _chosen(path: Path, found: list[Group], beats: list[Group], given: Given) -> tuple[list[Part], list[str]]:
    """The parts to read, and what is left out: other groups and channels that are no ECG."""
    rhythms = [group for group in found if group not in beats]
    pool = [group for group in (beats if given.median else rhythms) if group.leads]
    if not pool and given.median:
        raise InputError(f"{path}: {NO_MEDIAN}")
    if not pool and any(group.leads for group in beats):
        raise InputError(f"{path}: it holds a median beat but no rhythm; read that with median (--median)")
    names = [channel.name for group in found for channel in group.channels]
    if not pool:
        raise InputError(f"{path}: no ECG among its {len(names)} channels ({', '.join(names)[:200]})")
    best = max(pool, key=rank)
    chosen = joined_parts(best, [best] if given.median else pool)
    used = [part.group for part in chosen]
    left = [f"{group.label or 'group'} of {group}" for group in pool if group not in used]
    other = [f"{c.name} ({c.unit or 'no unit'})" for g in rhythms for c in g.channels if not c.ecg]
    return chosen, left + other


def _other(data: Item) -> str:
    """What a DICOM file without a waveform is, and what to do."""
    kind = _kind(data)
    if data.text("MIMETypeOfEncapsulatedDocument") or data.element("EncapsulatedDocument") is not None:
        return f"this is a document in DICOM ({kind}); {DRAWN}"
    if data.element("PixelData") is not None or "Image" in kind:
        return f"this is an image ({kind}); {DRAWN}"
    if data.text("SOPClassUID") == DIRECTORY or data.element("DirectoryRecordSequence") is not None:
        return "this is a DICOM directory; give the files that it lists"
    if "Waveform" in kind or "ECG" in kind:
        return f"this {kind} has no samples in it; is it complete? Export it again"
    return f"there is no waveform in this DICOM file ({kind}); export the ECG as a DICOM waveform"


def _kind(data: Item) -> str:
    from pydicom.uid import UID

    said = data.text("SOPClassUID")
    return UID(said).name.removesuffix(" Storage") if said else "object of no kind"


def _people(data: Item) -> list[str]:
    """Names and numbers that must not stand in a report: in lower case, words of a name apart."""
    number = data.text("PatientID").casefold()
    named = [data.text(f"{who}Name") for who in ("Patient", "Operators", "ReferringPhysician", "PerformingPhysician")]
    named += [data.text("NameOfPhysiciansReadingStudy"), data.text("PhysiciansOfRecord")]
    names = [" ".join(re.split(r"[\^=\\\s]+", name.casefold())).strip() for name in named]
    kept = [name for name in names if len(name) > 3 and not NOBODY.fullmatch(name)]
    return kept + ([number] if len(number) > 4 else [])


def _age(data: Item) -> tuple[float | None, list[str]]:
    """Years, and whether they were computed from dates. An age of 0 is how an unknown one is written."""
    found = re.fullmatch(r"(\d{1,3})([YMWD])", data.text("PatientAge").upper())
    said = _person.in_years(int(found[1]), found[2]) if found and int(found[1]) else None
    then = ("AcquisitionDateTime", "AcquisitionDate", "ContentDate", "StudyDate", "SeriesDate")
    recorded = next(filter(None, (_day(data.text(key)) for key in then)), None)
    return _person.age(said, _day(data.text("PatientBirthDate")), recorded)


def _day(text: str) -> date | None:
    """A date, with or without a time, as 19530508 or, in older files, 1953.05.08."""
    return _person.day(text.replace(".", "")[:8])


def _body(data: Item) -> tuple[dict[str, float], list[str]]:
    """Height (cm) and weight (kg) where they are plausible. The standard says m; some machines write cm."""
    size = data.number("PatientSize") or 0.0
    height = _person.in_unit(size, "cm" if size > 3 else "m", _person.CENTIMETRES)
    known = _said.possible([("height", height), ("weight", data.number("PatientWeight"))])
    return known, ["height in cm, not in m"] if size > 3 and "height" in known else []


def _assumed(channels, padded: list[str], chosen: list[Part]) -> list[str]:
    """What was taken for granted about the samples."""
    bare = [c.name for c in channels if c.sensitivity is None]
    parts_of = max((abs(c.skew - round(c.skew)) for c in channels), default=0.0)
    kinds = {part.group.item.text("WaveformSampleInterpretation").upper() for part in chosen}
    lines = [f"no sensitivity, a step is one unit: {', '.join(bare)}"] if bare else []
    lines += padded
    lines += [f"skews of up to {parts_of:.2g} samples left in"] if parts_of > 0.01 else []
    lines += ["samples signed"] if "" in kinds else []
    return lines + (["G.711 codes as 16 bit values"] if kinds & {"MB", "AB"} else [])


def _derived(channels, chosen: list[Part]) -> list[str]:
    names, late = [c.name for c in channels if c.derived], [c.name for c in channels if round(c.skew)]
    lines = [f"{', '.join(names)} by the device"] if names else []
    lines += [f"skew taken out of {', '.join(late)}"] if late else []
    return lines + ([f"{len(chosen)} groups put together by their time offsets"] if len(chosen) > 1 else [])


def _device(data: Item) -> str:
    said = [data.text("Manufacturer"), data.text("ManufacturerModelName")]
    return " ".join(text for text in said if text and text.casefold() not in ("unknown", "none", "n/a"))


def _filters(channels) -> list[str]:
    """The filters of the leads; where leads differ, each kind."""
    return list(filter(None, (_said.filters(*three) for three in dict.fromkeys(c.filters for c in channels))))
