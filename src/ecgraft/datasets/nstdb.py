"""MIT-BIH Noise Stress Test Database: half an hour each of baseline wander (bw), electrode motion (em) and muscle
artefact (ma), and 12 ECGs with em added.

`noise(folder)` gives the noises. Their headers state no gain: WFDB's 200 per mV is taken, and a user scales them to a
signal-to-noise ratio anyway. As a database its records are test only; the ECGs are of MIT-BIH 118 and 119.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..formats import wfdb
from ..formats._wfdb.annotations import beats, read_marks
from ..record import InputError, Record
from . import Entry, check_folder
from ._lists import inside, listed

NAME = "MIT-BIH Noise Stress Test Database"
LICENCE = "ODC-BY 1.0"
CITATION = (
    "Moody GB, Muldrow WE, Mark RG. A noise stress test for arrhythmia detectors. Computers in Cardiology "
    "1984;11:381-384. data doi:10.13026/C2HS3T"
)
HOMEPAGE = "https://physionet.org/content/nstdb/"
NOISES = ("bw", "em", "ma")


def noise(folder) -> list[tuple[str, np.ndarray, float]]:
    """(name, signal (2, T) mV, rate Hz) of the noises that are there."""
    folder = check_folder(folder)
    records = [wfdb.bare(folder / name) for name in NOISES if (folder / f"{name}.hea").is_file()]
    if not records:
        raise InputError(f"{folder}: none of bw, em, ma; is this the folder of {NAME}?")
    return [(record.id, record.signal, record.rate) for record in records]


def matches(folder: Path) -> bool:
    return any((folder / f"{name}.hea").is_file() for name in NOISES)


def entries(folder: Path) -> list[Entry]:
    return [Entry("nstdb", name, inside(folder, name)) for name in listed(folder)]


def read(entry: Entry) -> Record:
    record = wfdb.bare(entry.path)
    original = re.match(r"(11[89])e", entry.id)
    if original is None:
        return record.but(source="nstdb", split="test")
    marks = read_marks(entry.path, "atr").within(record.signal.shape[1])
    return record.but(patient=f"mitdb:{original[1]}", beats=beats(marks), source="nstdb", split="test")
