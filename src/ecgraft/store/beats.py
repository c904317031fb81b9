"""Beats of all records of a prepared cache: R peaks, and what beats and records measure. Kept beside it, resumable.

One definition for all: the beats are those of the detector, whether or not a store has annotated ones. See
`signal.beats` for what is measured. The folder `cache/beats-*` is safe to delete.
"""

from __future__ import annotations

import shutil
from math import ceil
from pathlib import Path

import numpy as np

from ..record import InputError
from ..signal.beats import BEAT_FEATURES, DETECTOR, RECORD_FEATURES, VERSION, measure
from ..signal.recipe import Recipe
from . import render
from .join import Growing
from .layout import CACHE, LOCK, memory_map, ragged, read_json, remove, write_json
from .lock import MAKING, Lock
from .parallel import progress_bar, spread
from .prepared import DONE, PreparedCache

CHUNK = 256  # records
FEW = 1024  # records that are measured sooner than other processes are started
BLOCK = 65536  # rows that are looked at in one go
PLAN = "plan.json"
PEAK, OFFSET, FEATURE = np.dtype("<i4"), np.dtype("<i8"), np.dtype("<f4")


class BeatTable:
    """The beats of the N records of a prepared cache, memory-mapped. Times are samples at the recipe's rate.

    offsets  (N + 1,) the beats of record i are [offsets[i], offsets[i + 1])
    peaks    (M,) R peaks; beats (M, F) BEAT_FEATURES, NaN where missing
    records  (N, R) RECORD_FEATURES, of the whole record; NaN where missing
    """

    beat_names, record_names = BEAT_FEATURES, RECORD_FEATURES

    def __init__(self, cache: PreparedCache, folder: Path):
        self.cache = cache
        try:
            count = read_json(folder / DONE).get("beats")
            if not isinstance(count, int):
                raise InputError(f"{folder / DONE}: it does not say how many beats there are")
            self.offsets = memory_map(folder / "offsets.npy", OFFSET, (len(cache) + 1,))
            self.peaks = memory_map(folder / "peaks.npy", PEAK, (count,))
            self.beats = memory_map(folder / "beats.npy", FEATURE, (count, len(BEAT_FEATURES)))
            self.records = memory_map(folder / "records.npy", FEATURE, (len(cache), len(RECORD_FEATURES)))
            self._check(folder)
        except InputError as error:
            raise _damaged(folder, error) from error

    def _check(self, folder: Path) -> None:
        """Beats outside of the table or of their record are found here, not as a crash later."""
        good = self.offsets[0] == 0 and self.offsets[-1] == len(self.peaks) and (np.diff(self.offsets) >= 0).all()
        for start in range(0, len(self.cache) if good else 0, BLOCK):
            index = np.arange(start, min(start + BLOCK, len(self.cache)))
            positions, owner = ragged(self.offsets, index)
            at = self.peaks[positions]
            good &= bool(((at >= 0) & (at < self.cache.length[index][owner])).all())
        if not good:
            raise InputError(f"{folder}: its beats are not those of the records")

    def __len__(self) -> int:
        return len(self.records)

    def batch(self, index: np.ndarray, start: np.ndarray, samples: int) -> dict[str, np.ndarray]:
        """The beats whose R peak lies in the windows of `samples` from `start` (B,) on of the records `index` (B,).

        peaks (B, P) int32 from the window's start, padded with -1; beat_features (B, P, F) and record_features (B, R)
        float32, NaN where missing or padding.
        """
        index = np.asarray(index)
        positions, owner = ragged(self.offsets, index)
        places = np.arange(len(positions))
        at, place = render.padded(self.peaks[positions], owner, len(index), np.asarray(start), samples, places)
        features = np.full((*at.shape, len(BEAT_FEATURES)), np.nan, np.float32)
        features[at >= 0] = self.beats[positions[place[at >= 0]]]
        return {"peaks": at, "beat_features": features, "record_features": self.records[index]}

    def record_features(self, index: np.ndarray) -> np.ndarray:
        """Those of the records `index` (n,), (n, R)."""
        return self.records[np.asarray(index)]

    def beat_features(self, index: np.ndarray) -> np.ndarray:
        """Those of all beats of the records `index` (n,), one record after the other, (m, F)."""
        return self.beats[ragged(self.offsets, np.asarray(index))[0]]

    def missing(self, index: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Share of beats (F,) and of records (R,) that miss each feature, of all records or of those of `index`.

        Records without a lead of the recipe do not count; where nothing counts, all is missing.
        """
        index = np.flatnonzero(self.cache.usable) if index is None else np.asarray(index)
        lost, beats = np.zeros((2, len(BEAT_FEATURES))), 0
        records = np.zeros(len(RECORD_FEATURES))
        for start in range(0, len(index), BLOCK):
            block = index[start : start + BLOCK]
            positions, _ = ragged(self.offsets, block)
            lost, beats = lost + np.isnan(self.beats[positions]).sum(0), beats + len(positions)
            records += np.isnan(self.records[block]).sum(0)
        shares = (found / count if count else found + 1 for found, count in ((lost[0], beats), (records, len(index))))
        return dict(zip(("beat_features", "record_features"), shares))


def store_beats(cache: PreparedCache, progress: bool = False, workers: int | None = None) -> BeatTable:
    """The beats of a prepared cache, measured where they are not there, or of other records or an older detector."""
    folder = cache.store.path / CACHE / f"beats-{cache.recipe.cache_key}-{VERSION}"
    if not _is_of(cache, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with Lock(folder / LOCK, f"{folder}: another process measures these beats; try again when it is done", MAKING):
            if not _is_of(cache, folder):
                _build(cache, folder, progress, workers)
    return BeatTable(cache, folder)


def _plan(cache: PreparedCache) -> dict:
    """What the beats depend on."""
    names = {"beat_features": list(BEAT_FEATURES), "record_features": list(RECORD_FEATURES)}
    versions = {"version": VERSION, "detector": DETECTOR}
    return {"store": cache.store.fingerprint, "recipe": cache.recipe.cache_key, **versions, **names}


def _is_of(cache: PreparedCache, folder: Path) -> bool:
    return _says(folder / DONE).items() >= _plan(cache).items()


def _says(file: Path) -> dict:
    """What a JSON file says, nothing if it is not there."""
    try:
        return read_json(file) if file.is_file() else {}
    except InputError as error:
        raise _damaged(file.parent, error) from error


def _damaged(folder: Path, error: InputError) -> InputError:
    return InputError(f"{folder}: damaged ({error}); delete this folder, it will be made again")


def _build(cache: PreparedCache, folder: Path, progress: bool, workers: int | None) -> None:
    """Measures what no earlier attempt has measured; then the chunks become one table."""
    plan = _plan(cache) | {"chunk": CHUNK}
    if _says(folder / PLAN) != plan:
        for path in folder.iterdir():
            if path.name != LOCK:
                remove(path)
        write_json(folder / PLAN, plan)
    numbers = range(ceil(len(cache) / CHUNK))
    left = [number for number in numbers if not _chunk(folder, number).is_dir()]
    done = len(cache) - sum(min(CHUNK, len(cache) - number * CHUNK) for number in left)
    workers = workers or (1 if len(left) * CHUNK <= FEW else None)
    with progress_bar("measuring beats", len(cache), done, progress) as advance:
        for count in spread(_Worker, (cache.store.path, cache.recipe.to_dict(), folder, CHUNK), left, workers):
            advance(count)
    _join(cache, folder, len(numbers))


class _Worker:
    """Measures the records of a chunk."""

    def __init__(self, store: Path, recipe: dict, folder: Path, size: int):
        from .read import Store

        made = Recipe.from_dict(recipe)
        self.cache = PreparedCache(Store(store), made, Path(store) / CACHE / made.cache_key)
        self.folder, self.size = folder, size

    def __call__(self, number: int) -> int:
        index = range(number * self.size, min((number + 1) * self.size, len(self.cache)))
        found = [self._measured(i) for i in index]
        beside = self.folder / f"part-{number:08d}"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        np.save(beside / "count.npy", np.array([len(beats.peaks) for beats in found], OFFSET))
        np.save(beside / "peaks.npy", np.concatenate([beats.peaks for beats in found]).astype(PEAK))
        np.save(beside / "beats.npy", np.concatenate([beats.features for beats in found]).astype(FEATURE))
        np.save(beside / "records.npy", np.stack([beats.record for beats in found]).astype(FEATURE))
        beside.rename(_chunk(self.folder, number))
        return len(index)

    def _measured(self, i: int):
        batch = self.cache.batch(np.array([i]), np.array([0]), int(self.cache.length[i]))
        return measure(batch["x"][0][batch["present"][0]] * np.float32(1e-3), self.cache.rate)


def _chunk(folder: Path, number: int) -> Path:
    return folder / f"chunk-{number:08d}"


def _join(cache: PreparedCache, folder: Path, chunks: int) -> None:
    """The table's files, written and not mapped: where the disk is full, writing is an error and mapping a crash."""
    counts = [_part(folder, number, "count") for number in range(chunks)]
    offsets = np.cumsum(np.concatenate([np.zeros(1, OFFSET), *counts]))
    shapes = {"peaks": (PEAK, (int(offsets[-1]),)), "beats": (FEATURE, (int(offsets[-1]), len(BEAT_FEATURES)))}
    shapes["records"] = FEATURE, (len(cache), len(RECORD_FEATURES))
    with Growing(folder / "offsets.npy", OFFSET, offsets.shape) as file:
        file.write(offsets)
    for name, (kind, shape) in shapes.items():
        with Growing(folder / f"{name}.npy", kind, shape) as file:
            for number in range(chunks):
                file.write(_part(folder, number, name))
    write_json(folder / DONE, _plan(cache) | {"beats": int(offsets[-1])})
    for path in folder.iterdir():
        if path.name.startswith(("chunk-", "part-", "plan.")):
            remove(path)


def _part(folder: Path, number: int, name: str) -> np.ndarray:
    try:
        return np.load(_chunk(folder, number) / f"{name}.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(folder, InputError(str(error))) from error
