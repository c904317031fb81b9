"""What a graft takes from validation data: calibration, thresholds, limits of what is possible and of what is usual."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from ..metrics import conformal
from ..metrics import distance as distances
from . import _score
from ._examples import Corpus

TRAINING_RECORDS = 2000  # at most, evenly spaced, that the distance is fitted on


@dataclass(frozen=True)
class Fitted:
    """The fields of a Graft of the same names; `tensors` are its "distance.NAME" tensors."""

    calibration: dict = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    conformal: dict = field(default_factory=dict)
    distance: dict = field(default_factory=dict)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)


def fit(
    corpus: Corpus, found: _score.Answers | None, features: np.ndarray, scale: dict, method: str, coverage: float
) -> Fitted:
    """found: the answers on the validation part, None where it is empty; features (n, D) of training records.

    scale: mean and sd of a regression's values. The validation part has chosen the weights too, so what is fitted on it
    is a little too sure of itself; the test part shows by how much.
    """
    distance, tensors = fit_distance(features, None if found is None else found.features)
    if found is None:
        return Fitted(scale, distance=distance, tensors=tensors)
    calibration, thresholds = _score.calibrated(corpus, found, method)
    calibration = scale | calibration
    sets = fit_sets(corpus, found, calibration, coverage)
    return Fitted(calibration, thresholds, sets, distance, tensors)


def fit_sets(corpus: Corpus, found: _score.Answers, calibration: dict, coverage: float) -> dict:
    """The conformal limits of the kind of task; {} for kinds that have none."""
    kind, rows = corpus.task.kind, found.rows
    if kind == "regression":
        return conformal.fit_values(corpus.y[rows, 0], _score.values(found, calibration), coverage)
    if kind == "multiclass":
        p = _score.probabilities(corpus.task, found, calibration)
        return conformal.fit_classes(_score.classes(corpus, rows), p, coverage)
    if kind == "multilabel":
        p = _score.probabilities(corpus.task, found, calibration)
        return conformal.fit_labels(corpus.y[rows], p, coverage, corpus.known_each[rows])
    return {}


def fit_distance(training: np.ndarray, validation: np.ndarray | None) -> tuple[dict, dict[str, torch.Tensor]]:
    """Graft.distance and its tensors."""
    if len(training) < 2 or not np.isfinite(training).all():
        return {}, {}
    fitted = distances.fit(training)
    held = np.zeros(0) if validation is None else distances.distance(validation, fitted)
    tensors = {f"distance.{name}": torch.from_numpy(np.array(value, np.float32)) for name, value in fitted.items()}
    return {"limit": distances.limit(held), "records": len(held)}, tensors


def some(rows: np.ndarray) -> np.ndarray:
    """The training rows that the distance is fitted on."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), TRAINING_RECORDS)).round().astype(int))]
