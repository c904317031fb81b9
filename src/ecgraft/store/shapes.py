"""The keys of all signals of a store, made once and kept beside it; and a sketch of them that a model can carry."""

from __future__ import annotations

import contextlib
import shutil
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..record import InputError
from .join import Growing
from .keys import VERSION, independent, keys_of
from .layout import CACHE, LOCK, memory_map, read_json, remove, write_json
from .lock import MAKING, Lock
from .parallel import progress_bar, spread
from .read import Store

SKETCH, PIECE = 8, 10.0  # keys for every so many seconds
NONE = np.uint64(2**64 - 1)
CHUNK, FEW = 512, 1024  # records
FEW_OF = 4  # fewer records than the store has, divided by it, are looked at by themselves
SAMPLES = 2**22  # in memory at a time, where a record is not longer
BLOCK = 2**22  # keys that are looked at in one go
COLUMNS = {"key": np.dtype("<u8"), "record": np.dtype("<i4"), "lead": np.dtype("i1"), "at": np.dtype("<f4")}
DONE = "cache.json"


class Shapes(NamedTuple):
    """M landmarks of the N records of a store, by ascending record, memory-mapped."""

    key: np.ndarray  # (M,) uint64
    record: np.ndarray  # (M,) int32
    lead: np.ndarray  # (M,) int8, its place among the record's leads
    at: np.ndarray  # (M,) float32, s from the start of the record


def shapes(store: Store, progress: bool = False, workers: int | None = None) -> Shapes:
    """The keys of a store; made on first use, kept in its cache folder, resumable. A damaged folder is made again."""
    folder = store.path / CACHE / f"shapes-{VERSION}"
    with contextlib.suppress(InputError):
        return _opened(store, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with Lock(folder / LOCK, f"{folder}: another process makes these keys; try again when it is done", MAKING):
        with contextlib.suppress(InputError):
            return _opened(store, folder)
        _build(store, folder, progress, workers)
    return _opened(store, folder)


def some(store: Store, rows: np.ndarray, progress: bool = False) -> Shapes:
    """Shapes that hold those of the records `rows` at least: of the whole store, unless they are a small part of it."""
    rows, folder = np.unique(rows), store.path / CACHE / f"shapes-{VERSION}"
    with contextlib.suppress(InputError):
        return _opened(store, folder)
    if FEW_OF * len(rows) > len(store):
        return shapes(store, progress)
    pieces = [_keys(store, rows[k : k + CHUNK]) for k in range(0, len(rows), CHUNK)]
    return Shapes(*map(np.concatenate, zip(*pieces))) if pieces else Shapes(*(np.empty(0, t) for t in COLUMNS.values()))


def sketch(found: Shapes, rows: np.ndarray, keys: int = SKETCH) -> np.ndarray:
    """What is kept of records `rows` to know them again: (n, keys) uint64, the smallest keys of every 10 s of each.

    Keys are hashes, so the smallest are a random choice. Pieces with fewer keys are filled up with the largest number.
    """
    chosen = np.flatnonzero(np.isin(found.record, rows))
    record, piece, key = found.record[chosen], found.at[chosen] // PIECE, found.key[chosen]
    order = np.lexsort((key, piece, record))
    record, piece, key = record[order], piece[order], key[order]
    new = np.append(True, (np.diff(record) != 0) | (np.diff(piece) != 0))[: len(key)]
    fresh = new | np.append(False, np.diff(key) != 0)[: len(key)]  # a key that comes again counts once
    record, piece, key, new = record[fresh], piece[fresh], key[fresh], new[fresh]
    owner, rank = np.cumsum(new) - 1, np.arange(len(key)) - np.maximum.accumulate(np.where(new, np.arange(len(key)), 0))
    out = np.full((owner[-1] + 1 if len(owner) else 0, keys), NONE)
    out[owner[rank < keys], rank[rank < keys]] = key[rank < keys]
    return out


def seen_in(sketched: np.ndarray, found: Shapes, shared: int = 2) -> np.ndarray:
    """The records of a store, ascending, that share at least `shared` keys with one row of a sketch (n, keys)."""
    flat = sketched.ravel()
    order = np.argsort(flat, kind="stable")
    order = order[flat[order] != NONE]
    values, hits = flat[order], []
    for start in range(0, len(found.key), BLOCK):
        key = np.asarray(found.key[start : start + BLOCK])
        first, stop = np.searchsorted(values, key, "left"), np.searchsorted(values, key, "right")
        k = np.flatnonzero(stop > first)
        times = (stop - first)[k]
        place = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times) + np.repeat(first[k], times)
        hits.append(np.stack([np.repeat(found.record[start + k], times), order[place]], 1))  # record, place in sketch
    pairs = np.unique(np.concatenate(hits or [np.zeros((0, 2), int)]), axis=0)
    pairs[:, 1] //= sketched.shape[1]
    pairs, count = np.unique(pairs, axis=0, return_counts=True)
    return np.unique(pairs[count >= shared, 0])


