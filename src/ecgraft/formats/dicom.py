"""DICOM waveforms (PS3.3 A.34, C.10.9): 12-lead, general, 32-bit and ambulatory ECGs; of other waveforms the ECG leads.

The rhythm is read, or the median beat with median=True; groups of leads that were recorded one after the other are put
together by their time offsets. A sample is exactly (sample x sensitivity x correction factor + baseline), rounded once
to float32. Images and documents are refused with what they are: a drawing of an ECG has no samples.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from ..record import InputError, Record
from . import Given, resolution, told
from ._dicom.file import Item, load, quiet, starts
from ._dicom.groups import Group, Part, groups, joined_parts, medians, rank, signal
from ._dicom.notes import notes, placed
from ._dicom.write import write
from ._given import NOBODY

__all__ = ["ENDINGS", "TITLE", "claims", "read", "write"]
TITLE = "DICOM"
MEDIAN = True
ENDINGS = (".dcm",)
YEAR = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}  # years in the units of an age
DIRECTORY = "1.2.840.10008.1.3.10"
DRAWN = "a drawing of an ECG has no samples: export the ECG as a DICOM waveform"


def claims(path: Path, head: bytes) -> int:
    return 2 if starts(head) >= 0 else 0


def read(path: Path, given: Given = Given()) -> Record:  # noqa: B008
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
    made, steps, ignored = signal(chosen, given, path)  # (C, T)
    rate = chosen[0].group.rate or given.hz(path)
    said = notes(data, _people(data))
    beat = max(beats, key=rank, default=None)
    waves, peaks, elsewhere = placed(said, chosen, found, beat)
    age, derived = _age(data)
    known, assumed = _body(data)
    channels = [part.group.channels[place] for part in chosen for place in part.leads.values()]
    marks = [f"{elsewhere} marks of the median beat or another group"] if elsewhere else []
    lines = [f"{said.hidden} lines of text that name somebody"] if said.hidden else []
    extra = told(
        unit=list(dict.fromkeys(c.unit or given.unit or "" for c in channels)),
        resolution=resolution(list(map(abs, steps.values()))),
        assumed=[*assumed, *sorted(said.assumed), *_assumed(channels, ignored, chosen)],
        derived=[*derived, *_derived(channels, chosen)],
        skipped=[*left, *wrong, *marks, *lines],
        median="" if given.median or not beat else str(beat),
        device=_device(data),
        filters=_filters(channels),
        status=[f"{c.name} {c.status.lower()}" for c in channels if c.status not in ("", "OK")],
    )
    record = Record(made, rate, tuple(steps), labels=said.labels, values=said.values | known, extra=extra)
    return record.but(
        report="\n".join(said.report) or None, waves=waves, beats=peaks, id=path.stem, age=age, **_who(data, given)
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
        raise InputError(f"{path}: there is no median beat in it; read it without median (--median)")
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
    """Years, and "age" where they were computed from dates."""
    found = re.fullmatch(r"(\d{1,3})([YMWD])", data.text("PatientAge").upper())
    if found and int(found.group(1)):
        years = int(found.group(1)) * YEAR[found.group(2)]
        return (round(years, 4) if years <= 120 else None), []
    then = ("AcquisitionDateTime", "AcquisitionDate", "ContentDate", "StudyDate", "SeriesDate")
    born, when = _day(data.text("PatientBirthDate")), next(filter(None, (_day(data.text(key)) for key in then)), None)
    years = (when - born).days / 365.25 if born and when else -1.0
    return (round(years, 2), ["age from the date of birth"]) if 0 <= years <= 120 else (None, [])


def _day(text: str) -> datetime | None:
    """A date as 19530508 or, in older files, 1953.05.08."""
    try:
        return datetime.strptime(text.replace(".", "")[:8], "%Y%m%d")
    except ValueError:
        return None


def _body(data: Item) -> tuple[dict[str, float], list[str]]:
    """Height (cm) and weight (kg) where they are plausible. The standard says m; some machines write cm."""
    size, weight = data.number("PatientSize") or 0.0, data.number("PatientWeight") or 0.0
    height = round(size if size > 3 else size * 100, 2)
    known = {"height": height} if 20 <= height <= 260 else {}
    known |= {"weight": weight} if 0.3 <= weight <= 500 else {}
    return known, ["height in cm, not in m"] if size > 3 and "height" in known else []


def _assumed(channels, ignored: bool, chosen: list[Part]) -> list[str]:
    """What was taken for granted about the samples."""
    bare = [c.name for c in channels if c.sensitivity is None]
    parts_of = max((abs(c.skew - round(c.skew)) for c in channels), default=0.0)
    kinds = {part.group.item.text("WaveformSampleInterpretation").upper() for part in chosen}
    lines = [f"no sensitivity, a step is one unit: {', '.join(bare)}"] if bare else []
    lines += ["padding value 0 taken as signal"] if ignored else []
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
    seen = dict.fromkeys(c.filters for c in channels)
    words = [[f"{n} {v:g} Hz" for n, v in zip(("high-pass", "low-pass", "notch"), row) if v > 0] for row in seen]
    return list(filter(None, map(", ".join, words)))
