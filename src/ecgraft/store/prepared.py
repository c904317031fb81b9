"""Records as a recipe prepares them: fixed rate and leads, 16-bit microvolt, gathered into batches from memory maps."""

from __future__ import annotations

import contextlib
import shutil
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..record import InputError
from ..signal import leads as lead_tools
from ..signal.recipe import Recipe
from ..tasks import Task, beat_classes
from . import render
from .chunks import Shards
from .layout import CACHE, LOCK, check_name, map_samples, memory_map, ragged, read_json, remove, write_json
from .lock import Lock
from .parallel import progress_bar, spread

if TYPE_CHECKING:
    from .read import Store

PLACE = np.dtype([("shard", "<i4"), ("at", "<i8"), ("length", "<i8")])  # of a record; leads that are present, together
CHUNK = 256  # records
MICROVOLT = 1000.0  # steps per mV
DONE = "cache.json"


class PreparedCache:
    """A store through a recipe. Times are samples at the recipe's rate, signals int16 in steps of 1 uV.

    length   (N,) samples; 0 for a record that has none of the recipe's leads
    present  (N, C) which of the recipe's leads a record has
    """

    def __init__(self, store: Store, recipe: Recipe, folder: Path):
        self.store, self.recipe, self.rate = store, recipe, recipe.rate
        head = read_json(folder / DONE)
        count, C = len(store), len(recipe.leads)
        self._rows = memory_map(folder / "rows.npy", PLACE, (count,))
        self.length = self._rows["length"]
        self.present = memory_map(folder / "present.npy", np.dtype("?"), (count, C))
        self._shards = [map_samples(folder / check_name(name, folder)) for name in head["shards"]]
        self._lead_slots = _lead_slots(store.table.categories["leads"], recipe)  # (lead sets, L)

    def __len__(self) -> int:
        return len(self.length)

    @property
    def usable(self) -> np.ndarray:
        """(N,) bool: which records have a lead of the recipe."""
        return self.length > 0

    def recipe_samples(self, recipe: Recipe) -> int:
        """The window of another recipe of the same rate, in samples."""
        return recipe.samples

    def batch(self, index: np.ndarray, start: np.ndarray, samples: int) -> dict[str, np.ndarray]:
        """x (B, C, S) int16 uV, present (B, C) bool, length (B,) int32 valid samples; 0 where absent or padding."""
        index = np.asarray(index)
        rows, present = self._rows[index], self.present[index]
        length = np.clip(rows["length"] - start, 0, samples)
        complete = bool(present.all() and (length == samples).all())
        x = (np.empty if complete else np.zeros)((len(index), len(self.recipe.leads), samples), np.int16)
        counts, firsts = present.sum(1).tolist(), np.asarray(start).tolist()
        places = zip(rows["shard"].tolist(), rows["at"].tolist(), rows["length"].tolist(), counts, firsts)
        for b, (shard, at, T, C, first) in enumerate(places):
            if C:
                window = self._shards[shard][at : at + C * T].reshape(C, T)[:, first : first + samples]
                x[b, slice(None) if present[b].all() else present[b], : window.shape[1]] = window
        return {"x": x, "present": present, "length": length.astype(np.int32)}

    def waves(self, index: np.ndarray, start: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Wave classes (B, C, S) uint8 and where they are annotated (B, C, S) bool; 0 in absent leads and padding."""
        index, start = np.asarray(index), np.asarray(start)
        shape, ratio = (len(index), len(self.recipe.leads), samples), self._ratio(index)
        slots = self._lead_slots[self.store.table.rows["leads"][index]]  # (B, L)
        waves = render.classes(*self._gather("waves", index), slots, shape, start, ratio)
        scored = render.scored(*self._gather("scored", index), slots, shape, start, ratio)
        valid = np.arange(samples) < (self.length[index] - start)[:, None]  # (B, S)
        present = self.present[index][:, :, None]
        waves *= present
        return waves, scored & present & valid[:, None, :]

    def peaks(self, index: np.ndarray, start: np.ndarray, samples: int) -> np.ndarray:
        """R peaks in the windows, (B, P) int32, padded with -1."""
        return self._events(index, start, samples)[0]

    def beats(self, index: np.ndarray, start: np.ndarray, samples: int, task: Task) -> tuple[np.ndarray, np.ndarray]:
        """R peaks (B, P) and the class that the task gives each beat (B, P), -1 for none; both padded with -1."""
        peaks, classes = self._events(index, start, samples, task)
        return peaks, classes

    def beats_of(self, i: int, task: Task) -> tuple[np.ndarray, np.ndarray]:
        """R peaks (P,) and classes (P,) of the beats of record i that have a class in the task."""
        peaks, classes = self.beats(np.array([i]), np.array([0]), int(self.length[i]), task)
        known = (peaks[0] >= 0) & (classes[0] >= 0)
        return peaks[0][known], classes[0][known]

    def lead_slots(self, i: int) -> np.ndarray:
        """The slot of each lead of record i (C,), -1 where the recipe has no use for it or it holds no sample."""
        slots = self._lead_slots[self.store.table.rows["leads"][i]][: len(self.store.leads(i))]
        return np.where(self.present[i][slots], slots, -1)

    def present_slots(self, i: int) -> np.ndarray:
        """The slots that record i fills."""
        return np.flatnonzero(self.present[i])

    def _events(self, index, start, samples: int, task: Task | None = None) -> list[np.ndarray]:
        index = np.asarray(index)
        beats, owner = self._gather("beats", index)
        at = np.rint(beats["sample"] * self._ratio(index)[owner]).astype(np.int64)
        columns = [beat_classes(task, beats["symbol"])] if task else []
        return render.padded(at, owner, len(index), np.asarray(start), samples, *columns)

    def _ratio(self, index: np.ndarray) -> np.ndarray:
        return self.rate / self.store.table.rows["rate"][index]

    def _gather(self, name: str, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        table = self.store.table
        positions, owner = ragged(table.offsets[name], index)
        return table.blobs[name][positions], owner


def prepare(store: Store, recipe: Recipe, progress: bool = False, workers: int | None = None) -> PreparedCache:
    """The cache of a store for a recipe, built where it is not there or not of this store's records."""
    folder = store.path / CACHE / recipe.cache_key
    if not _is_of(store, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with Lock(folder / LOCK, f"{folder}: another process prepares these records; try again when it is done"):
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
        write_json(beside / "shards.json", {"shards": names})
        beside.rename(_chunk(self.folder, number))
        return len(index)


def _chunk(folder: Path, number: int) -> Path:
    return folder / f"chunk-{number:08d}"


def _join(store: Store, recipe: Recipe, folder: Path, chunks: int) -> None:
    shape = len(store), len(recipe.leads)
    rows = np.lib.format.open_memmap(folder / "rows.npy", "w+", PLACE, shape[:1])
    present = np.lib.format.open_memmap(folder / "present.npy", "w+", np.dtype("?"), shape)
    shards: list[str] = []
    for number in range(chunks):
        names = read_json(_chunk(folder, number) / "shards.json")["shards"]
        shards += [name for name in names if name not in shards]
        part, span = np.load(_chunk(folder, number) / "rows.npy"), slice(number * CHUNK, (number + 1) * CHUNK)
        part["shard"] = np.array([shards.index(name) for name in names] or [0])[part["shard"]]
        rows[span], present[span] = part, np.load(_chunk(folder, number) / "present.npy")
    rows.flush()
    present.flush()
    write_json(folder / DONE, {"store": store.fingerprint, "recipe": recipe.to_dict(), "shards": shards})
    for path in folder.iterdir():
        if path.name.startswith(("chunk-", "part-", "plan.")) or (path.suffix == ".i16" and path.name not in shards):
            remove(path)


def _lead_slots(lead_sets: list[tuple[str, ...]], recipe: Recipe) -> np.ndarray:
    """The slot of each lead of each lead set (n, most leads), -1 where the recipe has no use for it."""
    slots = np.full((max(1, len(lead_sets)), max([1, *map(len, lead_sets)])), -1, np.int64)
    for row, names in zip(slots, lead_sets):
        derived = lead_tools.derivable(names, recipe.leads)
        leads, places, _ = lead_tools.assign((*names, *derived), recipe.leads, recipe.slot)
        for lead, place in zip(leads, places):
            if lead < len(names):
                row[lead] = place
    return slots
