"""Putting records into a store, from one process."""

from __future__ import annotations

from pathlib import Path

from ..record import Record
from .build import Building
from .chunks import CHUNK, ChunkWriter


class StoreWriter:
    """`with StoreWriter(path) as writer: writer.add(record)`: a new store, or more records for an old one.

    All of them are in the store when the block ends, none if it ends in an error. With a `plan` (JSON that says what
    is being written) a block that was interrupted can be repeated: `len(writer)` records are there already, begin
    with the next.
    """

    def __init__(self, path: Path | str, plan: dict | None = None):
        self.keep = plan is not None
        self.building = Building(Path(path), plan)
        self.count = self.number = 0

    def __enter__(self) -> StoreWriter:
        self.building.__enter__()
        done = self.building.done
        self.count, self.number = sum(records for records, _ in done.values()), len(done)
        self.chunk = ChunkWriter(self.building.path)
        return self

    def __len__(self) -> int:
        return self.count

    def add(self, record: Record) -> None:
        self.chunk.add(record)
        self.count += 1
        if len(self.chunk) == CHUNK:
            self._finish()

    def _finish(self) -> None:
        self.chunk.finish(self.number)
        self.number += 1

    def __exit__(self, kind, *_) -> None:
        try:
            if kind is None and len(self.chunk):
                self._finish()
            self.chunk.close()
            if kind is None:
                self.building.publish()
            elif not self.keep:
                self.building.discard()
        finally:
            self.building.__exit__()
