"""The annotations of an HL7 aECG: waves, beats, rhythms, statements, codes and measurements.

Codes are of ISO/IEEE 11073-10102 (MDC). A set of annotations is by a device or by a person, whose statements and values
come first. Times are absolute or from the first sample on; those of a representative beat are that signal's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from xml.etree.ElementTree import Element

import numpy as np

from ...record import BEAT, QRS, RHYTHM, WAVE, P, T, lead_name
from .series import Signal
from .words import SECONDS, code, moment, quantity

BEATS = {  # the end of a MDC_ECG_BEAT_ code -> symbol in WFDB
    "NORMAL": "N",
    "DOMINANT": "?",
    "SV_P_C": "S",
    "ATR_P_C": "A",
    "JUNC_P_C": "J",
    "ATR_P_C_ABERR": "a",
    "ATR_PWAVE_BLK": "x",
    "V_P_C": "V",
    "V_P_C_FUSION": "F",
    "V_P_C_RONT": "r",
    "SV_ESC": "n",
    "ATR_ESC": "e",
    "JUNC_ESC": "j",
    "V_ESC": "E",
    "BB_BLK": "B",
    "LBB_BLK_COMP": "L",
    "RBB_BLK_COMP": "R",
    "PACED": "/",
    "PACED_FUS": "f",
    "UNKNOWN": "Q",
    "LEARN": "?",
}
RHYTHMS = {"SINUS_RHY": "N", "ATR_FIB": "AFIB", "ATR_FLUT": "AFL", "SINUS_BRADY": "SBR", "V_TACHY": "VT"}
WAVES = {"PWAVE": (P, P), "QRSWAVE": (QRS, QRS), "TWAVE": (T, T), "QRSTWAVE": (QRS, T), "PQRSTWAVE": (P, T)}
VALUES = {
    "HEART_RATE": ("heart rate", 0),
    "TIME_PD_RR": ("RR", 0),
    "TIME_PD_PR": ("PR", 0),
    "TIME_PD_QRS": ("QRS", 0),
    "TIME_PD_QT": ("QT", 0),
    "TIME_PD_QTC": ("QTc", 0),
    "TIME_PD_QTCB": ("QTc", 1),
    "TIME_PD_QTCF": ("QTc", 2),
    "TIME_PD_P": ("P duration", 0),
    "ANGLE_P_FRONT": ("P axis", 0),
    "ANGLE_QRS_FRONT": ("QRS axis", 0),
    "ANGLE_T_FRONT": ("T axis", 0),
    "P_AXIS": ("P axis", 1),  # of Mindray, as the next two
    "QRS_AXIS": ("QRS axis", 1),
    "T_AXIS": ("T axis", 1),
}
MILLISECONDS = {unit: factor * 1e3 for unit, factor in SECONDS.items()}
UNITS = {"heart rate": {"bpm": 1.0, "/min": 1.0, "1/min": 1.0, "{beats}/min": 1.0, "{beat}/min": 1.0}}
UNITS |= {name: {"deg": 1.0, "rad": 180 / np.pi} for name in ("P axis", "QRS axis", "T axis")}
SNOMED = "2.16.840.1.113883.6.96"
PERSON, DEVICE = 0, 1
WHOLE, BEAT_OF_ALL, OF_BEATS = 0, 1, 2  # what a value is of: the record, its representative beat, single beats


@dataclass
class Notes:
    """What is annotated, as it is found."""

    waves: list[list[int]] = field(default_factory=list)  # WAVE rows
    beats: list[tuple[int, str]] = field(default_factory=list)
    rhythms: list[tuple[int, int, str]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    statements: list[tuple[int, str]] = field(default_factory=list)  # (PERSON or DEVICE, text)
    values: dict[str, list] = field(default_factory=dict)  # name -> [((of what, by whom, formula), value)]
    lost: int = 0  # annotations whose times are not in the signal
    guessed: int = 0  # beats without a mark of their R peak

    def measured(self) -> list[tuple[str, float]]:
        """Name and value, the best first; a value of single beats is their median."""
        found = []
        for name, several in self.values.items():
            ranks = sorted({rank for rank, _ in several})
            found += [(name, median(value for r, value in several if r == rank)) for rank in ranks]
        return found

    def from_beats(self) -> list[str]:
        """The names of values that are medians of single beats."""
        return [name for name, several in self.values.items() if min(several)[0][0] == OF_BEATS]

    def lines(self) -> list[str]:
        """The statements of persons where there are any, otherwise those of the device."""
        first = min((by for by, _ in self.statements), default=PERSON)
        return [line for by, line in self.statements if by == first]

    def arrays(self) -> dict[str, np.ndarray | None]:
        """waves, beats and rhythms as a Record has them."""
        waves = np.array([tuple(row) for row in dict.fromkeys(map(tuple, self.waves))], dtype=WAVE)
        times = np.stack([waves["onset"], waves["peak"], waves["offset"]]) if len(waves) else np.zeros((3, 0), int)
        first = np.where(times >= 0, times, np.iinfo(np.int32).max).min(axis=0)
        kinds = {
            "waves": waves[np.argsort(first, kind="stable")],
            "beats": np.array(sorted(set(self.beats)), dtype=BEAT),
            "rhythms": np.array(sorted(set(self.rhythms)), dtype=RHYTHM),
        }
        return {name: array if len(array) else None for name, array in kinds.items()}


def collect(series: Element, signal: Signal, notes: Notes, of: int = WHOLE, times: bool = True) -> Notes:
    """The annotations of a series, added to `notes`. `times`: whether `signal` is the one that they are of."""
    for sets in series.findall("subjectOf/annotationSet"):
        person = next((True for _ in sets.iterfind("author//assignedPerson")), False)
        for annotation, beat in _annotations(sets):
            _note(annotation, beat, PERSON if person else DEVICE, of, signal if times else None, notes)
    return notes


def _annotations(sets: Element) -> Iterator[tuple[Element, Element | None]]:
    """Every annotation of a set in file order, and the beat that it is part of."""
    stack = [(found, None) for found in reversed(sets.findall("component/annotation"))]
    while stack:
        annotation, beat = stack.pop()
        yield annotation, beat
        inside = annotation if code(annotation) == "MDC_ECG_BEAT" else beat
        stack += [(found, inside) for found in reversed(annotation.findall("component/annotation"))]


def _note(annotation: Element, beat: Element | None, by: int, of: int, signal: Signal | None, notes: Notes) -> None:
    value = annotation.find("value")
    bare = re.sub(r"^[A-Z0-9]+?_ECG_", "", code(annotation).upper()).removesuffix("_GL")
    if value is None:
        return
    said = value.get("code", "").strip()
    if bare in VALUES:
        _value(bare, annotation, value, (OF_BEATS if beat is not None else of, by), notes)
    elif bare in ("WAVC", "WAVC_TYPE") and signal is not None:
        _wave(said.upper().rpartition("WAVC_")[2], annotation, signal, notes)
    elif bare == "BEAT" and signal is not None:
        _beat(said.upper().rpartition("BEAT_")[2], annotation, signal, notes)
    elif bare.startswith("INTERPRETATION"):
        text = "".join(value.itertext()).strip() or value.get("displayName", "")
        if text and not bare.endswith("SEVERITY"):
            notes.statements.append((by, text))
    if said and (bare == "RHY" or bare.startswith("INTERPRETATION") or value.get("codeSystem") == SNOMED):
        _label(said, annotation, value, signal, notes)


def _value(bare: str, annotation: Element, value: Element, rank: tuple[int, int], notes: Notes) -> None:
    """A number of all leads; what is of one lead is left out."""
    name, formula = VALUES[bare]
    found = quantity(value, UNITS.get(name, MILLISECONDS), bare=1.0)
    known = found is not None and (found != 0 or name.endswith("axis"))  # no interval lasts 0 ms
    if known and not _leads(annotation):
        notes.values.setdefault(name, []).append(((*rank, formula), found))


def _label(said: str, annotation: Element, value: Element, signal: Signal | None, notes: Notes) -> None:
    """A coded finding; a rhythm with its time where it has a name in WFDB."""
    known = re.fullmatch(r"[\w.:-]{1,64}", said)
    negated = "true" in (annotation.get("negationInd"), value.get("negationInd"))
    if known and (value.get("codeSystem") == SNOMED or said.upper().startswith("MDC_")):
        vocabulary = "snomed" if value.get("codeSystem") == SNOMED else "mdc"
        notes.labels[f"{vocabulary}:{said}"] = 0 if negated else 1
    name = RHYTHMS.get(said.upper().rpartition("_RHY_")[2])
    if name and signal is not None and not negated:
        axis = signal.axis
        marks = next(_marks(annotation), None) or ((None,) * 3, False)
        low, high = (axis.place(mark, marks[1]) for mark in (marks[0][0], marks[0][2]))
        if low is not None and high is not None and max(low, 0) < min(high, axis.length):
            notes.rhythms.append((round(max(low, 0)), round(min(high, axis.length)), name))


def _wave(kind: str, annotation: Element, signal: Signal, notes: Notes) -> None:
    """A wave, or the peak of an R wave, which is put into the QRS around it where there is one."""
    if kind not in WAVES and kind != "RWAVE":
        return
    onset, peak, offset = _times(annotation, signal)
    leads = _leads(annotation)
    for part in annotation.findall("component/annotation"):
        mark = part.find("value")
        mark = "" if mark is None else mark.get("code", "").upper().rpartition("WAVC_")[2]
        low, at, _ = _times(part, signal) if mark in ("PEAK", "ONSET", "OFFSET") else (-1, -1, -1)
        at, leads = at if at >= 0 else low, leads or _leads(part)
        onset, peak, offset = (
            at if mark == name and at >= 0 else now
            for name, now in zip(("ONSET", "PEAK", "OFFSET"), (onset, peak, offset))
        )
    where = [signal.leads.index(lead) for lead in leads if lead in signal.leads] if leads else [-1]
    if max(onset, peak, offset) < 0 or not where:
        notes.lost += 1
        return
    for lead in where:
        if kind == "RWAVE":
            _peak(lead, peak, notes)
        else:
            first, last = WAVES[kind]
            rows = [[first, lead, onset, peak, offset]]
            if first != last:
                rows = [[first, lead, onset, -1, -1], [last, lead, -1, -1, offset]]
            notes.waves += [row for row in rows if max(row[2:]) >= 0]


def _peak(lead: int, peak: int, notes: Notes) -> None:
    if peak < 0:
        return
    last = notes.waves[-1] if notes.waves else None
    if last and last[0] == QRS and last[1] == lead and last[3] < 0 and last[2] <= peak <= last[4]:
        last[3] = peak
    else:
        notes.waves.append([QRS, lead, -1, peak, -1])


def _beat(kind: str, annotation: Element, signal: Signal, notes: Notes) -> None:
    """A beat: at the peak of its R wave, or in the middle of its QRS or of its own time."""
    low, at, high = _times(annotation, signal)
    middle = (low + high) // 2 if min(low, high) >= 0 else -1
    for part in annotation.findall("component/annotation"):
        value = part.find("value")
        wave = "" if value is None else value.get("code", "").upper().rpartition("WAVC_")[2]
        marks = [found for found in (part, *part.findall("component/annotation")) if wave in ("RWAVE", "QRSWAVE")]
        for found in marks:
            first, peak, last = _times(found, signal)
            at = peak if at < 0 else at
            middle = (first + last) // 2 if wave == "QRSWAVE" and min(first, last) >= 0 else middle
    if max(at, middle) < 0:
        notes.lost += 1
        return
    notes.guessed += at < 0
    notes.beats.append((at if at >= 0 else middle, BEATS.get(kind, "?")))


def _times(annotation: Element, signal: Signal) -> tuple[int, int, int]:
    """Samples of the beginning, the single time and the end of an annotation; -1 where it has none."""
    for times, absolute in _marks(annotation):
        low, at, high = (signal.axis.sample(time, absolute) for time in times)
        return low, at, high
    return -1, -1, -1


def _marks(annotation: Element) -> Iterator[tuple[tuple[float | None, ...], bool]]:
    """Beginning, single time and end of an annotation in s, and whether they are time stamps."""
    for boundary in annotation.findall("support/supportingROI/component/boundary"):
        kind, value = code(boundary).upper(), boundary.find("value")
        if value is None or not kind.startswith("TIME_"):
            continue
        marks = (value.find("low"), value.find("center") if value.get("value") is None else value, value.find("high"))
        absolute = kind == "TIME_ABSOLUTE"
        yield tuple(moment(mark) if absolute else quantity(mark, SECONDS, bare=1.0) for mark in marks), absolute


def _leads(annotation: Element) -> list[str]:
    """The leads that an annotation is restricted to."""
    codes = [code(found).upper() for found in annotation.findall("support/supportingROI/component/boundary")]
    return [lead_name(said.rpartition("_LEAD_")[2]) for said in codes if "_ECG_LEAD_" in said]
