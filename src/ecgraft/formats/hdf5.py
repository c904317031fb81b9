"""HDF5: one signal dataset in a few levels of groups, with what attributes and datasets beside it say (fs, units,
lead_names, age, sex); a stack of records in one dataset, or a group for each record.

Two databases are known by themselves. CODE-15% (`tracings` N x 4096 x 12 and `exam_id`): 400 Hz, leads of the standard
order, zeros at both ends of a tracing, which are taken off; the unit is as in datasets/code15.py. Without `exam_id` it
may be anybody's, and the unit has to be given. SPH (`ecg` 12 x N in float16, nothing beside it): 500 Hz, mV.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from ..record import LEADS, InputError, Record
from . import Given, _arrays, told
from ._hdf5.file import Dataset, Group, begins, opened

TITLE = "HDF5"
LEVELS = 4  # groups inside each other
MOST = 20_000  # objects that are looked at
CODE, CODE_RATE, CODE_UNIT = (4096, 12), 400, 0.5  # shape of a tracing, Hz, mV
SPH_RATE = 500
HALF = "unit 0.5 mV, which the database does not state: its authors multiplied mV by 2"


def claims(path: Path, head: bytes) -> int:
    return 2 if begins(head) and not head.startswith(b"MATLAB ") else 0


def count(path: Path, given: Given) -> int:
    root = opened(path)
    if _is_code(root):
        return _tracings(root)
    found = _signals(path)
    return len(found) if len(found) > 1 else _arrays.count(_beside(*found[0]), path, given)


def read(path: Path, given: Given) -> Record:
    root = opened(path)
    if _is_code(root):
        return _code(root, path, given)
    if _is_sph(root):
        return _sph(root, path, given)
    found = _signals(path)
    if len(found) == 1:
        return _arrays.record(_beside(*found[0]), path, given)
    return _arrays.one_of(len(found), lambda i: _beside(*found[i]), path, given, ", each in a group of its own")


def _is_code(root: Group) -> bool:
    there = root.get("tracings")
    return isinstance(there, Dataset) and there.shape[1:] == CODE and there.type.kind == "number"


def _tracings(root: Group) -> int:
    """How many there are; a last one whose exam has no number is none."""
    total = root["tracings"].shape[0]
    exams = root.get("exam_id")
    last = isinstance(exams, Dataset) and exams.shape == (total,) and total > 1 and not exams[total - 1].any()
    return total - bool(last)


def _code(root: Group, path: Path, given: Given) -> Record:
    total, ours = _tracings(root), "exam_id" in root
    index = _arrays.chosen(total, given, f"{path}, tracings", f" of {CODE[1]} leads")
    tracing = root["tracings"][index]  # (4096, 12)
    kept = np.flatnonzero(tracing.any(axis=1))
    if not len(kept):
        raise InputError(f"{path}: record {index} is empty: all of its samples are 0")
    before, after = int(kept[0]), CODE[0] - 1 - int(kept[-1])
    unit = CODE_UNIT if ours and given.unit is None else given.scale(path)
    signal, holes = _arrays.millivolts(tracing[before : CODE[0] - after].T, [unit] * CODE[1])
    assumed = [f"rate {CODE_RATE} Hz and the leads of CODE-15%"] if given.rate is None or given.leads is None else []
    assumed += [HALF] if ours and given.unit is None else []
    assumed += [f"zeros before ({before}) and after ({after}) it are no samples"] if before + after else []
    return Record(
        signal,
        given.rate or CODE_RATE,
        given.leads or LEADS,
        id=path.stem if total == 1 else f"{path.stem}-{index}",
        extra=told(unit=given.unit or "", resolution=f"{unit:g}", assumed=[*assumed, *filter(None, [holes])]),
    )


def _is_sph(root: Group) -> bool:
    there = root.get("ecg") if list(root.names) == ["ecg"] else None
    if not isinstance(there, Dataset) or there.attributes or root.attributes:
        return False
    return there.ndim == 2 and there.shape[0] == len(LEADS) and there.type.dtype == np.float16


def _sph(root: Group, path: Path, given: Given) -> Record:
    known = Given(given.rate or SPH_RATE, given.unit or "mV", given.leads or LEADS, given.index)
    record = _arrays.record({"ecg": root["ecg"]}, path, known)
    silent = [what for what in ("rate", "unit", "leads") if getattr(given, what) is None]
    assumed = [record.extra.get("assumed", ""), f"{', '.join(silent)} of the SPH database" if silent else ""]
    return record.but(extra=record.extra | told(assumed=list(filter(None, assumed))))


@_arrays.of_last_file
def _signals(path: Path) -> list[tuple[Dataset, list[Group]]]:
    """The signal datasets, each with the groups around it: one, or one of the same name in each of several groups."""
    found, skipped = _datasets(opened(path), path)
    usable = [
        (parts, d, groups)
        for parts, d, groups in found
        if d.type.kind == "number" and prod(d.shape) > 1 and _arrays.key(parts[-1]) not in _arrays.ABOUT
    ]
    ranked = [[one for one in usable if _arrays.key(one[0][-1]) == name] for name in _arrays.SIGNAL]
    wide = [one for one in usable if one[1].ndim > 1]
    best = next((some for some in ranked if some), usable if len(usable) == 1 else wide)
    if not best:
        there = ", ".join("/".join(parts) for parts, _, _ in found[:12])
        what = f"there is {there}" if there else "it holds nothing"
        what += f"; links to other places are not followed: {', '.join(skipped[:5])}" if skipped else ""
        raise InputError(f"{path}: no dataset of numbers in it ({what})")
    if len({parts[-1] for parts, _, _ in best}) > 1:
        names = ", ".join("/".join(parts) for parts, _, _ in best[:12])
        raise InputError(f"{path}: which of {names} is the ECG? Name it 'signal', or keep one dataset in the file")
    return [(d, groups) for _, d, groups in sorted(best, key=lambda one: one[0])]


def _datasets(root: Group, path: Path) -> tuple[list[tuple[tuple[str, ...], Dataset, list[Group]]], list[str]]:
    """(name in parts, dataset, groups around it), and the links that are not followed."""
    found, skipped, todo, seen = [], [], [((), [root])], {root.address}
    while todo:
        parts, groups = todo.pop(0)
        for name, address in groups[-1].names.items():
            if address is None:
                skipped.append("/".join((*parts, name)))
            elif address not in seen:
                seen.add(address)
                node = groups[-1].at(address)
                if isinstance(node, Dataset):
                    found.append(((*parts, name), node, groups))
                elif len(groups) <= LEVELS:
                    todo.append(((*parts, name), [*groups, node]))
            if len(seen) > MOST:
                raise InputError(f"{path}: more than {MOST} objects in it; split the file")
    return found, skipped


def _beside(dataset: Dataset, groups: list[Group]) -> dict:
    """The signal and what is said of it: by its attributes, else in its group, else in the groups around that."""
    said = {}
    for group in groups:
        said |= {_arrays.key(name): value for name, value in group.attributes.items()}
        for name, address in group.names.items():
            if address is not None and _arrays.key(name) in _arrays.ABOUT:
                node = group.at(address)
                said |= {_arrays.key(name): node} if isinstance(node, Dataset) else {}
    said |= {_arrays.key(name): value for name, value in dataset.attributes.items()}
    return {"signal": dataset} | {name: value for name, value in said.items() if name in _arrays.ABOUT}
