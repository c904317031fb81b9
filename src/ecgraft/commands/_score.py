"""A network's answers on some records of a corpus, and what they are worth. Used to choose weights and to evaluate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from ..metrics import beats as beat_metrics
from ..metrics import bootstrap, calibrate, challenges, classify, ranking
from ..metrics import waves as wave_metrics
from ..metrics.sums import macro, ratio
from ..model import infer
from ..objectives.supervised import read_at
from ..record import WAVE
from ..signal import peaks as peak_signal
from ..signal.decoder import decode as decode_waves
from ..tasks import Task
from ..tasks.af import CODES
from . import _label_scores
from ._examples import Corpus

TOLERANCE = 0.150  # s, of a wave's boundary
FIBRILLATION = tuple(code for code in CODES if code not in ("cpsc2021:AFp", "snomed:195080001"))


@dataclass(frozen=True)
class Answers:
    """What a network said of the records `rows` of a corpus.

    logits     (n, K), for answers per record
    waves      WAVE rows per record at the record's own rate
    peaks      R peaks per record, samples at the record's own rate
    counts     per record, what scores are made of: of waves (n, 6, 5), boundaries hit, missed, false ...
               (metrics.waves.COUNTS) over the leads that the recipe has a place for; of R peaks (n, 4), hits, missed,
               false, and the record's score by the rule of CPSC2019
    fibrillating  (n,) of waves: whether a record is known to be in atrial fibrillation, so that it has no P waves
    overlaps   (n, 3, 2) of waves: samples in both and in either, added, of P, QRS, T (metrics.waves.overlap)
    confusion  (n, K, K) beats per record, reference in the rows
    features   (n, D) pooled
    loss       (n,) of answers per sample or beat: mean -log p of the reference
    surely     (n,) of answers per sample or beat: how surely wrong the wrong ones are, 0 where none is wrong
    """

    rows: np.ndarray
    logits: np.ndarray | None = None
    waves: list[np.ndarray] | None = None
    peaks: list[np.ndarray] | None = None
    counts: np.ndarray | None = None
    overlaps: np.ndarray | None = None
    fibrillating: np.ndarray | None = None
    confusion: np.ndarray | None = None
    features: np.ndarray | None = None
    loss: np.ndarray | None = None
    surely: np.ndarray | None = None

    def take(self, which: np.ndarray) -> Answers:
        """The answers of some of the records."""
        which = np.asarray(which)
        if which.dtype == bool:
            which = np.flatnonzero(which)
        arrays = {name: [v[i] for i in which] if isinstance(v, list) else v[which] for name, v in _given(self)}
        return Answers(**arrays)


def answer(network, corpus: Corpus, rows: np.ndarray, cache, *, batch=32, device="cpu") -> Answers:
    """Runs a network of one head over records."""
    examples, features, (name,) = corpus.examples(rows, cache), [], network.heads
    both = infer.with_features(network)

    def outputs():
        for i, said in infer.run(both, examples, network.recipe.samples, batch=batch, device=device):
            features.append(said[infer.FEATURES])
            yield i, said[name]

    read = {"waves": _answer_waves, "beats": _answer_beats, "peaks": _answer_peaks}.get(
        corpus.task.kind, _answer_records
    )
    return replace(read(outputs(), corpus, rows, cache), features=np.array(features))


def _given(found: Answers) -> list[tuple]:
    """The fields that hold something."""
    pairs = ((field.name, getattr(found, field.name)) for field in fields(found))
    return [(name, value) for name, value in pairs if value is not None]


def scorer(corpus: Corpus, found: Answers, calibration: dict, thresholds: dict) -> Callable[[np.ndarray], dict]:
    """`scores(weights (n,) or (R, n)) -> {name: array}`, the form that metrics.bootstrap.estimate takes."""
    task, rows = corpus.task, found.rows
    match task.kind:
        case "waves":
            return lambda w: _of_waves(found, w)
        case "beats":
            return lambda w: _of_confusion(np.tensordot(w, found.confusion, 1))
        case "peaks":
            return lambda w: _of_peaks(np.tensordot(w, found.counts, 1), w)
        case "regression":
            return lambda w: _of_values(corpus.y[rows, 0], values(found, calibration), w)
        case _:
            return _of_labels(corpus, found, calibration, thresholds)


def headline(task: Task) -> str:
    """The score that a report gives first: the task's main one, or that of the challenge with these classes."""
    return "cinc2017" if task.kind == "multiclass" and set("NAO") <= set(task.labels) else task.metric


