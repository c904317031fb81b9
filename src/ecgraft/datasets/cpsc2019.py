"""China Physiological Signal Challenge 2019: single-lead ECGs of 10 s, many of them noisy, with every R peak.

No licence is stated for it, and no name of the lead. The unit is taken to be mV.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..formats import Given, mat, reading
from ..record import BEAT, InputError, Record
from . import Entry

NAME = "CPSC 2019"
LICENCE = "not stated: ask its authors before you redistribute it"
CITATION = (
    "Gao H et al. An open-access ECG database for algorithm evaluation of QRS detection and heart rate estimation. "
    "J Med Imaging Health Inform 2019;9(9):1853-1858. doi:10.1166/jmihi.2019.2800."
)
HOMEPAGE = "http://2019.icbeb.org/Challenge.html"
RATE = 500
LARGEST = 2**16  # bytes of a file of R peaks


def matches(folder: Path) -> bool:
    return any(_root(folder).glob("data/data_*.mat")) and any(_root(folder).glob("ref/R_*.mat"))


def entries(folder: Path) -> list[Entry]:
    files = sorted(_root(folder).glob("data/data_*.mat"))
    return [Entry("cpsc2019", path.stem, str(path)) for path in files]


def read(entry: Entry) -> Record:
    path = Path(entry.path)
    marks = path.parents[1] / "ref" / f"R_{path.stem.removeprefix('data_')}.mat"
    record = mat.read(path, Given(RATE, "mV", ("ECG",)))
    peaks = _peaks(marks)
    if len(peaks) and not 0 <= peaks[0] <= peaks[-1] < record.signal.shape[1]:
        raise InputError(f"{marks}: an R peak lies outside of the {record.signal.shape[1]} samples")
    beats = np.zeros(len(peaks), BEAT)
    beats["sample"], beats["symbol"] = peaks, b"?"
    extra = {"assumed": "unit mV, which the database does not state"}
    return record.but(id=entry.id, beats=beats, source="cpsc2019", extra=extra)


def _peaks(path: Path) -> np.ndarray:
    """Sample indices, ascending; MATLAB counts from 1."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; it holds the R peaks")
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path}: more than {LARGEST} bytes, too much for the R peaks of 10 s")
    with reading(path, "R peaks"):
        return np.sort(mat.variables(path)["R_peak"].ravel().astype(np.int64)) - 1


def _root(folder: Path) -> Path:
    """The folder of data and ref, also in the download's own (train)."""
    return folder / "train" if (folder / "train" / "data").is_dir() else folder
