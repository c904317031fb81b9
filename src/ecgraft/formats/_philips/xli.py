"""XLI, the compression of Philips ECGs: LZW, high bytes before low bytes, second differences, limb leads as residuals.

Found out by C. A. Watford (sierra-ecg-tools, MIT). His readers in C and C# halve towards zero, the one in Python (and
ecgdatakit after it) towards minus infinity. The residuals of real files decide: to zero, aVR, aVL and aVF of PageWriter
ECGs lie within half a unit of their formulas; the other way they are off by up to 1.5 where an odd sum is negative.
"""

from __future__ import annotations

import struct

import numpy as np

from ...record import InputError
from .. import check_size

HEADER = struct.Struct("<IHh")  # bytes that follow, unknown (1), first bend
END, WORDS = 1023, 1023  # the code that ends a lead; strings that the table holds
LONGEST = 2**20  # samples of a lead: 35 minutes at 500 Hz, where resting ECGs have 11 seconds
BIAS = 64
RESIDUAL = ("III", "aVR", "aVL", "aVF")  # leads that are stored as what their formula leaves over
_BYTES = [bytes((i,)) for i in range(256)]


def channels(packed: bytes, most: int, where: str) -> tuple[list[np.ndarray], int]:
    """The first `most` channels, (T,) int32 each, as they are stored; and how many there are."""
    found, place, count, total = [], 0, 0, 0
    while place < len(packed):
        what = f"{where}, channel {count + 1}"
        if len(packed) - place < HEADER.size:
            raise InputError(f"{what}: its waveform is cut short; export the file again")
        size, _, bend = HEADER.unpack_from(packed, place)
        place += HEADER.size
        if not 0 < size <= len(packed) - place:
            raise InputError(f"{what}: its waveform is cut short, {len(packed) - place} of {size} bytes")
        if count < most:
            found.append(_undelta(_unpack(_codes(packed[place : place + size]), what), bend, what))
            total += len(found[-1])
            check_size(total, where, packed=len(packed))
        place, count = place + size, count + 1
    return found, count


def limbs(rows: list[np.ndarray], names) -> list[np.ndarray]:
    """Channels as stored -> leads: III, aVR, aVL and aVF are stored as what their formula leaves over."""
    stored = dict(zip(names, rows))
    lead = dict(stored)
    if "III" in stored:
        lead["III"] = stored["II"] - stored["I"] - stored["III"]
    if "aVR" in stored:
        lead["aVR"] = -stored["aVR"] - _half(stored["I"] + stored["II"])
    if "aVL" in stored:
        lead["aVL"] = _half(stored["I"] - lead["III"]) - stored["aVL"]
    if "aVF" in stored:
        lead["aVF"] = _half(stored["II"] + lead["III"]) - stored["aVF"]
    return list(lead.values())


def _half(x: np.ndarray) -> np.ndarray:
    """x / 2 rounded towards zero."""
    return (x + (x < 0)) >> 1


def _codes(chunk: bytes) -> np.ndarray:
    """The codes of ten bits, first bit first, up to the one that ends the lead."""
    count = len(chunk) * 8 // 10
    b = np.frombuffer(chunk + bytes(-len(chunk) % 5), np.uint8).reshape(-1, 5).astype(np.int32).T
    four = (b[0] << 2 | b[1] >> 6, (b[1] & 63) << 4 | b[2] >> 4, (b[2] & 15) << 6 | b[3] >> 2, (b[3] & 3) << 8 | b[4])
    codes = np.stack(four, 1).ravel()[:count]
    ends = np.flatnonzero(codes == END)
    return codes[: ends[0]] if len(ends) else codes


def _unpack(codes: np.ndarray, where: str) -> bytes:
    """LZW. The table grows by a string a code until it is full; after that all codes are looked up at once."""
    table, out, last = _BYTES.copy(), [], b""
    growing = WORDS - len(table) + 1
    for code in codes[:growing].tolist():
        if code > len(table) - (not last):
            raise InputError(f"{where}: its compressed waveform is damaged; get the file again")
        word = table[code] if code < len(table) else last + last[:1]
        if last:
            table.append(last + word[:1])
        out.append(word)
        last = word
    out += map(table.__getitem__, codes[growing:].tolist())
    size = sum(map(len, out))
    if size > 2 * LONGEST:
        raise InputError(f"{where}: {size // 2} samples; at most {LONGEST} a lead are read")
    return b"".join(out)


def _undelta(unpacked: bytes, bend: int, where: str) -> np.ndarray:
    """High bytes, then low bytes, of two samples and what the course bends at each later one -> samples."""
    raw = np.frombuffer(unpacked + bytes(len(unpacked) % 2), np.uint8).astype(np.uint16).reshape(2, -1)
    words = (raw[0] << 8 | raw[1]).view(np.int16).astype(np.int64)
    if len(words) < 2:
        raise InputError(f"{where}: its waveform holds no samples; export the file again")
    bends = np.concatenate([[bend], words[2:-1] - BIAS])[: len(words) - 2]
    words[2:] = words[1] + np.cumsum(words[1] - words[0] - np.cumsum(bends))
    if words.min() < -(2**15) or words.max() >= 2**15:
        raise InputError(f"{where}: its waveform runs out of 16 bits, so it is damaged; get the file again")
    return words.astype(np.int32)
