"""Building a store out of chunks, by one process or many, so that it can stop anywhere and go on.

Workers append samples to shards of their own and leave a small table per finished chunk in `.building`. Publishing
joins the tables into one, replaces store.json, and sweeps away what it does not name. Until then the old store, or
none, is what opens.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import uuid
from collections import Counter
from pathlib import Path

import numpy as np

from ..record import InputError, Record, UsageError
from . import quantise
from .join import Part, join
from .layout import (
    BUILDING, CACHE, FORMAT, HEAD, LOCK, MISSING, SAMPLE, SIGNALS, SKIPPED, check_name, read_json, write_json,
)  # fmt: skip
from .lock import Lock
from .table import Table, TableBuilder, digest

LARGEST = 2**29  # samples in a shard (1 GiB), after which a new one is begun
CHUNK = 256  # records


class Shards:
    """Appends samples to shard files that no other process writes."""

    def __init__(self, folder: Path):
        self.folder, self.file, self.name, self.end = Path(folder), None, "", 0

    def append(self, codes: np.ndarray) -> tuple[str, int]:
        """Where the codes now stand: shard and sample."""
        if self.file is None or self.end + codes.size > LARGEST:
            self.close()
            self.name, self.end = f"{uuid.uuid4().hex[:16]}.i16", 0
            self.file = open(self.folder / self.name, "xb")  # noqa: SIM115
        place = self.name, self.end
        self.file.write(np.ascontiguousarray(codes, SAMPLE).data)
        self.end += codes.size
        return place

    def flush(self) -> None:
        if self.file is not None:
            self.file.flush()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
        self.file = None


class ChunkWriter:
    """Records into a chunk: `add` and `skip`, then `finish(number)`; again for the next chunk."""

    def __init__(self, store: Path):
        self.store, self.shards = Path(store), Shards(Path(store) / SIGNALS)
        self._begin()

    def _begin(self) -> None:
        self.table, self.skipped = TableBuilder(), []

    def add(self, record: Record) -> None:
        codes, lead, gaps = quantise.encode(record.signal)
        if gaps and (codes == MISSING).all():
            raise InputError(f"record {record.id!r}: not a single sample in it")
        checksum = digest(b"%d %d " % codes.shape + lead.tobytes() + codes.tobytes())
        self.table.add(record, lead, gaps, checksum, self.shards.append(codes))

    def skip(self, name: str, reason: str) -> None:
        self.skipped.append((name, reason))

    def finish(self, number: int) -> tuple[int, int]:
        """Puts the chunk in place at once; returns how many records it has and how many were skipped."""
        self.shards.flush()
        beside = self.store / BUILDING / f"part-{uuid.uuid4().hex[:16]}"
        beside.mkdir()
        self.table.save(beside)
        (beside / "skipped.json").write_text(json.dumps(self.skipped), encoding="utf-8")
        os.rename(beside, chunk_folder(self.store, number))
        done = len(self.table), len(self.skipped)
        self._begin()
        return done

    def close(self) -> None:
        self.shards.close()


def chunk_folder(store: Path, number: int) -> Path:
    return Path(store) / BUILDING / f"chunk-{number:08d}"


class Building:
    """The one process that leads an addition to a store: `with Building(path, plan) as building`.

    plan  what is added, as JSON. The same plan goes on where it was interrupted; another one starts afresh.
    """

    def __init__(self, path: Path, plan: dict | None = None):
        self.path, self.plan = Path(path), plan
        check_free(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock = Lock(self.path / LOCK, f"{path}: another process is writing to this store")

    def __enter__(self) -> Building:
        self.lock.acquire()
        self.old = read_head(self.path) if (self.path / HEAD).exists() else None
        (self.path / SIGNALS).mkdir(exist_ok=True)
        (self.path / BUILDING).mkdir(exist_ok=True)
        self._resume()
        return self

    def __exit__(self, *_) -> None:
        self.lock.release()

    def _resume(self) -> None:
        """Keeps the finished chunks of the same plan, unless they are in the store already."""
        noted = self.path / BUILDING / "plan.json"
        before = read_json(noted) if noted.exists() else {}
        self.token = before.get("token")
        published = self.old is not None and self.old.get("building") == self.token
        if published or self.plan is None or before.get("plan") != json.loads(json.dumps(self.plan)):
            self._empty()
            self.token = uuid.uuid4().hex
            write_json(noted, {"token": self.token, "plan": self.plan})
        for left in (self.path / BUILDING).glob("part-*"):
            shutil.rmtree(left)
        for number in self._numbers():
            if not self._whole(number):
                shutil.rmtree(chunk_folder(self.path, number))
        self._sweep_signals([self.old, *(self._meta(number) for number in self._numbers())])

    def _empty(self) -> None:
        for path in (self.path / BUILDING).iterdir():
            remove(path)

    def discard(self) -> None:
        """Gives the addition up; what was no store before is gone afterwards."""
        self._empty()
        (self.path / BUILDING).rmdir()
        self._sweep_signals([self.old])
        if self.old is None:
            (self.path / SIGNALS).rmdir()
            self.lock.release()
            remove(self.path / LOCK)
            with contextlib.suppress(OSError):  # something else is in it
                self.path.rmdir()

    def _numbers(self) -> list[int]:
        return sorted(int(path.name.removeprefix("chunk-")) for path in (self.path / BUILDING).glob("chunk-*"))

    def _meta(self, number: int) -> dict:
        return read_json(chunk_folder(self.path, number) / "meta.json")

    def _table(self, number: int) -> Table:
        return Table(chunk_folder(self.path, number), self._meta(number))

    def _whole(self, number: int) -> bool:
        """Whether all that a chunk names is there."""
        try:
            return all(end <= size_of(self.path, name) for name, end in ends(self._table(number)).items())
        except InputError:
            return False

    @property
    def done(self) -> dict[int, tuple[int, int]]:
        """Finished chunk -> how many records it has and how many were skipped."""
        return {n: (self._meta(n)["records"], len(self._skipped(n))) for n in self._numbers()}

    def _skipped(self, number: int) -> list[tuple[str, str]]:
        text = (chunk_folder(self.path, number) / "skipped.json").read_text(encoding="utf-8")
        return [(name, reason) for name, reason in json.loads(text)]

    def skipped(self) -> list[tuple[str, str]]:
        """(record, reason) of all chunks, in order."""
        return [pair for number in self._numbers() for pair in self._skipped(number)]

    def publish(self) -> dict:
        """The old records and all finished chunks become the store; returns what store.json says."""
        old = [] if self.old is None else [Part.whole(Table(self.path / self.old["table"], self.old))]
        skipped, new = self.skipped(), [self._table(number) for number in self._numbers()]
        if not sum(len(part.index) for part in old) + sum(map(len, new)):
            raise InputError(f"{self.path}: nothing to put into the store{_first(skipped)}")
        for name, end in _all_ends(new).items():
            os.truncate(self.path / SIGNALS / name, end * SAMPLE.itemsize)
        return self.replace(old + [Part.whole(table) for table in new], skipped)

    def replace(self, parts: list[Part], skipped: list[tuple[str, str]] | None = None) -> dict:
        """`parts`, whose samples are in the store's shards, become the store."""
        name = f"table-{uuid.uuid4().hex[:16]}"
        (self.path / name).mkdir()
        head = {"format": FORMAT, "table": name, "building": self.token, **join(parts, self.path / name)}
        if skipped is not None:
            _write_skipped(self.path / SKIPPED, skipped)
        write_json(self.path / HEAD, head)
        self._sweep(head)
        return head

    def _sweep(self, head: dict) -> None:
        """Removes what the store does not name. (Chunks first: their shards are the store's now.)"""
        remove(self.path / BUILDING)
        for path in self.path.glob("table-*"):
            if path.name != head["table"]:
                remove(path)
        self._sweep_signals([head])
        for path in (self.path / CACHE).glob("*/cache.json"):
            if read_json(path).get("store") != head["fingerprint"]:
                remove(path.parent)

    def _sweep_signals(self, metas: list[dict | None]) -> None:
        kept = {name for meta in metas if meta for name in meta["categories"]["shard"]}
        for path in (self.path / SIGNALS).iterdir():
            if path.name not in kept:
                remove(path)


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


