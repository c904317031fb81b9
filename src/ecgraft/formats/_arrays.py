"""Arrays by name, as NPZ, MATLAB, HDF5 and Parquet files hold them -> Record.

An array is anything with shape, dtype and `[row]`, `[...]`; of a stack of records only the asked one is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from pathlib import Path

import numpy as np

from ..record import InputError, Record
from . import Given, check_size, resolution, told
from ._channels import MOST
from ._digital import scaled
from ._person import in_years, sex

SIGNAL = (  # names of what holds the signal, where there is more than one array; the last is of pandas in HDF5
    *("signal", "ecg", "val", "data", "x", "tracings", "signals", "ecgs", "waveform", "waveforms", "psignal"),
    *("waveformsamples", "block0values"),
)
RATE = (
    *("rate", "fs", "freq", "frequency", "samplingrate", "samplerate", "srate", "samplingfrequency"),
    *("samplefrequency", "hz", "sf", "sampfrom", "samplingratehz", "fshz"),
)
UNIT = ("unit", "units", "signalunit", "signalunits")
NAMES = ("leads", "lead", "leadnames", "leadname", "signame", "channels", "channelnames", "chnames", "block0items")
AGE, SEX, PATIENT = ("age",), ("sex", "gender"), ("patientid", "patient", "subjectid", "subject")
ABOUT = (*RATE, *UNIT, *NAMES, *AGE, *SEX, *PATIENT)
LONGEST = 2**24  # lists inside a list


@dataclass(frozen=True)
class Axes:
    """How the axes of an array stand."""

    count: int | None  # records; None: it is one, without an axis for it
    leads: int
    samples: int
    turned: bool  # samples before leads
    assumed: str


def key(name: str) -> str:
    """A name as it is looked for: "Sampling Rate" is samplingrate."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def record(arrays: dict, path: Path, given: Given) -> Record:
    """The one signal among `arrays`, or one record of a stack, with what the others say of it."""
    said = {key(name): array for name, array in arrays.items()}
    name = _signal_name(arrays, path)
    array, where = said[key(name)], f"{path}, {name}"
    given = replace(given, leads=_names(said) or given.leads)
    found = axes(tuple(array.shape), given.leads, where)
    index = chosen(found.count, given, where, f" of {found.leads} leads and {found.samples} samples")
    said = {k: _of(a, index if found.count else None, found.count) for k, a in said.items() if k in ABOUT}
    stated = _number(said, RATE)
    given = replace(given, rate=given.rate if stated is None else stated)
    units = _texts(said, UNIT)
    given.require(path, rate=True, unit=not units, names=found.leads)
    scale = scales(units, found.leads, given, path)
    signal, holes = millivolts(take(array, found, index, where), scale)
    return Record(
        signal,
        rate=given.hz(path),
        leads=given.names(found.leads, path),
        id=path.stem if found.count is None else f"{path.stem}-{index}",
        patient=given.patient(_text(said, PATIENT)),
        age=in_years(_number(said, AGE)),
        sex=sex(_text(said, SEX) or ""),
        extra=told(
            unit=", ".join(dict.fromkeys(units)) or given.unit or "",
            resolution=resolution(scale),
            assumed=[text for text in (found.assumed, holes) if text],
        ),
    )


def one_of(count: int, arrays, path: Path, given: Given, what: str) -> Record:
    """The record that is asked for, where each of `count` has arrays of its own: those of `arrays(index)`."""
    index = chosen(count, given, path, what)
    found = record(arrays(index), path, replace(given, index=None))
    return found if count == 1 else found.but(id=f"{path.stem}-{index}")


def of_last_file(read):
    """`read(path, ...)` that keeps what it gave last, until that file changes: its records are read one by one."""
    kept = lru_cache(maxsize=1)(lambda path, changed, *more: read(path, *more))
    return lambda path, *more: kept(path, path.stat().st_mtime_ns, *more)


def count(arrays: dict, path: Path, given: Given) -> int:
    """How many records the one signal among `arrays` has. Only shapes and names are looked at."""
    name = _signal_name(arrays, path)
    array = next(a for n, a in arrays.items() if n == name)
    leads = _names({key(n): a for n, a in arrays.items()}) or given.leads
    return axes(tuple(array.shape), leads, f"{path}, {name}").count or 1


def chosen(count: int | None, given: Given, where, what: str = "") -> int:
    """Which record is asked for, of `count` (None: of one that needs no index)."""
    if given.index is not None and given.index >= (count or 1):
        raise InputError(f"{where}: no record {given.index}; there {'is' if (count or 1) == 1 else 'are'} {count or 1}")
    if given.index is None and count not in (None, 1):
        raise InputError(
            f"{where}: {count} records{what}; take one with index (--index 0 to {count - 1}), "
            "or import the file, which takes them all"
        )
    return given.index or 0


