"""HL7 annotated ECG (aECG, ANSI/HL7 V3 ECG R1-2004): the XML that drug trials send to the FDA.

By the HL7 aECG implementation guide of 2005-03-21. A file may hold several rhythm series, each a record, and to each
a derived series with its representative beat.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from ..record import InputError, Record
from . import Given, _person, _said, resolution, told
from ._aecg.notes import BEAT_OF_ALL, Notes, collect
from ._aecg.series import Signal, sequences, size
from ._aecg.series import read as read_series
from ._aecg.words import SECONDS, code, day, digits, quantity
from ._given import NO_MEDIAN
from ._xml import is_root, parse, root, text

TITLE, ROOT = "HL7 aECG", "AnnotatedECG"
MEDIAN = True
SUBJECT = ".//subjectAssignment/subject/trialSubject"
AGE, HEIGHT, WEIGHT = ("21612-7", "30525-0"), ("8302-2", "3137-7"), ("29463-7", "3141-9")  # LOINC
CENTIMETRES = _person.CENTIMETRES | {"[in_i]": 2.54, "[in_us]": 2.54}  # in UCUM
KILOGRAMS = _person.KILOGRAMS | {"[lb_av]": 0.45359237}


def claims(path: Path, head: bytes) -> int:
    return 2 if is_root(root(head)[0], ROOT) else 0


def count(path: Path, given: Given) -> int:
    """The rhythm series; without any, 1: reading it says what is wrong."""
    return max(1, len(_rhythms(parse(path, ROOT))))


def read(path: Path, given: Given) -> Record:
    tree = parse(path, ROOT)
    rhythms = _rhythms(tree)
    series = _choose(rhythms, given, path) if rhythms else None
    beat = _beat(tree, series)
    if series is None and not given.median:
        only = "only a representative beat in it; read it with median (--median)"
        raise InputError(f"{path}: there is {'no waveform in it; export the ECG again' if beat is None else only}")
    if given.median and beat is None:
        raise InputError(f"{path}: {NO_MEDIAN}")
    signal = read_series(beat if given.median else series, path, given)
    notes = Notes()
    if series is not None:
        collect(series, signal, notes, times=not given.median)
    if beat is not None:
        collect(beat, signal, notes, of=BEAT_OF_ALL, times=given.median)
    others = [_described(other) for other in rhythms if other is not series]
    read_of = series if series is not None else beat
    age, derived = _age(tree, read_of)
    extra = _extra(signal, notes, None if given.median else beat, others, derived)
    extra |= told(device=_device(read_of), filters=_filters(read_of))
    return _record(tree, path, given, signal, notes, age, extra)


def _is_beat(series: Element) -> bool:
    said = code(series).upper()
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


def _record(tree, path: Path, given: Given, signal: Signal, notes: Notes, age: float | None, extra: dict) -> Record:
    return Record(
        signal=signal.signal,
        rate=signal.axis.rate,
        leads=signal.leads,
        id=path.stem,
        patient=_patient(tree, given),
        age=age,
        sex=_person.sex(_value(tree, "administrativeGenderCode", "code")),
        labels=notes.labels,
        values=_said.possible([*notes.measured(), *_body(tree)]),
        report=_said.report(notes.lines(), _said.names(_persons(tree))),
        extra=extra,
        **notes.arrays(),
    )


def _extra(signal: Signal, notes: Notes, beat: Element | None, others: list[str], age: list[str]) -> dict[str, str]:
    derived = [f"{', '.join(notes.from_beats())} from single beats"] if notes.from_beats() else []
    derived += ["times of beats from the middle of their QRS"] if notes.guessed else []
    lost = [f"{notes.lost} annotations outside of the signal or without a time"] if notes.lost else []
    return told(
        unit=signal.unit,
        resolution=resolution(signal.resolution),
        assumed=signal.assumed,
        derived=derived + age,
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
    return what + _said.extent(length, 1 / step if step else None, len(leads))


def _value(tree: Element, tag: str, attribute: str = "value") -> str:
    """An attribute of what is said of the subject's person."""
    found = tree.find(f"{SUBJECT}/subjectDemographicPerson/{tag}")
    return found.get(attribute, "") if found is not None else ""


def _patient(tree: Element, given: Given) -> str | None:
    number, name = tree.find(f"{SUBJECT}/id"), tree.find(f"{SUBJECT}/subjectDemographicPerson/name")
    said = number.get("extension", "") if number is not None else ""
    words = " ".join("".join(name.itertext()).split()) if name is not None else ""
    identity = said or text(tree, f"{SUBJECT}/subjectDemographicPerson/PatientID")
    return given.patient(identity, words, _value(tree, "birthTime"))


def _persons(tree: Element) -> list[str]:
    """Parts of the names of the subject, and of who made and read the ECG."""
    named = ("subjectDemographicPerson", "assignedPerson", "investigatorPerson")
    names = [person.find("name") for person in tree.iter() if person.tag in named]
    return [part for name in names if name is not None for part in name.itertext() if part.strip()]


def _age(tree: Element, series: Element) -> tuple[float | None, list[str]]:
    """As it is said; otherwise of the date of birth, which is told."""
    said, value = tree.find(f"{SUBJECT}/subjectDemographicPerson/Age"), _observed(tree, AGE)
    if value is not None:
        unit = value.get("unit", "")
        said = _person.in_years(quantity(value, {unit: 1.0}, bare=1.0), unit)
    else:
        said = _person.in_years(quantity(said, {}, bare=1.0))
    marks = [place.find(f"effectiveTime/{tag}") for tag in ("low", "center", "high") for place in (series, tree)]
    recorded = next((mark for mark in marks if mark is not None), None)
    return _person.age(said, day(tree.find(f"{SUBJECT}/subjectDemographicPerson/birthTime")), day(recorded))


def _observed(tree: Element, codes: tuple[str, ...]) -> Element | None:
    """The value of an observation about the subject."""
    found = (observation for observation in tree.iter("relatedObservation") if code(observation) in codes)
    return next((observation.find("value") for observation in found), None)


def _body(tree: Element) -> list[tuple[str, float | None]]:
    height, weight = _observed(tree, HEIGHT), _observed(tree, WEIGHT)
    return [("height", quantity(height, CENTIMETRES)), ("weight", quantity(weight, KILOGRAMS))]


def _device(series: Element) -> str:
    author = series.find("author/seriesAuthor")
    maker = text(author, "manufacturerOrganization/name")
    return " ".join(f"{maker} {text(author, 'manufacturedSeriesDevice/manufacturerModelName')}".split())[:80]


def _filters(series: Element) -> str:
    found = {}
    for control in series.findall("controlVariable/controlVariable"):
        kind = code(control).upper().rpartition("FILTER_")[2]
        values = (quantity(v, {"Hz": 1.0, "kHz": 1e3}) for v in control.findall("component/controlVariable/value"))
        found.setdefault(kind, next((value for value in values if value), None))
    return _said.filters(*map(found.get, ("HIGH_PASS", "LOW_PASS", "NOTCH")))
