"""From one record, or a store's records, to answers: probabilities, decisions, waves, beats, values."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from ..metrics.calibrate import probability as calibrated_probability
from ..record import BEAT, LEADS, Record
from ..signal import decoder, intervals, quality
from ..signal.along import Along
from ..signal.leads import LIMB
from ..signal.peaks import decode, r_peaks
from ..signal.recipe import Recipe
from ..training.batches import Examples
from . import certainty, infer, union
from .graft import Graft
from .prediction import Prediction


def predict(model, name: str, record: Record, device: str = "cpu") -> Prediction:
    """What graft `name` of the model says of a record. Raises InputError if none of its leads can be used."""
    return predict_all(model, [name], record, device)[name]


def predict_all(model, names: list[str], record: Record, device: str = "cpu") -> dict[str, Prediction]:
    """Name -> what that graft says of a record: one graft alone, several in one pass (model.together)."""
    read, said = _Read(record), {}
    for recipe, made in model.ready(names, device):
        memory = read.prepared(recipe)
        inside = {name: model.graft(name) for name in set(names) & made.dense.keys()}
        collect = {n: _COLLECT[g.task.kind](g, read, memory) for n, g in inside.items() if g.task.kind in _COLLECT}
        drains = {name: each.add for name, each in collect.items()}
        ((_, outputs),) = infer.run(made, Examples(memory, np.arange(1)), recipe.samples, drains=drains)
        outputs |= {name: each.end() for name, each in collect.items()}
        single = infer.FEATURES in outputs
        for name, graft in inside.items():
            features = outputs.get(infer.FEATURES if single else infer.features_of(name))
            said[name] = _answer(graft, read, memory, outputs[name], features)
    return {name: said[name] for name in names}


class _Read:
    """A record, and what several grafts read of it, made once."""

    def __init__(self, record: Record):
        self.record, self._prepared, self._native = record, {}, {}

    @cached_property
    def wrong(self) -> list[str]:
        """What is wrong with its signal; says more of a flat lead than the recipe does."""
        return quality.findings(self.record)

    def prepared(self, recipe: Recipe) -> infer.Memory:
        if recipe.cache_key not in self._prepared:
            self._prepared[recipe.cache_key] = infer.Memory([self.record], recipe)
        return self._prepared[recipe.cache_key]

    def native(self, recipe: Recipe) -> np.ndarray:  # (C, T)
        """Filtered, at the record's own rate."""
        own = replace(recipe, rate=self.record.rate)
        if own.cache_key in self._prepared:
            return self._prepared[own.cache_key].prepared[0].signal
        if own.cache_key not in self._native:
            self._native[own.cache_key] = own.prepare(self.record).signal
        return self._native[own.cache_key]


def _answer(graft: Graft, read: _Read, memory, output: np.ndarray, features: np.ndarray | None) -> Prediction:
    record, wrong = read.record, read.wrong
    notes = [note for note in memory.prepared[0].notes if not any(f.startswith(note) for f in wrong)] + wrong
    said = Prediction(record.id, graft.name, graft.task.kind, record.rate, leads=record.leads, notes=notes)
    _READ[graft.task.kind](said, graft, read, memory, output)
    if features is not None:
        _compare_with_training(said, graft, features)
    return said


def _compare_with_training(said: Prediction, graft: Graft, features: np.ndarray) -> None:
    said.distance, said.limit = float(certainty.distance(features[None], graft)[0]), graft.distance.get("limit")
    if said.limit is None:
        return
    said.unusual = said.distance > said.limit
    if said.unusual:
        said.notes.append(
            f"unlike the records that {graft.name} was trained on: distance {said.distance:.3g}, above the limit of "
            f"{said.limit:.3g}; do not rely on its answer"
        )


def _read_classes(said: Prediction, graft: Graft, read: _Read, memory, logits: np.ndarray) -> None:
    labels = graft.task.labels
    p = calibrated_probability(logits[None], graft.calibration, graft.task.kind)
    said.probability = {label: float(v) for label, v in zip(labels, p[0])}
    said.answer, said.log_odds = decide(p, graft)[0], union.log_odds(graft.task, logits[None], graft.calibration)[0]
    if not graft.conformal:
        return
    said.coverage, possible = graft.conformal["coverage"], certainty.sets(p, graft)[0]
    if graft.task.kind == "multiclass":
        said.possible = [label for label, yes in zip(labels, possible) if yes]
        said.sure = len(said.possible) == 1
        open_ = possible if said.possible else ~possible  # an empty set says that the record is like none of them
        said.verdict = {label: "no" if not o else "yes" if said.sure else "not sure" for label, o in zip(labels, open_)}
    else:
        words = {(True, False): "no", (False, True): "yes"}
        said.verdict = {k: words.get(tuple(map(bool, pair)), "not sure") for k, pair in zip(labels, possible)}


def _read_value(said: Prediction, graft: Graft, read: _Read, memory, logits: np.ndarray) -> None:
    said.value = float(logits[0] * graft.calibration["sd"] + graft.calibration["mean"])
    if graft.conformal:
        said.coverage = graft.conformal["coverage"]
        said.interval = tuple(certainty.ranges(np.array([said.value]), graft)[0].tolist())


