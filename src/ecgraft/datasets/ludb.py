"""LUDB: 200 12-lead ECGs of 10 s at 500 Hz with onset, peak and offset of every P, QRS and T, lead by lead.

The first and last beats are not annotated, so a lead is scored from its first onset to its last offset. Where a QRS
has no onset it begins at its peak (spikes of pacemakers: both marks fall on one sample and the file keeps one). All
diagnoses of ludb.csv are labels in its own words; those with an exact counterpart are SNOMED CT codes too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..formats import wfdb
from ..formats._wfdb.annotations import read_marks, span, waves
from ..record import QRS, Record
from . import Entry
from ._lists import inside, number, table

NAME = "LUDB"
LICENCE = "ODC-BY 1.0"
CITATION = (
    "Kalyakulina AI et al. LUDB: a new open-access validation tool for electrocardiogram delineation algorithms. "
    "IEEE Access 2020;8:186181. doi:10.1109/ACCESS.2020.3029211; data doi:10.13026/eegm-h675"
)
HOMEPAGE = "https://physionet.org/content/ludb/"
TABLE = "ludb.csv"
DIAGNOSES = (
    "Rhythms",
    "Electric axis of the heart",
    "Conduction abnormalities",
    "Extrasystolies",
    "Hypertrophies",
    "Cardiac pacing",
    "Ischemia",
    "Non-specific repolarization abnormalities",
    "Other states",
)
# Beginning of a diagnosis in LUDB's words -> SNOMED CT as in the PhysioNet/CinC challenges 2020 and 2021.
SNOMED = {
    "Sinus rhythm": "426783006",
    "Sinus bradycardia": "426177001",
    "Sinus tachycardia": "427084000",
    "Sinus arrhythmia": "427393009",
    "Atrial fibrillation": "164889003",
    "Atrial flutter": "164890007",
    "Wandering atrial pacemaker": "195101003",
    "Electric axis of the heart: left axis deviation": "39732003",
    "Electric axis of the heart: right axis deviation": "47665007",
    "Complete right bundle branch block": "713427006",
    "Incomplete right bundle branch block": "713426002",
    "Complete left bundle branch block": "733534002",
    "Incomplete left bundle branch block": "251120003",
    "Left anterior hemiblock": "445118002",
    "Non-specific intravintricular conduction delay": "698252002",
    "I degree av block": "270492004",
    "Iii degree av-block": "27885002",
    "Atrial extrasystole": "284470004",
    "Ventricular extrasystole": "427172004",
    "Left ventricular hypertrophy": "164873001",
    "Right ventricular hypertrophy": "89792004",
    "Left atrial hypertrophy": "446813000",
    "Right atrial hypertrophy": "446358003",
    "Pacemaker presence": "10370003",
    "Unipolar ventricular pacing": "10370003",
    "Unipolar atrial pacing": "10370003",
    "Bipolar ventricular pacing": "10370003",
    "Biventricular pacing": "10370003",
    "Early repolarization syndrome": "428417006",
}


def matches(folder: Path) -> bool:
    return (folder / TABLE).is_file()


def entries(folder: Path) -> list[Entry]:
    rows = table(folder / TABLE, ("ID", "Sex", "Age", "Rhythms"))
    return [Entry("ludb", row["ID"], inside(folder, f"data/{row['ID']}"), row) for row in rows]


def read(entry: Entry) -> Record:
    record, row = wfdb.bare(entry.path), entry.meta
    T = record.signal.shape[1]
    found, scored = [], []
    for lead, name in enumerate(record.leads):
        rows = waves(read_marks(entry.path, name.lower()).within(T), lead)
        bare = (rows["kind"] == QRS) & (rows["onset"] < 0)
        rows["onset"][bare] = rows["peak"][bare]
        found.append(rows)
        scored.append(span(rows, lead))
    return record.but(
        patient=f"ludb:{entry.id}",
        age=90.0 if row["Age"].startswith(">") else number(row["Age"]),
        sex=row["Sex"] if row["Sex"] in ("F", "M") else None,
        labels=labels(row),
        complete=frozenset({"ludb"}),
        waves=np.concatenate(found),
        scored=np.concatenate(scored),
        source="ludb",
    )


def labels(row: dict[str, str]) -> dict[str, int]:
    """Every diagnosis of a row of ludb.csv, a line each, and the SNOMED CT codes that say the same."""
    lines = [line.strip(" .") for column in DIAGNOSES for line in row.get(column, "").splitlines()]
    codes = [f"ludb:{line}" for line in lines if line]
    codes += [f"snomed:{code}" for name, code in SNOMED.items() if any(line.startswith(name) for line in lines)]
    return dict.fromkeys(codes, 1)