def ends(table: Table) -> dict[str, int]:
    """Shard -> the sample at which the last record of the table in it ends."""
    counts = np.array([len(names) for names in table.categories["leads"]])
    last = table.rows["at"] + counts[table.rows["leads"]] * table.rows["length"] if len(table) else np.zeros(0, int)
    numbers = table.rows["shard"]
    return {name: int(last[numbers == k].max(initial=0)) for k, name in enumerate(table.categories["shard"])}


def _all_ends(tables: list[Table]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for table in tables:
        found |= Counter(ends(table))  # the larger of both
    return dict(found)


def size_of(store: Path, shard: str) -> int:
    """Samples in a shard; -1 where it is missing."""
    try:
        return (store / SIGNALS / shard).stat().st_size // SAMPLE.itemsize
    except FileNotFoundError:
        return -1


def remove(path: Path) -> None:
    """Removes a file or folder; one that is in use (Windows) is left to the next writer."""
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    except PermissionError:
        pass


def _write_skipped(path: Path, skipped: list[tuple[str, str]]) -> None:
    beside = path.with_name(path.name + ".new")
    with open(beside, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("record", "reason"), *skipped])
    os.replace(beside, path)


def _first(skipped: list[tuple[str, str]]) -> str:
    return f"; none of {len(skipped)} records could be read. The first: {skipped[0][1]}" if skipped else ""
