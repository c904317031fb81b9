"""CPSC 2021: 1,436 pieces of two-lead (I, II) dynamic ECGs of 105 patients at 200 Hz, with beats and episodes of AF.

The name says the patient: data_<patient>_<part>. Rhythms are AFIB, AFL or N, which here means neither; they cover the
whole record. A record's kind is a label: N, AFf (persistent) or AFp (paroxysmal). Marks past the end are left out.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..formats import wfdb
from ..formats._wfdb.annotations import Marks, beats, read_marks, rhythms
from ..record import RHYTHM, Record
from . import Entry
from ._lists import inside, listed

NAME = "CPSC 2021"
LICENCE = "CC BY 4.0"
CITATION = (
    "Wang X et al. Paroxysmal atrial fibrillation events detection from dynamic ECG recordings: the 4th China "
    "Physiological Signal Challenge 2021. PhysioNet 2021. doi:10.13026/ksya-qw89"
)
HOMEPAGE = "https://physionet.org/content/cpsc2021/"
FOLDERS = ("Training_set_I", "Training_set_II", "")
KINDS = {
    "non atrial fibrillation": "N",
    "persistent atrial fibrillation": "AFf",
    "paroxysmal atrial fibrillation": "AFp",
}


def matches(folder: Path) -> bool:
    return any(any((folder / part).glob("data_*_*.atr")) for part in FOLDERS)


def entries(folder: Path) -> list[Entry]:
    parts = [folder / part for part in FOLDERS if any((folder / part).glob("data_*_*.hea"))]
    return [Entry("cpsc2021", Path(name).name, inside(part, name)) for part in parts for name in listed(part)]


def read(entry: Entry) -> Record:
    record = wfdb.bare(entry.path)
    T = record.signal.shape[1]
    marks = read_marks(entry.path, "atr")
    inside_marks = marks.within(T)
    dropped = len(marks.sample) - len(inside_marks.sample)
    kind = KINDS.get(record.extra.get("comments", "").strip().lower())
    patient = re.match(r"data_(\d+)_", entry.id)
    return record.but(
        patient=f"cpsc2021:{patient[1]}" if patient else None,
        labels={f"cpsc2021:{kind}": 1} if kind else {},
        complete=frozenset({"cpsc2021"} if kind else ()),
        beats=beats(inside_marks),
        rhythms=episodes(inside_marks, T),
        source="cpsc2021",
        extra=record.extra | ({"assumed": f"{dropped} annotations past the end left out"} if dropped else {}),
    )


def episodes(marks: Marks, length: int) -> np.ndarray:
    """Rhythms over the whole record: N before the first episode, and an end on the last sample is no change."""
    found = rhythms(marks, length)
    found = found[found["start"] < max(length - 1, 1)]
    if len(found):
        found["stop"][-1] = length
    if not len(found) or found["start"][0] > 0:
        first = found["start"][0] if len(found) else length
        found = np.concatenate([np.array([(0, first, "N")], RHYTHM), found])
    return found
