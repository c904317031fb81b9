"""MIMIC-IV-ECG: 800,035 12-lead ECGs of 10 s, with the statements of the machine as report.

Written to the database's documentation (https://physionet.org/content/mimic-iv-ecg/1.0/). Leads come in the order
I II III aVR aVF aVL V1-V6, aVF before aVL: they are taken by name. Age and sex are in MIMIC-IV itself, not here.
"""

from __future__ import annotations

from pathlib import Path

from ..formats import wfdb
from ..record import Record
from . import Entry
from ._lists import inside
from ._rows import first_line, rows

NAME = "MIMIC-IV-ECG"
LICENCE = "ODbL 1.0"
CITATION = (
    "Gow B et al. MIMIC-IV-ECG: Diagnostic Electrocardiogram Matched Subset (version 1.0). PhysioNet 2023. "
    "doi:10.13026/4nqg-sb35."
)
HOMEPAGE = "https://physionet.org/content/mimic-iv-ecg/"
STATEMENTS = tuple(f"report_{number}" for number in range(18))


def matches(folder: Path) -> bool:
    return first_line(folder / "record_list.csv").startswith("subject_id,study_id,file_name")


def entries(folder: Path) -> list[Entry]:
    """The records of the groups (files/p1000 ...) that are here."""
    groups = {path.name for path in (folder / "files").glob("p*")}
    reports = _reports(folder / "machine_measurements.csv")
    found = []
    for subject, study, time, path in rows(folder / "record_list.csv", ("subject_id", "study_id", "ecg_time", "path")):
        if path.split("/")[1:2] and path.split("/")[1] in groups:
            meta = {"subject": subject, "time": time, "report": reports.get(study)}
            found.append(Entry("mimic_iv_ecg", study, inside(folder, path), meta))
    return found


def read(entry: Entry) -> Record:
    record = wfdb.bare(entry.path)
    return record.but(
        id=entry.id,
        patient=f"mimic_iv_ecg:{entry.meta['subject']}",
        report=entry.meta["report"],
        source="mimic_iv_ecg",
        extra=record.extra | {"date": entry.meta["time"]},
    )


def _reports(path: Path) -> dict[str, str]:
    """Study -> its statements, one after the other; without the file no record has a report."""
    if not path.is_file():
        return {}
    return {study: "; ".join(filter(None, said)) for study, *said in rows(path, ("study_id", *STATEMENTS)) if any(said)}
