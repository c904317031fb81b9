"""Codes of DICOM ECGs: leads, measurements, parts of a beat, kinds of beats.

Leads: CID 3001 (ISO/IEEE 11073-10101, "2:1") and SCP-ECG ("5.6.3-9-1"), which share their numbers. Measurements: CID
3227, 3229 and 3689 (11073-10102), LOINC, and the SCP-ECG codes of older files ("5.13.5-7"), as ECGs in the tests of
pydicom, CardIO and ECG Toolkit have them. Waves and beats: CID 3335.
"""

from __future__ import annotations

import re

from ...record import LEADS

UNSPECIFIED = 0
DERIVED = {31: "I", 32: "II", 111: "III", 112: "aVR", 113: "aVL", 114: "aVF"} | {32 + i: f"V{i}" for i in range(1, 7)}
LEAD = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"} | {2 + i: f"V{i}" for i in range(1, 7)}
LEAD |= {9: "V7", 66: "V8", 67: "V9", 68: "V8R", 69: "V9R"} | {8 + i: f"V{i}R" for i in range(2, 8)}
LEAD |= {16: "X", 17: "Y", 18: "Z", 19: "CC5", 20: "CM5", 91: "MCL", 131: "ES", 132: "AS", 133: "AI"}
LEAD |= {91 + i: f"MCL{i}" for i in range(1, 7)} | DERIVED
NUMBER = {name: number for number, name in LEAD.items() if number not in DERIVED}  # lead -> number, to write
MEANING = {name: f"Lead {name}" for name in NUMBER}
MEANING |= {"aVR": "aVR, augmented voltage, right", "aVL": "aVL, augmented voltage, left"}
MEANING |= {"aVF": "aVF, augmented voltage, foot"}

UNIT = {"mdc_dim_volt": "V", "mdc_dim_milli_volt": "mV", "mdc_dim_micro_volt": "uV", "mdc_dim_nano_volt": "nV"}
UNIT |= {"4:4256": "V", "4:4274": "mV", "4:4275": "uV", "4:4276": "nV"}

MEASURE = {  # name: factors of units to ours, codes (the one that is written first), their meaning
    "heart rate": ({"hz": 60.0}, ("2:16770", "8867-4", "5.10.2.5-1"), r"((ventricular )?heart|ventricular) rate"),
    "RR": ({}, ("2:16000", "2:16168", "8637-1", "5.10.2.1-3"), r"rr"),
    "PR": ({}, ("2:15872", "8625-6", "5.13.5-7"), r"p[rq]"),
    "P duration": ({}, ("2:16184", "5.13.5-5"), r"p duration"),
    "QRS": ({}, ("2:16156", "8633-0", "5.13.5-9"), r"qrs"),
    "QT": ({}, ("2:16160", "8634-8", "5.13.5-11"), r"qt"),
    "QTc": ({}, ("2:15876", "8636-3", "5.10.2.5-5", "2:15880", "2:15892"), r"qtc( ?[bf].*)?"),
    "P axis": ({}, ("2:16128", "8626-4", "5.10.3-11"), r"p axis"),
    "QRS axis": ({}, ("2:16132", "8632-2", "5.10.3-13"), r"(qrs|r) axis"),
    "T axis": ({}, ("2:16136", "8638-9", "5.10.3-15"), r"t axis"),
}
SECOND = ("2:15880", "2:15892")  # QTc by a named formula, where no QTc without one is there
TIME = {"s": 1000.0, "us": 1e-3, "µs": 1e-3}
ANGLE = {"rad": 57.29577951308232}
BY_CODE = {code: name for name, (*_, codes, _) in MEASURE.items() for code in codes}

# Waves: (kind, the part that a point marks); a segment marks onset and offset.
PART = {"5.10.3-1": ("P", "onset"), "5.10.3-2": ("P", "offset"), "5.10.3-3": ("QRS", "onset")}
PART |= {"5.10.3-4": ("QRS", "offset"), "5.10.3-5": ("T", "offset"), "5.7.1-3": ("QRS", "peak")}
PART |= {"10:256": ("P", "peak"), "10:576": ("QRS", "peak"), "10:1600": ("QRS", "peak"), "10:1024": ("T", "peak")}
POINTS = ("5.7.1-3", "10:576")  # peaks of the QRS that are a beat's place
SPELT = re.compile(r"(p|qrs|t)[ -]?(?:wave )?(onset|offset|peak|begin|start|end)", re.I)
ENDS = {"begin": "onset", "start": "onset", "end": "offset"}

# Beats: CID 3335 -> symbol of WFDB annotations.
SYMBOL = {"10:8192": "?", "10:8208": "N", "10:8224": "?", "10:8240": "?", "10:8256": "S", "10:8272": "A"}
SYMBOL |= {"10:8288": "J"}
SYMBOL |= {"10:8304": "a", "10:8336": "V", "10:8352": "F", "10:8368": "r", "10:8384": "n", "10:8400": "e"}
SYMBOL |= {"10:8416": "j", "10:8432": "E", "10:8448": "B", "10:8464": "L", "10:8480": "L", "10:8496": "R"}
SYMBOL |= {"10:8512": "R", "10:8704": "/", "10:8720": "f", "10:8736": "Q", "10:8752": "?"}

YES = ("373066001", "52101004", "410515003")  # SNOMED CT: yes, present, known present
NO = ("373067005", "2667000", "410516002")  # no, absent, known absent


def lead_number(scheme: str, value: str) -> int | None:
    """The number of a coded channel source among ECG leads; None for another source."""
    found = re.fullmatch(r"(?:2:|5\.6\.3-9-)(\d{1,3})", value)
    if not found and scheme == "MDC":  # the partition, 2, in the upper half of one number
        found = re.fullmatch(r"(\d{1,6})", value)
    number = int(found.group(1)) if found else -1
    number -= 2 << 16 if number >> 16 == 2 else 0
    return number if 0 <= number < 256 else None


def measure(value: str, meaning: str) -> str | None:
    """The name of a measurement of the whole ECG, by its code or else by its meaning."""
    bare = value.removeprefix("MDC_ECG_TIME_PD_").removeprefix("MDC_ECG_ANGLE_").removeprefix("MDC_ECG_")
    bare = bare.removesuffix("_GL").replace("_FRONT", " axis").replace("_", " ") if bare != value else meaning
    words = re.sub(r"\b(interval|duration|global|time|period|wave|mean|average)\b", " ", bare.lower().replace("-", ""))
    words = "p duration" if re.match(r"p\b.*duration", bare.lower()) else " ".join(words.split())
    spelt = (name for name, (*_, pattern) in MEASURE.items() if re.fullmatch(pattern, words))
    return BY_CODE.get(value) or next(spelt, None)


def standard(names) -> int:
    """How many of the twelve leads are among the names."""
    return len(set(names) & set(LEADS))