def axes(shape: tuple[int, ...], leads: tuple[str, ...] | None, where: str) -> Axes:
    """As many rows or columns as there are lead names are leads, else the shorter axis is; records stand before them.

    Two axes of more than MOST are records of one lead; so are any two where one lead is named.
    """
    text = " x ".join(map(str, shape))
    if len(shape) > 3:
        shape = (shape[0], *(n for n in shape[1:] if n > 1))
    if len(shape) == 3 and (shape[0] == 1 or (shape[2] == 1 and shape[0] > 1 and _is_one(shape, leads))):
        shape = shape[1:] if shape[0] == 1 else shape[:2]
    shape = (1, *shape) if len(shape) == 1 else shape
    if len(shape) not in (2, 3) or 0 in shape or (min(shape[-2:]) > MOST and len(shape) == 3):
        raise InputError(
            f"{where}: shape {text}; it must be (leads, samples) or (samples, leads), at most {MOST} leads, "
            "records before them if there are several"
        )
    if len(shape) == 2 and min(shape) > 1 and (min(shape) > MOST or (leads is not None and len(leads) == 1)):
        return Axes(shape[0], 1, shape[1], False, f"rows are records of one lead (shape {text})")
    rows, columns = shape[-2:]
    by_name = leads is not None and rows != columns and len(leads) in (rows, columns)
    turned = len(leads) == columns if by_name else rows > columns
    order = "samples, leads" if turned else "leads, samples"
    if len(shape) == 3:
        assumed = f"axes are records, {order} (shape {text})"
    else:
        assumed = f"rows are samples (shape {text})" if turned else ""
    return Axes(
        shape[0] if len(shape) == 3 else None, *((columns, rows) if turned else (rows, columns)), turned, assumed
    )


def _is_one(shape: tuple[int, ...], leads: tuple[str, ...] | None) -> bool:
    """Whether (rows, columns, 1) is one record: its columns are leads, or its rows are as many as there are names."""
    return shape[1] <= MOST or (leads is not None and len(leads) == shape[0])


def take(array, axes: Axes, index: int, where) -> np.ndarray:
    """One record (C, T)."""
    if array.dtype.kind not in "iuf":
        raise InputError(f"{where}: holds {array.dtype}, not real numbers")
    check_size(axes.leads * axes.samples, where)
    part = array[index] if axes.count is not None else array[...]
    part = np.asarray(part).reshape((axes.samples, axes.leads) if axes.turned else (axes.leads, axes.samples))
    return part.T if axes.turned else part


def scales(units: list[str], leads: int, given: Given, where) -> list[float]:
    """Factor to mV of each lead, from one unit for all or one for each."""
    if len(units) > 1 and len(units) != leads:
        raise InputError(f"{where}: {len(units)} units for {leads} leads; give one for all or one for each")
    return [given.scale(where, unit) for unit in units or [None]] * (1 if len(units) > 1 else leads)


def millivolts(rows, scale: list[float]) -> tuple[np.ndarray, str]:
    """(C, T) float32, what float32 cannot hold as NaN, and what is to be said of that.

    A lead at a time, so that there is no second copy in float64.
    """
    signal = np.empty((len(rows), len(rows[0])), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for lead, values, factor in zip(signal, rows, scale):
            lead[:] = values if factor == 1 else scaled(values, factor)
    if np.isinf(signal).any():
        signal[np.isinf(signal)] = np.nan
        return signal, "samples without end are missing ones"
    return signal, ""


def _signal_name(arrays: dict, path: Path) -> str:
    """As it is called in the file."""
    found = [n for n, a in arrays.items() if a.dtype.kind in "iuf" and prod(a.shape) > 1 and key(n) not in ABOUT]
    preferred = [n for name in SIGNAL for n in found if key(n) == name]
    wide = [n for n in found if len(arrays[n].shape) > 1]
    if preferred or len(found) == 1 or len(wide) == 1:
        return (preferred or wide or found)[0]
    if not found:
        there = ", ".join(f"{n}: {a.dtype} {tuple(a.shape)}" for n, a in list(arrays.items())[:12])
        raise InputError(f"{path}: no array of numbers in it ({there or 'it is empty'})")
    names = ", ".join(found[:12])
    raise InputError(f"{path}: which of {names} is the ECG? Name it 'signal', or keep one array in the file")


def _of(array, index: int | None, count: int | None) -> np.ndarray:
    """What an array says of one record: its part of a list of `count`, else all of it."""
    size = prod(array.shape)
    if size > 2**20:
        return np.zeros(0)
    array = np.asarray(array[...] if len(array.shape) or hasattr(array, "part") else array)
    return array.reshape(-1)[index : index + 1] if count and count > 1 and size == count else array


def _number(said: dict[str, np.ndarray], names: tuple[str, ...]) -> float | None:
    for name in names:
        array = said.get(name)
        if array is None or array.size != 1:
            continue
        text = re.match(r"\s*(\d+([.,]\d+)?)\s*(hz|hertz|years?|y)?\s*$", _decoded(array)[0], re.I)
        if array.dtype.kind in "iuf" or text:
            value = float(text[1].replace(",", ".")) if text else float(array.reshape(()))
            return value if np.isfinite(value) else None
    return None


def _text(said: dict[str, np.ndarray], names: tuple[str, ...]) -> str | None:
    """A text of its own, or a number as text."""
    for name in names:
        if name in said and said[name].dtype.kind in "USiu" and said[name].size == 1:
            return _decoded(said[name])[0] or None
    return None


def _texts(said: dict[str, np.ndarray], names: tuple[str, ...]) -> list[str]:
    """Texts of an array; one with commas is a list of them. [] where there are none."""
    for name in names:
        if name in said and said[name].dtype.kind in "US" and said[name].size:
            texts = _decoded(said[name])
            texts = re.split(r"\s*[,;]\s*", texts[0]) if len(texts) == 1 else texts
            return [text for text in texts if text]
    return []


def _names(said: dict) -> tuple[str, ...] | None:
    texts = {name: _of(said[name], None, None) for name in NAMES if name in said and said[name].dtype.kind in "US"}
    return tuple(_texts(texts, NAMES)) or None


def _decoded(array: np.ndarray) -> list[str]:
    return [t.decode("utf-8", "replace").strip() if isinstance(t, bytes) else str(t).strip() for t in array.ravel()]