def main(corpus: Corpus, found: Answers, calibration: dict, thresholds: dict) -> Callable[[np.ndarray], dict]:
    """As `scorer`, with the headline alone: for the many bootstraps of tables."""
    name, rows = headline(corpus.task), found.rows
    if name == "macro auroc" and corpus.task.kind == "multilabel":
        p, y, known = probabilities(corpus.task, found, calibration), corpus.y[rows], corpus.known_each[rows]
        return lambda w: {name: macro(ranking.auroc(y, p, known, w))[0]}
    every = scorer(corpus, found, calibration, thresholds)
    return lambda w: {name: every(w)[name]}


def estimate(corpus: Corpus, found: Answers, calibration: dict, thresholds: dict, replicates: int, seed: int):
    """The headline as an Estimate, resampling patients."""
    scores = main(corpus, found, calibration, thresholds)
    return with_intervals(corpus, scores, found, replicates, seed)[headline(corpus.task)]


def plain(estimate: bootstrap.Estimate) -> dict:
    """One Estimate as JSON has it."""
    numbers = zip(("value", "low", "high"), estimate)
    return {key: round(float(v), 6) if np.isfinite(v) else None for key, v in numbers}


def main_score(corpus: Corpus, found: Answers, calibration: dict) -> float:
    """The task's main score, turned so that higher is better."""
    value = float(scorer(corpus, found, calibration, {})(np.ones(len(found.rows)))[corpus.task.metric])
    return -value if corpus.task.kind == "regression" else float(np.nan_to_num(value))


def with_intervals(corpus: Corpus, scores: Callable, found: Answers, replicates: int, seed: int = 0) -> dict:
    """name -> bootstrap.Estimate, resampling patients."""
    return bootstrap.estimate(scores, corpus.patients(found.rows), replicates, seed)


def calibrated(corpus: Corpus, found: Answers, method: str = "temperature") -> tuple[dict, dict]:
    """The calibration (temperature, isotonic or none) and the thresholds (label -> probability), from validation."""
    task, rows = corpus.task, found.rows
    if task.kind not in ("multilabel", "multiclass") or not len(rows):
        return {}, {}
    y = np.where(corpus.known_each[rows], corpus.y[rows], -1)
    truth = classes(corpus, rows) if task.kind == "multiclass" else y
    calibration = {"temperature": calibrate.temperature(found.logits, truth)} if method == "temperature" else {}
    if method == "isotonic":
        calibration = calibrate.isotonic(found.logits, truth)
    if task.kind == "multiclass":
        return calibration, {}
    chosen = calibrate.thresholds(y, probabilities(task, found, calibration), between=True).value
    return calibration, {label: float(v) for label, v in zip(task.labels, chosen)}


def classes(corpus: Corpus, rows: np.ndarray) -> np.ndarray:
    """(n,) index of the class of records of a multiclass task, -1 unknown."""
    known = corpus.known_each[rows].all(1)
    return np.where(known, corpus.y[rows].argmax(1), -1)


def probabilities(task: Task, found: Answers, calibration: dict) -> np.ndarray:
    """(n, K) calibrated."""
    return calibrate.probability(found.logits, calibration, task.kind)


def decisions(task: Task, p: np.ndarray, thresholds: dict) -> np.ndarray:
    """Which labels are said to hold, (n, K) bool: the likeliest one, or those at or above their thresholds."""
    if task.kind == "multiclass":
        return p.argmax(1)[:, None] == np.arange(p.shape[1])
    return p >= limits(task, thresholds)


def limits(task: Task, thresholds: dict) -> np.ndarray:
    """(K,) the probability from which on a label is said to hold."""
    return np.array([thresholds.get(label, 0.5) for label in task.labels])


def values(found: Answers, calibration: dict) -> np.ndarray:
    """(n,) in the task's unit."""
    return found.logits[:, 0] * calibration["sd"] + calibration["mean"]


