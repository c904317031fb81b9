"""PhysioNet/CinC challenges 2020 and 2021: 12-lead ECGs of eight sources with SNOMED CT codes.

The whole collection (training/georgia/g1/E00001.hea ...), one source of it, or a folder of its records; also the
Chapman-Shaoxing-Ningbo database as PhysioNet has it (WFDBRecords/01/010/JS00001.hea), which has the same headers.
Headers come in two dialects (2020 "#Dx: ...", 2021 "# Dx: ..."), in one and the same source.

The collection repeats other databases; `extra["also"]` names the twin ("ptb_xl:06001_hr"). Keep both on one side of a
split.
"""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

from ..formats import wfdb
from ..record import InputError, Record, UsageError
from . import Entry

NAME = "PhysioNet/CinC Challenge 2021"
LICENCE = "CC BY 4.0"
CITATION = (
    "Reyna MA et al. Will Two Do? Varying dimensions in electrocardiography: the PhysioNet/Computing in Cardiology "
    "Challenge 2021. CinC 2021;48. doi:10.23919/CinC53138.2021.9662687; data doi:10.13026/34va-7q14. "
    "Perez Alday EA et al. Classification of 12-lead ECGs: the PhysioNet/Computing in Cardiology Challenge 2020. "
    "Physiol Meas 2020;41:124003. doi:10.1088/1361-6579/abc960."
)
HOMEPAGE = "https://physionet.org/content/challenge-2021/"

SOURCES = {  # prefix of the record's name -> source, named as its folder
    "A": "cpsc_2018",
    "Q": "cpsc_2018_extra",
    "I": "st_petersburg_incart",
    "S": "ptb",
    "HR": "ptb-xl",
    "E": "georgia",
    "JS": "chapman_shaoxing",
}
NINGBO = 10647  # the first JS record from Ningbo
PARTS = (*SOURCES.values(), "ningbo")
LAYOUTS = ("training/*/g*/*.hea", "*/g*/*.hea", "g*/*.hea", "*.hea", "WFDBRecords/*/*/*.hea")
OLDEST = 120  # years; PTB-XL writes 300 for "over 89"


def matches(folder: Path) -> bool:
    first = next(chain.from_iterable(folder.glob(layout) for layout in LAYOUTS), None)
    if first is None or _source(first.stem) is None:
        return False
    text = first.read_text(errors="replace")
    return ".mat 16" in text and re.search(r"^# ?Dx:", text, re.MULTILINE) is not None


def entries(folder: Path, source: str | None = None) -> list[Entry]:
    """`source`: one of the eight alone ("georgia")."""
    if source is not None and source not in PARTS:
        raise UsageError(f"challenge2021: no source {source!r}; known: {', '.join(PARTS)}")
    headers = sorted(set(chain.from_iterable(folder.glob(layout) for layout in LAYOUTS)), key=lambda path: path.stem)
    listed = [(header, _source(header.stem)) for header in headers]
    return [
        Entry("challenge2021", header.stem, str(header.with_suffix("")), {"source": own})
        for header, own in listed
        if own is not None and source in (None, own)
    ]


def read(entry: Entry) -> Record:
    record = wfdb.bare(Path(entry.path + ".hea"))
    comments = record.extra.get("comments", "")
    labels = _labels(comments, entry)
    return record.but(
        id=entry.id,
        age=record.age if record.age is not None and record.age <= OLDEST else None,
        labels=labels,
        complete=frozenset({"snomed"} if labels else ()),
        source=f"challenge2021/{entry.meta['source']}",
        extra=record.extra | _also(entry.id),
    )


def _labels(comments: str, entry: Entry) -> dict[str, int]:
    """The codes of "Dx: 426177001,164934002"; none where the diagnosis is not known."""
    found = re.search(r"^ ?Dx: *(.*)$", comments, re.MULTILINE)
    codes = [code.strip() for code in found[1].split(",")] if found else []
    if codes in ([], [""], ["Unknown"]):
        return {}
    odd = [code for code in codes if not code.isdecimal()]
    if odd:
        raise InputError(f"{entry.path}.hea: {odd[0]!r} in the Dx line is no SNOMED CT code")
    return {f"snomed:{code}": 1 for code in codes}


def _source(name: str) -> str | None:
    """The source of a record, by its name; None where it is no name of the challenge."""
    match = re.fullmatch(r"([A-Z]+)(\d+)", name)
    if match and match[1] == "JS" and int(match[2]) >= NINGBO:
        return "ningbo"
    return SOURCES.get(match[1]) if match else None


def _also(name: str) -> dict[str, str]:
    """The same record in another database that ecgraft reads."""
    if name.startswith("HR"):
        return {"also": f"ptb_xl:{name[2:]}_hr"}
    return {"also": f"cpsc2018:{name}"} if name.startswith("A") else {}
