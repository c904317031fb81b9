"""What a graft knows of its own certainty: which answers are possible, and whether a record is like the training's."""

from __future__ import annotations

import numpy as np

from ..metrics import conformal
from ..metrics import distance as distances
from .graft import Graft


def sets(probability: np.ndarray, graft: Graft) -> np.ndarray:
    """Which answers are possible: (N, K) bool of classes, (N, K, 2) of labels (no, yes).

    Of a label that too few validation records have, or have not, both answers stay possible. Else a rare label, of
    which only "no" can ever be ruled out, would be called a sure "yes" in one of ten records without it.
    """
    if graft.task.kind == "multiclass":
        return conformal.class_sets(probability, graft.conformal)
    limits = [pair if None not in pair else [None, None] for pair in graft.conformal["limits"]]
    return conformal.label_sets(probability, {"limits": limits})


def ranges(value: np.ndarray, graft: Graft) -> np.ndarray:
    """Lowest and highest possible value, (N, 2); infinite where too few validation records were known."""
    return conformal.value_ranges(value, graft.conformal)


def distance(features: np.ndarray, graft: Graft) -> np.ndarray | None:
    """How far (N, D) features are from those of the training records, (N,); None where the graft cannot tell."""
    fitted = {name: tensor.numpy() for name, tensor in graft.part("distance").items()}
    return distances.distance(features, fitted) if fitted else None


def far(features: np.ndarray, graft: Graft) -> tuple[np.ndarray | None, float | None]:
    """Which records (N,) are unusual, and the limit; None where that cannot be told."""
    limit = graft.distance.get("limit")
    away = None if limit is None else distance(features, graft)
    return (None, None) if away is None else (away > limit, limit)
