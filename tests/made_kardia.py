"""An encoder of AliveCor's ATC files and API recordings, written from their specification: the oracle of the reader."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np

STEP = 0.0005  # mV
BLOCKS = dict(zip(("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"), " 23456789abc"))


def block(name: str, data: bytes, crc: bool = False) -> bytes:
    whole = name.encode() + struct.pack("<I", len(data)) + data
    return whole + struct.pack("<I", zlib.crc32(whole) if crc else sum(whole) & 0xFFFFFFFF)


def info(**fields) -> bytes:
    sizes = {"date": 32, "uuid": 40, "phone": 44, "model": 32, "software": 32, "hardware": 32, "device": 52}
    known = {"date": "2010-12-08T15:54:23.245+10:00", "uuid": "58E0A7D7-EEBC", "phone": "2b6f0cc904d1"}
    known |= {"model": "iPhone 4", "software": "AliveECG 1.6.7", "hardware": "kardia_mobile", "device": "SN=AC6L100010"}
    return b"".join((known | fields)[name].encode().ljust(size, b"\0") for name, size in sizes.items())


def digital(signal) -> np.ndarray:
    return np.round(np.asarray(signal) / STEP).astype(int)


def atc(path, signal, rate, leads, *, flags=0, crc=False, median=None, beats=(), more=b"", version=4) -> Path:
    data = b"ALIVE\0\0\0" + struct.pack("<I", version) + block("info", info(), crc)
    data += block("fmt ", struct.pack("<BHHBH", 1, int(rate), 500, flags, 0), crc)
    for kind, rows in (("ecg", signal), ("med", median if median is not None else [])):
        for lead, row in zip(leads, rows):
            data += block(kind + BLOCKS[lead], b"".join(struct.pack("<h", v) for v in digital(row)), crc)
    if beats:
        data += block("ann ", struct.pack("<I", int(rate)) + b"".join(struct.pack("<IH", *b) for b in beats), crc)
    path = Path(path).with_suffix(".atc")
    path.write_bytes(data + more)
    return path


def recording(signal, rate, leads, **more) -> dict:
    names = {"aVR": "AVR", "aVL": "AVL", "aVF": "AVF"}
    samples = {names.get(lead, f"lead{lead}"): digital(row).tolist() for lead, row in zip(leads, signal)}
    raw = {
        "frequency": rate,
        "mainsFrequency": 60,
        "amplitudeResolution": 500,
        "numLeads": len(leads),
        "samples": samples,
    }
    said = {"id": "e8q0", "patientID": "P-4711", "recordedAt": "2024-01-01T10:00:00Z", "heartRate": 72}
    said |= {"algorithmDetermination": "normal", "data": {"raw": raw, "enhanced": raw}}
    said |= {"deviceInfo": {"hardwareType": "KardiaMobile6L", "serialNumber": "SN-99"}}
    return said | {"qtMeasurement": {"qt": {"Value": 400}, "rr": {"Value": 833}, "qtcb": {"Value": 438}}} | more


def save(path, signal, rate, leads, **more) -> Path:
    return atc(path, signal, rate, leads, **more)


def variants(folder) -> list[Path]:
    x, folder = np.random.default_rng(0).normal(size=(6, 60)), Path(folder)
    six = tuple(BLOCKS)[:6]
    made = [
        atc(folder / "six", x, 300, six, flags=2 | 4 | 16, median=x[:2, :30], beats=[(10, 1), (40, 2), (50, 0)]),
        atc(folder / "crc", x[:1], 300, ("I",), crc=True, version=5, more=block("acc ", bytes(24), True)),
        atc(folder / "uneven", [x[0], x[1, :40]], 600, ("I", "V6"), flags=64),
    ]
    for name, more in {"api": {}, "no_qt": {"qtMeasurement": None, "algorithmDetermination": "afib"}}.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(recording(x[:2], 300, six[:2], **more)))
        made.append(path)
    return made
