"""What is noted on a DICOM waveform (PS3.3 C.10.10): statements, findings, measurements, waves and beats.

The first sample has position 1. Machines put the marks of their median beat beside those of the rhythm, under the
rhythm's group: a set of marks that fits into the median beat, and that is alone or overlaps the next set, is taken as
the median beat's. (Two beats of a rhythm do not overlap.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ...record import BEAT, WAVES, waves_array
from .._said import possible
from .codes import ANGLE, ENDS, MEASURE, NO, PART, POINTS, SECOND, SPELT, SYMBOL, TIME, YES, measure
from .file import Item
from .groups import Group, Part

SIGNS = {"confirmed", "reviewed", "overread", "referred", "ordered", "edited", "signed", "interpreted"}
SIGNS |= {"technician", "operator", "physician"}
SCHEMES = {"SCT": "snomed", "SRT": "srt", "SNM3": "srt", "99SDM": "srt", "MDC": "mdc"}
PARTS = ("onset", "peak", "offset")
GAP = 1.0  # s; parts of a wave that lie further apart are of two waves
AXIS = "axes in degrees, which the file gives in another unit"


@dataclass
class Notes:
    report: list[str] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    assumed: set[str] = field(default_factory=set)
    hidden: int = 0  # lines of text that named somebody


class Mark(NamedTuple):
    """A point in a beat: a part of a wave, and whether it is a beat's place (with its symbol)."""

    kind: str  # "P", "QRS", "T"; "" for a beat alone
    part: str
    symbol: str  # "" where it is no beat
    group: int  # 0 where the file does not say
    channel: int  # 0 for all
    set: int  # the number of its annotation group
    place: float  # samples from 0, or s where `timed`
    timed: bool


@dataclass(frozen=True)
class Code:
    scheme: str
    value: str
    meaning: str


def notes(data: Item, people: list[str]) -> Notes:
    """All annotations. `people`: names and numbers that must not stand in the report."""
    found = Notes()
    items = data.items("WaveformAnnotationSequence")
    for item in items:
        name = _code(item, "ConceptNameCodeSequence")
        text = item.text("UnformattedTextValue")
        where = item.text("TemporalRangeType").upper()
        if text:
            _say(found, text, people)
        elif name and where:
            found.marks += _marks(item, name, where)
        elif name and item.raw("NumericValue"):
            _measure(found, item, name)
        elif name:
            _finding(found, name, _code(item, "ConceptCodeSequence"))
    for name in [name for name in found.values if name.endswith(" second")]:
        found.values.setdefault(name.removesuffix(" second"), found.values.pop(name))
    return found


def _code(item: Item, keyword: str) -> Code | None:
    code = item.first(keyword)
    if code is None:
        return None
    value = code.text("CodeValue") or code.text("LongCodeValue") or code.text("URNCodeValue")
    return Code(code.text("CodingSchemeDesignator").upper(), value, code.text("CodeMeaning"))


def _say(found: Notes, text: str, people: list[str]) -> None:
    """Adds lines to the report, but those that name who is in the file or who signed."""
    for line in re.split(r"[\r\n]+", text):
        line = " ".join(line.split())
        low = line.casefold()
        words = set(re.findall(r"\w+", low.replace("over-read", "overread")))
        signed = SIGNS & words and ("by" in words or ":" in low)
        if signed or any(all(word in low for word in name.split()) for name in people):
            found.hidden += 1
        elif line:
            found.report.append(line)


def _measure(found: Notes, item: Item, code: Code) -> None:
    """A number that is of the whole ECG and plausible; the first of a name counts."""
    name, value = measure(code.value, code.meaning), item.number("NumericValue")
    channels = item.numbers("ReferencedWaveformChannels")[1::2]
    if name is None or value is None or channels.any():
        return
    unit = _code(item, "MeasurementUnitsCodeSequence")
    unit = unit.value.lower() if unit else ""
    factors, *_ = MEASURE[name]
    axis = name.endswith("axis")
    if axis and unit in ("ms", "s"):
        found.assumed.add(AXIS)
    factors = factors | ANGLE if axis else factors or TIME
    for known in possible([(name, round(value * factors.get(unit, 1.0), 6))]).values():
        found.values.setdefault(name + " second" * (code.value in SECOND), known)


def _finding(found: Notes, name: Code, code: Code | None) -> None:
    """A coded statement: name alone, name and yes or no, or a name ("finding") and what it is."""
    answer = 1 if code and code.value in YES else 0 if code and code.value in NO else None
    said = name if code is None or answer is not None else code
    label = _label(said)
    if label:
        found.labels[label] = 1 if answer is None else answer
    if said.meaning and said.scheme in SCHEMES:
        found.report += [f"{said.meaning}: no" if answer == 0 else said.meaning]


