"""A network's answers on some records of a corpus, and what they are worth. Used to choose weights and to evaluate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..metrics import beats as beat_metrics
from ..metrics import bootstrap, calibrate, classify
from ..metrics import waves as wave_metrics
from ..metrics.sums import ratio
from ..model import infer
from ..nn.heads import Features
from ..nn.network import Network
from ..objectives.supervised import read_at
from ..signal import peaks as peak_signal
from ..signal import waves as wave_rows
from ..tasks import Task
from ._examples import Corpus

TOLERANCE = 0.150  # s, of a wave's boundary


@dataclass(frozen=True)
class Answers:
    """What a network said of the records `rows` of a corpus.

    logits     (n, K), for answers per record
    waves      WAVE rows per record at the record's own rate
    peaks      R peaks per record, samples at the record's own rate
    counts     per record, what scores are made of: of waves (n, 6, 5), boundaries hit, missed, false ...
               (metrics.waves.COUNTS) over the leads that the recipe has a place for; of R peaks (n, 4), hits, missed,
               false, and the record's score by the rule of CPSC2019
    confusion  (n, K, K) beats per record, reference in the rows
    features   (n, D) pooled
    """

    rows: np.ndarray
    logits: np.ndarray | None = None
    waves: list[np.ndarray] | None = None
    peaks: list[np.ndarray] | None = None
    counts: np.ndarray | None = None
    confusion: np.ndarray | None = None
    features: np.ndarray | None = None


def answer(network, corpus: Corpus, rows: np.ndarray, cache, *, batch=32, device="cpu") -> Answers:
    """Runs a network of one head over records."""
    examples, features, (name,) = corpus.examples(rows, cache), [], network.heads
    both = Network(network.encoder, {name: network.heads[name], "features": Features()}, network.recipe).eval()

    def outputs():
        for i, said in infer.run(both, examples, network.recipe.samples, batch=batch, device=device):
            features.append(said["features"])
            yield i, said[name]

    read = {"waves": _answer_waves, "beats": _answer_beats, "peaks": _answer_peaks}.get(
        corpus.task.kind, _answer_records
    )
    return replace(read(outputs(), corpus, rows, cache), features=np.array(features))


def scorer(corpus: Corpus, found: Answers, calibration: dict, thresholds: dict) -> Callable[[np.ndarray], dict]:
    """`scores(weights (n,) or (R, n)) -> {name: array}`, the form that metrics.bootstrap.estimate takes."""
    task, rows = corpus.task, found.rows
    match task.kind:
        case "waves":
            return lambda w: wave_metrics.scores(np.tensordot(w, found.counts, 1))
        case "beats":
            return lambda w: _of_confusion(np.tensordot(w, found.confusion, 1))
        case "peaks":
            return lambda w: _of_peaks(np.tensordot(w, found.counts, 1), w)
        case "regression":
            return lambda w: _of_values(corpus.y[rows, 0], values(found, calibration), w)
        case "multiclass":
            p = probabilities(task, found, calibration)
            return lambda w: _with_challenge(task, classify.multiclass(corpus.y[rows].argmax(1), p, w))
        case _:
            p = probabilities(task, found, calibration)
            limits = np.array([thresholds.get(label, 0.5) for label in task.labels])
            return lambda w: classify.multilabel(corpus.y[rows], p, limits, corpus.known_each[rows], w)


def main_score(corpus: Corpus, found: Answers, calibration: dict) -> float:
    """The task's main score, turned so that higher is better."""
    value = float(scorer(corpus, found, calibration, {})(np.ones(len(found.rows)))[corpus.task.metric])
    return -value if corpus.task.kind == "regression" else float(np.nan_to_num(value))


def with_intervals(corpus: Corpus, scores: Callable, found: Answers, replicates: int, seed: int = 0) -> dict:
    """name -> bootstrap.Estimate, resampling patients."""
    return bootstrap.estimate(scores, corpus.patients(found.rows), replicates, seed)


def calibrated(corpus: Corpus, found: Answers) -> tuple[dict, dict]:
    """The temperature and the thresholds (label -> probability) that validation answers ask for."""
    task, rows = corpus.task, found.rows
    if task.kind not in ("multilabel", "multiclass") or not len(rows):
        return {}, {}
    y = np.where(corpus.known_each[rows], corpus.y[rows], -1)
    if task.kind == "multiclass":
        index = np.where(y.max(1) == 1, y.argmax(1), -1)
        return {"temperature": calibrate.temperature(found.logits, index)}, {}
    calibration = {"temperature": calibrate.temperature(found.logits, y)}
    chosen = calibrate.thresholds(y, probabilities(task, found, calibration), between=True).value
    return calibration, {label: float(v) for label, v in zip(task.labels, chosen)}


