"""Section 1 of SCP-ECG: the patient, the device and its filters (EN 1064, 5.4). Names are not kept."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from datetime import date

from .. import _person
from .._said import filters, possible

AGES = {1: "years", 2: "months", 3: "weeks", 4: "days", 5: "hours"}  # codes of units
HEIGHTS = {1: "cm", 2: "in", 3: "mm"}
WEIGHTS = {1: "kg", 2: "g", 3: "lb", 4: "oz"}
CODECS = {0x03: "iso8859_2", 0x0B: "iso8859_4", 0x13: "iso8859_5", 0x1B: "iso8859_6", 0x23: "iso8859_7"}
CODECS |= {0x2B: "iso8859_8", 0x33: "iso8859_11", 0x3B: "iso8859_15", 0x07: "utf-16-le", 0x0F: "shift_jis"}
CODECS |= {0x17: "euc_jp", 0x1F: "euc_jp", 0x27: "gb2312", 0x2F: "cp949", 0x37: "utf-8"}
MAKERS = (
    "", "Burdick", "Cambridge", "Compumed", "Datamed", "Fukuda", "Hewlett-Packard", "Marquette", "Mortara",
    "Nihon Kohden", "Okin", "Quinton", "Siemens", "Spacelabs", "Telemed", "Hellige", "ESA-OTE", "Schiller",
    "Picker-Schwarzer", "et medical devices", "Zwönitz",
)  # fmt: skip
PERSONS = (0, 1, 2, 3, 20, 21, 22)  # tags: names and number of the patient, physicians, technician
NOBODY = {"unknown", "none", "test", "patient", "anonymous", "name", "doctor"}


@dataclass
class About:
    """What section 1 says. `persons` are words that must not get out."""

    age: float | None = None
    sex: str | None = None
    identity: tuple[str, str, str] = ("", "", "")  # number, name, date of birth
    values: dict[str, float] = field(default_factory=dict)
    device: str = ""
    filters: str = ""
    derived: tuple[str, ...] = ()
    codec: str = "latin-1"
    persons: frozenset[str] = frozenset()


def about(body: bytes) -> About:
    tags = _tags(body)
    device = next((value for tag, value in tags if tag == 14), b"")
    codec = _codec(device[16]) if len(device) > 16 else "latin-1"
    first = {tag: value for tag, value in reversed(tags)}
    words = {tag: text(first.get(tag, b""), codec) for tag in PERSONS}
    born, recorded = (_date(first.get(tag, b"")) for tag in (5, 25))
    age, derived = _person.age(_person.in_years(*_amount(first.get(4, b""), AGES)), born, recorded)
    height = _person.in_unit(*_amount(first.get(6, b""), HEIGHTS), _person.CENTIMETRES)
    weight = _person.in_unit(*_amount(first.get(7, b""), WEIGHTS), _person.KILOGRAMS)
    return About(
        age=age,
        sex={b"\1": "M", b"\2": "F"}.get(first.get(8, b"")[:1]),
        identity=(words[2], f"{words[0]} {words[1]}".strip(), born.isoformat() if born else ""),
        values=possible([("height", height), ("weight", weight)]),
        device=_device(device, codec),
        filters=_filters(first),
        derived=tuple(derived),
        codec=codec,
        persons=frozenset(re.findall(r"\w{3,}", " ".join(words.values()).casefold())) - NOBODY,
    )


def text(value: bytes, codec: str) -> str:
    """Up to the zero that ends it, without control characters."""
    return (fields(value, codec) or [""])[0]


def fields(value: bytes, codec: str) -> list[str]:
    """What zeros divide."""
    parts = value.decode(codec, errors="replace").split("\0")
    return [" ".join("".join(c if c.isprintable() else " " for c in part).split()) for part in parts]


def _tags(body: bytes) -> list[tuple[int, bytes]]:
    found, place = [], 0
    while place + 3 <= len(body):
        tag, size = struct.unpack_from("<BH", body, place)
        place += 3 + size
        if tag == 255 or place > len(body):
            break
        found.append((tag, body[place - size : place]))
    return found


def _codec(language: int) -> str:
    """Of text, by the language support code (EN 1064, annex A)."""
    return CODECS.get(language, "latin-1") if language & 1 else "latin-1"


def _date(value: bytes) -> date | None:
    return _person.day_of(*struct.unpack_from("<HBB", value)) if len(value) >= 4 else None


def _amount(value: bytes, units: dict[int, str]) -> tuple[float | None, str]:
    """A number and its unit; 0 is not known."""
    number, unit = struct.unpack_from("<HB", value) if len(value) >= 3 else (0, 0)
    return number or None, units.get(unit, "not known")


def _device(value: bytes, codec: str) -> str:
    """Maker and model of tag 14. Behind byte 36 stand program, serial number, two versions and the maker."""
    if len(value) < 14:
        return ""
    strings = value[36:].split(b"\0")
    maker = text(strings[4], codec) if len(strings) > 4 else ""
    maker = maker or (MAKERS[value[7]] if value[7] < len(MAKERS) else "")
    return " ".join(part for part in (maker, text(value[8:14], codec)) if part and part.lower() != "unknown")


def _filters(tags: dict[int, bytes]) -> str:
    high, low = (struct.unpack("<H", tags[tag][:2])[0] if len(tags.get(tag, b"")) >= 2 else 0 for tag in (27, 28))
    bits = (tags.get(29, b"")[:1] or b"\0")[0]
    notch = " ".join(rate for bit, rate in ((1, "60"), (2, "50")) if bits & bit)
    return ", ".join(filter(None, [filters(high / 100, low, notch), "artifact filter" * bool(bits & 4)]))
