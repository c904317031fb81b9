"""From one record, or a store's records, to answers: probabilities, decisions, waves, beats, values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from ..metrics.calibrate import probability as calibrated_probability
from ..objectives.supervised import read_at
from ..record import BEAT, WAVES, Record
from ..signal import quality
from ..signal import waves as wave_rows
from ..signal.peaks import decode, r_peaks
from ..signal.recipe import Recipe
from ..training.batches import Examples
from . import certainty, infer
from .graft import Graft


@dataclass
class Prediction:
    """What a graft says of a record. Times are samples of the record at its own `rate`.

    probability  label -> probability, calibrated on validation data; answer: the labels that are said to hold
    score        label -> how alike the ECG is to the words, for zero-shot; uncalibrated: that as a probability
    value        the number, in the task's unit, for regression
    coverage     share of records whose true answer is among the possible ones: of these, for
      possible   classes that may hold; sure: whether it is one alone, else it is better to leave the answer open
      verdict    label -> "yes", "no" or "not sure"
      interval   lowest and highest value, for regression
    unusual      whether the record is unlike those that the graft was trained on: its distance is above the limit. None
                 where the graft cannot tell
    waves, beats rows of record.WAVE and record.BEAT
    notes        what was assumed about the record, and what is wrong with its signal
    """

    record: str
    graft: str
    kind: str
    rate: float
    probability: dict[str, float] = field(default_factory=dict)
    answer: list[str] = field(default_factory=list)
    score: dict[str, float] = field(default_factory=dict)
    uncalibrated: dict[str, float] = field(default_factory=dict)
    value: float | None = None
    coverage: float | None = None
    possible: list[str] | None = None
    sure: bool | None = None
    verdict: dict[str, str] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    unusual: bool | None = None
    distance: float | None = None
    limit: float | None = None
    waves: np.ndarray | None = None
    beats: np.ndarray | None = None
    leads: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        """For JSON: waves and beats as lists of rows, in seconds."""
        out = {"record": self.record, "graft": self.graft, "kind": self.kind, "notes": self.notes}
        if self.probability:
            out |= {"probability": {k: round(v, 6) for k, v in self.probability.items()}, "answer": self.answer}
        for key in ("score", "uncalibrated"):
            out |= {key: {k: round(v, 6) for k, v in getattr(self, key).items()}} if self.score else {}
        if self.value is not None:
            out["value"] = round(self.value, 4)
        out |= self._certainty()
        if self.waves is not None:
            out["waves"] = [self._wave(row) for row in self.waves]
        if self.beats is not None:
            rows = zip(self.beats["sample"] / self.rate, self.beats["symbol"].astype(str))
            out["beats"] = [{"time": round(float(t), 4), "class": symbol} for t, symbol in rows]
        return out

    def _certainty(self) -> dict:
        """What is known of it."""
        out = {"unusual": self.unusual}
        if self.distance is not None:
            out |= {"distance": round(self.distance, 4), "limit": None if self.limit is None else round(self.limit, 4)}
        if self.coverage is not None:
            out["coverage"] = self.coverage
        if self.possible is not None:
            out |= {"possible": self.possible, "sure": self.sure}
        if self.verdict:
            out["verdict"] = self.verdict
        if self.interval is not None:
            out["interval"] = [round(v, 4) if np.isfinite(v) else None for v in self.interval]
        return out

    def _wave(self, row) -> dict:
        times = {
            key: round(int(row[key]) / self.rate, 4) if row[key] >= 0 else None for key in ("onset", "peak", "offset")
        }
        return {"wave": WAVES[row["kind"]], "lead": self.leads[row["lead"]], **times}


def predict(model, name: str, record: Record, device: str = "cpu") -> Prediction:
    """What graft `name` of the model says of a record. Raises InputError if none of its leads can be used."""
    return predict_all(model, [name], record, device)[name]


def predict_all(model, names: list[str], record: Record, device: str = "cpu") -> dict[str, Prediction]:
    """Name -> what that graft says of a record: one graft alone, several in one pass (model.together)."""
    read, said = _Read(record), {}
    for recipe, made in model.ready(names, device):
        memory = read.prepared(recipe)
        ((_, outputs),) = infer.run(made, Examples(memory, np.arange(1)), recipe.samples)
        single = infer.FEATURES in outputs
        for name in set(names) & outputs.keys():
            features = outputs.get(infer.FEATURES if single else infer.features_of(name))
            said[name] = _answer(model.graft(name), read, memory, outputs[name], features)
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
    said.answer = decide(p, graft)[0]
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


def _read_waves(said: Prediction, graft: Graft, read: _Read, memory, probability: np.ndarray) -> None:
    recipe, slots = graft.recipe, memory.prepared[0].slots
    said.leads = tuple(recipe.leads[slot] for slot in slots)
    said.waves = wave_rows.decode(probability[slots], recipe.rate, to=said.rate, signal=read.native(recipe))


def _read_beats(said: Prediction, graft: Graft, read: _Read, memory, probability: np.ndarray) -> None:
    prepared = memory.prepared[0]
    at = r_peaks(prepared.signal, graft.recipe.rate)
    present = np.zeros((1, probability.shape[0]), bool)
    present[0, prepared.slots] = True
    logits = torch.from_numpy(np.log(np.maximum(probability, 1e-12)))[None]  # -inf of an absent lead would be NaN
    best = read_at(logits, torch.from_numpy(present), torch.from_numpy(at[None])).argmax(-1)[0].numpy()
    said.beats = np.zeros(len(at), BEAT)
    said.beats["sample"] = np.round(at * said.rate / graft.recipe.rate)
    said.beats["symbol"] = np.array(graft.task.labels, "S1")[best] if len(at) else b""


def _read_peaks(said: Prediction, graft: Graft, read: _Read, memory, probability: np.ndarray) -> None:
    at = decode(probability[memory.prepared[0].slots, 1].mean(0), graft.recipe.rate, to=said.rate)
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
