"""What ECG machines say in words and numbers beside the signal: possible values, statements without persons, ages."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import date

LIMITS = {  # of Record.values: what lies outside is a code for "not known" or an error
    "heart rate": (10, 500),
    "RR": (100, 6000),
    "PR": (10, 1000),
    "QRS": (10, 500),
    "QT": (50, 1200),
    "QTc": (50, 1200),
    "P duration": (10, 500),
    "P axis": (-360, 360),
    "QRS axis": (-360, 360),
    "T axis": (-360, 360),
    "height": (20, 260),
    "weight": (0.3, 500),
}
OLDEST = 120  # years
MOST = 64  # names of persons in a file
YEARS = {"a": 1.0, "year": 1.0, "yr": 1.0, "y": 1.0, "jahr": 1.0, "mo": 1 / 12, "month": 1 / 12, "wk": 7 / 365.25}
YEARS |= {"week": 7 / 365.25, "d": 1 / 365.25, "day": 1 / 365.25, "h": 1 / 8766, "hour": 1 / 8766}

_DONE = (
    "confirmed|reviewed|over-?read|interpreted|signed|verified|referred|edited|befundet|best[äa]tigt|gepr[üu]ft|"
    "validiert|confirm[ée]e?|valid[ée]e?|confirmado|revisado|confermato|refertato|bevestigd|beoordeeld"
)
SIGNED = re.compile(
    rf"\W{{0,9}}\b(also |un)?({_DONE})\b[^,;]{{0,40}}?\b(by|von|durch|par|por|da|door)\b.*", re.I | re.S
)
MONTH = r"(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz]|f[ée]v|avr|juin|juil|ao[uû])[a-zé]{0,7}\.?"
CLOCK = r"(?:,?\s+(?:at\s+)?\d{1,2}:\d{2}(?::\d{2})?(?:\s?[AP]M\b)?)?"
DATE = re.compile(
    rf"\b(?:\d{{1,2}}[- .]{{1,2}}{MONTH}[- ,.]{{1,2}}\d{{2,4}}|\d{{1,4}}([-./])\d{{1,2}}\1\d{{2,4}})\b{CLOCK}", re.I
)


def few(notes: Iterable[str], most: int = 20) -> list[str]:
    """Different notes, the first of them where there are very many, each not longer than a line."""
    different = [note[:200] for note in dict.fromkeys(notes)]
    return different if len(different) <= most else [*different[:most], f"and {len(different) - most} more"]


def possible(values: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    """The values that can be of a person; of several under one name the first."""
    found = {}
    for name, value in values:
        low, high = LIMITS[name]
        if name not in found and value is not None and math.isfinite(value) and low <= value <= high:
            found[name] = float(value)
    return found


def report(lines: Iterable[str], persons: Iterable[str] = ()) -> str | None:
    """Statements as lines, without who signed them, when, and the names of `persons`; None where nothing is left."""
    names = list(dict.fromkeys(name.strip() for name in persons if 2 < len(name.strip()) <= 60))[:MOST]
    named = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})(?!\w)", re.I)
    kept = []
    for line in lines:
        line = DATE.sub("(date)", SIGNED.sub("", " ".join(line.split())))
        line = named.sub(_masked, line) if names else line
        if re.search(r"\w", line):
            kept.append(line)
    return "\n".join(kept) or None


def years(born: date | None, recorded: date | None) -> float | None:
    """The age at the recording, in whole years as it is said; None where it cannot be one."""
    if born is None or recorded is None or recorded < born:
        return None
    age = recorded.year - born.year - ((recorded.month, recorded.day) < (born.month, born.day))
    return float(age) if age <= OLDEST else None


def in_years(value: float | None, unit: str) -> float | None:
    """An age with its unit ("YEARS", "mo", "d"; none is years) in years; None where it is not known or no age."""
    factor = YEARS.get(unit.strip().lower(), YEARS.get(unit.strip().lower().rstrip("s"))) if unit.strip() else 1.0
    if value is None or factor is None or not 0 <= value * factor <= OLDEST:
        return None
    return value * factor


def _masked(match: re.Match) -> str:
    """A name, or a word of the statement that is like one: that begins the line, or is in small letters."""
    word = match[0]
    return word if match.start() == 0 or word.islower() else "(name)"
