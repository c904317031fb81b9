"""China Physiological Signal Challenge 2018: 12-lead ECGs of 6 to 60 s with nine classes, as MATLAB files.

The PhysioNet/CinC challenges have the same records under the same names, in WFDB and with SNOMED CT codes.
"""

from __future__ import annotations

from pathlib import Path

from ..formats import Given, mat
from ..record import LEADS, Record
from . import Entry
from ._lists import table
from ._rows import first_line

NAME = "CPSC 2018"
LICENCE = "CC BY 4.0 as part of the PhysioNet/CinC challenges; none stated with the original files"
CITATION = (
    "Liu F et al. An open access database for evaluating the algorithms of electrocardiogram rhythm and morphology "
    "abnormality detection. J Med Imaging Health Inform 2018;8(7):1368-1373. doi:10.1166/jmihi.2018.2442."
)
HOMEPAGE = "http://2018.icbeb.org/Challenge.html"
RATE = 500
LISTS = ("REFERENCE.csv", "*/REFERENCE.csv")
LABELS = ("First_label", "Second_label", "Third_label")


def matches(folder: Path) -> bool:
    """A folder that holds the database among others has its list one level down, but not its records."""
    return bool(_lists(folder)) and bool(entries(folder))


def entries(folder: Path) -> list[Entry]:
    """The records that a list (REFERENCE.csv, in the folder or beside the files) names and that are here."""
    files = {path.stem: path for pattern in ("*.mat", "*/*.mat") for path in folder.glob(pattern)}
    listed = {}
    for path in _lists(folder):
        listed |= {row["Recording"]: [row[label] for label in LABELS] for row in table(path, ("Recording", *LABELS))}
    return [
        Entry("cpsc2018", name, str(files[name]), {"labels": [label for label in labels if label]})
        for name, labels in sorted(listed.items())
        if name in files
    ]


def _lists(folder: Path) -> list[Path]:
    """The lists of this database; CinC 2017 has some of the same name."""
    found = sorted(path for pattern in LISTS for path in folder.glob(pattern))
    return [path for path in found if first_line(path).startswith("Recording,First_label")]


def read(entry: Entry) -> Record:
    return mat.read(Path(entry.path), Given(RATE, "mV", LEADS)).but(
        id=entry.id,
        labels={f"cpsc2018:{label}": 1 for label in entry.meta["labels"]},
        complete=frozenset({"cpsc2018"}),
        source="cpsc2018",
    )
