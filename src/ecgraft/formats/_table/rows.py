"""Text tables with a row per record, whose signal is a list in a cell: "[12, -5, ...]".

So Withings exports ECGs (signal.csv: Frequency in Hz, Signal in uV of a watch, in mV of a blood pressure monitor; the
unit is not in the file), and Fitbit (waveform samples, of which a scaling factor makes mV).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...record import InputError
from .. import LARGEST, _arrays
from .._digital import numbers

LIST = re.compile(r"\[\s*-?\d[\d.]*(?:\s*[,; ]\s*-?[\d.]+(?:[eE][+-]?\d+)?){15}")  # of 16 numbers at least
FACTOR = "scalingfactor"
WIDEST = 100  # columns


def looks(text: str) -> bool:
    """Whether the first row after one of names has a list of numbers in a cell."""
    names, _, rest = text.partition("\n")
    first = rest[:4096]
    return (
        bool(re.search(r"[A-Za-z]", names)) and not LIST.search(names) and bool(LIST.search(first.partition("\n")[0]))
    )


def count(path: Path) -> int:
    return len(_frame(path))


def arrays(path: Path, index: int) -> dict[str, np.ndarray]:
    """What the row of a record says, by the names of the columns."""
    row = _frame(path).iloc[index]
    found, where = {}, f"{path}, row {index + 1}"
    for name, cell in row.items():
        cell = str(cell).strip()
        if cell.startswith("["):
            found[str(name)] = numbers(cell.strip("[] "), where)
        elif re.fullmatch(r"-?\d+(\.\d+)?", cell) and len(cell) < 30:
            found[str(name)] = np.array([float(cell)])
        elif cell:
            found[str(name)] = np.array([cell[:200]])
    by = {_arrays.key(name): name for name in found}
    lists = [name for name, array in found.items() if array.size > 1]
    if not lists:
        raise InputError(f"{where}: there is no signal in it")
    if FACTOR in by and found[by[FACTOR]].dtype.kind == "f" and found[by[FACTOR]][0] > 0:
        found |= {name: found[name] / found[by[FACTOR]] for name in lists} | {"unit": np.array(["mV"])}
    return found


@_arrays.of_last_file
def _frame(path: Path):
    import pandas

    if path.stat().st_size > 8 * LARGEST:
        raise InputError(f"{path}: {path.stat().st_size} bytes of text; split it")
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        names = file.readline(2**16)
    mark = max(",;\t|", key=names.count)
    if names.count(mark) > WIDEST:
        raise InputError(f"{path}: {names.count(mark)} columns; one record a row, its signal a list in a cell")
    return pandas.read_csv(path, sep=mark, dtype=str, keep_default_na=False, encoding_errors="replace")
