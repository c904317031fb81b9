"""Annotation files that lie beside a WFDB header: beats, rhythms and waves of a user's own record.

  atr, else qrs, ecg, ari     beats; rhythms; waves of all leads where there are boundaries
  i, ii ... v6                waves of a lead, in the way of LUDB: a file for each, named as the lead
  waves, q1c, pu              else waves of all leads; pu0 and pu1 of the first and the second (QT Database, ecgpuwave)

Times count frames of the record, or what the file itself says. A file that is none of annotations is left alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...record import SPAN, WAVE, InputError
from .annotations import Marks, beats, decode, rhythms, span, waves
from .annotations_out import SCORED, extensions
from .header import Header

BEATS = ("atr", "qrs", "ecg", "ari")
WAVES = ("waves", "q1c", "pu")
PAIR = ("pu0", "pu1")
BOUNDARIES = {"(", ")"}
MOST = 127  # leads that a wave can be of
LARGEST = 2**24  # bytes of an annotation file


class Beside(NamedTuple):
    fields: dict  # of the Record
    extensions: list[str]  # of the files that were taken
    skipped: list[str]


def files(header: Header, leads: Sequence[str]) -> list[Path]:
    """The annotation files that there are."""
    near = _Near(header)
    found = [near.path(name) for name in (*BEATS, *WAVES, *PAIR, *extensions(leads[:MOST])) if near.load(name)]
    return [Path(path) for path in found]


def read(header: Header, leads: Sequence[str], ratio: int, length: int) -> Beside:
    """ratio: samples of the record in a frame; length: of the record, in samples."""
    near = _Near(header)

    def take(name: str) -> Marks | None:
        return near.take(name, ratio, length)

    main = next(filter(None, map(take, BEATS)), None)
    found = {lead: marks for lead, name in enumerate(extensions(leads[:MOST])) if (marks := take(name))}
    whole = next(filter(None, map(take, WAVES[:1] if found else WAVES)), None)
    found |= {-1: whole} if whole else {}
    found = found or {lead: marks for lead, name in enumerate(PAIR[: len(leads)]) if (marks := take(name))}
    if not found and main and BOUNDARIES & set(main.symbol):
        found = {-1: main}
    return Beside(_beats(main, length) | _waves(found, length), near.taken, near.skipped)


class _Near:
    """The annotation files beside a header."""

    def __init__(self, header: Header):
        self.header, self.base = header, os.fspath(header.path.with_suffix(""))
        self.signals = {channel.file for channel in header.channels}
        self.taken: list[str] = []
        self.skipped: list[str] = []

    def path(self, name: str) -> str:
        return f"{self.base}.{name}"

    def load(self, name: str) -> Marks | None:
        """None where there is no such file; or none of annotations, which is told."""
        path = self.path(name)
        if not os.path.isfile(path) or os.path.basename(path) in self.signals:
            return None
        try:
            if os.path.getsize(path) > LARGEST:
                raise InputError("too large for annotations")
            with open(path, "rb") as file:
                return decode(file.read())
        except (InputError, OSError) as error:
            self.skipped.append(f".{name}: {getattr(error, 'strerror', None) or error}")
            return None

    def take(self, name: str, ratio: int, length: int) -> Marks | None:
        """The marks that lie in a record of `length` samples, at its rate."""
        marks = self.load(name)
        if marks is None:
            return None
        marks = _timed(marks, self.header.rate, ratio)
        inside = marks.within(length)
        outside = len(marks.sample) - len(inside.sample)
        if outside > len(inside.sample):
            self.skipped.append(f".{name}: most of its annotations are past the end of the record")
            return None
        self.taken.append(name)
        self.skipped += [f"{outside} annotations of .{name} past the end"] if outside else []
        return inside


def _timed(marks: Marks, rate: float, ratio: int) -> Marks:
    """With times in samples of the record."""
    factor = ratio * (rate / marks.resolution if marks.resolution else 1.0)
    if factor == 1:
        return marks
    return marks._replace(sample=np.rint(np.clip(marks.sample * factor, -1, 2**40)).astype(np.int64))


def _beats(main: Marks | None, length: int) -> dict:
    """Beats and rhythms. In files of waves every QRS is "N", which is no class."""
    if main is None:
        return {}
    found, changes = beats(main), rhythms(main, length)
    if BOUNDARIES & set(main.symbol) and set(found["symbol"].tolist()) <= {b"N"}:
        found["symbol"] = b"?"
    changes = changes[changes["name"] != ""]
    return {"beats": found[np.argsort(found["sample"], kind="stable")], "rhythms": changes if len(changes) else None}


def _waves(found: dict[int, Marks], length: int) -> dict:
    """Waves by lead (-1: all), and where they are complete: as the files say, else as in LUDB if each lead has one."""
    if not found:
        return {}
    rows = {lead: waves(marks, lead) for lead, marks in found.items()}
    said = [text for marks in found.values() for text in marks.said if text.startswith(SCORED)]
    spans = [(lead, *s) for lead, marks in found.items() for s in _spans(marks) if s[0] < s[1] <= length]
    if said:
        scored = np.array(spans, SPAN) if spans else None
    else:
        scored = None if -1 in found else np.concatenate([span(rows[lead], lead) for lead in rows])
    return {"waves": np.concatenate([*rows.values(), np.empty(0, WAVE)]), "scored": scored}


def _spans(marks: Marks) -> list[tuple[int, int]]:
    """ "scored 120 4800" -> its two numbers."""
    texts = [text for text in marks.said if text.startswith(SCORED)]
    return [(int(a), int(b)) for text in texts for a, b in re.findall(r"(\d{1,9}) (\d{1,9})", text)]
