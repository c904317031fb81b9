"""Sections 7, 8 and 11 of SCP-ECG: measurements of the whole ECG, and statements (EN 1064, 5.10, 5.11 and 5.14)."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

import numpy as np

from ...record import QRS, InputError, P, waves_array
from .._said import possible
from .about import fields

MEASURED = np.dtype([(name, "<u2") for name in ("P", "P end", "QRS", "QRS end", "T end")] + [("axes", "<i2", 3)])
MISSING = 19998  # ms and above: 29999 not computed, 29998 not found, 19999 no such wave
# The statement codes of SCP-ECG that PTB-XL uses (Wagner et al. 2020, scp_statements.csv), in its spelling.
CODES = (
    "NDT NST_ DIG LNGQT NORM IMI ASMI LVH LAFB ISC_ IRBBB 1AVB IVCD ISCAL CRBBB CLBBB ILMI LAO/LAE AMI ALMI ISCIN "
    "INJAS LMI ISCIL LPFB ISCAS INJAL ISCLA RVH ANEUR RAO/RAE EL WPW ILBBB IPLMI ISCAN IPMI SEHYP INJIN INJLA PMI "
    "3AVB INJIL 2AVB ABQRS PVC STD_ VCLVH QWAVE LOWT NT_ PAC LPR INVT LVOLT HVOLT TAB_ STE_ PRC(S) SR AFIB STACH "
    "SARRH SBRAD PACE SVARR BIGU AFLT SVTAC PSVT TRIGU"
)
ALIAS = {"LAO": "LAO/LAE", "LAE": "LAO/LAE", "RAO": "RAO/RAE", "RAE": "RAO/RAE", "PRC": "PRC(S)"}
NEGATION = {"NO", "NOT", "NON"}
CODED, TEXT = 1, 2  # types of statements in section 11


@dataclass
class Measured:
    """Section 7. rows: MEASURED, of the reference beat first and then of kinds of beats or of each beat."""

    values: dict[str, float] = field(default_factory=dict)
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, MEASURED))
    spikes: int = 0
    kinds: int = 0  # QRS complexes whose kind it lists


def measured(body: bytes) -> Measured:
    """Raises InputError for a section that is cut short in its first parts; the last ones may be missing."""
    rows, spikes, rr, _ = struct.unpack_from("<BBHH", body) if len(body) >= 6 else (0, 0, 0, 0)
    place = 6 + MEASURED.itemsize * rows
    if place > len(body):
        raise InputError("is cut short")
    found = Measured(rows=np.frombuffer(body, MEASURED, rows, 6), spikes=spikes)
    values = {"RR": rr} | (_intervals(found.rows[0]) if rows else {})
    place += 10 * spikes
    if place + 2 <= len(body):
        found.kinds = struct.unpack_from("<H", body, place)[0]
        place += 2 + (found.kinds if found.kinds < MISSING else 0)
        if place + 6 <= len(body):
            values["heart rate"], _, values["QTc"] = struct.unpack_from("<HHH", body, place)
    found.values = possible(values.items())
    return found


def _intervals(row: np.void) -> dict[str, float]:
    """Intervals (ms) and axes of one beat."""
    at = {name: int(row[name]) if row[name] < MISSING else None for name in MEASURED.names[:5]}
    pairs = {"P duration": ("P", "P end"), "PR": ("P", "QRS"), "QRS": ("QRS", "QRS end"), "QT": ("QRS", "T end")}
    found = {key: at[b] - at[a] for key, (a, b) in pairs.items() if None not in (at[a], at[b])}
    return found | dict(zip(("P axis", "QRS axis", "T axis"), row["axes"].tolist()))


def waves(found: Measured, beats: int, rate: float, first: int, length: int) -> np.ndarray | None:
    """P waves and QRS complexes in samples, where section 7 measures each of the `beats` of the rhythm.

    Its times run from the beginning of the ECG, where sample `first` (from 1) is our sample 0. What it says of T
    waves is their end alone, which is no wave.
    """
    rows = found.rows[1:]
    onsets = rows["QRS"][rows["QRS"] < MISSING].astype(np.int64)
    if len(rows) < 2 or len(rows) != (beats or found.kinds) or len(onsets) < 2 or (np.diff(onsets) <= 0).any():
        return None
    made = []
    for kind, name in ((P, "P"), (QRS, "QRS")):
        at = np.stack([rows[name], rows[f"{name} end"]], axis=1).astype(np.int64)
        at = at[(at < MISSING).all(axis=1) & (at[:, 0] < at[:, 1])]
        spans = np.rint(at * rate / 1000).astype(np.int64) - (first - 1)
        made += [(kind, -1, a, -1, b) for a, b in spans.tolist() if a >= 0 and b < length]
    return waves_array(made) if made else None


@dataclass
class Statements:
    """Section 8 or 11. lines: as text; labels: codes of section 11 that are those of PTB-XL."""

    rank: int = -1  # 2 confirmed, 1 overread, 0 the machine's
    lines: list[str] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


def statements(body: bytes, coded: bool, codec: str) -> Statements:
    """Raises InputError for a section that is cut short."""
    if len(body) < 9:
        return Statements()
    found, place = Statements({1: 2, 2: 1}.get(body[0], 0)), 9
    for _ in range(body[8]):
        size = struct.unpack_from("<H", body, place + 1)[0] if place + 3 <= len(body) else len(body)
        place += 3 + size
        if place > len(body):
            raise InputError("is cut short")
        _add(found, body[place - size : place], coded, codec)
    return found


def _add(found: Statements, value: bytes, coded: bool, codec: str) -> None:
    kind, value = (value[0] if value else 0, value[1:]) if coded else (TEXT, value)
    if kind not in (CODED, TEXT):  # the logic between statements
        return
    line = " ".join(part for part in fields(value, codec) if part)
    found.lines += [line] if line else []
    words = [word for word in re.split(r"[\s;,]+", line.upper()) if word]
    negated = NEGATION & {part for word in words for part in word.split("_")}
    code = _code(words[0]) if kind == CODED and words and not negated else None
    if code:
        found.labels[f"scp:{code}"] = 1


def _code(said: str) -> str | None:
    """PTB-XL's spelling of a statement code, without what modifies it; None where it is none of them."""
    bare, known = said.partition("_")[0], CODES.split()
    for name in (said, bare, f"{bare}_"):
        if ALIAS.get(name, name) in known:
            return ALIAS.get(name, name)
    return None
