"""Stores into one, and a patient out of a store for good."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..record import InputError, UsageError
from .build import Building
from .chunks import Shards
from .join import Part, new_ones, without
from .layout import ACCOUNT, HEAD, SAMPLE, SIGNALS, SKIPPED, map_samples, read_head, size_of
from .read import Store


def merge(sources: Sequence[Path | str], to: Path | str) -> Store:
    """The records of several stores in one: a new one, or one that is there and gets them in addition.

    A record that comes again (same source, id and samples) is kept once. All is added, or nothing.
    """
    to, sources = Path(to), [Store(source) for source in sources]
    if not sources or any((to / HEAD).exists() and store.path.samefile(to) for store in sources):
        raise UsageError(f"{to}: give the stores whose records are to be added to it")
    with Building(to) as building:
        parts = new_ones([_copied(store, to) for store in sources])
        if building.old is not None:
            parts = [building.whole(), *(without(part, [building.whole()]) for part in parts)]
        building.replace(parts)
    return Store(to)


def _copied(store: Store, to: Path) -> Part:
    """All records of a store, whose samples are copied into shards of another."""
    names = []
    for shard in store.shards:
        names.append(f"{uuid.uuid4().hex[:16]}.i16")
        shutil.copyfile(shard, to / SIGNALS / names[-1])
    return Part(store.head, lambda: store.table, np.arange(len(store)), store.table.rows, tuple(names))


def remove_patient(path: Path | str, patient: str) -> int:
    """Removes every record of a patient; returns how many there were.

    Shards and table are written anew without them, prepared caches, skipped.csv and import-report.* are deleted: no
    copy of their samples, texts or labels is left in the folder. (What a drive or a backup keeps is beyond this.)
    """
    path = Path(path)
    read_head(path)  # is there a store at all?
    with Building(path) as building:
        store = Store(path)
        gone = store.find("patient", patient)
        if not len(gone):
            building.sweep(store.head)  # what an interrupted removal may have left
            raise InputError(f"{path}: no patient {patient!r} in it")
        if len(gone) == len(store):
            raise InputError(f"{path}: it has no other patients; delete the folder instead")
        kept = np.setdiff1d(np.arange(len(store)), gone)
        for account in (path / SKIPPED, *path.glob(ACCOUNT)):
            account.unlink(missing_ok=True)
        head = building.replace([_moved(store, kept)])
    left = {p.name for p in (path / SIGNALS).iterdir()} - set(head["categories"]["shard"])
    if left or len(list(path.glob("table-*"))) > 1:
        raise InputError(f"{path}: files with their records are in use; close what reads the store and repeat this")
    return len(gone)


def _moved(store: Store, kept: np.ndarray) -> Part:
    """The records `kept`, those of shards with other samples in them copied into new shards."""
    rows, names = np.array(store.table.rows), [shard.name for shard in store.shards]
    size = np.array([len(names) for names in store.table.categories["leads"]])[rows["leads"]] * rows["length"]
    shards = Shards(store.path / SIGNALS)
    for number, name in enumerate(names.copy()):
        own = kept[rows["shard"][kept] == number]
        if size[own].sum() == size_of(store.path, name) and len(np.unique(rows["at"][own])) == len(own):
            continue
        codes = map_samples(store.shards[number]) if len(own) else np.empty(0, SAMPLE)
        for i in own:
            new, at = shards.append(codes[rows["at"][i] : rows["at"][i] + size[i]])
            names = names if new in names else [*names, new]
            rows["shard"][i], rows["at"][i] = names.index(new), at
    shards.close()
    return Part(store.head, lambda: store.table, kept, rows, tuple(names))
