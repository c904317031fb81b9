"""Classes of the beats of a pool, as a graft for beats gives them, for contrast between heartbeats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..model import Graft, Model, infer
from ..record import UsageError
from ..store import render
from ..store.beats import BeatTable
from ..store.layout import ragged
from ..store.parallel import progress_bar
from ..tasks import beat_classes
from ..training import Examples


@dataclass(frozen=True)
class Classed:
    """A table of beats with a class for each (M,), an index into the graft's labels; -1 where it was not asked."""

    table: BeatTable
    classes: np.ndarray

    def batch(self, index: np.ndarray, start: np.ndarray, samples: int) -> dict[str, np.ndarray]:
        """That of the table, and beat_class (B, P) int64, -1 for padding."""
        positions, owner = ragged(self.table.offsets, np.asarray(index))
        at = self.table.peaks[positions]
        _, classes = render.padded(at, owner, len(index), np.asarray(start), samples, self.classes[positions])
        return self.table.batch(index, start, samples) | {"beat_class": classes.astype(np.int64)}

    def record_features(self, rows: np.ndarray) -> np.ndarray:
        return self.table.record_features(rows)

    def beat_features(self, rows: np.ndarray) -> np.ndarray:
        return self.table.beat_features(rows)


def open_graft(place: str) -> tuple[Model, Graft]:
    """The model and its graft for beats, by "MODEL" or "MODEL:GRAFT". UsageError where there is none, or several."""
    folder, _, name = (place, "", "") if Path(place).exists() else place.rpartition(":")
    model = Model.load(folder or name)
    grafts = [graft for graft in model.grafts.values() if graft.task.kind == "beats"]
    if folder and name:
        grafts = [model.graft(name)]
    if len(grafts) != 1 or grafts[0].task.kind != "beats":
        raise UsageError(f"beats={place}: give one graft of a task of beats, as MODEL:GRAFT; ecgraft adapt makes one")
    return model, grafts[0]


def classed(table: BeatTable, rows: np.ndarray, model: Model, graft: Graft, device="cpu", progress=False) -> Classed:
    """The table with the classes that the graft gives the beats of `rows`: the likeliest at each R peak, of the mean
    over the leads that are there."""
    store, classes = table.cache.store, np.full(len(table.peaks), -1, np.int64)
    cache = store.prepared(graft.recipe, progress=progress)
    rows = rows[np.asarray(cache.usable)[rows]]
    said = infer.run(model.network(graft.name), Examples(cache, rows), graft.recipe.samples, device=device)
    with progress_bar("classes of beats", len(rows), 0, progress) as advance:
        for k, output in said:
            i = int(rows[k])
            p = np.log(np.maximum(output[graft.name][cache.present[i]], 1e-12)).mean(0)  # (K, T), as predict does
            beats = slice(int(table.offsets[i]), int(table.offsets[i + 1]))
            at = np.rint(table.peaks[beats] * (graft.recipe.rate / table.cache.rate)).astype(int)
            classes[beats] = p[:, at.clip(0, p.shape[1] - 1)].argmax(0)
            advance(1)
    return Classed(table, classes)


def simulated(made, peaks: np.ndarray, graft: Graft) -> np.ndarray:
    """(B, P) int64: the classes of simulated beats, exact; `peaks` (B, P) as they were measured, -1 for none."""
    known = beat_classes(graft.task, made.symbols.numpy().reshape(-1).view("S1")).reshape(made.symbols.shape)
    classes = np.full(peaks.shape, -1, np.int64)
    for b, there in enumerate(made.peaks.numpy() >= 0):
        classes[b, : (peaks[b] >= 0).sum()] = known[b][there][: (peaks[b] >= 0).sum()]
    return classes
