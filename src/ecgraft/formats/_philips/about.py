"""What Philips ECG XML says beside the waveform: patient, statements, measurements, device, filters."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from .. import Given, _person, _said
from .._xml import number, text

MEASURED = {
    "heart rate": ("heartrate", "meanventrate"),
    "PR": ("print", "meanprint"),
    "QRS": ("qrsdur", "meanqrsdur"),
    "QT": ("qtint", "meanqtint"),
    "QTc": ("qtcb", "meanqtc"),
    "P duration": ("pdur",),
    "RR": ("rrint",),
    "P axis": ("pfrontaxis",),
    "QRS axis": ("qrsfrontaxis",),
    "T axis": ("tfrontaxis",),
}


def person(tree: Element, given: Given) -> tuple[dict, list[str]]:
    data = tree.find("patient/generalpatientdata")
    born, on = text(data, "age/dateofbirth"), tree.find("dataacquisition")
    spans = ((number(data, f"age/{unit}s"), unit) for unit in ("year", "month", "week", "day", "hour"))
    said = next((_person.in_years(value, unit) for value, unit in spans if value is not None), None)
    recorded = "" if on is None else on.get("date", "")
    age, derived = _person.age(said, _person.day(born), _person.day(recorded))
    name = " ".join(text(data, f"name/{part}name") for part in ("last", "first", "middle"))
    identity = text(data, "patientid") or text(data, "MRN") or text(data, "uniquepatientid")
    patient = given.patient(identity, name, born)
    return {"patient": patient, "sex": _person.sex(text(data, "sex")), "age": age}, derived


def statements(tree: Element) -> dict:
    """Report, labels and values of the final interpretation."""
    found = _final(tree)
    statements = [] if found is None else found.findall("statement")
    pairs = ((text(s, "leftstatement"), text(s, "rightstatement")) for s in statements)
    lines = [f"{left} ({right})" if left and right else left or right for left, right in pairs]
    codes = [text(s, "statementcode") for s in statements]
    labels = {f"philips:{code}": 1 for code in codes if re.fullmatch(r"[\w/+-]{1,20}", code)}
    report = _said.report([text(found, "severity").strip("- "), *lines], _said.names(_persons(tree)))
    return {"report": report, "labels": labels, "values": _values(tree, found)}


def _persons(tree: Element) -> list[str]:
    """Everybody who is named: the patient, who recorded, ordered, edited, confirmed."""
    names = [element for element in tree.iterfind("patient/generalpatientdata/name/*")]
    people = [e for place in ("dataacquisition/acquirer", "documentinfo") for e in tree.iterfind(f"{place}/*")]
    names += [e for e in people if re.search("clinician|operator|fellow|editor", e.tag)]
    return [text(e) for e in (*names, *tree.iterfind("interpretations/interpretation/confirmingclinician"))]


def _final(tree: Element) -> Element | None:
    """The interpretation that a person has confirmed, else one that was edited, else the latest; else the first."""

    def rank(item: Element) -> tuple:
        confirmed = bool(text(item, "confirmingclinician")) or "confirmed by" in text(item, "mdsignatureline").lower()
        edited = any(s.get("editedflag", "").lower() == "true" for s in item.findall("statement"))
        return confirmed, edited, item.get("date", ""), item.get("time", "")

    return max(tree.findall("interpretations/interpretation"), key=rank, default=None)


def _values(tree: Element, found: Element | None) -> dict[str, float]:
    """Measurements of the interpretation, else of the program; heights and weights."""
    own = () if found is None else ("globalmeasurements", "interpretationmeasurements")
    places = [found.find(name) for name in own]
    places += [tree.find(p) for p in ("internalmeasurements/crossleadmeasurements", "measurements/globalmeasurements")]
    tries = [(key, number(place, name)) for key, names in MEASURED.items() for place in places for name in names]
    data = tree.find("patient/generalpatientdata")
    for key, units in (("height", _person.CENTIMETRES), ("weight", _person.KILOGRAMS)):
        tries += [(key, _person.in_unit(number(data, f"{key}/{unit}"), unit, units)) for unit in units]
    return _said.possible(tries)


def device(tree: Element) -> str:
    """Maker, model and software; not the machine's own number."""
    machine = tree.find("dataacquisition/machine")
    detail = "" if machine is None else machine.get("detaildescription", "")
    maker, _, version = detail.partition(":")
    version = version.rpartition(":")[2].strip()
    words = " ".join([maker.strip() or "Philips", text(machine)]).strip()
    return f"{words} ({version})" if version else words


def filters(tree: Element) -> str:
    wave, signal = tree.find("waveforms/parsedwaveforms"), tree.find("dataacquisition/signalcharacteristics")
    wave = Element("parsedwaveforms") if wave is None else wave
    band = text(signal, "signalbandwidth").split("-")
    high, low = (wave.get(name) or text(signal, name) for name in ("hipass", "lowpass"))
    high, low = (high or band[0], low or band[-1]) if len(band) == 2 else (high, low)
    return _said.filters(high, low, wave.get("notchfilterfreqs") or text(signal, "notchfilterfreqs"))
