"""ecgraft info: what is in a file, a store, an encoder, a graft or a model. Reads headers; imports no torch."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np

from .. import formats
from ..record import WAVES, Record
from ..store import Store
from ..store.layout import HEAD
from . import _doubles, _shares, _trained
from ._blocks import Block, facts, plain, show, table


def info(
    path: Annotated[list[Path], "an ECG file, a store (several are compared), an encoder, a graft or a model folder"],
    *,
    format: Annotated[str | None, "format of an ECG file, where it cannot be told from its content"] = None,
    rate: Annotated[float | None, "sampling rate in Hz, for files that do not say"] = None,
    unit: Annotated[str | None, "mV, uV, V or nV, for files that do not say"] = None,
    leads: Annotated[str | None, "lead names separated by commas, or standard, for files that do not say"] = None,
    index: Annotated[int | None, "which record of a file that holds several, from 0"] = None,
    doubles: Annotated[bool | None, "look for the same ECG twice in stores (default: up to 20,000 records)"] = None,
    to: Annotated[Path | None, "file for all such pairs (.csv)"] = None,
) -> None:
    """Shows what is in an ECG file, a store, an encoder, a graft or a model folder.

    For a graft: which output is which diagnosis, from which probability on it says yes, how the encoder was changed for
    it, what it has learnt from, and how well it scores.
    For stores: the same ECG or patient twice, whatever the gain, polarity, rate or length, in and across them.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    given = {"format": format, "rate": rate, "unit": unit, "leads": leads, "index": index}
    show([block for one in paths for block in describe(one, **given)] + _doubled(paths, doubles, to))


def describe(path: Path, **given) -> list[Block]:
    """What `info` prints, block by block; `given` as for `ecgraft.read`."""
    path = Path(path)
    if path.suffix == ".safetensors":
        return _one(path)
    if (path / "encoder.safetensors").is_file():
        return _model(path)
    return _store(path) if path.is_dir() else _record(path, formats.read(path, **given))


def _model(path: Path) -> list[Block]:
    files = [path / "encoder.safetensors", *sorted((path / "grafts").glob("*.safetensors"))]
    blocks = [block for file in files for block in _one(file)]
    with _trained.sound(path):
        size = sum(file.stat().st_size for file in [*files, path / "model.json"] if file.is_file())
        return blocks + _shares.of_folder([_trained.read(file) for file in files], size)


def _one(path: Path) -> list[Block]:
    """An encoder or a graft."""
    blocks = _trained.describe(path)
    with _trained.sound(path):
        return blocks + _shares.of_graft(_trained.read(path))


def _record(path: Path, record: Record) -> list[Block]:
    told = {key: getattr(record, key) for key in ("id", "patient", "age", "sex", "report", "source", "split", "fold")}
    told |= {"rate": f"{record.rate:g} Hz", "length": f"{record.seconds:.2f} s ({record.signal.shape[1]} samples)"}
    told |= {"labels": [code for code, yes in record.labels.items() if yes], **record.values, **record.extra}
    for name in ("beats", "rhythms"):
        found = getattr(record, name)
        told[name] = None if found is None else len(found)
    if record.waves is not None:
        count = Counter(record.waves["kind"].tolist())
        told["waves"] = [f"{count[code]} {name}" for code, name in enumerate(WAVES) if count[code]]
    leads = table("lead", "lowest (mV)", "highest (mV)", "no sample (%)")
    for name, x in zip(record.leads, record.signal):
        missing = np.isnan(x).mean()
        low, high = (np.nan, np.nan) if missing == 1 else (np.nanmin(x), np.nanmax(x))
        leads.add_row(plain(name), f"{low:.3f}", f"{high:.3f}", f"{100 * missing:.1f}")
    return [(f"ECG {path}", facts(told)), ("leads", leads)]


def _store(path: Path) -> list[Block]:
    store = Store(path)
    rate = store.number("rate")
    seconds = store.number("length") / rate
    reports = np.count_nonzero(np.diff(store.table.offsets["report"]))
    told = {"records": f"{len(store):,}", "patients": f"{len(np.unique(store.number('person'))):,}"}
    if len(store):
        told["length"] = f"{seconds.min():.1f} to {seconds.max():.1f} s, {seconds.sum() / 3600:.1f} h in all"
    told |= {"rate": [f"{value:g} Hz {count:,}" for value, count in zip(*np.unique(rate, return_counts=True))]}
    told |= {name: _counts(*store.category(name)) for name in ("source", "split", "sex", "leads")}
    told |= {name: f"{np.count_nonzero(store.has(name)):,} records" for name in ("waves", "beats", "rhythms")}
    told |= {"reports": f"{reports:,} records", "values": store.values, "fingerprint": store.fingerprint}
    rows, yes = table("code", "yes", "no", "unknown"), (store.labels == 1).sum(0)
    for column in np.argsort(-yes, kind="stable"):
        counts = (np.count_nonzero(store.labels[:, column] == value) for value in (1, 0, -1))
        rows.add_row(plain(store.codes[column]), *(f"{count:,}" for count in counts))
    return [(f"store {path}", facts(told)), ("labels", rows)]


def _doubled(paths: list[Path], asked: bool | None, to: Path | None) -> list[Block]:
    """What stands twice in the stores among the paths."""
    stores = [Store(path) for path in paths if (Path(path) / HEAD).is_file()]
    if to is not None:
        _doubles.check(to, stores, asked)
    if not _doubles.wanted(stores, asked if to is None else True):
        return []
    rows, patients = _doubles.pairs(stores, progress=sys.stderr.isatty()), _doubles.shared_patients(stores)
    if to is not None:
        _doubles.write(to, rows)
    blocks = [("the same ECG twice", facts(_doubles.summary(rows, patients)))]
    listed = {"pairs": [_doubles.short(row) for row in rows], "patients in test and other parts": patients}
    return blocks + [_listed(title, found) for title, found in listed.items() if found]


def _listed(title: str, found: list[dict]) -> Block:
    """The first of many rows."""
    rows = table(*found[0])
    for row in found[: _doubles.SHOWN]:
        rows.add_row(*map(plain, row.values()))
    if len(found) > _doubles.SHOWN:
        title += f", the first {_doubles.SHOWN} of {len(found)} (pairs: --to FILE.csv has all)"
    return title, rows


def _counts(numbers: np.ndarray, names: list) -> list[str]:
    """How many records each category has, the most frequent first."""
    count = np.bincount(numbers[numbers >= 0], minlength=len(names))
    order = [index for index in np.argsort(-count, kind="stable") if count[index]]
    return [f"{plain(names[index])} {count[index]:,}" for index in order[:20]]
