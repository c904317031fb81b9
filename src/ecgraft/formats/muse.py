"""GE MUSE XML (RestingECG): what the MUSE system exports of ECGs of MAC and other carts.

A private format. What is known of it is by exports of MUSE 9 that are public (BIVectors/BRAVEHEART,
PierreElias/IntroECG) and by the programs that read them. Times of QRS complexes are in ms from the start, at the point
where the beats are aligned; wave boundaries are samples of the median beat at ECGSampleBase; the high-pass filter is
in 1/100 Hz.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from ..record import BEAT, QRS, InputError, P, Record, T, waves_array
from . import Given, _person, _said, resolution, told
from ._given import NO_MEDIAN
from ._muse_wave import Signal, decimal, rate
from ._muse_wave import read as read_waveform
from ._xml import is_root, parse, root, text

TITLE, ROOT = "GE MUSE XML", "RestingECG"
MEDIAN = True
VALUES = (
    ("heart rate", "VentricularRate"),
    ("PR", "PRInterval"),
    ("QRS", "QRSDuration"),
    ("QT", "QTInterval"),
    ("QTc", "QTCorrected"),
    ("QTc", "QTcFrederica"),
    ("P axis", "PAxis"),
    ("QRS axis", "RAxis"),
    ("T axis", "TAxis"),
)
BODY = (("height", "HeightCM", 1.0), ("height", "HeightIN", _person.CENTIMETRES["in"]))
BODY += (("weight", "WeightKG", 1.0), ("weight", "WeightLBS", _person.KILOGRAMS["lb"]))


def claims(path: Path, head: bytes) -> int:
    return 2 if is_root(root(head)[0], ROOT) else 0


def read(path: Path, given: Given) -> Record:
    tree = parse(path, ROOT)
    rhythms, medians = _waveforms(tree)
    chosen = _choose(medians if given.median else rhythms, given.median, path)
    signal = read_waveform(chosen, path, given)
    patient, test = tree.find("PatientDemographics"), tree.find("TestDemographics")
    signal.skipped += [f"another waveform, {_described(w, given)}" for w in rhythms if w is not chosen]
    age, derived = _age(patient, test)
    measured = _measured(tree)
    values = _said.possible([*_values(measured, tree), *_body(patient)])
    marks = {"waves": _waves(measured, signal)} if given.median else {"beats": _beats(tree, values, signal)}
    return Record(
        signal=signal.signal,
        rate=signal.rate,
        leads=signal.leads,
        id=path.stem,
        patient=_patient(patient, given),
        age=age,
        sex=_person.sex(text(patient, "Gender")),
        values=values,
        report=_report(tree),
        extra=_extra(signal, chosen, test, derived, None if given.median or not medians else medians[0], given),
        **marks,
    )


def _waveforms(tree: Element) -> tuple[list[Element], list[Element]]:
    """Rhythms and median beats. One without a type is a rhythm."""
    found = [waveform for waveform in tree.findall("Waveform") if waveform.find("LeadData") is not None]
    medians = [waveform for waveform in found if text(waveform, "WaveformType").lower() == "median"]
    return [waveform for waveform in found if waveform not in medians], medians


def _choose(waveforms: list[Element], beat: bool, path) -> Element:
    """The one with most leads, of these the longest."""
    if not waveforms and beat:
        raise InputError(f"{path}: {NO_MEDIAN}")
    if not waveforms:
        raise InputError(f"{path}: there is no rhythm in it; export the ECG again with waveforms")
    return max(waveforms, key=lambda w: (len(w.findall("LeadData")), _length(w)))


def _length(waveform: Element) -> int:
    """Samples of the longest lead, as it is said."""
    return int(max((decimal(lead, "LeadSampleCountTotal") or 0 for lead in waveform.findall("LeadData")), default=0))


def _described(waveform: Element, given: Given) -> str:
    hz = rate(waveform, given, "") if decimal(waveform, "SampleBase") else None
    return _said.extent(_length(waveform), hz, len(waveform.findall("LeadData")))


def _extra(signal: Signal, chosen: Element, test, derived: list[str], beat: Element | None, given: Given) -> dict:
    device = re.sub(r"\d{6,}", "", text(test, "AcquisitionDevice"))[:40]
    status = text(test, "Status").lower()
    return told(
        unit=signal.unit,
        resolution=resolution(signal.resolution),
        assumed=signal.assumed,
        derived=[*signal.derived, *derived],
        skipped=_said.few(signal.skipped),
        median=_described(beat, given) if beat is not None else "",
        device=f"GE {device}".strip() if device else "",
        filters=_filters(chosen),
        quality=signal.quality,
        status=status if re.fullmatch("[a-z ]{1,20}", status) else "",
    )


def _filters(waveform: Element) -> str:
    high, low = decimal(waveform, "HighPassFilter"), decimal(waveform, "LowPassFilter")
    notch = next((value for value in map(decimal, waveform.findall("ACFilter")) if value), None)
    return _said.filters(high and high / 100, low, notch)


def _measured(tree: Element) -> Element | None:
    """What was measured, as it was edited; the machine's own only where there is nothing else."""
    blocks = (tree.find(tag) for tag in ("RestingECGMeasurements", "OriginalRestingECGMeasurements"))
    return next((b for b in blocks if b is not None and any(text(b, tag) for _, tag in VALUES)), None)


