"""Records as a recipe prepares them: fixed rate and leads, 16-bit microvolt, gathered into batches from memory maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..record import InputError
from ..signal import leads as lead_tools
from ..signal.recipe import Recipe
from ..tasks import Task, beat_classes
from . import render
from .layout import check_name, map_samples, memory_map, ragged, read_json

if TYPE_CHECKING:
    from .read import Store

PLACE = np.dtype([("shard", "<i4"), ("at", "<i8"), ("length", "<i8")])  # of a record; leads that are present, together
BLOCK = 65536  # rows that are looked at in one go
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
        self._check(folder)
        self._lead_slots = _lead_slots(store.table.categories["leads"], recipe)  # (lead sets, L)

    def _check(self, folder: Path) -> None:
        """Places outside of the shards are found here, not as a crash later."""
        sizes = np.array([len(shard) for shard in self._shards] or [0])
        for start in range(0, len(self), BLOCK):
            rows = self._rows[start : start + BLOCK]
            good = all((rows[name] >= 0).all() for name in PLACE.names) and (rows["shard"] < len(sizes)).all()
            stop = rows["at"] + rows["length"] * self.present[start : start + BLOCK].sum(1)
            if not good or (stop > sizes[rows["shard"]]).any():
                raise InputError(f"{folder}: damaged; delete this folder, it will be made again")

    def __len__(self) -> int:
        return len(self.length)

    @property
    def usable(self) -> np.ndarray:
        """(N,) bool: which records have a lead of the recipe."""
        return self.length > 0

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
        return waves * present, scored & present & valid[:, None, :]

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


def _lead_slots(lead_sets: list[tuple[str, ...]], recipe: Recipe) -> np.ndarray:
    """The slot of each lead of each lead set (n, most leads + 1), -1 where the recipe has no use for it."""
    slots = np.full((max(1, len(lead_sets)), max([0, *map(len, lead_sets)]) + 1), -1, np.int64)
    for row, names in zip(slots, lead_sets):
        derived = lead_tools.derivable(names, recipe.leads)
        leads, places, _ = lead_tools.assign((*names, *derived), recipe.leads, recipe.slot)
        for lead, place in zip(leads, places):
            if lead < len(names):
                row[lead] = place
    return slots
