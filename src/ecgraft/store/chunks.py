"""What a worker writes: samples into shards of its own, and a small table per finished chunk of records."""

from __future__ import annotations

import json
import os
import uuid
from collections import Counter
from pathlib import Path

import numpy as np

from ..record import InputError, Record
from . import quantise
from .layout import BUILDING, MISSING, SAMPLE, SIGNALS
from .table import TableBuilder, digest

LARGEST = 2**29  # samples in a shard (1 GiB), after which a new one is begun
CHUNK = 256  # records
REMARKS = "remarks.json"


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
        self.table, self.skipped, self.notes, self.account = TableBuilder(), [], Counter(), []

    def __len__(self) -> int:
        return len(self.table)

    def add(self, record: Record) -> None:
        codes, lead, gaps = quantise.encode(record.signal)
        if gaps and (codes == MISSING).all():
            raise InputError(f"record {record.id!r}: not a single sample in it")
        checksum = digest(b"%d %d " % codes.shape + lead.tobytes(), codes)
        self.table.add(record, lead, gaps, checksum, self.shards.append(codes))

    def skip(self, name: str, reason: str) -> None:
        """Notes a record that cannot be read."""
        self.skipped.append((name, reason))

    def note(self, text: str) -> None:
        """Notes something that was assumed about a record."""
        self.notes[text] += 1

    def tell(self, line: dict) -> None:
        """Keeps what the account of an import is to say of a file."""
        self.account.append(line)

    def finish(self, number: int) -> tuple[int, int]:
        """Puts the chunk in place at once; returns how many records it has and how many were skipped."""
        self.shards.flush()
        beside = self.store / BUILDING / f"part-{uuid.uuid4().hex[:16]}"
        beside.mkdir()
        self.table.save(beside)
        remarks = {"skipped": self.skipped, "notes": self.notes, "account": self.account}
        (beside / REMARKS).write_text(json.dumps(remarks), encoding="utf-8")
        os.rename(beside, chunk_folder(self.store, number))
        done = len(self.table), len(self.skipped)
        self._begin()
        return done

    def close(self) -> None:
        self.shards.close()


def chunk_folder(store: Path, number: int) -> Path:
    return Path(store) / BUILDING / f"chunk-{number:08d}"
