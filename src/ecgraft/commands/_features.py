"""The pooled features of records, computed once per encoder and kept beside the store."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from torch import nn

from ..model import Model, infer
from ..nn.heads import Features
from ..nn.network import Network
from ..record import InputError
from ..signal.recipe import Recipe
from ..store.layout import CACHE, LOCK, memory_map, read_json, write_json
from ..store.lock import Lock
from ..training import Examples

BLOCK = 512  # records between two notes of what is done


def features(encoder: nn.Module, recipe: Recipe, cache, rows: np.ndarray, device="cpu") -> np.ndarray:
    """(n, D) float32: for each record the mean of `encoder.pool` over its windows."""
    network = Network(encoder, {"features": Features()}, recipe).eval()
    outputs = infer.run(network, Examples(cache, rows), recipe.samples, device=device)
    return np.array([output["features"] for _, output in outputs], np.float32).reshape(len(rows), encoder.width)


def kept_features(model: Model, recipe: Recipe, cache, rows: np.ndarray, device="cpu") -> np.ndarray:
    """`features` of a model's own encoder, of which only those are computed that were never asked for before.

    They lie in the store's cache folder, safe to delete; one process at a time adds to them.
    """
    key = hashlib.sha256(f"{model.fingerprint} {recipe.hash}".encode()).hexdigest()[:12]
    folder = cache.store.path / CACHE / f"features-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    with Lock(folder / LOCK, f"{folder}: another process computes these features", patience=3600):
        table, done = open_table(folder, cache.store, "features", (len(cache.store), model.encoder.width))
        missing = rows[~done[rows]]
        for at in range(0, len(missing), BLOCK):
            block = missing[at : at + BLOCK]
            table[block] = features(model.encoder, recipe, cache, block, device)
            table.flush()
            done[block] = True
            write_array(folder / "done.npy", done)
        return np.array(table[rows])


def open_table(folder: Path, store, name: str, shape: tuple[int, int]) -> tuple[np.memmap, np.ndarray]:
    """The table NAME.npy of a cache folder, float32 and writable, and which of its rows are done: none of a new store.

    Raises InputError where it is damaged.
    """
    note = folder / "cache.json"
    if not note.is_file() or read_json(note).get("store") != store.fingerprint:
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, shape).flush()
        write_array(folder / "done.npy", np.zeros(shape[0], bool))
        write_json(note, {"store": store.fingerprint})
    try:
        table = np.load(folder / f"{name}.npy", mmap_mode="r+", allow_pickle=False)
        if table.shape != shape or table.dtype != np.float32:
            raise ValueError("its table has another shape")
        return table, np.array(memory_map(folder / "done.npy", np.dtype(bool), shape[:1]))
    except (OSError, ValueError, InputError) as error:
        raise InputError(f"{folder}: damaged ({error}); delete this folder, it will be made again") from error


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes beside, then renames."""
    beside = path.with_name(path.name + ".part")
    with beside.open("wb") as file:
        np.save(file, array)
    os.replace(beside, path)
