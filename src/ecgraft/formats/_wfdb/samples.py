"""WFDB signal files -> digital samples: https://wfdb.io/spec/signal-files.html. Equal to `wfdb.rdrecord`.

Every format but FLAC is unpacked here. Bits that a format does not use are not looked at (wfdb takes the 31st bit of
format 311 for a part of the sample).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ...record import InputError
from .. import check_size
from .header import FORMATS, Channel

FLAC = {"508": 8, "516": 16, "524": 24}  # bits
WORD = {"8": "i1", "16": "<i2", "32": "<i4", "61": ">i2", "80": "u1", "160": "<u2"}
OFFSET = {"80": 1 << 7, "160": 1 << 15}  # what 0 is stored as
BITS = {"16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12, "310": 10, "311": 10} | FLAC
MISSING = {format: -(1 << bits - 1) for format, bits in BITS.items()}  # "no sample"; format 8 has none
NEAR = 2**15  # groups that are unpacked at a time, so that they stay in the processor's cache: three times as fast
PIECE = 2**20  # samples that are decoded from FLAC at a time: libsndfile fails above 2**24


def frames(path: Path, own: Sequence[Channel]) -> int:
    """How many frames of the channels `own` a file holds. InputError where it is not there, or of no format."""
    first = own[0]
    if not path.is_file():
        raise InputError(f"its signal file {first.file} is missing")
    odd = [c.format for c in own if c.format not in FORMATS]
    if odd:
        raise InputError(f"signal format {odd[0]} is not one of WFDB's")
    if len({(c.format, c.offset) for c in own}) > 1:
        raise InputError(f"the signals in {path.name} are of several formats, or begin at several places")
    if first.format in FLAC:
        with _flac(path, own) as file:
            return max(file.frames - first.offset, 0) // first.per_frame
    return _held(path.stat().st_size - first.offset, first.format) // sum(c.per_frame for c in own)


def read(path: Path, own: Sequence[Channel], length: int) -> list[np.ndarray]:
    """The digital samples of every channel of a file, (length * per_frame,) each; skew is not undone."""
    first = own[0]
    if first.format in FLAC:
        return list(_unflac(path, own, length).T)
    width = sum(c.per_frame for c in own)
    flat = _samples(path, first.format, first.offset, length * width).reshape(length, width)
    if width == len(own):
        found = list(np.ascontiguousarray(flat.T))
    else:
        starts = np.cumsum([0] + [c.per_frame for c in own])
        found = [flat[:, start : start + c.per_frame].reshape(-1) for start, c in zip(starts, own)]
    if first.format == "8":  # differences
        return [np.cumsum(x, dtype=np.int64) + c.initial for x, c in zip(found, own)]
    return found


def _held(size: int, format: str) -> int:
    """Samples that `size` bytes hold."""
    if size <= 0:
        return 0
    if format == "212":
        return size * 2 // 3
    if format in ("310", "311"):  # the last of 4 bytes has a part of each sample in 310, of the third in 311
        return size // 4 * 3 + (0, 0, 1, 1 + (format == "311"))[size % 4]
    return size * 8 // BITS.get(format, 8)


def _samples(path: Path, format: str, offset: int, count: int) -> np.ndarray:
    """`count` samples in the order of the file."""
    if format in WORD:
        raw = np.fromfile(path, WORD[format], count, offset=offset)
        if format not in OFFSET:
            return raw
        return (raw ^ raw.dtype.type(OFFSET[format])).view(f"i{raw.itemsize}")  # the highest bit turned
    size, per, unpack, kind = PACKED[format]
    groups = -(-count // per)
    raw = np.fromfile(path, np.uint8, groups * size, offset=offset)
    if len(raw) < groups * size:
        raw = np.concatenate([raw, np.zeros(groups * size - len(raw), np.uint8)])
    raw, found = raw.reshape(groups, size), np.empty((groups, per), kind)
    for start in range(0, groups, NEAR):
        unpack(raw[start : start + NEAR], found[start : start + NEAR])
    return found.reshape(-1)[:count]


def _unpack24(raw: np.ndarray, out: np.ndarray) -> None:
    whole = np.zeros((len(raw), 4), np.uint8)
    whole[:, 1:] = raw
    np.right_shift(whole.view("<i4"), 8, out=out)


def _unpack212(raw: np.ndarray, out: np.ndarray) -> None:
    """Two samples of 12 bits in 3 bytes: the middle one has the upper 4 bits of both. The shifts bring the sign."""
    low, middle, high = raw.T.astype(np.uint16, order="C")
    np.right_shift((middle << 12 | low << 4).view(np.int16), 4, out=out[:, 0])
    np.right_shift(((middle & 0xF0) << 8 | high << 4).view(np.int16), 4, out=out[:, 1])


def _unpack310(raw: np.ndarray, out: np.ndarray) -> None:
    """Three samples of 10 bits in two words of 16: bits 1 to 10 of each, and bits 11 to 15 of both."""
    a, b = raw.view("<u2").T
    _ten(out, a >> 1, b >> 1, a >> 11 | b >> 11 << 5)


def _unpack311(raw: np.ndarray, out: np.ndarray) -> None:
    """Three samples of 10 bits, the first lowest, in a word of 32."""
    word = raw.view("<u4")[:, 0]
    _ten(out, word, word >> 10, word >> 20)


def _ten(out: np.ndarray, *three: np.ndarray) -> None:
    """The lower 10 bits with their sign."""
    for column, value in enumerate(three):
        out[:, column] = (value.astype(np.uint16) << 6).view(np.int16) >> 6


PACKED = {  # bytes and samples of a group, how it is unpacked, into what
    "24": (3, 1, _unpack24, np.int32),
    "212": (3, 2, _unpack212, np.int16),
    "310": (4, 3, _unpack310, np.int16),
    "311": (4, 3, _unpack311, np.int16),
}


@contextmanager
def _flac(path: Path, own: Sequence[Channel]):
    """The open file. InputError where it is not what the header says."""
    import soundfile

    with open(path, "rb", buffering=0) as file:
        if file.read(4) != b"fLaC":
            raise InputError(f"{path}: no FLAC file, which format {own[0].format} is")
        file.seek(0)
        try:
            with soundfile.SoundFile(file.fileno(), closefd=False) as sound:
                _check(sound, own, path)
                yield sound
        except soundfile.SoundFileError as error:
            raise InputError(f"{path}: damaged FLAC file; get the file again") from error


def _check(sound, own: Sequence[Channel], path: Path) -> None:
    if len({c.per_frame for c in own}) > 1:
        raise InputError(f"{path}: the signals of a FLAC file have equally many samples in each frame")
    if sound.channels != len(own):
        raise InputError(f"{path}: {sound.channels} signals, but the header says {len(own)}")
    bits = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}.get(sound.subtype)
    if bits is None or bits > FLAC[own[0].format]:
        raise InputError(f"{path}: samples of {sound.subtype} in format {own[0].format}")


def _unflac(path: Path, own: Sequence[Channel], length: int) -> np.ndarray:
    """(length * per_frame, channels)."""
    count = length * own[0].per_frame
    check_size(count * len(own), path, packed=path.stat().st_size)
    with _flac(path, own) as sound:
        wide = sound.subtype == "PCM_24"
        block = np.empty((count, len(own)), np.int32 if wide else np.int16)
        if own[0].offset:
            sound.seek(own[0].offset)
        for start in range(0, count, PIECE):
            piece = block[start : start + PIECE]
            if len(sound.read(out=piece)) < len(piece):
                raise InputError(f"{path}: damaged FLAC file; get the file again")
        return block >> 8 if sound.subtype != "PCM_16" else block  # libsndfile fills the word from above
