"""Waves, beats and spans -> the bytes of a WFDB annotation file (MIT format), as WFDB and wfdb.rdann read them.

A file is words of 16 bits, little end first: a code in the upper 6, in the lower 10 the samples since the mark before.
See https://physionet.org/physiotools/wag/annot-5.htm. wfdb.wrann refuses files without marks and names like .v1.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ...record import QRS, P, T

SYMBOLS = ' NLRaVFJASEj/Q~ | sT*D"=pB^t+u?![]en@xf()r'  # the place of a symbol is its code; " " is none
CODES = {symbol: code for code, symbol in enumerate(SYMBOLS) if symbol != " "}
BEATS = frozenset("NLRBAaJSVrFejnE/fQ")
UNCLASSIFIED = "Q"  # a beat; "?" says in these files that a detector was still learning
SKIP, NOTE = 59, 63  # what follows: a long time, a text
COMMENT, NOISE = '"', "~"
SCORED = "scored"  # how a comment at 0 begins that says where waves are complete: "scored 120 4800"
RESERVED = ("hea", "dat", "part", "atr", "qrs", "ecg", "ari", "waves", "q1c", "pu", "pu0", "pu1")  # no lead's files
LETTER = {P: "p", QRS: "N", T: "t"}


class Mark(NamedTuple):
    sample: int
    symbol: str
    note: str = ""


def of_waves(waves: np.ndarray, remarks: Iterable[tuple[int, int, str, str, str]] = ()) -> list[Mark]:
    """WAVE rows of one lead as ( p ) ( N ) ( t ), in order of time; a boundary that is not known has no mark.

    A wave without a known peak has the mark in the middle of what is known. Waves are thought not to overlap: marks of
    those that do are mixed.

    remarks  spans as (start, stop, symbol, note at its start, note at its stop); the note never parts a wave's marks,
             but stands beside the wave
    """
    blocks, held = [], []
    for kind, _, onset, peak, offset in waves.tolist():
        known = [t for t in (onset, peak, offset) if t >= 0]
        if not known or kind not in LETTER:
            continue
        marks = [Mark(onset, "(")] * (onset >= 0)
        marks.append(Mark(peak if peak >= 0 else (known[0] + known[-1]) // 2, LETTER[kind]))
        marks += [Mark(offset, ")")] * (offset >= 0)
        blocks.append((known[0], 1, marks))
        held.append((known[0], known[-1]))
    for start, stop, symbol, begins, ends in remarks:
        start = next((last for first, last in held if first <= start <= last), start)
        stop = max(start, next((first for first, last in held if first <= stop <= last), stop))
        blocks += [(start, 0, [Mark(start, symbol, begins)]), (stop, 0, [Mark(stop, symbol, ends)])]
    blocks.sort(key=lambda block: block[:2])
    return sorted((mark for _, _, marks in blocks for mark in marks), key=lambda mark: mark.sample)


def of_beats(beats: np.ndarray) -> list[Mark]:
    """BEAT rows; a beat without a class is "Q"; so is one whose class WFDB does not know, with the class as text."""
    rows = zip(beats["sample"].tolist(), beats["symbol"].astype(str).tolist())
    marks = [Mark(t, UNCLASSIFIED) if s == "?" else Mark(t, s) for t, s in rows]
    return [mark if mark.symbol in BEATS else Mark(mark.sample, UNCLASSIFIED, mark.symbol) for mark in marks]


def of_rhythms(rhythms: np.ndarray, length: int) -> list[Mark]:
    """RHYTHM rows as changes of rhythm; one without a name where none follows at once, in a record of `length`."""
    rows = rhythms.tolist()
    starts = [start for start, _, _ in rows[1:]] + [length]
    marks = [
        (Mark(start, "+", f"({name}"), Mark(stop, "+", "(") if stop < after else None)
        for (start, stop, name), after in zip(rows, starts)
    ]
    return [mark for pair in marks for mark in pair if mark]


def extensions(leads: Iterable[str], taken: Iterable[str] = RESERVED) -> list[str]:
    """The names of the files of leads' waves, as in LUDB: the lead's in small letters; _ behind where it is taken."""
    found, taken = [], set(taken)
    for lead in leads:
        name = lead.lower()
        if not (name.isalnum() and name.isascii()):
            name = re.sub(r"[^\w-]+", "_", name, flags=re.ASCII).strip("_") or "lead"
        while name in taken:
            name += "_"
        taken.add(name)
        found.append(name)
    return found


def encode(marks: Iterable[Mark], rate: float, said: Iterable[str] = ()) -> bytes:
    """The file's bytes; `rate` Hz is what the samples count at. The marks are in order of time.

    said  comments about the file; they stand at 0, where wfdb.rdann leaves them out
    """
    words = _mark(0, CODES[COMMENT], f"## time resolution: {rate:.12g}")
    for text in said:
        words += _mark(0, CODES[COMMENT], text)
    words += _long(-1) + struct.pack("<H", 1)  # the end of what is said about the file; no mark
    pieces, now = [words], 0
    for mark in marks:
        pieces.append(_mark(mark.sample - now, CODES[mark.symbol], mark.note))
        now = mark.sample
    return b"".join([*pieces, b"\0\0"])


def _mark(after: int, code: int, note: str = "") -> bytes:
    words = b"" if 0 <= after < 1024 else _long(after)
    words += struct.pack("<H", code << 10 | (0 if words else after))
    text = note.encode("ascii", "replace")[:255]
    return words + (struct.pack("<H", NOTE << 10 | len(text)) + text + b"\0" * (len(text) % 2) if text else b"")


def _long(after: int) -> bytes:
    """A time of 32 bits, the upper half first."""
    return struct.pack("<HHH", SKIP << 10, after >> 16 & 0xFFFF, after & 0xFFFF)
