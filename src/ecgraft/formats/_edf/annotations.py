"""EDF+ annotations: when data records begin, and what the texts in them say about heart beats, rhythms and waves.

By https://www.edfplus.info/specs/edfplus.html a TAL is `+onset[\\x15duration]\\x14text\\x14[text\\x14...]\\0`; the
first of a data record, without text, is its time. A text may be about one signal: "P wave@@ECG II".

Texts are free, so they may name a person. Kept are those alone that are known words: symbols and rhythms as WFDB has
them ("V", "(AFIB"), names of rhythms and events. What `ecgraft` wrote itself
(`_edf.annotations_out`) is read back whole.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ...record import BEAT, RHYTHM, SPAN, WAVES, waves_array
from .._wfdb.annotations_out import BEATS, SYMBOLS
from .annotations_out import PARTS

TIME = re.compile(rb"([+-]\d{1,12}(?:\.\d{0,12})?)(?:\x15(\d{1,12}(?:\.\d{0,12})?))?\x14")
RHYTHMS = {"AB", "AFIB", "AFL", "ASYS", "AT", "B", "BI", "BII", "BIII", "HGEA", "IVR", "J", "N", "NOD", "NSR", "P"}
RHYTHMS |= {"PREX", "SAB", "SBR", "STACH", "SVTA", "T", "VF", "VFIB", "VFL", "VT", "SVT"}
NAMED = {  # names of rhythms and events that are kept -> as WFDB calls the rhythm, "" where it is none
    "atrial fibrillation": "AFIB",
    "afib": "AFIB",
    "atrial flutter": "AFL",
    "sinus rhythm": "N",
    "normal sinus rhythm": "N",
    "sinus bradycardia": "SBR",
    "sinus tachycardia": "STACH",
    "supraventricular tachycardia": "SVTA",
    "svt": "SVTA",
    "ventricular tachycardia": "VT",
    "vt": "VT",
    "ventricular flutter": "VFL",
    "ventricular fibrillation": "VF",
    "ventricular bigeminy": "B",
    "ventricular trigeminy": "T",
    "paced rhythm": "P",
    "idioventricular rhythm": "IVR",
    "av block": "",
    "asystole": "",
    "pause": "",
    "bradycardia": "",
    "tachycardia": "",
    "pvc": "",
    "pac": "",
    "couplet": "",
    "triplet": "",
    "artifact": "",
    "artefact": "",
    "noise": "",
    "patient event": "",
    "event button": "",
    "recording starts": "",
    "recording ends": "",
}
PEAKS = {"r-wave", "r wave", "r-peak", "r peak", "qrs", "beat", "heartbeat"}  # a beat of no class
APART = (0.2, 3.0)  # s between heart beats
WAVE_TEXT = re.compile(r"(P|QRS|T) wave:((?: (?:onset|peak|offset) \d+(?:\.\d+)?,?){1,3})")


class Mark(NamedTuple):
    onset: float  # s from the start time of the file
    duration: float | None  # s
    text: str
    signal: str  # the label of the signal that it is about; "" for all


class Meaning(NamedTuple):
    fields: dict  # of Record: beats, rhythms, waves, scored, report
    events: str  # "pause 3, noise 1"
    dropped: int  # texts that are not known words
    missing: list[tuple[int, int, int]]  # lead (-1: all), start, stop: no samples there
    end: int | None  # samples of the recording, where the last data record is filled up behind it


def parse(blocks) -> tuple[np.ndarray, list[Mark]]:
    """Bytes of the annotations of each data record, one item for each -> when each begins (s, NaN: not said), marks."""
    times, marks = [], []
    for data in blocks:
        time = np.nan
        for place, part in enumerate(data.split(b"\0")):
            said = TIME.match(part)
            if not said:
                continue
            onset, duration = float(said[1]), float(said[2]) if said[2] else None
            time = onset if place == 0 else time
            for raw in part[said.end() :].split(b"\x14"):
                if raw:
                    text, _, signal = raw.decode("utf-8", "replace").partition("@@")
                    marks.append(Mark(onset, duration, text.strip(), signal.strip()))
        times.append(time)
    return np.array(times, float), marks


def understand(marks: list[Mark], begin: float, rate: float, length: int, labels: list[str], ours: bool) -> Meaning:
    """Marks in seconds -> in samples. `begin`: time of the first sample; `labels`: of the signals that are leads.

    ours  whether ecgraft wrote the file: then all texts that it writes are known, the report among them
    """
    marks = sorted(marks, key=lambda mark: mark.onset)
    ends = [round((mark.onset - begin) * rate) for mark in marks if ours and mark.text == "Recording ends"]
    end = ends[-1] if ends and 0 < ends[-1] < length else None
    length = end or length
    beats, used = _beats(marks, ours)
    rhythms, also = _rhythms(marks)
    used |= also
    fields = {"beats": _beat_rows(beats, begin, rate, length), "rhythms": _spans(rhythms, begin, rate, length)}
    missing = []
    if ours:
        fields |= _waves(marks, begin, rate, length, labels)
        fields["report"] = _report(marks)
        missing = _missing(marks, begin, rate, length, labels)
    rest = [mark.text.lower() for i, mark in enumerate(marks) if i not in used and not (ours and _written(mark.text))]
    events = Counter(text for text in rest if text in NAMED)
    said = ", ".join(f"{text} {count}" for text, count in events.most_common())
    fields = {key: value for key, value in fields.items() if value is not None}
    return Meaning(fields, said, len(rest) - events.total(), missing, end)


def _beats(marks: list[Mark], ours: bool) -> tuple[list[tuple[float, str]], set[int]]:
    """(time, symbol) of beats, and which marks they are. A letter alone is a beat where all such letters are symbols
    of WFDB and stand as far apart as heart beats; "R" alone is a peak unless there are beats of another class."""
    single = [i for i, mark in enumerate(marks) if len(mark.text) == 1]
    apart = np.median(np.diff([marks[i].onset for i in single])) if len(single) > 1 else 1.0
    symbols = all(marks[i].text in SYMBOLS + "?" for i in single) and APART[0] <= apart <= APART[1]
    others = {marks[i].text for i in single} - {"R"}
    found, used = [], set()
    for i, mark in enumerate(marks):
        text, symbol = mark.text, ""
        if ours and text.startswith("beat ") and len(text) == 6:
            symbol = text[5]
        elif len(text) == 1 and text in BEATS | {"?"} and symbols:
            symbol = text if text != "R" or others & BEATS else "?"
        elif text.lower() in PEAKS:
            symbol = "?"
        if symbol:
            found.append((mark.onset, symbol))
            used.add(i)
    return found, used


def _beat_rows(beats: list[tuple[float, str]], begin: float, rate: float, length: int) -> np.ndarray | None:
    at = [(round((time - begin) * rate), symbol.encode("ascii", "replace")) for time, symbol in beats]
    rows = [row for row in at if 0 <= row[0] < length]
    return np.array(rows, BEAT) if rows else None


def _rhythms(marks: list[Mark]) -> tuple[list[tuple[float, float, str]], set[int]]:
    """(start, stop, name): "(AFIB" holds until the next such mark where it has no duration, a name only with one."""
    found, used = [], set()
    for i, mark in enumerate(marks):
        name = mark.text[1:] if mark.text[:1] == "(" and mark.text[1:] in RHYTHMS else ""
        if not name and mark.duration:
            name = NAMED.get(mark.text.lower(), "")
        if name:
            found.append([mark.onset, mark.onset + mark.duration if mark.duration else np.inf, name])
            used.add(i)
    for one, following in pairwise(found):
        one[1] = min(one[1], following[0])
    return [tuple(one) for one in found], used


def _spans(rhythms: list[tuple[float, float, str]], begin: float, rate: float, length: int) -> np.ndarray | None:
    rows = []
    for start, stop, name in rhythms:
        first = min(max(round((start - begin) * rate), 0), length)
        last = length if stop == np.inf else min(max(round((stop - begin) * rate), 0), length)
        if last > first:
            rows.append((first, last, name))
    return np.array(rows, RHYTHM) if rows else None


def _waves(marks: list[Mark], begin: float, rate: float, length: int, labels: list[str]) -> dict:
    """Waves and the spans in which they are all annotated, as `_edf.annotations_out` writes them."""
    waves, spans, places = [], [], _places(labels)
    for mark in marks:
        if mark.signal not in places:
            continue
        lead = places[mark.signal]
        said = WAVE_TEXT.fullmatch(mark.text)
        if said:
            after = dict(part.split() for part in said[2].split(","))
            at = [round((mark.onset + float(after[w]) - begin) * rate) if w in after else -1 for w in PARTS]
            waves += [(WAVES.index(said[1]), lead, *at)] if min(at) >= -1 and max(at) < length else []
        elif mark.text == "waves annotated":
            times = mark.onset - begin, mark.onset - begin + (mark.duration or 0)
            spans.append((lead, *(min(max(round(t * rate), 0), length) for t in times)))
    scored = np.array(spans, SPAN) if spans else None
    return {"waves": waves_array(waves) if waves or spans else None, "scored": scored}


def _missing(
    marks: list[Mark], begin: float, rate: float, length: int, labels: list[str]
) -> list[tuple[int, int, int]]:
    """Spans without samples, of each lead in order of time and apart."""
    spans, places = {}, _places(labels)
    for mark in marks:
        if mark.text != "no signal" or mark.signal not in places:
            continue
        start, stop = (round((t - begin) * rate) for t in (mark.onset, mark.onset + (mark.duration or 0)))
        own = spans.setdefault(places[mark.signal], [])
        start = max(start, own[-1][1] if own else 0)
        if start < min(stop, length):
            own.append((start, min(stop, length)))
    return [(lead, *span) for lead, own in spans.items() for span in own]


def _places(labels: list[str]) -> dict[str, int]:
    """Label -> lead; "" is all."""
    return {label: lead for lead, label in reversed(list(enumerate(labels)))} | {"": -1}


def _report(marks: list[Mark]) -> str | None:
    """Lines that begin with "report:"; "report+" goes on with the line before."""
    text = ""
    for mark in marks:
        kind, _, said = mark.text.partition(" ")
        text += "\n" + said if kind == "report:" else " " + said if kind == "report+" else ""
    return text.removeprefix("\n") or None


def _written(text: str) -> bool:
    return text in ("no signal", "waves annotated", "Recording ends") or bool(
        WAVE_TEXT.fullmatch(text) or re.match(r"report[:+]( |$)", text)
    )
