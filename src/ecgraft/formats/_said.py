"""What ECG machines say in words and numbers beside the signal: measurements, filters, statements without persons."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

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
MOST = 256  # names of persons in a file

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
# Words of statements that are names too: in small letters, or first in a line, they are kept.
_TERMS = """
    abnormal acute age and anterior axis beat block branch bundle deep early ecg ekg fast flat for heart high inferior
    irregular lab large late lateral left line long low marked may minor new normal old pace paced peak prior rapid rate
    regular rest right sharp short sinus slow small strain strong tall the tracing unit wave wide with young
    breit der des flach hoch klein kurz lang links rechts schnell spitz steil und van von"""
TERMS = frozenset(_TERMS.split())


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
    wanted = list(dict.fromkeys(name.strip() for name in persons if 2 < len(name.strip()) <= 60))[:MOST]
    named = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, sorted(wanted, key=len, reverse=True)))})(?!\w)", re.I)
    kept = []
    for line in lines:
        line = DATE.sub("(date)", SIGNED.sub("", " ".join(line.split())))
        line = named.sub(_masked, line) if wanted else line
        if re.search(r"\w", line):
            kept.append(line)
    return "\n".join(kept) or None


def names(texts: Iterable[str]) -> list[str]:
    """What to look for of persons: each text, and its words that are long enough to be a name and no TERMS."""
    whole = [" ".join(text.split()) for text in texts]
    words = (word for text in whole for word in re.findall(r"[^\W\d_]{3,}", text))
    return [*whole, *(word for word in words if word.casefold() not in TERMS)]


def extent(samples: int, rate: float | None, leads: int) -> str:
    """How large a waveform is, as `told` has it of a median beat: "600 samples at 500 Hz, 12 leads"."""
    at = f" at {round(rate, 2):g} Hz" if rate else ""
    return f"{samples} samples{at}, {leads} lead{'s' * (leads != 1)}"


def filters(high: float | str | None, low: float | str | None, notch: float | str | None) -> str:
    """Limits in Hz, as `told` has them; what is not known, off or zero is left out."""
    limits = (("high-pass", high), ("low-pass", low), ("notch", notch))
    words = [(name, limit.strip() if isinstance(limit, str) else f"{limit or 0:g}") for name, limit in limits]
    return ", ".join(f"{name} {word} Hz" for name, word in words if re.fullmatch(r"(?=.*[1-9])\d[\d. ]*", word))


def _masked(match: re.Match) -> str:
    """A name; but a word of statements that begins the line, or is in small letters, is taken for that."""
    word = match[0]
    is_term = word.casefold() in TERMS and (match.start() == 0 or word.islower())
    return word if is_term else "(name)"