def _read_waves(said: Prediction, graft: Graft, read: _Read, memory, found: decoder.Read) -> None:
    recipe, prepared = graft.recipe, memory.prepared[0]
    said.leads = tuple(recipe.leads[slot] for slot in prepared.slots)
    alone = found.waves["lead"] >= 0
    said.waves, said.confidence = found.waves[alone], found.confidence[alone]
    said.together, said.together_confidence = found.waves[~alone], found.confidence[~alone]
    said.intervals = intervals.measure(said.together, said.rate, read.native(recipe), said.leads)
    to, last = said.rate / recipe.rate, read.record.signal.shape[1]
    said.no_p, said.unreadable = (
        [(round(a * to), min(round((b + 1) * to), last)) for a, b in found.spans(mode)]
        for mode in (decoder.NO_ATRIA, decoder.UNREADABLE)
    )
    said.notes += _notes_of(said)


def _notes_of(said: Prediction) -> list[str]:
    """What could not be read of the waves, and why."""
    texts = ((said.unreadable, "nothing can be read: noise, or no ECG"), (said.no_p, "no P waves in an order"))
    return [f"{text}, from {_spans(spans, said.rate)}" for spans, text in texts if spans]


def _spans(spans: list[tuple[int, int]], rate: float, most: int = 3) -> str:
    shown = ", ".join(f"{a / rate:.1f} to {b / rate:.1f} s" for a, b in spans[:most])
    return shown + (f" and {len(spans) - most} more times" if len(spans) > most else "")


class _Waves:
    """Collects the answers of a wave graft."""

    def __init__(self, graft: Graft, read: _Read, memory):
        recipe, self.slots, self.begins = graft.recipe, memory.prepared[0].slots, 0
        self.along = Along(recipe.rate, read.record.rate, read.native(recipe))
        by_lead, to = quality.still(read.record), recipe.rate / read.record.rate
        rows = [_rows_of(recipe.leads[slot], read.record) for slot in self.slots]
        self.still = [[np.round(by_lead[row] * to).astype(int) for row in some] for some in rows]

    def add(self, probability: np.ndarray) -> None:
        """Nothing is known of a lead while it stands still, whatever a model says of it that sees the others."""
        p, n = probability[self.slots], probability.shape[-1]
        for row, some in zip(p, self.still):
            row[:, np.all([_within(spans, self.begins, n) for spans in some], axis=0)] = np.nan
        self.begins += n
        self.along.add(p)

    def end(self) -> decoder.Read:
        return self.along.end()


def _rows_of(name: str, record: Record) -> list[int]:
    """The leads of a record that its lead `name` is made of: itself, the limb leads, or one of another name."""
    if name in record.leads:
        return [record.leads.index(name)]
    limb = [i for i, lead in enumerate(record.leads) if lead in LIMB]
    if name in LIMB and len(limb) > 1:
        return limb
    return [i for i, lead in enumerate(record.leads) if lead not in LEADS][:1]


def _within(spans: np.ndarray, begins: int, n: int) -> np.ndarray:
    """Which of n samples from `begins` on are in spans (k, 2)."""
    mask = np.zeros(n, bool)
    for a, b in np.clip(spans - begins, 0, n):
        mask[a:b] = True
    return mask


class _Beats:
    """Collects the classes of the heartbeats, read at their R peaks: (samples, classes)."""

    def __init__(self, graft: Graft, read: _Read, memory):
        self.slots, self.begins, self.said = memory.prepared[0].slots, 0, [np.zeros(0, np.int64)]
        self.peaks = r_peaks(memory.prepared[0].signal, graft.recipe.rate)

    def add(self, probability: np.ndarray) -> None:
        stop = self.begins + probability.shape[-1]
        at = self.peaks[(self.peaks >= self.begins) & (self.peaks < stop)] - self.begins
        logs = np.log(np.maximum(probability[self.slots][..., at], 1e-12))  # (C, K, P)
        self.said.append(logs.mean(0).argmax(0))
        self.begins = stop

    def end(self) -> tuple[np.ndarray, np.ndarray]:
        return self.peaks, np.concatenate(self.said)


class _Peaks:
    """Collects the probability that an R peak is near, (T,), the mean over the leads."""

    def __init__(self, graft: Graft, read: _Read, memory):
        self.slots, self.parts = memory.prepared[0].slots, []

    def add(self, probability: np.ndarray) -> None:
        self.parts.append(probability[self.slots, 1].mean(0))

    def end(self) -> np.ndarray:
        return np.concatenate(self.parts)


_COLLECT = {"waves": _Waves, "beats": _Beats, "peaks": _Peaks}


def _read_beats(said: Prediction, graft: Graft, read: _Read, memory, found: tuple[np.ndarray, np.ndarray]) -> None:
    at, best = found
    said.beats = np.zeros(len(at), BEAT)
    said.beats["sample"] = np.round(at * said.rate / graft.recipe.rate)
    said.beats["symbol"] = np.array(graft.task.labels, "S1")[best] if len(at) else b""


def _read_peaks(said: Prediction, graft: Graft, read: _Read, memory, probability: np.ndarray) -> None:
    at = decode(probability, graft.recipe.rate, to=said.rate)
    said.beats = np.zeros(len(at), BEAT)
    said.beats["sample"], said.beats["symbol"] = at, b"?"


_READ = {
    "multilabel": _read_classes,
    "multiclass": _read_classes,
    "regression": _read_value,
    "waves": _read_waves,
    "beats": _read_beats,
    "peaks": _read_peaks,
}


def decide(probability: np.ndarray, graft: Graft) -> list[list[str]]:
    """The labels that hold, per record: the likeliest one, or those at or above their thresholds. (N, K) -> N lists."""
    labels = graft.task.labels
    if graft.task.kind == "multiclass":
        return [[labels[k]] for k in probability.argmax(1)]
    thresholds = np.array([graft.thresholds.get(label, 0.5) for label in labels])
    return [[labels[k] for k in np.flatnonzero(row >= thresholds)] for row in probability]
