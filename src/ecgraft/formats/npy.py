"""NumPy arrays: NPY and NPZ, (leads, samples) or (samples, leads); never with pickled objects.

An NPZ may say rate, unit and leads in arrays of these names. Shapes are looked at before anything is unpacked.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ..record import InputError, Record
from . import Given, _arrays, check_size

TITLE = "NumPy"
MEMBERS = 1000  # arrays in an NPZ
SMALL = 2**20  # bytes of a text array (names, units)


def claims(path: Path, head: bytes) -> int:
    if head.startswith(b"\x93NUMPY"):
        return 2
    return 2 if head.startswith(b"PK\x03\x04") and b".npy" in head else 0


def read(path: Path, given: Given = Given()) -> Record:  # noqa: B008
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _arrays.record(_unpack(archive, path), path, given)
    with open(path, "rb") as file:
        if file.read(2) == b"PK":
            raise InputError(f"{path}: an NPZ that is cut short; get the file again")
        file.seek(0)
        _announced(file, str(path))
    signal = np.load(path, mmap_mode="r", allow_pickle=False)
    return _arrays.record({"signal": signal}, path, given)


def _unpack(archive: zipfile.ZipFile, path: Path) -> dict[str, np.ndarray]:
    members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    if len(members) > MEMBERS:
        raise InputError(f"{path}: {len(members)} arrays; one record a file")
    arrays, total = {}, 0
    for info in members:
        where = f"{path}, {info.filename}"
        with archive.open(info) as member:
            shape, dtype = _announced(member, where)
        count = int(np.prod(shape, dtype=object))
        total += count
        check_size(total, where)
        if dtype.kind not in "iuf" and count * dtype.itemsize > SMALL:
            raise InputError(f"{where}: {count * dtype.itemsize} bytes of {dtype}; an ECG is of numbers")
        with archive.open(info) as member:
            arrays[info.filename.removesuffix(".npy")] = np.lib.format.read_array(member, allow_pickle=False)
    return arrays


def _announced(member, where: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype from the header of an array; InputError where it is of Python objects."""
    version = np.lib.format.read_magic(member)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in headers:
        raise InputError(f"{where}: NPY version {version}; save it again as plain numbers")
    shape, _, dtype = headers[version](member)
    if dtype.hasobject:
        raise InputError(f"{where}: holds pickled Python objects, which are never read; save plain numbers")
    return shape, dtype
