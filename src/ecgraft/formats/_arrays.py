"""Arrays by name, as NPZ and MATLAB files hold them -> Record."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..record import InputError, Record
from . import Given, check_size

SIGNAL = ("signal", "ecg", "val", "data", "x")  # the name that holds the signal, where there is more than one array
RATE = ("rate", "fs", "freq", "frequency", "sampling_rate", "sample_rate", "srate")
UNIT = ("unit", "units")
NAMES = ("leads", "lead_names", "sig_name", "channels")
MOST = 64  # leads


def record(arrays: dict[str, np.ndarray], path: Path, given: Given) -> Record:
    """The one signal among `arrays` with what the others say of it (fs, units, leads, age, sex)."""
    lower = {name.lower(): np.asarray(array) for name, array in arrays.items()}
    name = _signal_name(lower, path)
    rate, unit = _scalar(lower, RATE), _text(lower, UNIT)
    names = _names(lower)
    given = Given(given.rate if rate is None else rate, given.unit, names or given.leads)
    signal, assumed = orient(lower[name], given.leads, f"{path}, {name}")
    given.require(path, rate=True, unit=unit is None, names=len(signal))
    scale = given.scale(path, unit)
    sex = (_text(lower, ("sex", "gender")) or "?")[0].upper()
    return Record(
        signal.astype(np.float32) * np.float32(scale),
        rate=given.hz(path),
        leads=given.names(len(signal), path),
        id=path.stem,
        age=_scalar(lower, ("age",)),
        sex=sex if sex in ("F", "M") else None,
        extra={"assumed": assumed} if assumed else {},
    )


def orient(array: np.ndarray, leads: tuple[str, ...] | None, where: str) -> tuple[np.ndarray, str]:
    """(C, T) and what was assumed: as many rows or columns as there are lead names, else the shorter axis is leads."""
    array = np.asarray(array)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{where}: holds {array.dtype}, not real numbers")
    check_size(array.size, where)
    shape = array.shape
    array = array.squeeze() if array.ndim > 2 else array
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or 0 in array.shape or min(array.shape) > MOST:
        raise InputError(f"{where}: shape {shape}; it must be (leads, samples) or (samples, leads), one record a file")
    rows, columns = array.shape
    by_name = leads is not None and rows != columns and len(leads) in (rows, columns)
    turned = len(leads) == columns if by_name else rows > columns
    return (array.T, f"rows are samples (shape {rows} x {columns})") if turned else (array, "")


def _signal_name(arrays: dict[str, np.ndarray], path: Path) -> str:
    found = [n for n, a in arrays.items() if a.dtype.kind in "iuf" and a.size > 1 and n not in RATE]
    preferred = [name for name in SIGNAL if name in found]
    if preferred or len(found) == 1:
        return (preferred or found)[0]
    if not found:
        there = ", ".join(f"{n}: {a.dtype} {a.shape}" for n, a in arrays.items())
        raise InputError(f"{path}: no array of numbers in it ({there or 'it is empty'})")
    raise InputError(f"{path}: which of {', '.join(found)} is the ECG? Name it 'signal', or keep one array in the file")


def _scalar(arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> float | None:
    for name in names:
        if name in arrays and arrays[name].dtype.kind in "iuf" and arrays[name].size == 1:
            value = float(arrays[name].reshape(()))
            return value if np.isfinite(value) else None
    return None


def _text(arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> str | None:
    for name in names:
        if name in arrays and arrays[name].dtype.kind == "U" and arrays[name].size == 1:
            return str(arrays[name].reshape(())).strip() or None
    return None


def _names(arrays: dict[str, np.ndarray]) -> tuple[str, ...] | None:
    for name in NAMES:
        if name in arrays and arrays[name].dtype.kind == "U" and arrays[name].size:
            return tuple(str(text).strip() for text in arrays[name].ravel())
    return None
