"""Shandong Provincial Hospital database: 12-lead ECGs of 10 to 60 s with statements as AHA, ACC and HRS define them.

A statement is a number with modifiers: "60+310;22" is frequent (310) ventricular premature complexes (60) and sinus
bradycardia (22). It becomes the codes aha:60, aha:60+310 and aha:22: the statement, and once more with each modifier.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..formats._hdf5.file import opened
from ..record import LEADS, InputError, Record
from . import Entry
from ._lists import inside, number, table
from ._rows import first_line

NAME = "SPH 12-lead ECG database"
LICENCE = "CC BY 4.0 (CC0 is stated in places: check before redistribution)"
CITATION = (
    "Liu H et al. A large-scale multi-label 12-lead electrocardiogram database with standardized diagnostic "
    "statements. Sci Data 2022;9:272. doi:10.1038/s41597-022-01403-5; data doi:10.6084/m9.figshare.c.5779802."
)
HOMEPAGE = "https://doi.org/10.6084/m9.figshare.c.5779802"
RATE = 500


def matches(folder: Path) -> bool:
    return first_line(folder / "metadata.csv").startswith("ECG_ID,AHA_Code")


def entries(folder: Path) -> list[Entry]:
    rows = table(folder / "metadata.csv", ("ECG_ID", "AHA_Code", "Patient_ID", "Age", "Sex", "N", "Date"))
    return [Entry("sph", row["ECG_ID"], inside(folder, f"records/{row['ECG_ID']}.h5"), row) for row in rows]


def read(entry: Entry) -> Record:
    row = entry.meta
    with opened(entry.path) as file:
        signal = file["ecg"]
        if signal.ndim != 2 or signal.shape[0] != len(LEADS) or str(signal.shape[1]) != row["N"]:
            raise InputError(
                f"{entry.path}: the signal is {signal.shape}, the list says 12 leads of {row['N']} samples"
            )
        signal = signal[:].astype(np.float32)  # (12, T) float16 in mV
    return Record(
        signal,
        RATE,
        LEADS,
        id=entry.id,
        patient=f"sph:{row['Patient_ID']}",
        age=number(row["Age"]),
        sex=row["Sex"] if row["Sex"] in ("F", "M") else None,
        labels={code: 1 for code in codes(row["AHA_Code"])},
        complete=frozenset({"aha"}),
        source="sph",
        extra={"date": row["Date"]},
    )


def codes(statements: str) -> list[str]:
    """ "60+310;22" -> aha:60, aha:60+310, aha:22."""
    found = []
    for statement in filter(None, statements.split(";")):
        primary, *modifiers = (part.strip() for part in statement.split("+"))
        found += [f"aha:{primary}", *(f"aha:{primary}+{modifier}" for modifier in modifiers)]
    return found