def probabilities(task: Task, found: Answers, calibration: dict) -> np.ndarray:
    """(n, K) calibrated."""
    return calibrate.probability(found.logits, calibration.get("temperature", 1.0), task.kind)


def values(found: Answers, calibration: dict) -> np.ndarray:
    """(n,) in the task's unit."""
    return found.logits[:, 0] * calibration["sd"] + calibration["mean"]


def _answer_records(outputs, corpus: Corpus, rows: np.ndarray, cache) -> Answers:
    return Answers(rows, logits=np.stack([output for _, output in outputs]))


def _answer_peaks(outputs, corpus: Corpus, rows: np.ndarray, cache) -> Answers:
    store, found, counts = corpus.store, [], []
    for i, probability in outputs:
        row = int(rows[i])
        native, seconds = float(store.number("rate")[row]), store.number("length")[row] / store.number("rate")[row]
        said = peak_signal.decode(probability[cache.present_slots(row), 1].mean(0), cache.rate, to=native)
        truth = store.beats(row)["sample"]
        score = beat_metrics.cpsc2019(truth, said, native, seconds)
        found.append(said)
        counts.append([*beat_metrics.count(truth, said, native, TOLERANCE), score])
    return Answers(rows, peaks=found, counts=np.array(counts))


def _answer_waves(outputs, corpus: Corpus, rows: np.ndarray, cache) -> Answers:
    store, found, counts = corpus.store, [], []
    for i, probability in outputs:
        row = int(rows[i])
        slots = cache.lead_slots(row)  # per lead of the record its slot, -1 where the recipe has no use for it
        used = np.flatnonzero(slots >= 0)
        native = float(store.number("rate")[row])
        said = wave_rows.decode(probability[slots[used]], cache.rate, to=native)
        said["lead"] = used[said["lead"]]
        found.append(said)
        truth, spans = store.waves(row), store.scored(row)
        counts.append(wave_metrics.count(truth, said, spans, native, used.tolist(), TOLERANCE))
    return Answers(rows, waves=found, counts=np.array(counts))


def _answer_beats(outputs, corpus: Corpus, rows: np.ndarray, cache) -> Answers:
    K, matrices = len(corpus.task.labels), []
    for i, probability in outputs:
        at, truth = cache.beats_of(int(rows[i]), corpus.task)
        present = torch.zeros(1, probability.shape[0], dtype=torch.bool)
        present[0, cache.present_slots(int(rows[i]))] = True
        log = torch.from_numpy(np.log(np.maximum(probability, 1e-12)))[None]
        said = read_at(log, present, torch.from_numpy(at.astype(np.int64))[None])[0].argmax(-1).numpy()
        matrices.append(classify.confusion(truth, said, K))
    return Answers(rows, confusion=np.array(matrices))


def _of_confusion(matrix: np.ndarray) -> dict:
    count = classify.one_against_rest(matrix)
    f1 = classify.f_beta(count)
    scores = {"f1": f1, "sensitivity": classify.sensitivity(count), "precision": classify.precision(count)}
    diagonal = np.trace(matrix, axis1=-2, axis2=-1)
    total = matrix.sum(axis=(-2, -1))
    macro = np.nanmean(np.where(np.isnan(f1).all(-1, keepdims=True), 0, f1), axis=-1)
    return scores | {"accuracy": ratio(diagonal, total), "macro f1": macro, "confusion": matrix}


def _of_peaks(counts: np.ndarray, w: np.ndarray) -> dict:
    return beat_metrics.scores(counts[..., :3]) | {"cpsc2019": counts[..., 3] / w.sum(-1)}


def _of_values(y: np.ndarray, said: np.ndarray, w: np.ndarray) -> dict:
    error = np.stack([np.abs(said - y), said - y, np.square(said - y)], axis=-1)  # (n, 3)
    mae, bias, square = np.moveaxis(np.tensordot(w, error, 1) / w.sum(-1)[..., None], -1, 0)
    mean = (w * y).sum(-1) / w.sum(-1)
    spread = (w * np.square(y - mean[..., None])).sum(-1) / w.sum(-1)
    return {"mae": mae, "bias": bias, "rmse": np.sqrt(square), "r2": 1 - ratio(square, spread)}


def _with_challenge(task: Task, scores: dict) -> dict:
    """Adds the CinC 2017 score where the task has its classes."""
    if set("NAO") <= set(task.labels):
        scores["cinc2017"] = classify.cinc2017(scores["confusion"], task.labels)
    return scores
