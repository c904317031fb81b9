"""ISHNE Holter files: a fixed header, a text of any length, samples of 16 bits in turn for each lead.

By Badilini F, "The ISHNE Holter standard output file format", Ann Noninvasive Electrocardiol 1998;3:263. Where open
readers differ: the samples begin where the checksum says that the header ends, else after it and its text (so do
ECG-Kit and ecgdatakit), and not at the stored offset; what counts of them there are is what the file holds, since
writers put the samples of a lead, of all leads, or a constant into the header. The sample -32768 is a lead fault: NaN.

Beats come from the annotation file beside it (NAME.ann, "ANN  1.0"): the place of the first beat, then for each a
letter and the samples since the one before (ECG-Kit, ishneholterlib; the paper on it is at thew-project.org).
"""

from __future__ import annotations

import binascii
import struct
from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..record import BEAT, InputError, Record
from ..record import LEADS as TWELVE
from . import Given, check_size, resolution, told
from ._channels import unique
from ._digital import Scale
from ._person import age, day_of

TITLE = "ISHNE Holter"
MAGIC, BEATS = b"ISHNE1.0", b"ANN  1.0"
FIXED = 522  # bytes of magic number, checksum and fixed header
HEADER = struct.Struct("<8sHiiiih40s40s20shh3h3h3h3hh12h12h12hh40sh80s80s88s")
MOST = 12  # leads
BLOCK = 2**18  # samples that are read at a time
LEADS = ("", "", "X", "Y", "Z", *TWELVE, "ES", "AS", "AI")  # by their codes
QUALITY = {2: "intermittent noise", 3: "frequent noise", 4: "intermittent disconnection", 5: "frequent disconnection"}
PACED = range(1, 6)  # codes of pacemakers
SYMBOLS = {"P": "/", "U": "Q"} | {letter: letter for letter in "NVSBFQ"}  # of beats, as WFDB has them
TIMEOUT = "!"  # no beat, but 65535 samples more


def claims(path: Path, head: bytes) -> int:
    return 2 if head[:8] in (MAGIC, BEATS) else 0


def parts(path: Path) -> list[Path]:
    """The annotation file beside a recording."""
    beside = _beside(path)
    return [beside] if beside else []


def read(path: Path, given: Given) -> Record:
    data = _header(path, MAGIC)
    (_, _, _, stated, _, _, _, first, last, number, sex, _), dates, rest = data[:12], data[12:24], data[24:]
    count, specs, quality, steps, pacemaker = rest[0], rest[1:13], rest[13:25], rest[25:37], rest[37]
    if not 0 < count <= MOST:
        raise InputError(f"{path}: {count} leads in its header; it must be 1 to {MOST}")
    rate = float(rest[39]) if rest[39] > 0 else given.hz(path)
    start, assumed = _start(path, data)
    frames = (path.stat().st_size - start) // (2 * count)
    if frames <= 0:
        raise InputError(f"{path}: a header and no samples; export the recording again")
    check_size(frames * count, path)
    assumed += _compare(stated, frames, count)
    names = _names(specs[:count], given)
    scales, unsaid = _scales(steps[:count], names, given, path)
    signal = _signal(path, start, frames, scales)  # (C, T)
    beats, about = _beats(path, rest[39], frames)
    born, recorded = _date(dates[:3]), _date(dates[3:6])
    years, derived = age(None, born, recorded)
    bad = [f"{name}: {QUALITY[code]}" for name, code in zip(names, quality) if code in QUALITY]
    return Record(
        signal,
        rate,
        names,
        id=path.stem,
        patient=given.patient(_text(number), f"{_text(first)} {_text(last)}", str(born or "")),
        age=years,
        sex={1: "M", 2: "F"}.get(sex),
        beats=beats,
        extra=told(
            unit="nV",
            resolution=resolution([scale.terms[0] / scale.terms[2] for scale in scales]),
            assumed=assumed + unsaid,
            derived=derived,
            skipped=about,
            quality=bad,
            pacemaker="yes" if pacemaker in PACED else "no" if pacemaker == 0 else "",
        ),
    )


def _header(path: Path, magic: bytes) -> tuple:
    """The fields of the fixed header."""
    with open(path, "rb") as file:
        head = file.read(FIXED)
    if magic == MAGIC and head[:8] == BEATS:
        raise InputError(f"{path}: ISHNE annotations, which hold no signal; give the recording that they belong to")
    if head[:8] != magic:
        raise InputError(f"{path}: does not begin with {magic.decode()}")
    if len(head) < FIXED:
        raise InputError(f"{path}: cut short inside of its header; get the file again")
    return HEADER.unpack(head)


