"""The waveforms of a MUSE export: per lead whole numbers of 16 bits, little end first, in Base64.

By the exports of MUSE 9 in BIVectors/BRAVEHEART and PierreElias/IntroECG, whose checksums are CRC-32 as of zlib,
over the bytes of a lead. ECGToolkit, BRAVEHEART and ecgdatakit agree on all but two elements: LeadOffsetFirstSample
(ECGToolkit: the sample where the lead begins; it is read so) and FirstSampleBaseline (added, taken off, or neither in
three readers; it is not used).
"""

from __future__ import annotations

import binascii
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from ..record import InputError, lead_name
from ..signal.leads import LIMB
from . import Given, check_size
from ._channels import MOST, unique
from ._digital import limb_lead
from ._said import few
from ._xml import text

EIGHT = 8  # leads of which MUSE shows twelve
LONGEST = 40  # letters of a name
HIGHEST = 1e6  # mV


@dataclass(frozen=True)
class Lead:
    name: str
    numbers: np.ndarray  # (n,) as they are stored
    scale: float  # mV
    unit: str
    start: int  # sample on the common axis


@dataclass
class Signal:
    signal: np.ndarray  # (C, T) float32, mV
    rate: float
    leads: tuple[str, ...]
    unit: str
    resolution: list[float]
    first: int = 0  # the ECG's sample that is this signal's first
    assumed: list[str] = field(default_factory=list)
    derived: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    quality: list[str] = field(default_factory=list)


def decimal(element: Element | None, path: str = "") -> float | None:
    """A number, with a comma where the locale of the system has one; None where there is none."""
    said = text(element, path).replace(",", ".")
    return float(said) if re.fullmatch(r"[+-]?(\d{1,18}(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?", said, re.ASCII) else None


def rate(waveform: Element, given: Given, path) -> float:
    """Hz: SampleBase times ten to the power of SampleExponent."""
    base, exponent = decimal(waveform, "SampleBase"), decimal(waveform, "SampleExponent") or 0.0
    if base is None:
        return given.hz(path)
    if not base > 0 or not -9 <= exponent <= 9:
        raise InputError(f"{path}: a rate of {base:g} x 10^{exponent:g} Hz; export the file again")
    return base * 10.0**exponent if exponent >= 0 else base / 10.0**-exponent


def read(waveform: Element, path: Path, given: Given) -> Signal:
    """The leads that are stored, and those that follow from I and II."""
    notes, sums, found = Signal(np.zeros((0, 0)), rate(waveform, given, path), (), "", []), {}, []
    leads = waveform.findall("LeadData")
    if len(leads) > MOST:
        raise InputError(f"{path}: {len(leads)} leads; at most {MOST} are read")
    for lead in leads:
        one = _lead(lead, path, given, notes, sums)
        found += [one] if one is not None else []
    if not found:
        raise InputError(f"{path}: none of its {len(leads)} leads has samples; export the ECG again with waveforms")
    _trust(sums, path, notes)
    kind = text(waveform, "SampleType").upper()
    if kind not in ("", "CONTINUOUS_SAMPLES", "REPRESENTATIVE_BEAT"):
        notes.assumed.append(f"samples of type {kind[:40]} are continuous")
    notes.first = min(lead.start for lead in found)
    if any(lead.start for lead in found):
        notes.assumed.append("LeadOffsetFirstSample is the sample where a lead begins")
    return _laid_out(found, path, notes)


def _lead(lead: Element, path, given: Given, notes: Signal, sums: dict) -> Lead | None:
    """One lead; None where it has no samples. `sums` gets whether its checksum fits, by its name."""
    name = lead_name(text(lead, "LeadID")[:LONGEST]) or "unnamed"
    where = f"{path}, lead {name}"
    data = _bytes(text(lead, "WaveFormData"), lead, where)
    if not data:
        notes.skipped.append(f"{name} (no samples)")
        return None
    said = text(lead, "LeadDataCRC32")
    if re.fullmatch(r"-?\d{1,10}", said) and int(said):
        sums[name] = zlib.crc32(data) == int(said) & 0xFFFFFFFF
    numbers = _numbers(data, lead, where, notes)
    scale, unit = _scale(lead, where, given, notes)
    if not float(np.abs(numbers.astype(np.float64)).max()) * abs(scale) < HIGHEST:
        raise InputError(f"{where}: samples of more than 1000 V; its resolution or its unit is wrong")
    for flag in ("LeadOff", "BaselineSway", "ExcessiveACNoise", "MuscleNoise"):
        notes.quality += [f"{flag} {name}"] * (text(lead, flag).upper() in ("TRUE", "1", "YES"))
    for unused in ("FirstSampleBaseline", "LeadTimeOffset"):
        if decimal(lead, unused):
            notes.assumed.append(f"{unused} {decimal(lead, unused):g} of {name} does not count")
    start = decimal(lead, "LeadOffsetFirstSample") or 0.0
    if not 0 <= start <= 2**31:
        raise InputError(f"{where}: LeadOffsetFirstSample is {start:g}; export the file again")
    return Lead(name, numbers, scale, unit, int(start))