def _values(measured: Element | None, tree: Element) -> list[tuple[str, float | None]]:
    onset, offset, step = (decimal(measured, tag) for tag in ("POnset", "POffset", "ECGSampleBase"))
    found = [(name, decimal(measured, tag)) for name, tag in VALUES]
    found.append(("RR", decimal(tree, "QRSTimesTypes/GlobalRR")))
    if step and None not in (onset, offset):
        hertz = step * 10 ** min(max(decimal(measured, "ECGSampleExponent") or 0, -9), 9)
        found.append(("P duration", 1000 * (offset - onset) / hertz))
    return found


def _body(patient: Element | None) -> list[tuple[str, float | None]]:
    found = [(name, decimal(patient, tag), factor) for name, tag, factor in BODY]
    return [(name, value and value * factor) for name, value, factor in found]


def _waves(measured: Element | None, signal: Signal) -> np.ndarray | None:
    """P, QRS and T of the median beat."""
    step = decimal(measured, "ECGSampleBase")
    if not step:
        return None
    ratio = signal.rate / (step * 10 ** min(max(decimal(measured, "ECGSampleExponent") or 0, -9), 9))
    length = signal.signal.shape[1]

    def at(tag: str) -> int:
        found = decimal(measured, tag)
        place = -1 if not found else found * ratio - signal.first
        return round(place) if 0 <= place < length - 0.5 else -1

    rows = [(P, -1, at("POnset"), -1, at("POffset")), (QRS, -1, at("QOnset"), -1, at("QOffset"))]
    rows = [row for row in [*rows, (T, -1, at("TOnset"), -1, at("TOffset"))] if max(row[2], row[4]) >= 0]
    return waves_array(rows) if rows else None


def _beats(tree: Element, values: dict[str, float], signal: Signal) -> np.ndarray | None:
    """Where MUSE found QRS complexes. Their types are numbers of shapes, 0 the one of the median: not classified.

    In ms; some exports have samples, which fit the heart rate where ms do not.
    """
    marks = [(decimal(qrs, "Time"), text(qrs, "Type")) for qrs in tree.findall("QRSTimesTypes/QRS")]
    times = np.array([time for time, _ in marks if time is not None and 0 <= time < 2**31])
    if not len(times):
        return None
    length, step = signal.signal.shape[1], signal.rate / 1000
    samples = (times < length).all() and _in_samples(times, values, signal)
    if samples and step != 1:
        signal.assumed.append("times of QRS complexes are samples")
    shapes = Counter(kind for _, kind in marks if re.fullmatch(r"\d{1,3}", kind))
    if len(shapes) > 1:
        signal.skipped.append("shapes of beats: " + ", ".join(f"{n} of {kind}" for kind, n in sorted(shapes.items())))
    at = np.unique(np.rint(times if samples else times * step).astype(np.int64)) - signal.first
    at = at[(at >= 0) & (at < length)]
    return np.array([(sample, "?") for sample in at.tolist()], dtype=BEAT) if len(at) else None


