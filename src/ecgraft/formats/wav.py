"""WAV (RIFF, RIFX, RF64): a sound file, which some recorders and teaching kits use for an ECG, a channel for each lead.

A WAV states a rate and no voltage, so the unit is asked for. It is the unit of a sample's number as it is stored: with
`--unit uV` a sample of 250 of an integer WAV is 250 uV, with `--unit mV` a sample of 0.25 of a float WAV is 0.25 mV.
Full scale has no meaning here. 8 bit samples count from 128.

Read by hand, by Microsoft's "Multiple channel audio data and WAVE files": scipy.io.wavfile warns and fails on sizes of
0 or 0xFFFFFFFF, as recorders write them that do not know the end; wave has no floats; soundfile turns integers into
parts of full scale. Above 4000 Hz it is sound, such as an ECG that is modulated on a tone, and no ECG: refused.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..record import InputError, Record
from . import Given, check_size, resolution, told
from ._channels import MOST, unique
from ._digital import Scale, int24

TITLE = "WAV"
FASTEST = 4000  # Hz; above it is sound
CHUNKS = 1000  # that are looked at
UNKNOWN = (0, 0xFFFFFFFF)  # sizes that say that nobody knows
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
KINDS = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "ADPCM", 80: "MPEG", 85: "MP3"}
GUID = bytes.fromhex("000000001000800000aa00389b71")  # what follows the kind in an extensible header


class Shape(NamedTuple):
    """What the chunk "fmt " says."""

    kind: int
    leads: int
    rate: int
    bits: int  # of a sample as it is stored
    valid: int  # of those


def claims(path: Path, head: bytes) -> int:
    return 2 if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE" else 0


def read(path: Path, given: Given) -> Record:
    order, shape, start, size, assumed = _chunks(path)
    if shape.rate > FASTEST:
        raise InputError(f"{path}: sound of {shape.rate} Hz and no ECG; those have {FASTEST} Hz at most")
    given.require(path, rate=not shape.rate, unit=True, names=shape.leads)
    names = unique(given.names(shape.leads, path))
    frames, left = divmod(size, shape.leads * shape.bits // 8)
    if not frames:
        raise InputError(f"{path}: a header and no samples; export it again")
    check_size(frames * shape.leads, path)
    factor = Fraction(given.scale(path)).limit_denominator(10**9)
    signal, beyond = _signal(path, order, shape, start, frames, factor)
    assumed += [f"a sample's number is in {given.unit}"]
    assumed += [f"{left} bytes at the end are no whole sample"] if left else []
    assumed += [f"{shape.valid} of {shape.bits} bits are used; numbers are taken as stored"] * (
        shape.valid < shape.bits
    )
    kind = "floating point" if shape.kind == FLOAT else "integer"
    return Record(
        signal,
        float(shape.rate) or given.hz(path),
        names,
        id=path.stem,
        extra=told(
            resolution=resolution([float(factor)]) if shape.kind == PCM else "",
            samples=f"{kind}, {shape.bits} bits",
            assumed=assumed,
            skipped=f"{beyond} samples that are infinite or no numbers" if beyond else "",
        ),
    )


def _chunks(path: Path) -> tuple[str, Shape, int, int, list[str]]:
    """Byte order, shape, place and bytes of the first chunk of samples, what was assumed."""
    whole, shape, found, long = path.stat().st_size, None, None, None
    with open(path, "rb") as file:
        head = file.read(12)
        if not claims(path, head):
            raise InputError(f"{path}: does not begin like a WAV file")
        order = ">" if head[:4] == b"RIFX" else "<"
        riff = struct.unpack(f"{order}I", head[4:8])[0]
        for _ in range(CHUNKS):
            tag = file.read(8)
            if len(tag) < 8:
                break
            name, size, at = tag[:4], struct.unpack(f"{order}I", tag[4:])[0], file.tell()
            if name == b"fmt " and shape is None:
                shape = _shape(file.read(min(size, 40)), order, path)
            elif name == b"ds64" and long is None:
                long = int.from_bytes(file.read(16)[8:], "little")
            elif name == b"data":
                found = at, long if size == UNKNOWN[1] and long else size
                if shape or _open(found[1], riff, whole):
                    break
            file.seek(at + (long if name == b"data" and size == UNKNOWN[1] and long else size) + size % 2)
    if shape is None:
        raise InputError(f"{path}: no description of its samples (chunk fmt); get the file again")
    if found is None:
        raise InputError(f"{path}: no samples in it (chunk data); get the file again")
    return order, shape, found[0], *_size(*found, riff, whole)


def _open(size: int, riff: int, whole: int) -> bool:
    """Whether the size of the samples is one that says that nobody knows it."""
    return size == UNKNOWN[1] or (size == 0 and (riff in UNKNOWN or riff + 8 != whole))


def _size(at: int, size: int, riff: int, whole: int) -> tuple[int, list[str]]:
    """Bytes of samples that are there, what was assumed."""
    there = whole - at
    if _open(size, riff, whole):
        return there, ["the header does not say how many samples there are; all to the end of the file"]
    if size > there:
        return there, [f"cut short: {there} of {size} bytes of samples"]
    return size, []


def _shape(data: bytes, order: str, path: Path) -> Shape:
    if len(data) < 16:
        raise InputError(f"{path}: the description of its samples is cut short; get the file again")
    kind, leads, rate, _, block, bits = struct.unpack_from(f"{order}HHIIHH", data)
    valid = bits
    if kind == EXTENSIBLE and len(data) >= 40 and data[26:40] == GUID:
        valid = struct.unpack_from(f"{order}H", data, 18)[0] or bits
        kind = struct.unpack_from(f"{order}H", data, 24)[0]
    if kind not in (PCM, FLOAT):
        raise InputError(f"{path}: sound coded as {KINDS.get(kind, f'kind {kind}')}; save it as PCM")
    if not 0 < leads <= MOST:
        raise InputError(f"{path}: {leads} channels; 1 to {MOST} are read")
    stored = block * 8 // leads if block % leads == 0 and block * 8 // leads >= bits else -(-bits // 8) * 8
    if stored not in ((8, 16, 24, 32) if kind == PCM else (32, 64)):
        raise InputError(f"{path}: samples of {bits} bits; 8, 16, 24 and 32 are read, 32 and 64 of floating point")
    return Shape(kind, leads, rate, stored, min(valid, stored) if kind == PCM else stored)


def _signal(path: Path, order: str, shape: Shape, start: int, frames: int, factor: Fraction) -> tuple[np.ndarray, int]:
    """(C, T) mV, and how many samples are no finite numbers; they are NaN."""
    size = shape.bits // 8
    raw = np.fromfile(path, np.uint8, frames * shape.leads * size, offset=start)
    raw = raw.reshape(frames, shape.leads, size)
    if shape.kind == FLOAT:
        with np.errstate(over="ignore", invalid="ignore"):
            values = raw.view(f"{order}f{size}")[..., 0].T.astype(np.float64)  # (C, T)
            signal = (values * factor.numerator / factor.denominator).astype(np.float32)
        wrong = ~np.isfinite(signal)
        signal[wrong] = np.nan
        return signal, int(wrong.sum())
    if size == 3:
        digital = int24(raw, order)
    else:
        digital = raw.view({1: "u1", 2: f"{order}i2", 4: f"{order}i4"}[size])[..., 0]
    offset = -128 * factor if size == 1 else Fraction(0)
    digital = np.ascontiguousarray(digital.T.astype(digital.dtype.newbyteorder("=")))
    return Scale(factor, offset)(digital), 0