def _bytes(words: str, lead: Element, where: str) -> bytes:
    """Base64, or hexadecimal digits where these make as many samples as are said."""
    packed = "".join(words.split())
    count, size = decimal(lead, "LeadSampleCountTotal") or 0, decimal(lead, "LeadSampleSize") or 2
    try:
        if len(packed) == 2 * count * size and re.fullmatch("[0-9A-Fa-f]+", packed):
            return bytes.fromhex(packed)
        return binascii.a2b_base64(packed.encode("ascii"), strict_mode=True) if packed else b""
    except (binascii.Error, UnicodeError) as error:
        raise InputError(f"{where}: its samples are no Base64 ({error}); export the file again") from error


def _numbers(data: bytes, lead: Element, where: str, notes: Signal) -> np.ndarray:
    """The samples. A lead that is shorter than it says is refused; of a longer one what it says is taken."""
    size, count, length = (decimal(lead, f"Lead{n}") for n in ("SampleSize", "SampleCountTotal", "ByteCountTotal"))
    size = 2 if size is None else size
    if size not in (1, 2, 4):
        raise InputError(f"{where}: samples of {size:g} bytes; only 1, 2 and 4 are known")
    size = int(size)
    if len(data) % size or (count and len(data) < count * size):
        said = f"of {count:g}" if count else "and a part of one"
        why = "cut short, or compressed, which cannot be read" if length == len(data) else "cut short"
        raise InputError(f"{where}: {len(data) // size} samples {said}; it is {why}. Export the file again")
    numbers = np.frombuffer(data, f"<i{size}")
    if count and 1 <= count < len(numbers):
        notes.assumed.append(f"the first {count:g} of {len(numbers)} samples are lead {text(lead, 'LeadID')[:LONGEST]}")
        numbers = numbers[: int(count)]
    return numbers


def _scale(lead: Element, where: str, given: Given, notes: Signal) -> tuple[float, str]:
    """mV of a unit of the stored numbers, and the unit as the file states it."""
    unit = text(lead, "LeadAmplitudeUnits")
    factor = given.scale(where, unit.lower().removesuffix("s") or None)
    per_bit = decimal(lead, "LeadAmplitudeUnitsPerBit")
    if per_bit is None and text(lead, "LeadAmplitudeUnitsPerBit"):
        raise InputError(f"{where}: LeadAmplitudeUnitsPerBit is no number; export the file again")
    if per_bit == 0:
        raise InputError(f"{where}: its resolution is 0; export the file again")
    if per_bit is None:
        notes.assumed.append(f"a resolution of 1 {unit or given.unit} in {text(lead, 'LeadID')[:LONGEST]}")
    elif per_bit < 0:
        notes.assumed.append(f"a resolution below 0 turns {text(lead, 'LeadID')[:LONGEST]} over")
    return factor * (1.0 if per_bit is None else per_bit), unit or given.unit


def _trust(sums: dict[str, bool], path, notes: Signal) -> None:
    """Checksums of which some fit are of a damaged file; where none does, another program wrote them."""
    wrong = [name for name, fits in sums.items() if not fits]
    if wrong and len(wrong) < len(sums):
        raise InputError(f"{path}: the checksum of {', '.join(wrong)} is wrong, its samples are damaged; get it again")
    if wrong:
        notes.assumed.append("the samples are right, though none of the checksums fits")


def _laid_out(found: list[Lead], path, notes: Signal) -> Signal:
    """(C, T) in mV; what MUSE does not store computed in the stored numbers, in exact halves."""
    names, first = unique(lead.name for lead in found), notes.first
    T = max(lead.start - first + len(lead.numbers) for lead in found)
    check_size((len(found) + len(LIMB)) * T, path, packed=sum(len(lead.numbers) for lead in found))
    rows: dict[str, tuple[np.ndarray, float]] = {}  # name -> stored numbers, mV of one
    for name, lead in zip(names, found):
        rows[name] = _padded(lead.numbers, lead.start - first, T), lead.scale
    rows = _derived(rows, notes)
    notes.leads, notes.unit = tuple(rows), found[0].unit
    notes.signal = np.empty((len(rows), T), np.float32)
    for out, (numbers, scale) in zip(notes.signal, rows.values()):
        np.multiply(numbers, scale, out=out, casting="unsafe")
    notes.resolution = [abs(lead.scale) for lead in found]
    notes.quality, notes.skipped = few(notes.quality), few(notes.skipped)
    ends = {name: lead.start - first + len(lead.numbers) for name, lead in zip(names, found)}
    short = [f"{name} ends {T - end} samples before the others" for name, end in ends.items() if end < T]
    notes.assumed = few([*notes.assumed, *short])
    return notes


def _padded(numbers: np.ndarray, start: int, T: int) -> np.ndarray:
    """(T,) float64, NaN where a lead was not recorded."""
    whole = np.full(T, np.nan)
    whole[start : start + len(numbers)] = numbers
    return whole


def _derived(rows: dict, notes: Signal) -> dict:
    """The limb leads first. Those that follow from I and II are computed where eight leads or more are stored."""
    missing = [name for name in LIMB if name not in rows]
    if len(rows) < EIGHT or "I" not in rows or "II" not in rows or not missing:
        return rows
    (one, scale), (two, other) = rows["I"], rows["II"]
    if scale != other:
        one, two, scale = one * scale, two * other, 1.0
    notes.derived.append(f"{', '.join(missing)} from I and II, halves not rounded")
    limb = {name: (limb_lead(name, one, two), scale) if name in missing else rows[name] for name in LIMB}
    return limb | {name: row for name, row in rows.items() if name not in limb}
