"""GE CASE / CardioSoft XML (root element CardiologyXML): resting ECGs and exercise tests, also those of UK Biobank.

By a real file of CardioSoft 6.7 and by the readers of ml4h, BioSig, BRAVEHEART and CardioSoftECGXMLreader. Strips
(StripData) and the whole of an exercise test (FullDisclosure) are rhythms, MedianSamples and MedianData averaged beats.
No file with FullDisclosure was at hand. Its data are a second of the first lead, a second of the next ... (ml4h, which
had read them sample by sample before, and two others); GE's export manual is quoted as saying sample by sample. The
smoother of both orders is taken, and told.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from ..record import LEADS, MILLIVOLT, InputError, Record, lead_name
from . import Given, _digital, _person, _said, resolution, told
from ._channels import MOST, is_ecg, unique
from ._given import NO_MEDIAN
from ._xml import is_root, number, parse, root, text

TITLE, ROOT = "CardioSoft XML", "CardiologyXML"
MEDIAN = True
AVERAGED = ("MedianSamples", "Median", "MedianData")  # elements with averaged beats
ROUGH = 60  # seconds by which the order of FullDisclosure is told
MEASURED = {
    "heart rate": "VentricularRate",
    "PR": "PQInterval",
    "QRS": "QRSDuration",
    "QT": "QTInterval",
    "QTc": "QTCInterval",
    "P duration": "PDuration",
    "RR": "RRInterval",
    "P axis": "PAxis",
    "QRS axis": "RAxis",
    "T axis": "TAxis",
}


@dataclass(frozen=True)
class Group:
    """Leads of one length: a strip, a median beat, or the whole recording. `around`: elements that describe it."""

    kind: str
    around: tuple[Element, ...]
    waves: tuple[Element, ...]

    def number(self, name: str) -> float | None:
        found = (number(element, name) for element in self.around)
        return next((value for value in found if value is not None), None)

    def text(self, name: str) -> str:
        return next((said for said in (text(element, name) for element in self.around) if said), "")

    def names(self) -> list[str]:
        if self.kind == "FullDisclosure":
            return [name.strip() for name in self.text("LeadOrder").split(",") if name.strip()]
        return [(wave.get("lead") or wave.get("Lead") or "").strip() for wave in self.waves]

    def count(self) -> int:
        """Samples of a lead."""
        marks = sum(said.count(",") for wave in self.waves for said in _pieces(wave))
        return marks // max(len(self.names()), 1) + (self.kind != "FullDisclosure")

    def size(self) -> tuple[int, float]:
        leads = {lead_name(name) for name in self.names()} & set(LEADS)
        return len(leads), self.count() / (self.number("SampleRate") or 500)

    def title(self) -> str:
        return _said.extent(self.count(), self.number("SampleRate"), len(self.names()))


def claims(path: Path, head: bytes) -> int:
    return 2 if is_root(root(head)[0], ROOT) else 0


def read(path: Path, given: Given) -> Record:
    """The strip or recording with the most leads, of these the longest; with given.median the averaged beat."""
    tree = parse(path, ROOT)
    group, others, extra = _choose(tree, given, path)
    rate = group.number("SampleRate") or given.hz(path)
    full = group.kind == "FullDisclosure"
    names, rows = _whole(group, rate, extra, path) if full else _leads(group, path)
    kept = [i for i, name in enumerate(names) if is_ecg(name, None)]
    if not kept:
        raise InputError(f"{path}: no ECG among its leads ({', '.join(names)[:200]})")
    unit, step = _scale(group, given, extra, path)
    signal = _digital.millivolt([rows[i] for i in kept], [step] * len(kept), unit, path)
    _invalid(group, signal)
    person, extra["derived"] = _subject(tree, given)
    extra |= {"unit": unit, "resolution": resolution([step * MILLIVOLT[unit.lower()]]), "device": _device(tree)}
    extra["skipped"] += [name for i, name in enumerate(names) if i not in kept]
    extra["skipped"] += [f"{other.kind}: {other.title()}" for other in others]
    about = {"id": path.stem, "report": _report(tree), "values": _values(tree)}
    extra = told(**extra, filters=_filters(tree))
    return Record(signal, rate, unique(names[i] for i in kept), **person, **about, extra=extra)


def _choose(tree: Element, given: Given, path: Path) -> tuple[Group, list[Group], dict]:
    """The group to read, the others of its kind, and what there is to tell."""
    groups = _groups(tree)
    medians = [group for group in groups if group.kind in AVERAGED]
    rhythms = [group for group in groups if group.kind not in AVERAGED]
    pool = medians if given.median else rhythms
    if not pool and given.median:
        raise InputError(f"{path}: {NO_MEDIAN}")
    if not pool:
        raise InputError(f"{path}: there is no waveform in it; export it with StripData or FullDisclosure")
    best = max(pool, key=Group.size)
    extra = {"assumed": [], "skipped": ["the rhythm"] if given.median and rhythms else []}
    if medians and not given.median:
        extra["median"] = max(medians, key=Group.size).title()
    if tree.find(".//ArrhythmiaResults") is not None:
        extra["skipped"].append("times of beats, which are not those of R peaks")
    return best, [group for group in pool if group is not best], extra


def _groups(tree: Element) -> list[Group]:
    """All that holds samples, in file order."""
    above = {child: parent for parent in tree.iter() for child in parent}
    groups = []
    for element in tree.iter():
        waves = [wave for wave in element.findall("WaveformData") if text(wave)]
        kind, around = element.tag, (element, above.get(element, element))
        if element.tag == "FullDisclosure":
            waves = [wave for wave in element.findall("FullDisclosureData") if any(_pieces(wave))]
        if waves:
            groups.append(Group(kind, around, tuple(waves)))
    return groups


def _pieces(wave: Element) -> list[str]:
    """The text of an element and after its children (FullDisclosureData may hold a SampleCountTotal)."""
    return [said for said in (text(wave), *((child.tail or "").strip() for child in wave)) if said]


def _leads(group: Group, path: Path) -> tuple[list[str], list[np.ndarray]]:
    """An element with samples for each lead."""
    names, rows, count = group.names(), [], group.number("ChannelSampleCountTotal") or 0
    names = [name or f"channel {i + 1}" for i, name in enumerate(names)]
    for name, wave in zip(names[: MOST + 1], group.waves):
        where = f"{path}, lead {name[:20]}"
        rows.append(_digital.complete(_digital.numbers(text(wave), where), count, where))
    return names[: len(rows)], rows


def _whole(group: Group, rate: float, extra: dict, path: Path) -> tuple[list[str], list[np.ndarray]]:
    """All leads in one list of numbers."""
    names, where = group.names(), f"{path}, FullDisclosure"
    C = len(names)
    if not 0 < C <= MOST:
        raise InputError(f"{where}: {C} leads in its LeadOrder; 1 to {MOST} are read")
    pieces = (said.rstrip(", ") for wave in group.waves for said in _pieces(wave))
    values = _digital.numbers(",".join(pieces), where)
    if len(values) < C:
        raise InputError(f"{where}: {len(values)} samples of {C} leads; export it again")
    mixed = values[: len(values) // C * C].reshape(-1, C).T  # (C, T)
    block = max(round(rate), 1)
    seconds = len(values) // (C * block)
    if C == 1 or not seconds:
        return names, list(mixed)
    apart = values[: seconds * C * block].reshape(seconds, C, block).swapaxes(0, 1).reshape(C, -1)
    first = slice(0, ROUGH * block)
    by_second = _roughness(apart[:, first]) <= _roughness(mixed[:, first])
    extra["assumed"].append(f"FullDisclosure holds its leads {'a second each' if by_second else 'sample by sample'}")
    return names, list(apart if by_second else mixed)


def _roughness(x: np.ndarray) -> float:
    return float(np.nanmean(np.abs(np.diff(x, axis=1)))) if x.shape[1] > 1 else np.inf


def _scale(group: Group, given: Given, extra: dict, path: Path) -> tuple[str, float]:
    """The unit, and how much of it a digital unit is."""
    found = next((e for element in group.around for e in element.findall("Resolution") if text(e)), None)
    said = "" if found is None else found.get("units", "")
    unit = said.lower().removesuffix("perlsb").strip() or (given.unit or "uV").lower()
    if not said and given.unit is None:
        extra["assumed"].append("unit uV")
    return _digital.unit_name(unit, given, path), _digital.step(number(found), path)


def _invalid(group: Group, signal: np.ndarray) -> None:
    """What is before the first valid sample of a median beat and after the last one becomes NaN."""
    first, last = group.number("FirstValid"), group.number("LastValid")
    if first is not None and last is not None and 0 <= first < last:
        signal[:, : int(min(first, signal.shape[1]))] = np.nan
        signal[:, int(min(last, signal.shape[1])) + 1 :] = np.nan


def _subject(tree: Element, given: Given) -> tuple[dict, list[str]]:
    data = tree.find("PatientInfo")
    born, on = _date(tree.find("PatientInfo/BirthDateTime")), _date(tree.find("ObservationDateTime"))
    unit = "" if data is None or data.find("Age") is None else data.find("Age").get("units", "")
    said = _person.in_years(number(data, "Age"), unit)
    age, derived = _person.age(said, _person.day(born), _person.day(on))
    name = f"{text(data, 'Name/FamilyName')} {text(data, 'Name/GivenName')}"
    patient = given.patient(text(data, "PID"), name, born)
    return {"patient": patient, "sex": _person.sex(text(data, "Gender")), "age": age}, derived


def _date(element: Element | None) -> str:
    parts = [number(element, name) for name in ("Year", "Month", "Day")]
    return "" if None in parts else "{:04.0f}-{:02.0f}-{:02.0f}".format(*parts)


def _values(tree: Element) -> dict[str, float]:
    place, data = tree.find("RestingECGMeasurements"), tree.find("PatientInfo")
    values = [(key, number(place, name)) for key, name in MEASURED.items()]
    for key, units, usual in (("height", _person.CENTIMETRES, "cm"), ("weight", _person.KILOGRAMS, "kg")):
        element = None if data is None else data.find(key.capitalize())
        unit = usual if element is None else element.get("units") or usual
        values.append((key, _person.in_unit(number(element), unit, units)))
    return _said.possible(values)


def _report(tree: Element) -> str | None:
    """The conclusion, which a person writes or confirms, else the diagnosis of the program."""
    places = ("Interpretation/Conclusion/ConclusionText", "Interpretation/Diagnosis/DiagnosisText")
    persons = _said.names(text(e) for e in tree.iter() if e.tag in ("FamilyName", "GivenName"))
    reports = (_said.report((text(line) for line in tree.findall(place)), persons) for place in places)
    return next((report for report in reports if report), None)


def _device(tree: Element) -> str:
    info = tree.find("ClinicalInfo/DeviceInfo")
    words = ["GE", text(info, "Desc"), text(info, "SoftwareVer"), text(info, "AnalysisVer")]
    return " ".join(word for word in words if word)


def _filters(tree: Element) -> str:
    place = tree.find("FilterSetting")
    notch = next((f for f in ("50", "60") if text(place, f"Filter{f}Hz").lower() == "yes"), None)
    return _said.filters(text(place, "HighPass"), text(place, "LowPass"), notch)