def _in_samples(times: np.ndarray, values: dict[str, float], signal: Signal) -> bool:
    """Whether times that could be either fit the heart rate better as samples, or as ms leave half of the ECG empty."""
    expected = values.get("RR", 60_000 / values["heart rate"] if "heart rate" in values else None)
    if expected is None or len(times) < 2:
        return len(times) > 3 and times.max() * signal.rate / 1000 < 0.6 * signal.signal.shape[1]
    between = float(np.median(np.diff(np.sort(times))))
    return abs(between * 1000 / signal.rate - expected) < abs(between - expected)


def _report(tree: Element) -> str | None:
    """The statements as they were edited last; the machine's own where these say nothing."""
    blocks = [tree.find(tag) for tag in ("PatientDemographics", "TestDemographics", "Order")]
    named = [element for block in blocks if block is not None for element in block.iter()]
    persons = _said.names(text(e) for e in named if e.tag.endswith(("LastName", "FirstName")))
    persons += [text(e) for e in named if e.tag.endswith(("PatientID", "SiteName"))]
    for tag in ("Diagnosis", "OriginalDiagnosis"):
        lines = _said.report(_lines(tree.find(tag)), persons)
        if lines:
            return lines
    return None


def _lines(diagnosis: Element | None) -> list[str]:
    """Statements up to one flagged ENDSLINE are a line; each is one where none is flagged so."""
    lines, parts, ended = [], [], False
    for statement in diagnosis.findall("DiagnosisStatement") if diagnosis is not None else ():
        flags = {text(flag).upper() for flag in statement.findall("StmtFlag")}
        words = text(statement, "StmtText") if "DELETED" not in flags else ""
        parts += [words] if words else []
        ended |= "ENDSLINE" in flags
        if "ENDSLINE" in flags and parts:
            lines, parts = [*lines, parts], []
    if not ended:
        return parts
    return [" ".join(line) for line in [*lines, parts] if line]


def _patient(patient: Element | None, given: Given) -> str | None:
    name = f"{text(patient, 'PatientLastName')} {text(patient, 'PatientFirstName')}"
    return given.patient(text(patient, "PatientID"), name, text(patient, "DateofBirth"))


def _age(patient: Element | None, test: Element | None) -> tuple[float | None, list[str]]:
    """As it is said, and otherwise of the dates; what was computed. 0 years is how an unknown age is written."""
    unit = text(patient, "AgeUnits")
    value = decimal(patient, "PatientAge")
    age = _person.in_years(value, unit)
    if age is not None and (value or unit.lower().startswith(("d", "h", "m", "w"))):
        return age, []
    born, recorded = _dates(text(patient, "DateofBirth"), text(test, "AcquisitionDate"))
    return _person.age(None, born, recorded)


def _dates(*words: str) -> list[date | None]:
    """Dates of one file: MM-DD-YYYY, unless a first number is above 12, or they can be read in one way only."""
    numbers = [re.fullmatch(r"(\d{1,2})\D(\d{1,2})\D(\d{4})", word.strip(), re.ASCII) for word in words]
    day_first = any(found and int(found[1]) > 12 for found in numbers)
    return [_person.day(word) or (_date(found, day_first) if found else None) for word, found in zip(words, numbers)]


def _date(found: re.Match, day_first: bool) -> date | None:
    month, day = (found[2], found[1]) if day_first else (found[1], found[2])
    return _person.day_of(found[3], month, day)
