"""From one record, or a store's records, to answers: probabilities, decisions, waves, beats, values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ..metrics.calibrate import probability as calibrated_probability
from ..objectives.supervised import read_at
from ..record import BEAT, WAVES, Record
from ..signal import quality
from ..signal import waves as wave_rows
from ..signal.peaks import decode, r_peaks
from ..training.batches import Examples
from . import infer
from .graft import Graft


@dataclass
class Prediction:
    """What a graft says of a record. Times are samples of the record at its own `rate`.

    probability  label -> probability, calibrated on validation data; answer: the labels that are said to hold
    value        the number, in the task's unit, for regression
    waves, beats rows of record.WAVE and record.BEAT
    notes        what was assumed about the record, and what is wrong with its signal
    """

    record: str
    graft: str
    kind: str
    rate: float
    probability: dict[str, float] = field(default_factory=dict)
    answer: list[str] = field(default_factory=list)
    value: float | None = None
    waves: np.ndarray | None = None
    beats: np.ndarray | None = None
    leads: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        """For JSON: waves and beats as lists of rows, in seconds."""
        out = {"record": self.record, "graft": self.graft, "kind": self.kind, "notes": self.notes}
        if self.probability:
            out |= {"probability": {k: round(v, 6) for k, v in self.probability.items()}, "answer": self.answer}
        if self.value is not None:
            out["value"] = round(self.value, 4)
        if self.waves is not None:
            out["waves"] = [self._wave(row) for row in self.waves]
        if self.beats is not None:
            rows = zip(self.beats["sample"] / self.rate, self.beats["symbol"].astype(str))
            out["beats"] = [{"time": round(float(t), 4), "class": symbol} for t, symbol in rows]
        return out

    def _wave(self, row) -> dict:
        times = {
            key: round(int(row[key]) / self.rate, 4) if row[key] >= 0 else None for key in ("onset", "peak", "offset")
        }
        return {"wave": WAVES[row["kind"]], "lead": self.leads[row["lead"]], **times}


def predict(model, name: str, record: Record, device: str = "cpu") -> Prediction:
    """What graft `name` of the model says of a record. Raises InputError if none of its leads can be used."""
    graft = model.graft(name)
    memory = infer.Memory([record], graft.recipe)
    examples = Examples(memory, np.arange(1))
    samples = graft.recipe.samples
    _, outputs = next(infer.run(model.network(name), examples, samples, device=device))
    wrong = quality.findings(record)  # says more of a flat lead than the recipe does
    notes = [note for note in memory.prepared[0].notes if not any(f.startswith(note) for f in wrong)] + wrong
    said = Prediction(record.id, name, graft.task.kind, record.rate, leads=record.leads, notes=notes)
    _READ[graft.task.kind](said, graft, record, memory, outputs[name])
    return said


def _read_classes(said: Prediction, graft: Graft, record: Record, memory, logits: np.ndarray) -> None:
    labels = graft.task.labels
    p = calibrated_probability(logits[None], graft.calibration.get("temperature", 1.0), graft.task.kind)[0]
    said.probability = {label: float(v) for label, v in zip(labels, p)}
    said.answer = decide(p[None], graft)[0]


def _read_value(said: Prediction, graft: Graft, record: Record, memory, logits: np.ndarray) -> None:
    said.value = float(logits[0] * graft.calibration["sd"] + graft.calibration["mean"])


def _read_waves(said: Prediction, graft: Graft, record: Record, memory, probability: np.ndarray) -> None:
    recipe, slots = graft.recipe, memory.prepared[0].slots
    native = replace(recipe, rate=record.rate).prepare(record).signal  # (C, T) filtered, at the record's own rate
    said.leads = tuple(recipe.leads[slot] for slot in slots)
    said.waves = wave_rows.decode(probability[slots], recipe.rate, to=record.rate, signal=native)


def _read_beats(said: Prediction, graft: Graft, record: Record, memory, probability: np.ndarray) -> None:
    prepared = memory.prepared[0]
    at = r_peaks(prepared.signal, graft.recipe.rate)
    present = np.zeros((1, probability.shape[0]), bool)
    present[0, prepared.slots] = True
    logits = torch.from_numpy(probability[None]).log()
    best = read_at(logits, torch.from_numpy(present), torch.from_numpy(at[None])).argmax(-1)[0].numpy()
    said.beats = np.zeros(len(at), BEAT)
    said.beats["sample"] = np.round(at * record.rate / graft.recipe.rate)
    said.beats["symbol"] = np.array(graft.task.labels, "S1")[best] if len(at) else b""


def _read_peaks(said: Prediction, graft: Graft, record: Record, memory, probability: np.ndarray) -> None:
    at = decode(probability[memory.prepared[0].slots, 1].mean(0), graft.recipe.rate, to=record.rate)
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
