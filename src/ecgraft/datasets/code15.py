"""CODE-15%: 345,779 exams of the Telehealth Network of Minas Gerais with six abnormalities, in HDF5 parts.

Tracings of 7.3 or 10.2 s stand in the middle of 4096 samples, zeros around them; the zeros are cut off here.
The last row of a part (exam_id 0) is no exam.

The unit is not stated with the data. The authors' own preprocessing made it from mV with `--scale 2`
(github.com/antonior92/ecg-preprocessing), so a unit is 0.5 mV; QRS amplitudes then agree with other databases, while
taken as mV they are twice as large (github.com/antonior92/ecg-age-prediction, issue 5).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..formats._hdf5.file import opened
from ..record import LEADS, InputError, Record
from . import Entry
from ._lists import number
from ._rows import first_line, rows

NAME = "CODE-15%"
LICENCE = "CC BY 4.0"
CITATION = (
    "Ribeiro AH et al. CODE-15%: a large scale annotated dataset of 12-lead ECGs. Zenodo 2021. "
    "doi:10.5281/zenodo.4916206. "
    "Ribeiro AH et al. Automatic diagnosis of the 12-lead ECG using a deep neural network. Nat Commun 2020;11:1760. "
    "doi:10.1038/s41467-020-15432-4."
)
HOMEPAGE = "https://doi.org/10.5281/zenodo.4916206"
RATE = 400
LENGTH = 4096  # of every tracing, with the zeros
UNIT = 0.5  # mV
PERSON = ("age", "is_male", "patient_id")
OUTCOME = ("death", "timey")  # died in the follow-up, and its years; of a patient's first exam alone
CLASSES = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")
ASSUMED = "unit 0.5 mV, which the database does not state: its authors multiplied mV by 2"


def matches(folder: Path) -> bool:
    return first_line(folder / "exams.csv").startswith("exam_id,") and any(folder.glob("exams_part*.hdf5"))


def entries(folder: Path) -> list[Entry]:
    """The exams whose part file is here, in the order of the list."""
    place = {exam: (str(path), row) for path in sorted(folder.glob("*.hdf5")) for row, exam in enumerate(_exams(path))}
    found = []
    for exam, *said in rows(folder / "exams.csv", ("exam_id", *PERSON, *OUTCOME, *CLASSES)):
        if exam in place:
            path, row = place[exam]
            found.append(Entry("code15", exam, path, {"row": row, "said": tuple(said)}))
    return found


def read(entry: Entry) -> Record:
    with opened(entry.path) as file:
        tracings = file["tracings"]
        if tracings.shape[1:] != (LENGTH, len(LEADS)):
            raise InputError(f"{entry.path}: tracings are {tracings.shape}; each must be {LENGTH} x {len(LEADS)}")
        tracing = tracings[entry.meta["row"]]  # (4096, 12)
    kept = np.flatnonzero(tracing.any(axis=1))
    if not len(kept):
        raise InputError(f"{entry.path}: exam {entry.id} is empty: all of its samples are 0")
    said = dict(zip((*PERSON, *OUTCOME, *CLASSES), entry.meta["said"]))
    flags = {name: _value(said[name]) for name in CLASSES}
    outcome = {name: _value(said[name]) for name in OUTCOME}
    return Record(
        tracing[kept[0] : kept[-1] + 1].T * np.float32(UNIT),
        RATE,
        LEADS,
        id=entry.id,
        patient=f"code15:{said['patient_id']}",
        age=number(said["age"]),
        sex={"True": "M", "False": "F"}.get(said["is_male"]),
        labels={f"code15:{name}": int(flag) for name, flag in flags.items() if flag is not None},
        values={name: value for name, value in outcome.items() if value is not None},
        source="code15",
        extra={"assumed": ASSUMED},
    )


def _exams(path: Path) -> list[str]:
    with opened(path) as file:
        return [str(exam) for exam in file["exam_id"][:]]


def _value(text: str) -> float | None:
    """A flag or a number of the list; None where it says nothing."""
    return {"True": 1.0, "False": 0.0}[text] if text in ("True", "False") else number(text)