def _answer_records(outputs, corpus: Corpus, rows: np.ndarray, cache) -> Answers:
    return Answers(rows, logits=np.stack([output for _, output in outputs]))


def _answer_peaks(outputs, corpus: Corpus, rows: np.ndarray, cache) -> Answers:
    store, found, counts, wrong = corpus.store, [], [], []
    for i, probability in outputs:
        row = int(rows[i])
        native, seconds = float(store.number("rate")[row]), store.number("length")[row] / store.number("rate")[row]
        mean = probability[cache.present_slots(row), 1].mean(0)  # (T,)
        said = peak_signal.decode(mean, cache.rate, to=native)
        truth = store.beats(row)["sample"]
        score = challenges.cpsc2019(truth, said, native, seconds)
        flutter = [(start, stop) for start, stop, name in store.rhythms(row).tolist() if name == "VFL"]
        parts = beat_metrics.outside(flutter, int(store.number("length")[row]))
        scored = [beat_metrics.count(truth, said, native, TOLERANCE, *part) for part in parts]
        found.append(said)
        counts.append([*np.sum(scored, axis=0), score])
        wrong.append(_wrong_peaks(mean, truth / native, said / native, cache.rate))
    return Answers(rows, peaks=found, counts=np.array(counts), **_columns(wrong))


def _answer_waves(outputs, corpus: Corpus, rows: np.ndarray, cache) -> Answers:
    store, found, counts, overlaps, wrong = corpus.store, [], [], [], []
    for i, probability in outputs:
        row = int(rows[i])
        slots = cache.lead_slots(row)  # per lead of the record its slot, -1 where the recipe has no use for it
        used = np.flatnonzero(slots >= 0)
        native = float(store.number("rate")[row])
        said = _waves_said(probability[slots[used]], cache.rate, native)
        said["lead"] = used[said["lead"]]
        found.append(said)
        truth, spans = store.waves(row), store.scored(row)
        counts.append(wave_metrics.count(truth, said, spans, native, used.tolist(), TOLERANCE))
        overlaps.append(wave_metrics.overlap(truth, said, spans, used.tolist(), int(store.number("length")[row])))
        classes, scored = (a[0] for a in cache.waves(np.array([row]), np.array([0]), probability.shape[-1]))  # (C, T)
        wrong.append(_wrongness(probability.transpose(0, 2, 1)[scored], classes[scored]))
    more = {"overlaps": np.array(overlaps), "fibrillating": _fibrillating(corpus, rows)}
    return Answers(rows, waves=found, counts=np.array(counts), **more, **_columns(wrong))


def _waves_said(probability: np.ndarray, rate: float, native: float) -> np.ndarray:
    """The waves of each lead, of probabilities (C, 4, T) at `rate`; none of a record without a lead that is used."""
    if not len(probability):
        return np.empty(0, WAVE)
    found = decode_waves(probability, rate, to=native).waves
    return found[found["lead"] >= 0]


def _answer_beats(outputs, corpus: Corpus, rows: np.ndarray, cache) -> Answers:
    K, matrices, wrong = len(corpus.task.labels), [], []
    for i, probability in outputs:
        at, truth = cache.beats_of(int(rows[i]), corpus.task)
        present = torch.zeros(1, probability.shape[0], dtype=torch.bool)
        present[0, cache.present_slots(int(rows[i]))] = True
        log = torch.from_numpy(np.log(np.maximum(probability, 1e-12)))[None]
        said = read_at(log, present, torch.from_numpy(at.astype(np.int64))[None])[0]  # (P, K)
        matrices.append(classify.confusion(truth, said.argmax(-1).numpy(), K))
        wrong.append(_wrongness(said.softmax(-1).numpy(), truth))
    return Answers(rows, confusion=np.array(matrices), **_columns(wrong))


