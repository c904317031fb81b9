"""What a store is on disk, said once.

    store.json        format, fingerprint, names of codes, values, leads ...; which table and shards belong to it
    table-*/          one row per record (ROW), label and value matrices, and blobs: texts, waves, beats, leads
    signals/*.i16     the samples, int16, leads first; many records per file ("shard")
    cache/*/          per recipe, the prepared signals; safe to delete
    skipped.csv       what the last import could not read, and why

All arrays are .npy files that are memory-mapped. `store.json` is replaced last and at once: what it does not name is
not part of the store, and is swept away by the next writer.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np

from ..record import BEAT, RHYTHM, SPAN, WAVE, InputError, UsageError

FORMAT = 1
HEAD = "store.json"
SIGNALS = "signals"
CACHE = "cache"
BUILDING = ".building"
LOCK = ".lock"
SKIPPED = "skipped.csv"
ACCOUNT = "import-report.*"  # what an import says of each file
MISSING = -32768  # code of "no sample"
SAMPLE = np.dtype("<i2")

# One record. source, sex, split, leads and shard are numbers into the categories of store.json, -1 for none.
ROW = np.dtype(
    [
        *(("rate", "<f8"), ("length", "<i8"), ("age", "<f8"), ("fold", "<i4")),
        *(("source", "<i4"), ("sex", "<i4"), ("split", "<i4"), ("leads", "<i4")),
        *(("has_waves", "?"), ("has_scored", "?"), ("has_beats", "?"), ("has_rhythms", "?"), ("gaps", "?")),
        *(("complete", "<u8"), ("person", "<u8"), ("checksum", "<u8")),  # a bit per vocabulary; patient; samples
        *(("shard", "<i4"), ("at", "<i8")),  # where the samples are; `at` counts samples
    ]
)
CATEGORIES = ("source", "sex", "split", "leads", "shard")
LEAD = np.dtype([("gain", "<f4"), ("baseline", "<i4")])  # mV = (code - baseline) / gain
TEXT = np.dtype("u1")  # UTF-8
BLOBS = {
    **{name: TEXT for name in ("id", "patient", "report", "extra")},
    **{"lead": LEAD, "waves": WAVE, "scored": SPAN, "beats": BEAT, "rhythms": RHYTHM},
}
ANNOTATIONS = ("waves", "scored", "beats", "rhythms")
OFFSETS = np.dtype([(name, "<i8") for name in BLOBS])  # (N + 1,): record i has [i] to [i + 1] of each blob


def read_json(path: Path) -> dict:
    """A JSON mapping. InputError names the file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: damaged, it must hold a mapping")
    return found


def write_json(path: Path, content: dict) -> None:
    """Replaces the file at once: it is the old or the new one, never a part, whatever happens to process or power."""
    beside = path.with_name(path.name + ".new")
    with open(beside, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def memory_map(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """An .npy file as a read-only array that takes no memory of its own. InputError if it is not what it should be."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: missing or damaged ({error})") from error
    if not isinstance(found, np.ndarray) or found.dtype != dtype or found.shape != shape:
        raise InputError(f"{path}: damaged, its content is not {dtype.kind}{dtype.itemsize} of shape {shape}")
    return found.view(np.ndarray)


def map_samples(path: Path) -> np.ndarray:
    """A shard, (samples,) int16."""
    try:
        return np.memmap(path, SAMPLE, "r").view(np.ndarray)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: missing or damaged ({error})") from error


def check_name(name, where) -> str:
    """A file name that a store's JSON gives. InputError if it leads elsewhere."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]+(\.i16)?", name):
        raise InputError(f"{where}: damaged, it names the file {name!r}")
    return name


def ragged(offsets: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a blob that belong to the records `index`: their positions, and to which entry of `index` each."""
    first, count = offsets[index], offsets[index + 1] - offsets[index]
    owner = np.repeat(np.arange(len(index)), count)
    behind = np.cumsum(count) - count
    return np.arange(len(owner)) + (first - behind)[owner], owner


def read_head(path: Path) -> dict:
    """What store.json says. InputError where there is no store, or one of a newer format."""
    path = Path(path)
    if not (path / HEAD).is_file():
        what = "an import that was interrupted; run it again to finish it" if (path / BUILDING).is_dir() else "no store"
        raise InputError(f"{path}: {what if path.exists() else 'no such folder'} (it has no {HEAD})")
    head = read_json(path / HEAD)
    if head.get("format") != FORMAT:
        raise InputError(f"{path}: store format {head.get('format')}; this version of ecgraft reads format {FORMAT}")
    check_name(head.get("table"), path / HEAD)
    if not isinstance(head.get("fingerprint"), str):
        raise InputError(f"{path / HEAD}: damaged, it has no fingerprint")
    return head


def check_free(path: Path) -> None:
    """UsageError if a store cannot be put at `path` because something else is there."""
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: this is a file; give a new folder for the store")
    if path.is_dir() and any(path.iterdir()) and not ((path / HEAD).exists() or (path / BUILDING).exists()):
        raise UsageError(f"{path}: this folder has other files and is no store; give a new folder")


def size_of(store: Path, shard: str) -> int:
    """Samples in a shard; -1 where it is missing."""
    try:
        return (store / SIGNALS / shard).stat().st_size // SAMPLE.itemsize
    except FileNotFoundError:
        return -1


def remove(path: Path) -> None:
    """Removes a file or folder; one that is in use (Windows) is left to the next writer."""
    with contextlib.suppress(PermissionError):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
