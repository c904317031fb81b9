"""AliveCor Kardia: ATC files ("ALIVE"), and recordings of the Kardia API as JSON.

ATC by AliveCor's "ATC File Format Specification 1.7" (github.com/alivecor/ATCpy): blocks of a name, a length, data and
a checksum, which is CRC-32 in the specification and the sum of the bytes in AliveCor's own writer; both are right here.
JSON by the Kardia API (developers.kardia.com): `data.raw` is read; `data.enhanced`, filtered by AliveCor, is not.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from ..record import BEAT, LEADS, InputError, Record
from . import Given, told
from ._digital import LARGEST, millivolt, step
from ._given import NO_MEDIAN
from ._said import extent, possible, report

TITLE = "AliveCor Kardia"
MEDIAN = True
SIGNATURE = b"ALIVE\0\0\0"
BLOCKS = {f"{kind}{n}": lead for kind in ("ecg", "avg", "med") for n, lead in zip(" 23456789abc", LEADS)}
KEYS = re.compile(rb'"(recordedAt|algorithmDetermination|patientID|amplitudeResolution|mainsFrequency)"')
NAMES = {"leadI": "I", "leadII": "II", "leadIII": "III", "AVR": "aVR", "AVL": "aVL", "AVF": "aVF"}
SYMBOLS = {0: "?", 1: "N", 2: "V", 3: "A", 4: "F", 5: "J", 6: "/"}
LONGEST = 2**26  # bytes of JSON
MOST = 1000  # blocks
FLAGS = {16: "high-pass 0.1 Hz", 64: "enhanced"}
MAINS60, NOTCH = 2, 4 | 32


def claims(path: Path, head: bytes) -> int:
    if head.startswith(SIGNATURE):
        return 2
    return 2 if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and len(set(KEYS.findall(head))) > 1 else 0


def read(path: Path, given: Given) -> Record:
    with open(path, "rb") as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise InputError(f"{path}: more than {LONGEST >> 20} MiB; no Kardia recording is that large")
    return _atc(data, path, given) if data.startswith(SIGNATURE) else _json(data, path, given)


def _atc(data: bytes, path: Path, given: Given) -> Record:
    blocks, wrong = _blocks(data, path)
    if len(blocks.get("fmt ", b"")) < 6:
        raise InputError(f"{path}: it has no format block; export the recording again")
    kind, rate, nanovolt, flags = struct.unpack("<BHHB", blocks["fmt "][:6])
    if kind != 1:
        raise InputError(f"{path}: samples of format {kind} are not known; export the recording again")
    median = next((k for k in ("med", "avg") if any(name.startswith(k) for name in blocks)), "")
    if given.median and not median:
        raise InputError(f"{path}: {NO_MEDIAN}")
    signal, leads = _leads(blocks, median if given.median else "ecg", nanovolt, path)
    info = [text.split(b"\0")[0].decode("utf-8", "replace").strip() for text in _cut(blocks.get("info", b""))]
    notch = [f"notch {60 if flags & MAINS60 else 50} Hz"] if flags & NOTCH else []
    beat = _leads(blocks, median, nanovolt, path)[0] if median and not given.median else None
    return Record(
        signal,
        rate,
        leads,
        id=path.stem,
        beats=None if given.median else _beats(blocks.get("ann ", b""), rate, signal.shape[1]),
        extra=told(
            unit="nV",
            resolution=f"{nanovolt / 1e6:g}",
            median=extent(beat.shape[1], rate, len(beat)) if beat is not None else "",
            device=", ".join(filter(None, ["AliveCor", *info])),
            filters=", ".join([name for bit, name in FLAGS.items() if flags & bit] + notch),
            assumed=[f"the checksum of block {name} is wrong" for name in wrong],
            skipped=["acceleration"] if "acc " in blocks else [],
        ),
    )


def _blocks(data: bytes, path: Path) -> tuple[dict[str, bytes], list[str]]:
    """Data of the blocks by name, and the names of those whose checksum is wrong."""
    found, wrong, at = {}, [], 12
    while at + 12 <= len(data) and len(found) < MOST:
        name, size = data[at : at + 4].decode("latin-1"), struct.unpack_from("<I", data, at + 4)[0]
        end = at + 8 + size
        if end + 4 > len(data):
            raise InputError(f"{path}: block {name!r} is cut short; export the recording again")
        said = struct.unpack_from("<I", data, end)[0]
        whole = data[at:end]
        if said not in (zlib.crc32(whole), int(np.frombuffer(whole, np.uint8).sum(dtype=np.uint64)) & 0xFFFFFFFF):
            if name in BLOCKS or name == "fmt ":
                raise InputError(f"{path}: the checksum of block {name!r} is wrong; export the recording again")
            wrong.append(name.strip())
        found.setdefault(name, data[at + 8 : end])
        at = end + 4
    return found, wrong


def _leads(blocks: dict[str, bytes], kind: str, nanovolt: int, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """(C, T) mV of the blocks of a kind, and their leads."""
    found = {lead: blocks[name] for name, lead in BLOCKS.items() if name[:3] == kind and len(blocks.get(name, b"")) > 1}
    if not found:
        raise InputError(f"{path}: there are no samples in it; export the recording again")
    rows = [np.frombuffer(data[: len(data) // 2 * 2], "<i2") for data in found.values()]
    return millivolt(rows, [step(nanovolt, path)] * len(rows), "nV", path), tuple(found)


def _cut(info: bytes) -> tuple[bytes, bytes]:
    """Hardware and software of the recorder. What tells the person, the telephone or the device apart is left."""
    return info[180:212], info[148:180]


def _beats(data: bytes, rate: float, length: int) -> np.ndarray | None:
    if len(data) < 4 or not struct.unpack_from("<I", data)[0]:
        return None
    ticks = struct.unpack_from("<I", data)[0]
    marks = np.frombuffer(data, np.dtype([("at", "<u4"), ("type", "<u2")]), (len(data) - 4) // 6, 4)
    places = np.rint(marks["at"].astype(np.float64) * rate / ticks)
    kept = places < length
    beats = np.empty(kept.sum(), BEAT)
    beats["sample"] = places[kept]
    beats["symbol"] = [SYMBOLS.get(kind, "?").encode() for kind in marks["type"][kept].tolist()]
    return beats[np.argsort(beats["sample"], kind="stable")]


def _json(data: bytes, path: Path, given: Given) -> Record:
    if given.median:
        raise InputError(f"{path}: {NO_MEDIAN}")
    try:
        said = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: broken JSON ({str(error)[:100]}); get the file again") from error
    raw = _part(_part(said, "data"), "raw")
    if not _part(raw, "samples"):
        twelve = "; Kardia 12L recordings do not say what a unit is" if "data12L" in _part({"": said}, "") else ""
        raise InputError(f"{path}: there is no data.raw with samples in it{twelve}")
    leads = {NAMES.get(name, name): _numbers(values, f"{path}, {name}") for name, values in raw["samples"].items()}
    nanovolt, rate = raw.get("amplitudeResolution"), raw.get("frequency")
    if not _is_number(rate) or not 0 < rate <= 100_000:
        raise InputError(f"{path}: data.raw.frequency is {str(rate)[:20]!r}, no rate in Hz; export the recording again")
    known = _is_number(nanovolt)
    given.require(path, rate=False, unit=not known, names=0)
    unit, per = ("nV", step(nanovolt, path)) if known else (given.unit, 1.0)
    verdict, mains = said.get("algorithmDetermination"), raw.get("mainsFrequency")
    verdict = verdict if isinstance(verdict, str) else ""
    code = re.sub(r"\W+", "_", verdict.strip().lower())[:40]
    kind = _part(said, "deviceInfo").get("hardwareType")
    return Record(
        millivolt(list(leads.values()), [per] * len(leads), unit, path),
        rate,
        tuple(leads),
        id=path.stem,
        patient=given.patient(said["patientID"]) if isinstance(said.get("patientID"), str) else None,
        labels={f"kardia:{code}": 1} if code and code != "no_analysis" else {},
        report=report([verdict]) if verdict else None,
        values=_values(said),
        extra=told(
            unit=unit,
            resolution=f"{per / 1e6:g}" if known else "",
            device=f"AliveCor {kind[:40]}" if isinstance(kind, str) else "AliveCor",
            filters=f"mains {mains:g} Hz" if _is_number(mains) else "",
            skipped=["the signal as AliveCor filtered it (enhanced)"] if _part(_part(said, "data"), "enhanced") else [],
        ),
    )


def _values(said: dict) -> dict[str, float]:
    """Heart rate and intervals; an interval is a number, or an object with a Value."""
    qt = _part(said, "qtMeasurement")
    values = {"heart rate": said.get("heartRate"), "QT": qt.get("qt"), "QTc": qt.get("qtcb"), "RR": qt.get("rr")}
    bare = ((name, value.get("Value") if isinstance(value, dict) else value) for name, value in values.items())
    return possible((name, float(value) if _is_number(value) else None) for name, value in bare)


def _part(said, name: str) -> dict:
    found = said.get(name) if isinstance(said, dict) else None
    return found if isinstance(found, dict) else {}


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _numbers(values, where: str) -> np.ndarray:
    """(T,) float64; NaN where there is none."""
    try:
        array = np.array(values, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where}: its samples are not a list of numbers; get the file again") from error
    if array.ndim != 1:
        raise InputError(f"{where}: its samples are not a list of numbers; get the file again")
    if np.nanmax(np.abs(array), initial=0) > LARGEST:
        raise InputError(f"{where}: a number that is no sample; get the file again")
    return array
