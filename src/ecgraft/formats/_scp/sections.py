"""The frame of an SCP-ECG file (EN 1064, 5.2 and 5.3): its length, checksums and sections.

All numbers are little endian. A file begins with its checksum and length; a section with 16 bytes: checksum, number,
length, version of the section and of the protocol, six bytes that are not used ("SCPECG" in section 0). Section 0
says where the sections are, counted in bytes from 1.
"""

from __future__ import annotations

import struct
from binascii import crc_hqx
from dataclasses import dataclass, field
from pathlib import Path

from ...record import InputError

HEADER = 16  # bytes before a section's content
LARGEST = 2**28  # bytes
DAMAGED = "is damaged: its checksum is wrong"
NAMES = {
    1: "patient and device",
    2: "Huffman tables",
    3: "leads",
    4: "QRS locations",
    5: "reference beat",
    6: "rhythm",
    7: "measurements",
    8: "statements",
    9: "statements in the maker's own form",
    10: "measurements of each lead",
    11: "coded statements",
    12: "long-term rhythm",
}
NOT_READ = (9, 10, 12)


@dataclass(frozen=True)
class File:
    """The content of each section that is there, without its header."""

    version: int  # of the protocol: 13, 20, 30 ...
    size: int  # bytes
    bodies: dict[int, bytes] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)  # what is wrong with those that cannot be used
    assumed: list[str] = field(default_factory=list)

    def get(self, number: int) -> bytes:
        """A section's content, b"" where there is none. Raises InputError where it is damaged."""
        if number in self.broken:
            raise InputError(f"section {number} ({NAMES[number]}) {self.broken[number]}; export the file again")
        return self.bodies.get(number, b"")

    def need(self, number: int) -> bytes:
        """The same for one without which there is no signal: InputError where it is missing too."""
        if body := self.get(number):
            return body
        more = "; the rhythm in its section 12 (SCP-ECG 3, long-term) is not read" if 12 in self.bodies else ""
        raise InputError(
            f"section {number} ({NAMES[number]}) is missing or empty; export the ECG with its waveform{more}"
        )

    def skipped(self) -> list[str]:
        """Sections that are not read, and those that cannot be."""
        others = [named(number) for number in self.bodies if number in NOT_READ or number > max(NAMES)]
        return others + [f"{named(number)}, which {wrong}" for number, wrong in self.broken.items()]


def named(number: int) -> str:
    return f"{NAMES[number]} (section {number})" if number in NAMES else f"section {number}"


def begins(head: bytes) -> int:
    """2 for the signature, 1 for what has the structure alone (older versions have no signature), 0 for neither."""
    if len(head) < 32 or head[8:10] != b"\0\0":
        return 0
    if head[16:22] == b"SCPECG":
        return 2
    number, length, place = struct.unpack_from("<HII", head, 22)
    return int((number, length, place) == (0, struct.unpack_from("<I", head, 10)[0], 7))


def load(path: Path) -> File:
    """Raises InputError for what is no SCP-ECG or is cut short."""
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path.stat().st_size} bytes; no SCP-ECG is that large")
    data = path.read_bytes()
    if not begins(data):
        raise InputError("this is no SCP-ECG: its section 0 does not stand at byte 7")
    size = struct.unpack_from("<I", data, 2)[0]
    if size > len(data):
        raise InputError(f"cut short, {len(data)} of {size} bytes; get the file again")
    sound, file = _sound(data[: size or len(data)]), File(data[15], len(data))
    for number, start, length in _pointers(data):
        if not number or length <= HEADER or number in file.bodies or number in file.broken:
            continue
        length, wrong = _check(data, number, start, length)
        if wrong and not (wrong == DAMAGED and sound):
            file.broken[number] = wrong
            continue
        if wrong:
            file.assumed.append(f"{named(number)} is right, as the file's checksum is and only its own is wrong")
        file.bodies[number] = data[start + HEADER : start + length]
    if sound is False:
        file.assumed.append("the file's checksum is wrong and only those of its sections count")
    return file


def _pointers(data: bytes):
    """(number, first byte from 0, length) of every section that section 0 lists."""
    length = struct.unpack_from("<I", data, 10)[0]
    content = data[6 + HEADER : 6 + length]
    for number, length, place in struct.iter_unpack("<HII", content[: len(content) // 10 * 10]):
        yield number, place - 1, length


def _check(data: bytes, number: int, start: int, length: int) -> tuple[int, str]:
    """A section's length, and what is wrong with it."""
    if start < 0 or start + length > len(data):
        return length, "is cut short"
    own, said = struct.unpack_from("<HI", data, start + 2)
    if own != number:
        return length, f"does not stand where section 0 says (section {own} does)"
    length = said if HEADER < said < length else length
    return length, DAMAGED if _sound(data[start : start + length]) is False else ""


def _sound(block: bytes) -> bool | None:
    """Whether the CRC-CCITT in a block's first two bytes is that of the rest; None where none was made (0)."""
    said = struct.unpack_from("<H", block)[0] if len(block) >= 2 else 0
    return None if said == 0 else crc_hqx(block[2:], 0xFFFF) == said