def _start(path: Path, data: tuple) -> tuple[int, list[str]]:
    """Where the samples begin, and what was assumed."""
    _, checksum, length, _, _, offset, *_ = data
    size = path.stat().st_size
    places = [place for place in (FIXED + length, offset) if FIXED <= place <= size]
    if not places:
        raise InputError(f"{path}: its samples begin at byte {FIXED + length}, but it has {size}; get the file again")
    with open(path, "rb") as file:
        file.seek(10)
        head = file.read(max(places) - 10)
    sums = [binascii.crc_hqx(head[: place - 10], 0xFFFF) for place in places]
    right = [p for p, found in zip(places, sums) if checksum in (found, (found & 0xFF) << 8 | found >> 8)]
    start = (right or places)[0]
    assumed = ["the checksum of the header is wrong; it is taken as it stands"] if checksum and not right else []
    if FIXED + length != offset:
        assumed.append(f"the samples begin at byte {start}; the header says {FIXED + length} and {offset}")
    return start, assumed


def _compare(stated: int, frames: int, count: int) -> list[str]:
    """Says where the header counts other samples than there are, however it counts them."""
    whole = (frames * count, frames * count + count - 1)
    if stated == frames or whole[0] <= stated <= whole[1]:
        return []
    return [f"{frames} samples of each lead are there, the header says {stated}"]


def _names(specs: tuple[int, ...], given: Given) -> tuple[str, ...]:
    """Leads by their codes. Names that are given are for those that have none, or for all if none has one."""
    known = [LEADS[code] if 0 < code < len(LEADS) else "" for code in specs]
    silent = [i for i, name in enumerate(known) if not name]
    if given.leads and len(given.leads) == len(silent):
        for i, name in zip(silent, given.leads):
            known[i] = name
    return unique(name or ("ECG" if len(known) == 1 else f"ECG{i + 1}") for i, name in enumerate(known))


def _scales(steps: tuple[int, ...], names: tuple[str, ...], given: Given, path: Path) -> tuple[list[Scale], list[str]]:
    """Of each lead; a given unit is that of a digital step where the header has none."""
    silent = [name for name, step in zip(names, steps) if step <= 0]
    factor = Fraction(given.scale(path)).limit_denominator(10**9) if silent else Fraction(0)
    gains = {step: Fraction(step, 10**6) if step > 0 else factor for step in steps}
    scales = {step: Scale(gain, missing=-(2**15)) for step, gain in gains.items()}
    said = [f"no resolution of {', '.join(silent)}: a digital step is 1 {given.unit}"] if silent else []
    return [scales[step] for step in steps], said


def _signal(path: Path, start: int, frames: int, scales: list[Scale]) -> np.ndarray:
    """(C, T) mV, block by block."""
    count = len(scales)
    signal = np.empty((count, frames), np.float32)
    step = BLOCK // count
    with open(path, "rb") as file:
        file.seek(start)
        for at in range(0, frames, step):
            block = np.fromfile(file, "<i2", count * min(step, frames - at)).reshape(-1, count)
            for row, scale, digital in zip(signal, scales, block.T):
                row[at : at + len(digital)] = scale(np.ascontiguousarray(digital))
    return signal


def _beside(path: Path) -> Path | None:
    for ending in (".ann", ".ANN", ".Ann"):
        beside = path.with_suffix(ending)
        if beside != path and beside.is_file():
            with open(beside, "rb") as file:
                return beside if file.read(8) == BEATS else None
    return None


def _beats(path: Path, rate: int, frames: int) -> tuple[np.ndarray | None, list[str]]:
    """Beats from the file beside the recording, and what of them was left out."""
    beside = _beside(path)
    if beside is None:
        return None, []
    try:
        data = _header(beside, BEATS)
        if data[63] != rate:
            raise InputError(f"of {data[63]} Hz")
        start = FIXED + data[2]
        with open(beside, "rb") as file:
            file.seek(max(start, FIXED))
            body = file.read(4 * (frames + 2))
        if start < FIXED or len(body) < 8:
            raise InputError("empty or cut short")
    except InputError as error:
        return None, [f"annotations beside it, not its own or damaged: {str(error).rpartition(': ')[2]}"]
    marks = np.frombuffer(
        body[4 : 4 + (len(body) - 4) // 4 * 4], np.dtype([("a", "S1"), ("b", "S1"), ("after", "<u2")])
    )
    at = int.from_bytes(body[:4], "little") + np.cumsum(marks["after"], dtype=np.int64)
    symbols = np.array([SYMBOLS.get(chr(i), "") for i in range(256)], "S1")[marks["a"].view(np.uint8)]
    kept = (symbols != b"") & (at < frames)
    beats = np.zeros(int(kept.sum()), BEAT)
    beats["sample"], beats["symbol"] = at[kept], symbols[kept]
    left = int((marks["a"] != TIMEOUT.encode()).sum()) - len(beats)
    return beats, [f"{left} annotations that are no beats, or behind the end"] if left else []


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("latin-1").strip()


def _date(fields: tuple[int, ...]) -> date | None:
    day, month, year = fields
    return day_of(year, month, day) if 1850 < year < 2200 else None
