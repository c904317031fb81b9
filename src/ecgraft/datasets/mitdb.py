"""MIT-BIH Arrhythmia Database: 48 two-lead records of 30 min at 360 Hz with every beat and rhythm annotated.

Test only. A record is a patient, but for 201 and 202, which are of one.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..formats import wfdb
from ..formats._wfdb.annotations import beats, read_marks, rhythms
from ..record import Record
from . import Entry
from ._lists import inside, listed

NAME = "MIT-BIH Arrhythmia Database"
LICENCE = "ODC-BY 1.0"
CITATION = (
    "Moody GB, Mark RG. The impact of the MIT-BIH Arrhythmia Database. IEEE Eng Med Biol 2001;20(3):45-50. "
    "doi:10.1109/51.932724; data doi:10.13026/C2F305"
)
HOMEPAGE = "https://physionet.org/content/mitdb/"


def matches(folder: Path) -> bool:
    return any(re.fullmatch(r"[12]\d\d\.atr", path.name) for path in folder.glob("*.atr"))


def entries(folder: Path) -> list[Entry]:
    return [Entry("mitdb", name, inside(folder, name)) for name in listed(folder) if re.fullmatch(r"[12]\d\d", name)]


def read(entry: Entry) -> Record:
    record = wfdb.bare(entry.path)
    T = record.signal.shape[1]
    marks = read_marks(entry.path, "atr").within(T)
    return record.but(
        patient=f"mitdb:{'201' if entry.id == '202' else entry.id}",
        beats=beats(marks),
        rhythms=rhythms(marks, T),
        source="mitdb",
        split="test",
    )