def _wrongness(p: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """`loss` and `surely` of one record, from probabilities (n, K) and reference classes (n,)."""
    if not len(truth):
        return 0.0, 0.0
    loss = -np.log(np.maximum(p[np.arange(len(truth)), truth], 1e-6))
    return float(loss.mean()), float(np.where(p.argmax(-1) != truth, p.max(-1), 0).mean())


def _wrong_peaks(p: np.ndarray, truth: np.ndarray, said: np.ndarray, rate: float) -> tuple[float, float]:
    """`loss` and `surely` of one record: p (T,) that a peak is near; times in s."""
    near = np.abs(truth[:, None] - said) <= TOLERANCE  # (truth, said)
    at = np.clip(np.round(np.concatenate([truth, said[~near.any(0)]]) * rate).astype(int), 0, len(p) - 1)
    right = np.where(np.arange(len(at)) < len(truth), p[at], 1 - p[at])
    wrong = np.concatenate([~near.any(1), np.ones(len(at) - len(truth), bool)])
    loss = -np.log(np.maximum(right, 1e-6))
    return float(loss.mean()) if len(at) else 0.0, float(np.where(wrong, 1 - right, 0).sum())


def _columns(wrong: list[tuple[float, float]]) -> dict:
    loss, surely = np.array(wrong).reshape(-1, 2).T
    return {"loss": loss, "surely": surely}


def _of_waves(found: Answers, w: np.ndarray) -> dict:
    """Boundaries, Dice, and the P waves that are invented in a record with atrial fibrillation; as far as known."""
    of = wave_metrics.scores(np.tensordot(w, found.counts, 1))
    if found.overlaps is not None:
        of["dice"] = wave_metrics.dice(np.tensordot(w, found.overlaps, 1))
    if found.fibrillating is not None and found.fibrillating.any():
        of["false p in af"] = ratio((w * found.fibrillating) @ found.counts[:, 0, 2], w @ found.fibrillating)
    return of


def _fibrillating(corpus: Corpus, rows: np.ndarray) -> np.ndarray:
    """(n,) bool: records that are in atrial fibrillation by a label of theirs."""
    codes = [k for k, code in enumerate(corpus.store.codes) if code in FIBRILLATION]
    return (corpus.store.labels[rows][:, codes] == 1).any(1)


def _of_confusion(matrix: np.ndarray) -> dict:
    count = classify.one_against_rest(matrix)
    f1 = classify.f_beta(count)
    scores = {"f1": f1, "sensitivity": classify.sensitivity(count), "precision": classify.precision(count)}
    diagonal = np.trace(matrix, axis1=-2, axis2=-1)
    total = matrix.sum(axis=(-2, -1))
    mean = np.nanmean(np.where(np.isnan(f1).all(-1, keepdims=True), 0, f1), axis=-1)
    return scores | {"accuracy": ratio(diagonal, total), "macro f1": mean, "confusion": matrix}


def _of_peaks(counts: np.ndarray, w: np.ndarray) -> dict:
    return beat_metrics.scores(counts[..., :3]) | {"cpsc2019": counts[..., 3] / w.sum(-1)}


def _of_values(y: np.ndarray, said: np.ndarray, w: np.ndarray) -> dict:
    error = np.stack([np.abs(said - y), said - y, np.square(said - y)], axis=-1)  # (n, 3)
    mae, bias, square = np.moveaxis(np.tensordot(w, error, 1) / w.sum(-1)[..., None], -1, 0)
    mean = (w * y).sum(-1) / w.sum(-1)
    spread = (w * np.square(y - mean[..., None])).sum(-1) / w.sum(-1)
    return {"mae": mae, "bias": bias, "rmse": np.sqrt(square), "r2": 1 - ratio(square, spread)}


def _of_labels(corpus: Corpus, found: Answers, calibration: dict, thresholds: dict) -> Callable[[np.ndarray], dict]:
    """The scorer of a multilabel or multiclass task."""
    task, rows = corpus.task, found.rows
    p, y, known = probabilities(task, found, calibration), corpus.y[rows], corpus.known_each[rows]
    called = decisions(task, p, thresholds)

    def scores(w: np.ndarray) -> dict:
        if task.kind == "multiclass":
            of = classify.multiclass(classes(corpus, rows), p, w)
        else:
            of = classify.multilabel(y, p, limits(task, thresholds), known, w)
        if headline(task) == "cinc2017":
            of["cinc2017"] = challenges.cinc2017(of["confusion"], task.labels)
        return of | _label_scores.challenge(task, y, p, called, known, w)

    return scores
