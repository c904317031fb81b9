"""QT Database: 105 two-lead excerpts of 15 min at 250 Hz with waves marked by hand in 30 to 100 beats of each.

Waves come from the annotator `annotator`: q1c (cardiologist 1, all records), q2c (cardiologist 2, 11 records), pu0 and
pu1 (automatic, lead 0 and lead 1, all beats). The hand marks hold for both leads and cover marked beats only: a span is
scored from the first to the last mark of a run of marked beats with no other beat between them. Many T waves have no
onset. Test only. Excerpts sel1xx and sel2xx are of MIT-BIH records and share their patients.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..formats import wfdb
from ..formats._wfdb.annotations import BEATS, beats, read_marks, rhythms, waves
from ..record import QRS, SPAN, P, Record, UsageError
from . import Entry
from ._lists import inside, listed

NAME = "QT Database"
LICENCE = "ODC-BY 1.0"
CITATION = (
    "Laguna P et al. A database for evaluation of algorithms for measurement of QT and other waveform intervals in "
    "the ECG. Computers in Cardiology 1997;24:673-676. doi:10.1109/CIC.1997.648140; data doi:10.13026/C24K53"
)
HOMEPAGE = "https://physionet.org/content/qtdb/"
ANNOTATORS = {"q1c": -1, "q2c": -1, "pu0": 0, "pu1": 1}  # -> the lead that the marks hold for, -1 for both
SAME = {"sele0122": "sele0121", "sele0126": "sele0124"}  # equal age, sex and history in their headers
NEAR = 0.15  # s; marks nearer than this are of one beat


def matches(folder: Path) -> bool:
    return any(folder.glob("sel*.q1c"))


def entries(folder: Path, annotator: str = "q1c") -> list[Entry]:
    """The records that `annotator` has marked."""
    if annotator not in ANNOTATORS:
        raise UsageError(f"qtdb: annotator {annotator!r}; known: {', '.join(ANNOTATORS)}")
    names = [name for name in listed(folder) if annotator == "q1c" or (folder / f"{name}.{annotator}").is_file()]
    return [Entry("qtdb", name, inside(folder, name), {"annotator": annotator}) for name in names]


def read(entry: Entry) -> Record:
    record, annotator = wfdb.bare(entry.path), entry.meta["annotator"]
    T, lead = record.signal.shape[1], ANNOTATORS[annotator]
    found = waves(read_marks(entry.path, annotator).within(T), lead)
    reviewed = Path(f"{entry.path}.atr").is_file()
    marks = read_marks(entry.path, "atr" if reviewed else "man").within(T)
    extra = {} if reviewed else {"beats": "only those with marked waves"}
    return record.but(
        patient=patient(entry.id),
        waves=found,
        scored=scored(found, _all_beats(entry.path, T), NEAR * record.rate),
        beats=beats(marks),
        rhythms=rhythms(marks, T) if "+" in marks.symbol else None,
        source="qtdb",
        split="test",
        extra=record.extra | extra,
    )


def patient(name: str) -> str:
    """sel114 is an excerpt of MIT-BIH 114; others are patients of their own."""
    excerpt = re.fullmatch(r"sel([12]\d\d)", name)
    return f"mitdb:{excerpt[1]}" if excerpt else f"qtdb:{SAME.get(name, name)}"


def scored(waves: np.ndarray, beats: np.ndarray, near: float) -> np.ndarray:
    """SPAN rows: runs of marked beats, broken where one of `beats` (samples) lies between two of them unmarked.

    A P wave belongs to the QRS after it, a T wave to the one before it. `near`: samples between marks of one beat.
    """
    peaks = waves["peak"][waves["kind"] == QRS]
    if not len(peaks):
        return np.empty(0, SPAN)
    others = beats[[np.abs(peaks - at).min() > near for at in beats]] if len(beats) else beats
    broken = np.searchsorted(others, peaks[1:]) > np.searchsorted(others, peaks[:-1])
    before, after = np.searchsorted(peaks, waves["peak"], "right") - 1, np.searchsorted(peaks, waves["peak"])
    beat = np.where(waves["kind"] == P, after, before).clip(0, len(peaks) - 1)
    run = np.concatenate([[0], np.cumsum(broken)])[beat]
    marks = np.stack([waves["onset"], waves["peak"], waves["offset"]])  # (3, n)
    first, last = np.where(marks >= 0, marks, marks.max()).min(axis=0), marks.max(axis=0)
    rows = [(waves["lead"][0], first[run == r].min(), last[run == r].max() + 1) for r in np.unique(run)]
    return np.array(rows, dtype=SPAN)


def _all_beats(path: str, length: int) -> np.ndarray:
    """Peaks (samples) of all beats: as reviewed, else as found automatically in lead 0."""
    for extension in ("atr", "pu0", "pu1"):
        if Path(f"{path}.{extension}").is_file():
            marks = read_marks(path, extension).within(length)
            return marks.sample[[symbol in BEATS for symbol in marks.symbol]]
    return np.empty(0, np.int64)
