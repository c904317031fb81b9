"""What stands above the numbers of a text table: "Sampling frequency: 500", "fs=500", "# rate 360", "Unit,µV".

And the heading of Apple's Health app, which comes in the language of the telephone: eight lines in one order, of which
the last is the rate in hertz (seen in English, German, French, Spanish, Italian, Dutch, Portuguese, Japanese ...).
"""

from __future__ import annotations

import math
import re

from ...record import MILLIVOLT
from .. import Given, _person
from .._arrays import AGE, NAMES, PATIENT, RATE, SEX, UNIT
from .._arrays import key as plain
from .._said import possible, report
from .columns import TIMES, About

INTERVAL = ("samplinginterval", "sampleinterval", "samplingperiod", "sampleperiod", "sampletime", "interval", "dt")
HERTZ = (
    r"(k?)(?:hz|hertz|herz|hercios|sps|samples?\s*/\s*s(?:ec(?:ond)?)?|герц|гц|赫[兹茲]|ヘルツ|헤르츠|χερτζ|הרץ|هرتز)"
)
NUMBER = r"(\d+(?:[.,]\d+)?)"
STEP = re.compile(rf"{NUMBER}\s*([munµμ]v)\s*(?:/|per)\s*(?:adu|lsb|bit|count|unit|digit)s?", re.I)
GAIN = re.compile(rf"{NUMBER}\s*(?:adu|lsbs?|bits?|counts?|units?|digits?)?\s*(?:/|per)\s*([munµμ]v)", re.I)
LINE = re.compile(
    r"[\s#%;*/\"']*([^\d\s:=,;\t\"'][^:=,;\t\"']{0,60}?)[\"']?\s*(?:[:=,;\t]|\s(?=[\d.]+\s*[a-z]*\s*$))(.*)", re.I
)
DEVICE = re.compile(r"(Watch)\s?(\d+)[.,](\d+)")
VERDICTS = {  # of HKElectrocardiogram.Classification, by what the exports say; the first that fits
    "atrialFibrillation": r"^(?!.*\bno\b).*(atrial fib|vorhofflimmern|fibrillation auric|fibrila.* a(uric|tri)"
    r"|fibrillazione atr|(boezem|atrium)fib|心房細動|心房颤动|心房顫動)",
    "sinusRhythm": r"sinus ?rh?yth?m|rythme sinusal|ritmo sinusal|sinusrit|洞調律|窦性|竇性",
    "inconclusiveHighHeartRate": r"high heart rate$|rate over|frequenz über|fréq.*supérieure|frec.*superior"
    r"|心拍数.*以上",
    "inconclusiveLowHeartRate": r"low heart rate|rate under|frequenz unter|fréq.*inférieure|frec.*inferior"
    r"|心拍数.*未満",
    "inconclusivePoorReading": r"poor (recording|reading)|schlechte aufzeichnung|mauvais enregistrement|不良",
    "inconclusiveOther": r"inconclus|nicht eindeutig|unklar|non concluant|no concluyente|eenduidig|判定不能|不确定",
}
KNOWN = {*RATE, *INTERVAL, *UNIT, *NAMES, *AGE, *SEX, *PATIENT, "gain", "resolution"}


def pairs(lines: list[str]) -> list[tuple[str, str]]:
    """(key, value) of the lines that are such."""
    found = (LINE.fullmatch(line.replace("\u00a0", " ").strip()) for line in lines)
    return [(match[1].strip(), match[2].strip().strip("\"'").strip()) for match in found if match]


def is_about(line: str, columns: int) -> bool:
    """Whether a line says something of the whole table, and is no row of names above `columns` columns."""
    match = LINE.fullmatch(line.replace("\u00a0", " ").strip())
    if match is None:
        return False
    name, value = match[1].strip(), match[2].strip().strip("\"'").strip()
    mark = line.strip()[match.end(1) : match.start(2)]
    word = plain(re.sub(r"[\[(].*?[\])]", "", name))
    if ":" in mark or "=" in mark:
        return columns == 1 or word in KNOWN
    return _rate(name, value) is not None or (word in UNIT and value.lower() in MILLIVOLT)


def apples(lines: list[str]) -> bool:
    """Whether this is the heading of Apple's Health app: its eighth line is a rate in hertz, then lead and unit."""
    said = [line for line in lines[:16] if line.strip()]
    if len(said) < 8:
        return False
    rate = re.search(rf"[,;]\s*\"?{NUMBER}\s*{HERTZ}\W*$", said[7].replace("\u00a0", " "), re.I)
    return bool(rate) and any(re.search(r"[munµμ]v\W*$", line, re.I) for line in said[8:11])


