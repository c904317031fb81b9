"""Further scores of tasks with labels: F2 and G2, the order of the labels, and those of the challenges they are of."""

from __future__ import annotations

import numpy as np

from ..metrics import challenges, order
from ..record import InputError
from ..tasks import Task


def further(y: np.ndarray, p: np.ndarray, called: np.ndarray, known: np.ndarray, w: np.ndarray) -> dict:
    """Of y, probabilities, decisions and known pairs (n, K); weights (n,) or (R, n). Each () or (R,)."""
    return challenges.cinc2020_phase1(y, called, known, w) | {
        "fmax": order.fmax(y, p, known, w),
        "ranking loss": order.ranking_loss(y, p, known, w),
        "coverage error": order.coverage_error(y, p, known, w),
    }


def challenge(task: Task, y: np.ndarray, p: np.ndarray, called: np.ndarray, known: np.ndarray, w: np.ndarray) -> dict:
    """The scores of the challenges that all the labels of the task are there for; arguments as of `further`."""
    scores = {}
    if set(task.labels) == set(challenges.CPSC2018):
        at = [task.labels.index(label) for label in challenges.CPSC2018]
        found = challenges.cpsc2018(y[:, at], p[:, at].argmax(1), None, known[:, at], w)
        scores["cpsc2018"] = found["macro f1"]
        scores |= {f"cpsc2018 {name}": value for name, value in found.items() if name.startswith("f ")}
    if task.kind == "multilabel":
        codes = [task.codes[label] for label in task.labels]
        for name in ("cinc2020", "cinc2021"):
            try:
                scores[name] = getattr(challenges, name)(y, called, codes, known, w)
            except InputError:  # a class of the challenge is not among the task's
                continue
    return scores
