"""Building a store out of chunks, by one process or many, so that it can stop anywhere and go on.

Workers append samples to shards of their own and leave a small table per finished chunk in `.building`. Publishing
joins the tables into one, replaces store.json, and sweeps away what it does not name. Until then the old store, or
none, is what opens.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import shutil
import uuid
from collections import Counter
from pathlib import Path

from ..record import InputError
from .chunks import REMARKS, chunk_folder
from .join import Part, join, new_ones, without
from .layout import (
    BUILDING,
    CACHE,
    FORMAT,
    HEAD,
    LOCK,
    SAMPLE,
    SIGNALS,
    SKIPPED,
    check_free,
    read_head,
    read_json,
    remove,
    size_of,
    write_json,
)
from .lock import Lock
from .table import Table


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
        try:
            self.old = read_head(self.path) if (self.path / HEAD).exists() else None
            (self.path / SIGNALS).mkdir(exist_ok=True)
            (self.path / BUILDING).mkdir(exist_ok=True)
            self._resume()
        except BaseException:  # no __exit__ follows
            self.lock.release()
            raise
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

    def _whole(self, number: int) -> bool:
        """Whether all that a chunk names is there."""
        try:
            self._remarks(number)
            table = Table(chunk_folder(self.path, number), self._meta(number))
            return all(end <= size_of(self.path, name) for name, end in table.ends().items())
        except InputError:
            return False

    @property
    def done(self) -> dict[int, tuple[int, int]]:
        """Finished chunk -> how many records it has and how many were skipped."""
        return {n: (self._meta(n)["records"], len(self._remarks(n)["skipped"])) for n in self._numbers()}

    def _remarks(self, number: int) -> dict:
        return read_json(chunk_folder(self.path, number) / REMARKS)

    def skipped(self) -> list[tuple[str, str]]:
        """(record, reason) of all chunks, in order."""
        return [(name, why) for number in self._numbers() for name, why in self._remarks(number)["skipped"]]

    def notes(self) -> Counter[str]:
        """What was assumed, and about how many records."""
        return sum((Counter(self._remarks(number)["notes"]) for number in self._numbers()), Counter())

    def account(self) -> list[dict]:
        """What is to be said of each file, in order."""
        return [line for number in self._numbers() for line in self._remarks(number).get("account", [])]

    def publish(self) -> dict:
        """The old records and all finished chunks become the store; returns what store.json says.

        A record that comes again (same source, id and samples) replaces the old one; of several new ones the first
        counts.
        """
        skipped = self.skipped()
        chunks = [Part.of(chunk_folder(self.path, number), self._meta(number)) for number in self._numbers()]
        parts = new_ones(chunks)
        if self.old is not None:
            parts = [without(self.whole(), parts), *parts]
        if not sum(len(part.index) for part in parts):
            raise InputError(f"{self.path}: nothing to put into the store{_first(skipped)}")
        for name, end in _ends(chunks).items():
            _settle(self.path / SIGNALS / name, end * SAMPLE.itemsize)
        complete = [_hash(self.plan)] if self.plan and not skipped else []
        return self.replace(parts, skipped, self._finished() + complete)

    def whole(self) -> Part:
        """The store as it is."""
        return Part.of(self.path / self.old["table"], self.old)

    @property
    def finished(self) -> bool:
        """Whether all of this plan, and without a broken record, is in the store already."""
        return self.plan is not None and _hash(self.plan) in self._finished()

    def _finished(self) -> list[str]:
        return [] if self.old is None else list(self.old.get("finished", []))

    def replace(self, parts: list[Part], skipped: list | None = None, finished: list[str] | None = None) -> dict:
        """`parts`, whose samples are in the store's shards, become the store."""
        name = f"table-{uuid.uuid4().hex[:16]}"
        (self.path / name).mkdir()
        head = {"format": FORMAT, "table": name, "building": self.token, "finished": finished or []}
        head |= join(parts, self.path / name)
        if skipped is not None:
            _write_skipped(self.path / SKIPPED, skipped)
        write_json(self.path / HEAD, head)
        self.sweep(head)
        return head

    def sweep(self, head: dict) -> None:
        """Removes what the store does not name. (Chunks first: their shards are the store's now.)"""
        remove(self.path / BUILDING)
        for path in self.path.glob("table-*"):
            if path.name != head["table"]:
                remove(path)
        self._sweep_signals([head])
        for path in (self.path / CACHE).glob("*"):
            notes = [read_json(note) for note in (path / "plan.json", path / "cache.json") if note.is_file()]
            if not any(note.get("store") == head["fingerprint"] for note in notes):
                remove(path)

    def _sweep_signals(self, metas: list[dict | None]) -> None:
        kept = {name for meta in metas if meta for name in meta["categories"]["shard"]}
        for path in (self.path / SIGNALS).iterdir():
            if path.name not in kept:
                remove(path)


def _ends(parts: list[Part]) -> dict[str, int]:
    """Shard -> the sample at which the last record in it ends."""
    found: Counter[str] = Counter()
    for part in parts:
        found |= Counter(part.open().ends())  # the larger of both
    return dict(found)


def _settle(path: Path, size: int) -> None:
    """Cuts off what belongs to no finished chunk, and waits until the rest is on the disk."""
    with open(path, "r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())


def _hash(plan: dict) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]


def _write_skipped(path: Path, skipped: list[tuple[str, str]]) -> None:
    beside = path.with_name(path.name + ".new")
    with open(beside, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("record", "reason"), *skipped])
    os.replace(beside, path)


def _first(skipped: list[tuple[str, str]]) -> str:
    return f"; none of {len(skipped)} records could be read. The first: {skipped[0][1]}" if skipped else ""