def about(lines: list[str], given: Given) -> About:
    """What the lines above the numbers say."""
    return _apple(lines, given) if apples(lines) else of_pairs(pairs(lines), given)


def of_pairs(said: list[tuple[str, str]], given: Given) -> About:
    """What keys and values say."""
    by = {}
    for name, value in said:
        by.setdefault(plain(re.sub(r"[\[(].*?[\])]", "", name)), (name, value))
    unit = next((by[n][1] for n in UNIT if n in by and by[n][1].lower() in MILLIVOLT), None)
    names = next((by[n][1] for n in NAMES if n in by and re.search(r"[a-z]", by[n][1], re.I)), None)
    leads = tuple(filter(None, re.split(r"\s*[,;|]\s*|\s+(?=\S)", names))) if names else None
    age = next((re.match(rf"{NUMBER}\s*([a-z]*)", by[n][1], re.I) for n in AGE if n in by), None)
    sex = next((by[n][1] for n in SEX if n in by), "")
    who = next((by[n][1] for n in PATIENT if n in by), None)
    steps = [step for name, value in said for step in [_step(value)] if re.search("gain|resol|scale|lsb", name, re.I)]
    return About(
        rate=next((rate for name, value in by.values() for rate in [_rate(name, value)] if rate), None),
        unit=unit,
        step=next(filter(None, steps), None),
        leads=leads,
        age=_person.in_years(float(age[1].replace(",", ".")), age[2]) if age else None,
        sex=_person.sex(sex),
        patient=given.patient(who),
    )


def _rate(name: str, value: str) -> float | None:
    """Hz from "Sampling frequency (Hz): 500", "fs=0.5 kHz" or "Sampling interval: 2 ms"."""
    bare = plain(re.sub(r"[\[(].*?[\])]", "", name))
    match = re.fullmatch(rf"{NUMBER}\s*(?:{HERTZ})?\W*", value, re.I)
    if match and bare in RATE:
        rate = float(match[1].replace(",", ".")) * (1000 if match[2] or "khz" in name.lower() else 1)
        return rate if 0 < rate <= 100_000 else None
    match = re.fullmatch(rf"{NUMBER}(?:[eE](-?\d+))?\s*([a-zµμ]*)\W*", value)
    unit = match and (match[3].lower() or (re.findall(r"[\[(]\s*(\w+)", name) or [""])[0].lower())
    if match and bare in INTERVAL and unit in TIMES:
        step = float(match[1].replace(",", ".")) * 10.0 ** int(match[2] or 0) * TIMES[unit]
        return float(f"{1 / step:.9g}") if step > 1e-5 else None
    return None


def _step(value: str) -> float | None:
    """mV per digital unit from "5 uV/LSB" or "200 adu/mV"."""
    for pattern in (STEP, GAIN):
        match = pattern.search(value)
        number = float(match[1].replace(",", ".")) if match else 0.0
        if number:
            factor = MILLIVOLT[match[2].lower()]
            step = number * factor if pattern is STEP else factor / number
            return step if 1e-9 < step < 1e3 and math.isfinite(step) else None
    return None


def _apple(lines: list[str], given: Given) -> About:
    """Name, born, recorded, classification, symptoms, software, device, rate; then lead and unit."""
    rows = [line.replace("\u00a0", " ").strip() for line in lines if line.strip()]
    values = [
        re.split(r"[,;]", row, maxsplit=1)[1].strip().strip('"').strip() if re.search("[,;]", row) else ""
        for row in rows
    ]
    name, born, recorded, verdict, _, _, device, rate = values[:8]
    found = re.match(NUMBER, rate)
    unit = next(v for v in values[8:] if v.lower() in MILLIVOLT)
    lead = next((m[0] for v in values[8:] if (m := re.search(r"(?<![A-Za-z])(I{1,3}|V[1-6])(?![A-Za-z])", v))), "I")
    code = next((code for code, words in VERDICTS.items() if re.search(words, verdict, re.I)), None)
    day = _person.day(born)
    age, derived = _person.age(None, day, _person.day(recorded))
    watch = DEVICE.search(device)
    beats = [(re.search(NUMBER, v), r) for v, r in zip(values, rows) if re.search(r"\d\s*(bpm|BPM)", v)]
    return About(
        rate=float(found[1].replace(",", ".")),
        unit=unit,
        leads=(lead,),
        age=age,
        patient=given.patient(None, name, day.isoformat() if day else born),
        report=report([verdict], [name]),
        labels={f"apple:{code}": 1} if code else {},
        values=possible([("heart rate", float(m[1].replace(",", "."))) for m, _ in beats if m][:1]),
        device=f"Apple {watch[1]}{watch[2]},{watch[3]}" if watch else "",
        derived="; ".join(derived),
    )
