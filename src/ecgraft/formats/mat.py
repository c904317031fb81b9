"""MATLAB files, versions 4 to 7.3: a matrix (`val` of the PhysioNet challenges), or a struct that holds one (ECG.data
of CPSC 2018) with `fs`, `unit`, `leads`, `age`, `sex` beside it where they are given; of one record or a stack of them.
With a WFDB header beside it a file is read as WFDB, which knows gains and names.

Version 7.3 is HDF5: axes stand the other way round, text is of numbers, cells are references ("MATLAB_class" says so).
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from ..record import InputError, Record
from . import LARGEST, Given, _arrays, check_size
from ._hdf5.file import Dataset, Group, opened
from ._mat5 import load

TITLE = "MATLAB"
NUMBERS4 = ("f8", "f4", "i4", "i2", "u2", "u1")  # types of version 4
MEMBERS = 1000  # variables, fields of a struct, texts in a cell


def claims(path: Path, head: bytes) -> int:
    if head.startswith(b"MATLAB ") and b"MAT-file" in head[:124]:
        return 2
    return 2 if _is_version4(head) else 0


def count(path: Path, given: Given) -> int:
    return _arrays.count(variables(path), path, given)


def read(path: Path, given: Given) -> Record:
    return _arrays.record(variables(path), path, given)


def variables(path: Path) -> dict:
    """Arrays by name; the fields of a struct stand for themselves."""
    return dict(_variables(Path(path)))


@_arrays.of_last_file
def _variables(path: Path) -> dict:
    with open(path, "rb") as file:
        head = file.read(128)
    flat = {}
    for name, value in (_load73(path) if _is_73(head) else _load4(path) if _is_version4(head) else load(path)).items():
        flat |= value if isinstance(value, dict) else {name: value}
    return {name: value for name, value in flat.items() if isinstance(value, np.ndarray | Turned)}


def _is_73(head: bytes) -> bool:
    return head.startswith(b"MATLAB 7.3")


class Turned:
    """A matrix of version 7.3: a dataset whose axes stand the other way round. A part of it is read alone."""

    def __init__(self, dataset: Dataset):
        self.dataset, self.shape, self.dtype = dataset, dataset.shape[::-1], dataset.dtype

    def __getitem__(self, key) -> np.ndarray:
        return self.dataset[:].T if key is Ellipsis else self.dataset.take(key, -1).T


def _load73(path: Path) -> dict:
    root = opened(path)
    names = [name for name, address in root.names.items() if address is not None and not name.startswith("#")]
    if len(names) > MEMBERS:
        raise InputError(f"{path}: {len(names)} variables; one record a file, or a stack of them in one variable")
    return {name: _value73(root[name]) for name in names}


def _value73(node: Group | Dataset, deep: bool = True) -> np.ndarray | Turned | dict | None:
    """A matrix, text as an array of str, a struct as a dict (`deep`: not one inside another); None for what is else."""
    kind = str(node.attributes.get("MATLAB_class", np.array([""])).ravel()[0])
    if isinstance(node, Group):
        return (
            {name: _value73(node[name], False) for name in list(node.names)[:MEMBERS] if name in node} if deep else None
        )
    if "MATLAB_empty" in node.attributes or not node.size:
        return None
    if kind == "char":
        check_size(node.size, node.file.path, packed=node.size)
        return np.array(["".join(map(chr, row)).strip() for row in np.atleast_2d(node[:].T)])
    if kind == "cell":
        return _texts73(node)
    return Turned(node) if node.type.kind == "number" else None


def _texts73(node: Dataset) -> np.ndarray | None:
    """A cell of texts."""
    if node.type.kind != "reference" or node.size > MEMBERS:
        return None
    texts = [_value73(node.at(address), False) for address in node[:].T.ravel().tolist()]
    if all(isinstance(text, np.ndarray) and text.dtype.kind == "U" and text.size == 1 for text in texts):
        return np.array([text[0] for text in texts])
    return None


def _load4(path: Path) -> dict[str, np.ndarray]:
    """Full matrices of numbers or text of version 4: by MathWorks, "MAT-File Format", appendix."""
    size = path.stat().st_size
    if size > 8 * LARGEST:
        raise InputError(f"{path}: {size} bytes; one record a file")
    data, at, found = path.read_bytes(), 0, {}
    while at + 20 <= len(data) and len(found) < MEMBERS:
        order = next((o for o in "<>" if 0 <= struct.unpack_from(f"{o}i", data, at)[0] < 5000), None)
        kind, rows, columns, imaginary, length = struct.unpack_from(f"{order or '<'}5i", data, at)
        number, matrix = kind // 10 % 10, kind % 10
        if order is None or number > 5 or rows < 0 or columns < 0 or not 0 < length <= 64:
            raise InputError(f"{path}: damaged at byte {at}; get the file again")
        dtype = np.dtype(f"{order}{NUMBERS4[number]}")
        start = at + 20 + length
        end = start + rows * columns * dtype.itemsize * (1 + bool(imaginary))
        if end > len(data):
            raise InputError(f"{path}: cut short, {len(data)} of {end} bytes; get the file again")
        if not imaginary and matrix in (0, 1):
            values = np.frombuffer(data, dtype, rows * columns, start).reshape((rows, columns), order="F")
            found[data[at + 20 : start - 1].decode("latin-1")] = _text4(values) if matrix else values
        at = end
    return found


def _text4(codes: np.ndarray) -> np.ndarray:
    """Rows of letters, each a number."""
    rows = np.clip(np.nan_to_num(codes.astype(np.float64)), 0, 0xFFFF).astype(int).tolist()
    return np.array(["".join(map(chr, row)).strip("\0 ") for row in rows])


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
