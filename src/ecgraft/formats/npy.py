"""NumPy arrays: NPY and NPZ, (leads, samples) or (samples, leads), of one record or a stack; never pickled objects.

An NPZ may say rate, unit and leads in arrays of these names. Shapes are looked at before anything is unpacked. An NPY,
and what an NPZ holds without compression, is mapped: one record of many is read alone.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from ..record import InputError, Record
from . import Given, _arrays, check_size

TITLE = "NumPy"
MEMBERS = 1000  # arrays in an NPZ
HEADER = 2**16  # bytes of an array's header
SMALL = 2**20  # bytes of a text array (names, units)


def claims(path: Path, head: bytes) -> int:
    if head.startswith(b"\x93NUMPY"):
        return 2
    return 2 if head.startswith(b"PK\x03\x04") and b".npy" in head else 0


def count(path: Path, given: Given) -> int:
    return _arrays.count(_open(path), path, given)


def read(path: Path, given: Given) -> Record:
    return _arrays.record(_open(path), path, given)


def _open(path: Path) -> dict:
    with open(path, "rb") as file:
        if file.read(2) == b"PK":
            if not zipfile.is_zipfile(path):
                raise InputError(f"{path}: an NPZ that is cut short; get the file again")
            with zipfile.ZipFile(path) as archive:
                return _members(archive, path)
        return {"signal": _mapped(file, path, 0, path.stat().st_size)}


def _mapped(file, path: Path, start: int, end: int) -> np.ndarray:
    """The array whose NPY begins at a place in a file, mapped."""
    file.seek(start)
    shape, fortran, dtype = _announced(file, str(path))
    at, size = file.tell(), prod(shape) * dtype.itemsize
    if at + size > end:
        raise InputError(f"{path}: cannot be read as NumPy ({end - at} bytes of {size}); is it complete?")
    if not size:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", at, shape, "F" if fortran else "C")


@dataclass(frozen=True)
class Member:
    """An array in an NPZ, by its shape; it is unpacked when its numbers are asked for."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, key) -> np.ndarray:
        return _unpacked(self.path, self.name)[key]


@_arrays.of_last_file
def _unpacked(path: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive, archive.open(name) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _members(archive: zipfile.ZipFile, path: Path) -> dict:
    members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    if len(members) > MEMBERS:
        raise InputError(f"{path}: {len(members)} arrays; one record a file")
    arrays, total = {}, 0
    for info in members:
        where, name = f"{path}, {info.filename}", info.filename.removesuffix(".npy")
        with archive.open(info) as member:
            shape, _, dtype = _announced(member, where)
        size = prod(shape) * dtype.itemsize
        if dtype.kind not in "iuf" and size > SMALL:
            raise InputError(f"{where}: {size} bytes of {dtype}; an ECG is of numbers")
        if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
            with open(path, "rb") as file:
                file.seek(info.header_offset + 26)
                start = info.header_offset + 30 + sum(np.frombuffer(file.read(4), "<u2").tolist())
                arrays[name] = _mapped(file, path, start, start + info.file_size)
            continue
        total += prod(shape)
        check_size(total, where, packed=info.compress_size)
        if not len(shape) or dtype.kind in "US":
            with archive.open(info) as member:
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
        else:
            arrays[name] = Member(path, info.filename, shape, dtype)
    return arrays


def _announced(member, where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and dtype from an array's header; InputError for Python objects."""
    version = np.lib.format.read_magic(member)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in headers:
        raise InputError(f"{where}: NPY version {version}; save it again as plain numbers")
    length = member.read(2 * version[0])
    size = int.from_bytes(length, "little")
    if size > HEADER:
        raise InputError(f"{where}: a header of {size} bytes; save it again as plain numbers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that Python 2 wrote it
        shape, fortran, dtype = headers[version](io.BytesIO(length + member.read(size)))
    if dtype.hasobject:
        raise InputError(f"{where}: holds pickled Python objects, which are never read; save plain numbers")
    if any(n < 0 for n in shape):
        raise InputError(f"{where}: shape {shape}; get the file again")
    return shape, fortran, dtype
