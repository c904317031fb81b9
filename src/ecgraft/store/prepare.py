"""Making a prepared cache: by several processes where it pays, resumable, safe to delete."""

from __future__ import annotations

import contextlib
import json
import shutil
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..record import InputError
from ..signal.recipe import Recipe
from .chunks import Shards
from .join import Growing
from .layout import CACHE, LOCK, read_json, remove, write_json
from .lock import MAKING, Lock
from .parallel import progress_bar, spread
from .prepared import DONE, PLACE, PreparedCache

if TYPE_CHECKING:
    from .read import Store

CHUNK = 256  # records
FEW = 2048  # records that are prepared sooner than other processes are started
MICROVOLT = 1000.0  # steps per mV


def prepare(store: Store, recipe: Recipe, progress: bool = False, workers: int | None = None) -> PreparedCache:
    """The cache of a store for a recipe, built where it is not there or not of this store's records."""
    folder = store.path / CACHE / recipe.cache_key
    if not _is_of(store, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with Lock(
            folder / LOCK, f"{folder}: another process prepares these records; try again when it is done", MAKING
        ):
            if not _is_of(store, folder):
                _build(store, recipe, folder, progress, workers)
    return PreparedCache(store, recipe, folder)


def _is_of(store: Store, folder: Path) -> bool:
    return (folder / DONE).is_file() and read_json(folder / DONE).get("store") == store.fingerprint


def _build(store: Store, recipe: Recipe, folder: Path, progress: bool, workers: int | None) -> None:
    """Prepares what no earlier attempt has prepared; then the chunks become one index."""
    noted = folder / "plan.json"
    plan = {"store": store.fingerprint, "recipe": recipe.to_dict()}
    if not noted.is_file() or read_json(noted) != plan:
        for path in folder.iterdir():
            if path.name != LOCK:
                remove(path)
        write_json(noted, plan)
    numbers = range(ceil(len(store) / CHUNK))
    left = [number for number in numbers if not _chunk(folder, number).is_dir()]
    done = len(store) - sum(min(CHUNK, len(store) - number * CHUNK) for number in left)
    workers = workers or (1 if len(left) * CHUNK <= FEW else None)
    with progress_bar("preparing", len(store), done, progress) as advance:
        for count in spread(_Worker, (store.path, recipe.to_dict(), folder), left, workers):
            advance(count)
    _join(store, recipe, folder, len(numbers))


class _Worker:
    """Prepares the records of a chunk into this process's own shard."""

    def __init__(self, store: Path, recipe: dict, folder: Path):
        from .read import Store

        self.store, self.recipe, self.folder = Store(store), Recipe.from_dict(recipe), folder
        self.shards = Shards(folder)

    def __call__(self, number: int) -> int:
        index = range(number * CHUNK, min((number + 1) * CHUNK, len(self.store)))
        rows, present = np.zeros(len(index), PLACE), np.zeros((len(index), len(self.recipe.leads)), bool)
        names: list[str] = []
        for row, has, i in zip(rows, present, index):
            with contextlib.suppress(InputError):  # none of the leads: stays empty
                prepared = self.recipe.prepare(self.store.record(i))
                steps = np.nan_to_num(np.rint(prepared.signal * np.float32(MICROVOLT)))
                name, row["at"] = self.shards.append(np.clip(steps, -32767, 32767).astype(np.int16))
                names = names if name in names else [*names, name]
                row["shard"], row["length"], has[prepared.slots] = names.index(name), steps.shape[1], True
        self.shards.flush()
        beside = self.folder / f"part-{number:08d}"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        np.save(beside / "rows.npy", rows)
        np.save(beside / "present.npy", present)
        (beside / "shards.json").write_text(json.dumps({"shards": names}), encoding="utf-8")
        beside.rename(_chunk(self.folder, number))
        return len(index)


def _chunk(folder: Path, number: int) -> Path:
    return folder / f"chunk-{number:08d}"


def _join(store: Store, recipe: Recipe, folder: Path, chunks: int) -> None:
    """The index files, written and not mapped: where the disk is full, writing is an error and mapping a crash."""
    shape, shards = (len(store), len(recipe.leads)), []
    with (
        Growing(folder / "rows.npy", PLACE, shape[:1]) as rows,
        Growing(folder / "present.npy", np.dtype("?"), shape) as present,
    ):
        for number in range(chunks):
            names = read_json(_chunk(folder, number) / "shards.json")["shards"]
            shards += [name for name in names if name not in shards]
            part = np.load(_chunk(folder, number) / "rows.npy")
            part["shard"] = np.array([shards.index(name) for name in names] or [0])[part["shard"]]
            rows.write(part)
            present.write(np.load(_chunk(folder, number) / "present.npy"))
    write_json(folder / DONE, {"store": store.fingerprint, "recipe": recipe.to_dict(), "shards": shards})
    for path in folder.iterdir():
        if path.name.startswith(("chunk-", "part-", "plan.")) or (path.suffix == ".i16" and path.name not in shards):
            remove(path)
