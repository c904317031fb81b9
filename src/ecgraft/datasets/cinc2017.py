"""PhysioNet/CinC Challenge 2017: 8,528 single-lead ECGs of 9 to 61 s at 300 Hz: normal (N), atrial fibrillation (A),
other rhythm (O) or too noisy (~).

The hand-held AliveCor device records between both hands (LA-RA), so the lead, "ECG" in the headers, is named I. Labels
are those of REFERENCE.csv (version 2 in the part of PhysioNet). Patients are not known: a record stands for one, and
two records that are there twice stand for one each. The checksums in the headers are 0 and are not looked at.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from ..formats import wfdb
from ..record import InputError, Record
from . import Entry
from ._lists import inside

NAME = "PhysioNet/CinC Challenge 2017"
LICENCE = "ODC-BY 1.0"
CITATION = (
    "Clifford GD et al. AF classification from a short single lead ECG recording: the PhysioNet/Computing in "
    "Cardiology Challenge 2017. CinC 2017;44. doi:10.22489/CinC.2017.065-469; data doi:10.13026/d3hm-sf11"
)
HOMEPAGE = "https://physionet.org/content/challenge-2017/"
FOLDERS = ("", "training", "training2017")
SAME = {"A01176": "A00227", "A03123": "A02656"}  # equal signals


def matches(folder: Path) -> bool:
    return _reference(folder) is not None


def entries(folder: Path) -> list[Entry]:
    reference = _reference(folder)
    if reference is None:
        raise InputError(f"{folder}: no REFERENCE.csv with rows like A00001,N")
    base = reference.parent
    found = []
    with open(reference, newline="", encoding="utf-8-sig") as file:
        for name, label, *_ in csv.reader(file):
            below = f"{name[:3]}/{name}"  # PhysioNet keeps A00001 in A00/
            path = inside(base, below if (base / f"{below}.hea").is_file() else name)
            found.append(Entry("cinc2017", name, path, {"label": label.strip()}))
    return found


def read(entry: Entry) -> Record:
    label = entry.meta["label"]
    if label not in ("N", "A", "O", "~"):
        raise InputError(f"{entry.path}: label {label!r} in REFERENCE.csv; it must be N, A, O or ~")
    return wfdb.bare(entry.path).but(
        leads=("I",),
        patient=f"cinc2017:{SAME.get(entry.id, entry.id)}",
        labels={f"cinc2017:{label}": 1},
        complete=frozenset({"cinc2017"}),
        source="cinc2017",
    )


def _reference(folder: Path) -> Path | None:
    """REFERENCE.csv with rows like A00001,N (other challenges use the name too)."""
    for name in FOLDERS:
        path = folder / name / "REFERENCE.csv"
        if path.is_file():
            with open(path, encoding="utf-8-sig", errors="replace") as file:
                if re.match(r"A\d{5},[NAO~]\s*$", file.readline()):
                    return path
    return None
