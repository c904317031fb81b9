"""An encoder of ISHNE Holter files and their annotations, field by field: the oracle of the reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np

STEP = 0.001  # mV
CODES = {"X": 2, "Y": 3, "Z": 4, "I": 5, "II": 6, "III": 7, "aVR": 8, "aVL": 9, "aVF": 10, "ES": 17, "AS": 18, "AI": 19}
CODES |= {f"V{i}": 10 + i for i in range(1, 7)}


def short(*values: int) -> bytes:
    return b"".join(int(v).to_bytes(2, "little", signed=True) for v in values)


def long(*values: int) -> bytes:
    return b"".join(int(v).to_bytes(4, "little", signed=True) for v in values)


def crc(data: bytes) -> int:
    """CRC-CCITT bit by bit: polynomial 1021, all ones to begin with."""
    rest = 0xFFFF
    for byte in data:
        rest ^= byte << 8
        for _ in range(8):
            rest = ((rest << 1) ^ 0x1021 if rest & 0x8000 else rest << 1) & 0xFFFF
    return rest


def header(count: int, rate: int, specs, frames: int, **more) -> bytes:
    """Magic number, checksum, fixed header, text."""
    said = {"magic": b"ISHNE1.0", "text": b"", "steps": [1000] * count, "quality": [1] * count, "samples": frames}
    said |= {
        "first": b"",
        "last": b"",
        "number": b"",
        "sex": 0,
        "born": (0, 0, 0),
        "recorded": (0, 0, 0),
        "pacemaker": 0,
    }
    said |= {"offset": None, "sum": None} | more
    rest, text = 12 - count, said["text"]
    data = long(len(text), said["samples"], 522, said["offset"] or 522 + len(text)) + short(1)
    data += said["first"].ljust(40, b"\0") + said["last"].ljust(40, b"\0") + said["number"].ljust(20, b"\0")
    data += short(said["sex"], 0, *said["born"], *said["recorded"], 1, 1, 2020, 10, 0, 0, count)
    for row in (specs, said["quality"], said["steps"]):
        data += short(*row, *[-9] * rest)
    data += short(said["pacemaker"]) + b"digital".ljust(40, b"\0") + short(rate) + bytes(80 + 80 + 88) + text
    total = crc(data) if said["sum"] is None else said["sum"]
    return said["magic"] + total.to_bytes(2, "little") + data


def save(path, signal, rate: float, leads, *, behind: bytes = b"", **more) -> Path:
    """`more`: see `header`; specs: codes of the leads."""
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".ecg")
    x = np.asarray(signal)  # (C, T)
    steps = more.get("steps", [1000] * len(x))
    digital = np.stack([np.round(row * 1e6 / (step if step > 0 else 1000)) for row, step in zip(x, steps)]).astype(int)
    specs = more.pop("specs", [CODES[lead] for lead in leads])
    data = header(len(x), int(rate), specs, more.pop("samples", x.shape[1]), **more)
    path.write_bytes(data + short(*digital.T.ravel()) + behind)
    return path


def annotate(path: Path, rate: int, first: int, marks, **more) -> Path:
    """The annotation file of a recording; marks: (letter, samples since the one before)."""
    data = header(2, rate, [6, 11], 0, magic=b"ANN  1.0", **more) + first.to_bytes(4, "little")
    for letter, after in marks:
        data += letter.encode() + b"\0" + after.to_bytes(2, "little")
    path.with_suffix(".ann").write_bytes(data)
    return path


def variants(folder) -> list[Path]:
    """Small files that take every branch of the reader."""
    folder, at = Path(folder), np.arange(120)
    x = np.round(np.stack([np.exp(-(((at % 60 - 30) / 3.0) ** 2)), -0.2 * np.sin(at / 9), at / 1000]), 3)
    fault = x.copy()
    fault[1, 50:60] = -32.768
    person = {"first": b"Haagse", "last": b"Harry", "number": b"MCH-0234567", "sex": 2, "pacemaker": 2}
    dates = {"born": (2, 5, 1951), "recorded": (1, 5, 2002)}
    beats = annotate(save(folder / "beats.ecg", x[:2], 200, ("II", "V1")), 200, 10, [("N", 0), ("V", 60), ("X", 20)])
    foreign = annotate(save(folder / "foreign.ecg", x[:2], 200, ("II", "V1")), 500, 10, [("N", 0)])
    late = annotate(save(folder / "late.ecg", x[:2], 200, ("II", "V1")), 200, 5, [("P", 40), ("!", 65535), ("N", 3)])
    return [
        save(folder / "plain.ecg", x, 200, ("X", "Y", "Z")),
        save(folder / "person.ecg", x, 200, ("I", "II", "III"), **person, **dates, text=b"a comment", sum=0),
        save(folder / "fault.ecg", fault, 180, (), specs=[0, 1, -9], quality=[0, 3, 5]),
        save(folder / "steps.ecg", x[:2], 1000, ("V2", "V5"), steps=[2500, -9], samples=240),
        save(folder / "sums.ecg", x[:2], 250, ("V2", "V5"), sum=0x1234, samples=99, text=b"x" * 20, offset=522),
        save(folder / "odd.ecg", x[:2], 0, ("II", "II"), behind=b"abc"),
        beats,
        foreign,
        late,
    ]