def _opened(store: Store, folder: Path) -> Shapes:
    head = read_json(folder / DONE)
    count = head.get("keys")
    if head.get("store") != store.fingerprint or not isinstance(count, int):
        raise InputError(f"{folder}: not the keys of these records")
    found = Shapes(*(memory_map(folder / f"{name}.npy", kind, (count,)) for name, kind in COLUMNS.items()))
    for start in range(0, count, BLOCK):
        record = found.record[start : start + BLOCK]
        if record[0] < 0 or record.max() >= len(store) or (np.diff(record) < 0).any():
            raise InputError(f"{folder}: damaged")
    return found


def _build(store: Store, folder: Path, progress: bool, workers: int | None) -> None:
    """Makes what no earlier attempt has made; then the chunks become one."""
    plan = {"store": store.fingerprint}
    before = None
    with contextlib.suppress(InputError):
        before = read_json(folder / "plan.json")
    if before != plan:
        for path in folder.iterdir():
            if path.name != LOCK:
                remove(path)
        write_json(folder / "plan.json", plan)
    numbers = range(ceil(len(store) / CHUNK))
    left = [number for number in numbers if not _chunk(folder, number).is_dir()]
    done = len(store) - sum(min(CHUNK, len(store) - number * CHUNK) for number in left)
    workers = workers or (1 if len(left) * CHUNK <= FEW else None)
    with progress_bar("shapes", len(store), done, progress) as advance:
        for count in spread(_Worker, (store.path, folder), left, workers):
            advance(count)
    _join(store, folder, len(numbers))


class _Worker:
    """Makes the keys of a chunk of records."""

    def __init__(self, store: Path, folder: Path):
        self.store, self.folder = Store(store), folder

    def __call__(self, number: int) -> int:
        index = np.arange(number * CHUNK, min((number + 1) * CHUNK, len(self.store)))
        found = _keys(self.store, index)
        beside = self.folder / f"part-{number:08d}"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        for name, column in found._asdict().items():
            np.save(beside / f"{name}.npy", column)
        beside.rename(_chunk(self.folder, number))
        return len(index)


def _keys(store: Store, index: np.ndarray) -> Shapes:
    """Of some hundred records, ascending; those of the same leads, rate and length together."""
    alike = np.unique(store.table.rows[index][["leads", "rate", "length"]], return_inverse=True)[1]
    parts = []
    for kind in range(alike.max() + 1):
        same = index[alike == kind]
        length, leads = int(store.number("length")[same[0]]), store.leads(int(same[0]))
        size = max(1, SAMPLES // (length * len(leads)))
        parts += [_keys_of_kind(store, same[k : k + size], leads, length) for k in range(0, len(same), size)]
    columns = [np.concatenate(column) for column in zip(*parts)]
    order = np.argsort(columns[1], kind="stable")
    return Shapes(*(column[order].astype(kind) for column, kind in zip(columns, COLUMNS.values())))


def _keys_of_kind(store: Store, index: np.ndarray, leads: tuple[str, ...], length: int) -> tuple[np.ndarray, ...]:
    """Key, record, lead and time of the landmarks of records with the same leads, rate and length."""
    chosen = np.array(independent(leads))
    x = store.windows(index, np.zeros(len(index), int), length)[:, chosen]  # (B, C, T)
    key, row, at = keys_of(x.reshape(-1, length), float(store.number("rate")[index[0]]))
    return key, index[row // len(chosen)], chosen[row % len(chosen)], at


def _chunk(folder: Path, number: int) -> Path:
    return folder / f"chunk-{number:08d}"


def _join(store: Store, folder: Path, chunks: int) -> None:
    count = sum(len(_column(_chunk(folder, number), "key")) for number in range(chunks))
    for name, kind in COLUMNS.items():
        with Growing(folder / f"{name}.npy", kind, (count,)) as column:
            for number in range(chunks):
                column.write(_column(_chunk(folder, number), name))
    write_json(folder / DONE, {"store": store.fingerprint, "keys": count})
    for path in folder.iterdir():
        if path.name.startswith(("chunk-", "part-", "plan.")):
            remove(path)


def _column(chunk: Path, name: str) -> np.ndarray:
    try:
        return np.load(chunk / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        remove(chunk)
        raise InputError(f"{chunk}: damaged ({error}); it was removed, run the command again") from error
