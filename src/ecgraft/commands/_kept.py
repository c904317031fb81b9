"""Outputs of frozen stages, computed once for each window and kept: in memory, or beside the store if they are large.

The windows of a record are those that `infer.run` reads. In training the one nearest to the place that was drawn is
taken, and what the batch holds per sample is cut there too.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..model import infer
from ..nn.network import Network, is_dense
from ..store.layout import CACHE, LOCK
from ..store.lock import Lock
from ..training import as_batch
from ..training.log import Bar
from ._features import open_table, write_array
from ._trunk import Trunk, examine, first_stage, onward, outputs, signal

MEMORY = 512 * 2**20  # bytes; more than that lies on disk
DISK = 8 * 2**30  # bytes; more than that is not kept
AT_ONCE = 32  # windows in a pass
BLOCK = 16  # passes between two notes of what is done


class Windows:
    """The windows of a prepared cache's records: of record i the numbers `first[i]` to `first[i] + count[i]` - 1."""

    def __init__(self, length: np.ndarray, samples: int, overlap: float, rows: np.ndarray | None = None):
        """`rows`: the records that have windows at all, all by default."""
        self.step = max(1, round(samples * (1 - overlap)))
        self.end = np.maximum(np.asarray(length, np.int64) - samples, 0)  # (N,) where the last window begins
        self.count = -(-self.end // self.step) + 1
        if rows is not None:
            self.count = np.where(np.isin(np.arange(len(self.end)), rows), self.count, 0)
        self.first = np.cumsum(self.count) - self.count
        self.total = int(self.count.sum())

    def near(self, index: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (B,), (B,) -> (B,), (B,)
        """The window nearest to sample `start` of each record `index`: its number, and where it begins."""
        end, last = self.end[index], self.count[index] - 1
        which = np.minimum(np.rint(np.asarray(start) / self.step).astype(np.int64), last)
        begins = np.minimum(which * self.step, end)
        which = np.where(np.abs(start - end) < np.abs(start - begins), last, which)
        return self.first[index] + which, np.minimum(which * self.step, end)

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All windows of the records `rows`: record, where it begins, number; each (n,)."""
        index = np.repeat(rows, self.count[rows])
        which = np.concatenate([np.arange(n) for n in self.count[rows]])
        return index, np.minimum(which * self.step, self.end[index]), self.first[index] + which


class KeptCache:
    """Kept outputs behind the interface of a prepared cache: `x` (B, R, T) is what `Trunk.pack` gave."""

    def __init__(self, cache, windows: Windows, table: np.ndarray, trunk: Trunk):
        self.cache, self.windows, self.table, self.trunk = cache, windows, table, trunk

    def __getattr__(self, name: str):
        return getattr(self.cache, name)  # all that does not depend on a window

    def batch(self, index: np.ndarray, start: np.ndarray, samples: int) -> dict[str, np.ndarray]:
        index = np.asarray(index)
        number, start = self.windows.near(index, start)
        length = np.clip(np.asarray(self.cache.length)[index] - start, 0, samples).astype(np.int32)
        x = self.table[number].reshape(len(index), self.trunk.rows, self.trunk.samples)
        return {"x": x, "present": np.asarray(self.cache.present)[index], "length": length}

    def waves(self, index: np.ndarray, start: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
        return self.cache.waves(index, self.windows.near(np.asarray(index), start)[1], samples)

    def peaks(self, index: np.ndarray, start: np.ndarray, samples: int) -> np.ndarray:
        return self.cache.peaks(index, self.windows.near(np.asarray(index), start)[1], samples)

    def beats(self, index: np.ndarray, start: np.ndarray, samples: int, task) -> tuple[np.ndarray, np.ndarray]:
        return self.cache.beats(index, self.windows.near(np.asarray(index), start)[1], samples, task)


@dataclass(frozen=True)
class Kept:
    """A network that goes on from kept outputs, and the cache that its batches come from."""

    network: Network
    cache: KeptCache


def keep(
    network: Network, fingerprint: str, cache, rows: np.ndarray, device="cpu",
    note: Callable[[str], None] = lambda text: None, progress: bool = False,
) -> Kept | None:  # fmt: skip
    """Computes what the frozen stages below `first_stage` give for the records `rows`, where there are such stages.

    `fingerprint`: of the model whose encoder it was before an adapter came in. None where nothing is kept; where that
    is a pity, `note` says why.
    """
    first, recipe = first_stage(network), network.recipe
    rows = np.unique(rows)
    if not first or not len(rows):
        return None
    if any(is_dense(head) and head.leads < len(network.encoder.leads) for head in network.heads.values()):
        note("each lead is read alone: what frozen layers compute is not kept")
        return None
    trunk = examine(network.to(device), first, _batch(cache, rows[:2], np.zeros(len(rows[:2]), int), recipe, device))
    if trunk is None:
        note("the encoder computes more than its stages in order: what frozen layers compute is not kept")
        return None
    overlap = infer.OVERLAP if any(is_dense(head) for head in network.heads.values()) else 0.0
    windows = Windows(cache.length, recipe.samples, overlap, rows)
    size = windows.total * trunk.width * 4
    if size > DISK:
        note(f"what frozen layers compute would take {size / 1e9:.1f} GB: it is not kept")
        return None
    if size > MEMORY:
        windows = Windows(cache.length, recipe.samples, overlap)
        made_by = f"{fingerprint} {recipe.hash} {recipe.cache_key} {overlap}"
        table = _on_disk(network, trunk, cache, rows, windows, made_by, device, progress)
        if table is None:
            note(f"what frozen layers compute takes {size / 1e9:.1f} GB, more than the disk has left: it is not kept")
            return None
        note(f"what frozen layers compute, {size / 1e9:.1f} GB, is kept in {cache.store.path / CACHE} (safe to delete)")
    else:
        table, done = np.empty((windows.total, trunk.width), np.float32), np.zeros(windows.total, bool)
        fill(network, trunk, cache, rows, windows, table, done, device, progress)
    return Kept(onward(network, trunk), KeptCache(cache, windows, table, trunk))


def _on_disk(
    network: Network, trunk: Trunk, cache, rows: np.ndarray, windows: Windows, made_by: str, device, progress: bool
) -> np.ndarray | None:
    """The table beside the store, with at least the windows of `rows` in it; None where the disk has no room for them.

    It has a row for every window of the store, and holes where there was no need for one so far. Safe to delete.
    """
    key = hashlib.sha256(f"{made_by} {trunk.kept}".encode()).hexdigest()[:12]
    folder = cache.store.path / CACHE / f"maps-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    with Lock(folder / LOCK, f"{folder}: another process computes these maps", patience=3600):
        table, done = open_table(folder, cache.store, "maps", (windows.total, trunk.width))
        missing = int((~done[windows.of(rows)[2]]).sum())
        if missing * trunk.width * 4 > shutil.disk_usage(folder).free:
            return None

        def note(written: np.ndarray) -> None:
            table.flush()
            done[written] = True
            write_array(folder / "done.npy", done)

        fill(network, trunk, cache, rows, windows, table, done, device, progress, note)
    return table


@torch.no_grad()
def fill(
    network: Network, trunk: Trunk, cache, rows: np.ndarray, windows: Windows, table: np.ndarray, done: np.ndarray,
    device="cpu", progress: bool = False, note: Callable[[np.ndarray], None] = lambda written: None,
) -> None:  # fmt: skip
    """Writes the windows of `rows` that are not done into the table; `note(numbers)` is told what is in it."""
    index, start, number = windows.of(rows)
    index, start, number = (each[~done[number]] for each in (index, start, number))
    mode, encoder, block = network.encoder.training, network.encoder.eval(), AT_ONCE * BLOCK
    with Bar("frozen layers", len(index), 0, progress and len(index) > block) as bar:
        for at in range(0, len(index), AT_ONCE):
            part = slice(at, at + AT_ONCE)
            batch = _batch(cache, index[part], start[part], network.recipe, device)
            found = outputs(encoder, signal(network.recipe, batch), batch["present"], trunk.first)
            table[number[part]] = trunk.pack(found, len(batch["x"])).cpu().numpy()
            bar.step(at + len(batch["x"]), len(batch["x"]))
            if part.stop % block == 0 or part.stop >= len(index):
                note(number[part.stop - 1 - (part.stop - 1) % block : part.stop])
    encoder.train(mode)


def _batch(cache, index: np.ndarray, start: np.ndarray, recipe, device) -> dict:
    return as_batch(cache.batch(index, start, recipe.samples), device)
