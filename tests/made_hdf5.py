"""HDF5 by h5py, which the reader does not use, and by hand: the oracle of the reader."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

STEP = 1e-6  # mV
NOWHERE = b"\xff" * 8


def message(kind: int, data: bytes) -> bytes:
    return struct.pack("<BHB", kind, len(data), 0) + data


def turn(value: int, bits: int) -> int:
    return (value << bits | value >> 32 - bits) & 0xFFFFFFFF


def checked(data: bytes) -> bytes:
    """Data and its checksum: Bob Jenkins' lookup3."""
    a = b = c = 0xDEADBEEF + len(data) & 0xFFFFFFFF
    parts = [data[i : i + 12].ljust(12, b"\0") for i in range(0, len(data), 12)]
    for part in parts[:-1]:
        a, b, c = ((x + y) & 0xFFFFFFFF for x, y in zip((a, b, c), struct.unpack("<3I", part)))
        for bits in (4, 6, 8, 16, 19, 4):
            a = ((a - c) & 0xFFFFFFFF) ^ turn(c, bits)
            a, b, c = b, (c + b) & 0xFFFFFFFF, a  # the three change places
    a, b, c = ((x + y) & 0xFFFFFFFF for x, y in zip((a, b, c), struct.unpack("<3I", parts[-1])))
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - turn(b, bits)) & 0xFFFFFFFF
        a, b, c = b, c, a
    return data + struct.pack("<I", b)


def header(messages: bytes) -> bytes:
    return checked(b"OHDR\2\2" + struct.pack("<I", len(messages)) + messages)


def by_hand(path, values: np.ndarray, name: str = "ecg") -> Path:
    """The smallest file: superblock 2, a root group with a link, a dataset of little-endian float32 end to end."""
    at, link = 48, bytes([1, 0, len(name)]) + name.encode()
    few = message(2, bytes(2) + 2 * NOWHERE)  # links stand in the header
    root_size = len(header(few + message(6, link + bytes(8))))
    space = struct.pack("<BBBB", 2, values.ndim, 0, 1) + struct.pack(f"<{values.ndim}Q", *values.shape)
    kind = bytes([0x11, 0x20, 31, 0]) + struct.pack("<IHHBBBBI", 4, 0, 32, 23, 8, 0, 23, 127)
    data = struct.pack(f"<{values.size}f", *values.ravel().tolist())

    def dataset(address: int) -> bytes:
        layout = bytes([3, 1]) + struct.pack("<QQ", address, len(data))
        return header(message(1, space) + message(3, kind) + message(8, layout))

    where = at + root_size
    end = where + len(dataset(0))
    root = header(few + message(6, link + struct.pack("<Q", where)))
    start = b"\x89HDF\r\n\x1a\n" + bytes([2, 8, 8, 0]) + struct.pack("<Q", 0) + NOWHERE
    start = checked(start + struct.pack("<QQ", end + len(data), at))
    path = Path(path).with_suffix(".h5")
    path.write_bytes(start + root + dataset(end) + data)
    return path


def h5(path, build, libver: str = "earliest", **more) -> Path:
    """A file that `build(file)` fills."""
    import h5py

    path = Path(path).with_suffix(".h5")
    with h5py.File(path, "w", libver=(libver, "latest"), **more) as file:
        build(file)
    return path


def put(place, name: str, data, said: dict | None = None, **more):
    """A dataset with attributes."""
    made = place.create_dataset(name, data=data, **more)
    made.attrs.update(said or {})
    return made


def save(path, signal, rate, leads, **more) -> Path:
    said = {"fs": rate, "units": "mV", "lead_names": list(leads)}
    return h5(path, lambda file: put(file, "signal", np.asarray(signal), said), **more)


def code15(path, tracings, exams, **more) -> Path:
    def build(file):
        file["exam_id"], file["tracings"] = np.asarray(exams, "<i8"), np.asarray(tracings, "<f4")

    return h5(path, build, **more)


def sph(path, signal, **more) -> Path:
    return h5(path, lambda f: put(f, "ecg", np.asarray(signal, "<f2"), chunks=(3, 25), compression="gzip"), **more)


def variants(folder) -> list[Path]:
    import h5py

    rng, folder = np.random.default_rng(0), Path(folder)
    x = rng.normal(size=(3, 2, 60))
    said = {"fs": 250, "units": "uV", "lead_names": ["I", "II"]}

    def packed(file):
        group = file.create_group("a/b")
        put(
            group, "ecg", (1000 * x[0]).astype("<i2"), chunks=(1, 25), compression="gzip", shuffle=True, fletcher32=True
        )
        group.attrs["Sampling Rate"], group["units"] = "250 Hz", "uV"
        group["leads"], file.attrs["sex"] = np.array([b"I", b"II"]), np.bytes_("F")
        for i in range(12):
            group.attrs[f"more {i}"] = np.arange(i)

    def stack(file):
        put(file, "x", x.transpose(0, 2, 1), said, chunks=(1, 20, 2), maxshape=(None, 60, 2), compression="lzf")
        file["age"], file["y"] = [1.0, 2.0, 3.0], np.arange(3)

    def many(file):
        for i in range(14):
            put(file, f"record {i:02d}/signal", x[0, :1].astype(">f4"), {"rate": 250.0})

    def sparse(file):
        made = put(file, "signal", np.full((1, 90), np.nan, "<f4"), chunks=(1, 8), maxshape=(None, None), fillvalue=0.5)
        made[0, 20:33], file.attrs["fs"] = 1.0, 250
        file["soft"], file["far"] = h5py.SoftLink("/signal"), h5py.ExternalLink("other.h5", "/x")

    made = [by_hand(folder / "hand", x[0, :1].astype("<f4"))]
    for libver in ("earliest", "v110", "latest"):
        for build in (packed, stack, many, sparse):
            made.append(h5(folder / f"{build.__name__}_{libver}", build, libver))
    tracings = np.zeros((2, 4096, 12), "<f4")
    tracings[:, 100:200] = 1
    made.append(h5(folder / "code", lambda f: put(f, "tracings", tracings, chunks=(1, 4096, 12), compression="gzip")))
    return [*made, sph(folder / "sph", rng.normal(size=(12, 60)))]
