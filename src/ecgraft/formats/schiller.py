"""Schiller ECG XML ("SEMA EDI", root element com.xiriuz.sema.xml.schillerEDI.SchillerEDI): AT and MS devices, SEMA.

The schema is not public; read as the real file of CardIO's test data has it, and as CardIO, BRAVEHEART and the CVRG
converters read theirs. Rhythms (ECG_RHYTHMS) are told apart from averaged beats (ECG_AVERAGES). The marks of QRS
in `rhythm_global` count samples of the rhythm.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from ..record import LEADS, MILLIVOLT, QRS, InputError, Record, lead_name, waves_array
from . import Given, _digital, _person, _said, resolution, told
from ._channels import MOST, is_ecg, unique
from ._given import NO_MEDIAN
from ._xml import is_root, number, parse, root, text

TITLE, ROOT = "Schiller XML", "SchillerEDI"
MEDIAN = True
AVERAGE, RHYTHM = ("AVERAGE", "MEDIAN"), ("RHYTHM",)  # words in the type of a block
NEVER = "19700101"  # the date of a recording whose date was taken out
MEASURED = {
    "heart rate": "HR",
    "PR": "PQ",
    "QRS": "QRS",
    "QT": "QT",
    "QTc": "QTC",
    "P duration": "P",
    "RR": "RR",
    "P axis": "AXIS_P",
    "QRS axis": "AXIS_QRS",
    "T axis": "AXIS_T",
}


def claims(path: Path, head: bytes) -> int:
    return 2 if is_root(root(head)[0], ROOT) else 0


def read(path: Path, given: Given) -> Record:
    """The rhythm with the most leads, of these the longest; with given.median the averaged beats."""
    tree = parse(path, ROOT)
    block, others, extra = _choose(tree, given, path)
    names, rows, skipped = _channels(block, path)
    unit, step = _scale(block, given, path)
    signal = _digital.millivolt(rows, [step] * len(rows), unit, path)
    rate = _rate(block, given, path)
    person, extra["derived"] = _subject(tree, given)
    waves = None if given.median else _waves(tree, rate, signal.shape[1], extra)
    extra |= {"unit": unit, "resolution": resolution([step * MILLIVOLT[unit.lower()]]), "device": _device(tree)}
    extra |= {"filters": _filters(tree), "skipped": [*extra["skipped"], *skipped, *map(_title, others)]}
    values = _values(tree)
    report = _said.report(_lines(tree), _said.names(_persons(tree)))
    about = {"id": path.stem, "report": report, "values": values, "waves": waves, "extra": told(**extra)}
    return Record(signal, rate, unique(names), **person, **about)


def _choose(tree: Element, given: Given, path: Path) -> tuple[Element, list[Element], dict]:
    """The block to read, the others of which nothing else is told, and what there is to tell."""
    blocks = [block for block in tree.iter("wavedata") if any(text(c, "data") for c in block.findall("channel"))]
    averages = [block for block in blocks if any(word in _kind(block) for word in AVERAGE)]
    rest = [block for block in blocks if block not in averages]
    rhythms = [block for block in rest if any(word in _kind(block) for word in RHYTHM)]
    pool = averages if given.median else rhythms or rest
    if given.median and not averages:
        raise InputError(f"{path}: {NO_MEDIAN}")
    if not pool:
        raise InputError(f"{path}: there is no rhythm in it; export it with waveforms, or read it with median")
    best = max(pool, key=_size)
    extra = {"assumed": [] if given.median or rhythms else [f"the block {_kind(best)[:40]} is the rhythm"]}
    extra["skipped"] = ["the rhythm"] if given.median else []
    if averages and not given.median:
        beat = max(averages, key=_size)
        rate = number(beat, "resolution/samplerate/value")
        extra["median"] = _said.extent(_size(beat)[1], rate, len(beat.findall("channel")))
    left = [block for block in (averages if given.median else rest) if block is not best]
    return best, left, extra


def _kind(block: Element) -> str:
    return text(block, "type").upper()


def _size(block: Element) -> tuple[int, int]:
    """How many of the twelve leads, how many samples."""
    channels = [channel for channel in block.findall("channel") if text(channel, "data")]
    names = {lead_name(text(channel, "name")) for channel in channels}
    return len(names & set(LEADS)), max((_count(channel) for channel in channels), default=0)


def _count(channel: Element) -> int:
    said = text(channel, "data").rstrip(",; \n")
    return max(said.count(","), said.count(";"), len(said.split()) - 1 if "," not in said else 0) + 1


def _title(block: Element) -> str:
    leads, count = _size(block)
    return f"{_kind(block)[:40] or 'block'} of {leads} leads, {count} samples"


def _channels(block: Element, path: Path) -> tuple[list[str], list[np.ndarray], list[str]]:
    """Names, digital values, and the channels that are empty or no ECG."""
    names, rows, skipped = [], [], []
    for channel in block.findall("channel")[: MOST + 1]:
        name, data = text(channel, "name") or f"channel {len(names) + len(skipped) + 1}", text(channel, "data")
        where = f"{path}, lead {name[:20]}"
        if not data or not is_ecg(name, None):
            skipped.append(name if data else f"{name} (no samples)")
            continue
        coded = text(channel, "datastype")
        if any(word in coded.upper() for word in ("64", "HEX", "BIN", "ZIP")):
            raise InputError(f"{where}: its samples are {coded[:40]!r}, which is not known; export them as numbers")
        names.append(name)
        rows.append(_digital.complete(_digital.numbers(data, where), number(channel, "samplecount") or 0, where))
    if not rows:
        raise InputError(f"{path}: no ECG among its channels ({', '.join(skipped)[:200]})")
    return names, rows, skipped


def _scale(block: Element, given: Given, path: Path) -> tuple[str, float]:
    """The unit, and how much of it a digital unit is."""
    unit, step = text(block, "resolution/yres/units"), number(block, "resolution/yres/unitperbit")
    step = number(block, "resolution/yres") if step is None else step
    return _digital.unit_name(unit, given, path), _digital.step(step, path)


def _rate(block: Element, given: Given, path: Path) -> float:
    rate = number(block, "resolution/samplerate/value") or number(block, "resolution/samplerate")
    exponent = number(block, "resolution/samplerate/exponent")
    if rate and exponent not in (None, 1) and given.rate is None:
        raise InputError(f"{path}: its rate is {rate:g} with exponent {exponent:g}, not known; give it with --rate")
    return rate if rate and exponent in (None, 1) else given.hz(path)


def _subject(tree: Element, given: Given) -> tuple[dict, list[str]]:
    data, on = tree.find("patdata"), text(tree, "examdescript/startdatetime/date")
    born = text(data, "birthdate")
    age, derived = _person.age(None, _person.day(born), _person.day("" if on == NEVER else on))
    name = f"{text(data, 'lastname')} {text(data, 'firstname')}"
    patient = given.patient(text(data, "id"), name, born)
    return {"patient": patient, "sex": _person.sex(text(data, "gender")), "age": age}, derived


def _values(tree: Element) -> dict[str, float]:
    said = {}
    for pair in tree.iter("annotation_global"):
        for name, value in zip(pair.findall("name"), pair.findall("value")):
            said.setdefault(text(name).upper(), number(value))
    values = [(key, said.get(name)) for key, name in MEASURED.items()]
    data = tree.find("patdata")
    for key, units in (("height", _person.CENTIMETRES), ("weight", _person.KILOGRAMS)):
        values.append((key, _person.in_unit(number(data, f"{key}/value"), text(data, f"{key}/unit"), units)))
    return _said.possible(values)


def _persons(tree: Element) -> list[str]:
    names = [text(tree, f"patdata/{part}") for part in ("lastname", "firstname")]
    return names + [text(user, part) for user in tree.iterfind("examdescript/idu/*") for part in ("id", "name")]


def _lines(tree: Element) -> list[str]:
    """The statements: what a person has confirmed, else what the device says."""
    blocks = [block for event in tree.iter("event") for block in event.findall("textdata")]
    said = [(text(block, "type").upper(), block.findall("textdata")) for block in blocks]
    final = [lines for kind, lines in said if "CONFIRM" in kind and "UNCONFIRM" not in kind]
    final = final if any(text(line) for lines in final for line in lines) else []
    chosen = final or [lines for kind, lines in said if "INTERPRET" in kind or "DIAGNOS" in kind]
    return [line for lines in chosen for element in lines for line in text(element).splitlines()]


def _waves(tree: Element, rate: float, length: int, extra: dict) -> np.ndarray | None:
    """QRS of all leads, as the device has marked them; of P and T it marks one end only."""
    marks = {text(m, "name").upper(): [number(v) for v in m.findall("value")] for m in tree.iter("rhythm_global")}
    ends = list(zip(marks.get("R_QRS_ON", []), marks.get("R_QRS_OFF", [])))
    rows = [(QRS, -1, on, -1, off) for on, off in ends if None not in (on, off) and 0 <= on <= off < length]
    extra["skipped"] += ["onsets of P and ends of T"] if {"R_P_ON", "R_T_OFF"} & set(marks) else []
    width = _values(tree).get("QRS")
    if not rows or (width and abs(np.median([r[4] - r[2] for r in rows]) * 1000 / rate - width) > 0.2 * width):
        extra["skipped"] += ["marks of QRS, whose times do not fit the rhythm"] if ends else []
        return None
    return waves_array(rows)


def _device(tree: Element) -> str:
    device = tree.find("examdescript/aquiringdevice")
    words = [text(device, f"hardware/{name}") for name in ("vendor", "type", "model")]
    version = text(device, "software/version")
    return " ".join(word for word in words if word) + (f" ({version})" if version else "")


def _filters(tree: Element) -> str:
    """Of the data that are stored, not of what is displayed."""
    pairs = {text(f, "name").upper(): text(f, "value") for f in tree.iterfind(".//filters_data/filter")}
    return _said.filters(pairs.get("HIGHPASS_CUTOFF_FREQ"), pairs.get("LOWPASS_CUTOFF_FREQ"), pairs.get("MAINS"))
