"""HL7 annotated ECG (aECG, ANSI/HL7 V3 ECG R1-2004): the XML that drug trials send to the FDA.

By the HL7 aECG implementation guide of 2005-03-21. A file may hold several rhythm series, each a record, and to each
a derived series with its representative beat.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from xml.etree.ElementTree import Element

from ..record import InputError, Record
from . import Given, _said, resolution, told
from ._aecg.notes import BEAT_OF_ALL, Notes, collect
from ._aecg.series import read as read_series
from ._aecg.series import sequences, size
from ._aecg.words import SECONDS, digits, moment, quantity
from ._xml import parse, root, text

TITLE = "HL7 aECG"
MEDIAN = True
SUBJECT = ".//subjectAssignment/subject/trialSubject"
AGE, HEIGHT, WEIGHT = ("21612-7", "30525-0"), ("8302-2", "3137-7"), ("29463-7", "3141-9")  # LOINC
CENTIMETRES = {"cm": 1.0, "m": 100.0, "mm": 0.1, "[in_i]": 2.54, "[in_us]": 2.54, "in": 2.54}
KILOGRAMS = {"kg": 1.0, "g": 1e-3, "[lb_av]": 0.45359237, "lb": 0.45359237}
FILTERS = {"HIGH_PASS": "high-pass", "LOW_PASS": "low-pass", "NOTCH": "notch"}


def claims(path: Path, head: bytes) -> int:
    return 2 if root(head)[0] == "AnnotatedECG" else 0


def count(path: Path, given: Given = Given()) -> int:  # noqa: B008
    """The rhythm series; without any, 1: reading it says what is wrong."""
    return max(1, len(_rhythms(_tree(path))))


def read(path: Path, given: Given = Given()) -> Record:  # noqa: B008
    tree = _tree(path)
    rhythms = _rhythms(tree)
    series = _choose(rhythms, given, path) if rhythms else None
    beat = _beat(tree, series)
    if series is None and not given.median:
        why = (
            "only a representative beat in it; read it with median (--median)"
            if beat is not None
            else "no waveform in it"
        )
        raise InputError(f"{path}: there is {why}{'' if beat is not None else '; export the ECG again'}")
    if given.median and beat is None:
        raise InputError(f"{path}: there is no representative beat in it; read it without median (--median)")
    signal = read_series(beat if given.median else series, path, given)
    notes = Notes()
    if series is not None:
        collect(series, signal, notes, times=not given.median)
    if beat is not None:
        collect(beat, signal, notes, of=BEAT_OF_ALL, times=given.median)
    others = [_described(other) for other in rhythms if other is not series]
    extra = _extra(signal, notes, None if given.median else beat, others)
    return _record(tree, series if series is not None else beat, path, given, signal, notes, extra)


def _tree(path: Path) -> Element:
    tree = parse(path)
    if tree.tag != "AnnotatedECG":
        raise InputError(f"{path}: its root is {tree.tag[:40]!r} and not AnnotatedECG; it is no HL7 aECG")
    return tree


def _is_beat(series: Element) -> bool:
    code = series.find("code")
    said = code.get("code", "").upper() if code is not None else ""
    return "BEAT" in said or "MEDIAN" in said or (series.tag == "derivedSeries" and said != "RHYTHM")


def _rhythms(tree: Element) -> list[Element]:
    return [series for series in tree.iter("series") if not _is_beat(series) and size(series)[0]]


def _choose(rhythms: list[Element], given: Given, path) -> Element:
    """The series with most leads, of these the longest, of these the first."""
    if given.index is None:
        return max(rhythms, key=size)
    if given.index >= len(rhythms):
        raise InputError(f"{path}: there is no record {given.index} in it; it has {len(rhythms)}, counted from 0")
    return rhythms[given.index]


def _beat(tree: Element, series: Element | None) -> Element | None:
    """The representative beat of a series, or one that stands for itself."""
    own = series.findall("derivation/derivedSeries") if series is not None else []
    found = [beat for beat in own if _is_beat(beat) and size(beat)[0]]
    found = found or [other for other in tree.iter("series") if _is_beat(other) and size(other)[0]]
    return max(found, key=size, default=None)


def _record(tree, series: Element, path: Path, given: Given, signal, notes: Notes, extra: dict) -> Record:
    subject = tree.find(SUBJECT)
    born = subject.find("subjectDemographicPerson/birthTime") if subject is not None else None
    age = _age(tree, subject, born, series, extra)
    extra |= told(device=_device(series), filters=_filters(series))
    return Record(
        signal=signal.signal,
        rate=signal.axis.rate,
        leads=signal.leads,
        id=path.stem,
        patient=_patient(subject, born, given),
        age=age,
        sex=_sex(subject),
        labels=notes.labels,
        values=_said.possible([*notes.measured(), *_body(tree)]),
        report=_said.report(notes.lines(), _persons(tree)),
        extra=extra,
        **notes.arrays(),
    )


def _extra(signal, notes: Notes, beat: Element | None, others: list[str]) -> dict[str, str]:
    derived = [f"{', '.join(notes.from_beats())} from single beats"] if notes.from_beats() else []
    derived += ["times of beats from the middle of their QRS"] if notes.guessed else []
    lost = [f"{notes.lost} annotations outside of the signal or without a time"] if notes.lost else []
    return told(
        unit=signal.unit,
        resolution=resolution(signal.resolution),
        assumed=signal.assumed,
        derived=derived,
        skipped=_said.few([*signal.skipped, *others, *lost]),
        median=_described(beat, "") if beat is not None else "",
    )


def _described(series: Element, what: str = "another series of ") -> str:
    """How many samples and leads a series has, and at what rate; nothing of it is decoded."""
    leads, length = {}, 0
    for name, sequence in sequences(series):
        leads[name] = None
        length = max(length, len(digits(sequence.find("value")).split()))
    step = quantity(series.find("component/sequenceSet/component/sequence/value/increment"), SECONDS, bare=1.0)
    at = f" at {round(1 / step, 2):g} Hz" if step else ""
    return f"{what}{length} samples{at}, {len(leads)} leads"


def _patient(subject: Element | None, born: Element | None, given: Given) -> str | None:
    if subject is None:
        return None
    person, number = subject.find("subjectDemographicPerson"), subject.find("id")
    said = number.get("extension", "") if number is not None else ""
    name = person.find("name") if person is not None else None
    words = " ".join("".join(name.itertext()).split()) if name is not None else ""
    day = born.get("value", "") if born is not None else ""
    return given.patient(said or text(person, "PatientID"), words, day)


def _persons(tree: Element) -> list[str]:
    """Names that must not be in the report: of the subject, and of who made and read the ECG."""
    found = []
    for person in tree.iter():
        if person.tag in ("subjectDemographicPerson", "assignedPerson", "investigatorPerson"):
            name = person.find("name")
            if name is not None:
                parts = [part.strip() for part in name.itertext() if part.strip()]
                found += [*parts, *(word for part in parts for word in part.split() if len(word) > 3)]
    return found


def _sex(subject: Element | None) -> str | None:
    code = subject.find("subjectDemographicPerson/administrativeGenderCode") if subject is not None else None
    said = (code.get("code") or "").strip().upper()[:1] if code is not None else ""
    return said if said in ("F", "M") else None


def _age(tree, subject, born: Element | None, series: Element, extra: dict) -> float | None:
    """As it is said; otherwise of the date of birth, which is told."""
    value = _observed(tree, AGE)
    if value is not None:
        age = _said.in_years(quantity(value, {value.get("unit", ""): 1.0}, bare=1.0), value.get("unit", ""))
    else:
        said = subject.find("subjectDemographicPerson/Age") if subject is not None else None
        age = _said.in_years(quantity(said, {}, bare=1.0), "")
    if age is not None:
        return age
    marks = [place.find(f"effectiveTime/{tag}") for tag in ("low", "center", "high") for place in (series, tree)]
    recorded = next((mark for mark in marks if mark is not None), None)
    age = _said.years(_day(born), _day(recorded))
    if age is not None:
        extra["derived"] = "; ".join([*filter(None, [extra.get("derived")]), "age from the date of birth"])
    return age


def _day(element: Element | None) -> date | None:
    """A date with year, month and day."""
    seconds = moment(element)
    whole = seconds is not None and len(element.get("value", "").strip()) >= 8
    return date.fromordinal(int(seconds // 86400)) if whole else None


def _observed(tree: Element, codes: tuple[str, ...]) -> Element | None:
    """The value of an observation about the subject."""
    for found in tree.iter("relatedObservation"):
        code = found.find("code")
        if code is not None and code.get("code") in codes:
            return found.find("value")
    return None


def _body(tree: Element) -> list[tuple[str, float | None]]:
    height, weight = _observed(tree, HEIGHT), _observed(tree, WEIGHT)
    return [("height", quantity(height, CENTIMETRES)), ("weight", quantity(weight, KILOGRAMS))]


def _device(series: Element) -> str:
    author = series.find("author/seriesAuthor")
    maker = text(author, "manufacturerOrganization/name")
    return " ".join(f"{maker} {text(author, 'manufacturedSeriesDevice/manufacturerModelName')}".split())[:80]


def _filters(series: Element) -> list[str]:
    found = []
    for control in series.findall("controlVariable/controlVariable"):
        code = control.find("code")
        kind = code.get("code", "").upper().rpartition("FILTER_")[2] if code is not None else ""
        values = (quantity(v, {"Hz": 1.0, "kHz": 1e3}) for v in control.findall("component/controlVariable/value"))
        hertz = next((value for value in values if value), None)
        if kind in FILTERS and hertz:
            found.append(f"{FILTERS[kind]} {hertz:g} Hz")
    return [", ".join(found)] if found else []