def _label(code: Code) -> str:
    """vocabulary:code; SNOMED's older codes as SNOMED CT where pydicom's table has them."""
    vocabulary = SCHEMES.get(code.scheme, "")
    if vocabulary == "srt":
        from pydicom.sr._snomed_dict import mapping

        newer = mapping["SRT"].get(code.value)
        return f"snomed:{newer}" if newer else f"srt:{code.value}" if re.fullmatch(r"[\w-]{1,16}", code.value) else ""
    return f"{vocabulary}:{code.value}" if vocabulary and re.fullmatch(r"[\w:.-]{1,32}", code.value) else ""


def _marks(item: Item, code: Code, where: str) -> list[Mark]:
    """The points of an annotation in time; of a segment its two ends."""
    kind, part = PART.get(code.value, ("", ""))
    spelt = SPELT.fullmatch(code.meaning.strip())
    if spelt and not kind:
        kind, part = spelt.group(1).upper(), ENDS.get(spelt.group(2).lower(), spelt.group(2).lower())
    symbol = SYMBOL.get(code.value, "?" if code.value in POINTS else "")
    if not (kind or symbol):
        return []
    places, timed = item.numbers("ReferencedSamplePositions") - 1, False
    if not len(places):
        places, timed = item.numbers("ReferencedTimeOffsets"), True
    refers = item.numbers("ReferencedWaveformChannels").astype(int)
    group, channel = (int(refers[0]), int(refers[1])) if len(refers) == 2 else (0, 0)
    several = item.whole("AnnotationGroupNumber")
    if where in ("SEGMENT", "MULTISEGMENT"):
        ends = [part for _ in places[1::2] for part in ("onset", "offset")]
        pairs = zip(ends, places) if kind else []
    else:
        pairs = ((part, place) for place in places) if where in ("POINT", "MULTIPOINT") else []
    return [Mark(kind, p, symbol, group, channel, several, float(at), timed) for p, at in pairs if np.isfinite(at)]


def waves_and_beats(found: Notes, parts: list[Part], groups: list[Group], median: Group | None):
    """Waves and beats of what is read, None where there are none; and how many marks are another group's."""
    of_median = _median_set(found.marks, median) if median else None
    owned: dict[int, list[Mark]] = {}
    for mark in found.marks:
        group = mark.group or (groups[0].number if len(groups) == 1 else 0)
        owned.setdefault(median.number if of_median == mark.set else group, []).append(mark)
    rows = _rows(owned, parts)
    rate, beat = parts[0].group.rate or 1.0, median is parts[0].group
    waves = _waves([row for row in rows if row[0]], GAP * rate)
    symbols = {place: symbol for *_, symbol, place in sorted(rows, key=lambda row: row[3] != "?") if symbol}
    coded = {place: symbol for place, symbol in symbols.items() if symbol != "?"}
    beats = np.array(sorted((coded or symbols).items()), dtype=BEAT) if symbols and not beat else None
    return waves_array(waves) if waves else None, beats, len(found.marks) - len(rows)


def _median_set(marks: list[Mark], median: Group) -> int | None:
    """The annotation group whose marks are the median beat's although they name another group; None for none."""
    spans: dict[int, list[float]] = {}
    for mark in marks:
        if mark.group != median.number and not mark.timed:
            spans.setdefault(mark.set, []).append(mark.place)
    if not spans:
        return None
    first, *others = [(min(places), max(places)) for places in spans.values()]
    overlaps = any(low <= first[1] and first[0] <= high for low, high in others)
    return next(iter(spans)) if first[1] < median.length and (overlaps or not others) else None


def _rows(owned: dict[int, list[Mark]], parts: list[Part]) -> list[tuple]:
    """(kind, part, lead, symbol, sample) of the marks of each part, in the record."""
    names, rows = {name: i for i, name in enumerate(name for part in parts for name in part.leads)}, []
    for part in parts:
        group, rate = part.group, part.group.rate or 0.0
        channels = {place + 1: (names[name], part.begins[name]) for name, place in part.leads.items()}
        channels[0] = -1, min(part.begins.values())
        for mark in owned.get(group.number, []):
            place = round(mark.place * rate) if mark.timed else int(mark.place)
            if mark.channel in channels and 0 <= place < group.length:
                lead, begins = channels[mark.channel]
                rows.append((mark.kind, mark.part, lead, mark.symbol, place + begins))
    return rows


def _waves(rows: list[tuple], gap: float) -> list[tuple]:
    """WAVE rows: the parts of a wave in their order, each once and none far behind the one before. Where a kind has
    extents, a peak alone is a stray mark."""
    waves: list[list[int]] = []
    state: dict[tuple, tuple[list[int], int, int]] = {}  # kind and lead -> row, last part, last place
    for kind, part, lead, _, place in sorted(rows, key=lambda row: row[4]):
        step = PARTS.index(part)
        row, last, at = state.get((kind, lead), (None, 3, 0))
        if row is None or step <= last or place - at > gap:
            row = [WAVES.index(kind), lead, -1, -1, -1]
            waves.append(row)
        row[2 + step] = place
        state[kind, lead] = row, step, place
    whole = {row[0] for row in waves if row[2] >= 0 and row[4] >= 0}
    return [row for row in waves if row[0] not in whole or row[2] >= 0 or row[4] >= 0]
