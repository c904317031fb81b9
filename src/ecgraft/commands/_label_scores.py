"""Scores of tasks with labels by the rules of the challenges: those of any labels, and those of their own classes."""

from __future__ import annotations

import numpy as np

from ..metrics import challenges
from ..record import InputError
from ..tasks import Task


def challenge(task: Task, y: np.ndarray, p: np.ndarray, called: np.ndarray, known: np.ndarray, w: np.ndarray) -> dict:
    """F2 and G2 as in the first phase of 2020, and the scores of the challenges whose classes are all in the task.

    Of y, probabilities, decisions and known pairs (n, K); weights (n,) or (R, n). Each () or (R,).
    """
    scores = {f"cinc2020 phase 1 {name}": v for name, v in challenges.cinc2020_phase1(y, called, known, w).items()}
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
