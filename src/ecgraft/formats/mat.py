"""MATLAB files, versions 4 to 7: a matrix (`val` of the PhysioNet challenges), or a struct that holds one (ECG.data of
CPSC 2018) with `fs`, `unit`, `leads`, `age`, `sex` beside it where they are given. With a WFDB header beside it a file
is read as WFDB, which knows gains and names.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from ..record import InputError, Record
from . import Given, _arrays, check_size
from ._mat5 import load

TITLE = "MATLAB"


def claims(path: Path, head: bytes) -> int:
    if head.startswith(b"MATLAB ") and b"MAT-file" in head[:124]:
        return 2
    return 2 if _is_version4(head) else 0


def read(path: Path, given: Given = Given()) -> Record:  # noqa: B008
    return _arrays.record(variables(path), path, given)


def variables(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name; the fields of a struct stand for themselves."""
    with open(path, "rb") as file:
        head = file.read(128)
    if head.startswith(b"MATLAB 7.3"):
        raise InputError(f"{path}: MATLAB 7.3 (HDF5) is not read; save it in MATLAB with -v7")
    flat = {}
    for name, value in (_load4(path) if _is_version4(head) else load(path)).items():
        flat |= value if isinstance(value, dict) else {name: value}
    return {name: value for name, value in flat.items() if isinstance(value, np.ndarray)}


def _load4(path: Path) -> dict[str, np.ndarray]:
    import scipy.io

    for name, shape, _ in scipy.io.whosmat(path):
        check_size(math.prod(int(n) for n in shape), f"{path}, {name}")
    found = scipy.io.loadmat(path)
    return {name: np.asarray(value) for name, value in found.items() if not name.startswith("__")}


def _is_version4(head: bytes) -> bool:
    """A plausible version 4 header: type, rows, columns, imaginary flag, length of the name; then the name."""
    if len(head) < 21:
        return False
    for order in "<>":
        kind, rows, columns, imaginary, length = struct.unpack(f"{order}5i", head[:20])
        machine, zero, number, matrix = kind // 1000, kind // 100 % 10, kind // 10 % 10, kind % 10
        plausible = kind >= 0 and machine in (0, 1) and zero == 0 and number <= 5 and matrix in (0, 1)
        plausible = plausible and rows > 0 and columns > 0 and imaginary in (0, 1) and 1 < length <= 64
        if plausible and head[20 : 20 + length - 1].isalnum():
            return True
    return False
