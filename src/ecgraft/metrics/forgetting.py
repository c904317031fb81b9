"""What tasks learnt one after another do to each other: forgetting, backward and forward transfer, gain over alone.

All is read from the accuracy matrix R (..., K, K): R[i, j] is the score of task j after training task i, K tasks in the
order in which they were learnt. Below the diagonal stand tasks learnt before, above it (j > i) those still to come,
scored by a decoder of their own on the network as it stands. Axes in front are seeds or replicates and stay. Higher
scores are better. Means over tasks mix scores of different kinds where the tasks have such: whoever shows them says so.
"""

from __future__ import annotations

import numpy as np

from ..record import InputError


def summary(R, before=None, independent=None) -> dict[str, np.ndarray]:
    """By name "acc", "bwt", "fwt", "mean forgetting", "mean gain" (...) and of each task "forgetting", "gain" (..., K).

    "acc" is the mean of the last row, "gain" R[j, j] - independent[j]; for the others see below.
    before (..., K) scores a decoder of each task on a random frozen network, independent (..., K) a model of each task
    alone; without their axes in front they serve all replicates, and without them what needs them is NaN.

    NaN is a score that was not measured. What needs one is NaN, and so is a mean with one such task: a mean is never
    taken over fewer tasks. Nothing else suffers: a last row alone has "acc". With K = 1 "bwt", "fwt" and "forgetting"
    are not defined. Differences are taken before means, so scores that are bit for bit alike give exactly 0.
    """
    R = _checked(R)
    each = {"forgetting": forgetting(R), "gain": _diagonal(R) - _scores(independent, R, "independent")}
    means = {"acc": R[..., -1, :], "bwt": backward(R), "fwt": forward(R, before)}
    means |= {"mean forgetting": each["forgetting"][..., :-1], "mean gain": each["gain"]}
    return {name: _mean(values) for name, values in means.items()} | each


def backward(R) -> np.ndarray:
    """R[K, j] - R[j, j] of the tasks before the last, (..., K - 1); BWT is their mean.

    Lopez-Paz & Ranzato 2017 (arXiv:1706.08840).
    """
    R = _checked(R)
    return (R[..., -1, :] - _diagonal(R))[..., :-1]


def forward(R, before) -> np.ndarray:
    """R[j - 1, j] - before[j] of the tasks after the first, (..., K - 1); FWT is their mean.

    Lopez-Paz & Ranzato 2017 (arXiv:1706.08840).
    """
    R = _checked(R)
    return np.diagonal(R, 1, -2, -1) - _scores(before, R, "before")[..., 1:]


def forgetting(R) -> np.ndarray:
    """max R[i, j] - R[K, j] over j <= i < K, (..., K): what was lost since task j was best; NaN for the last task.

    Chaudhry et al. 2018 (arXiv:1801.10112). Below 0 where a task is best at the end.
    """
    R = _checked(R)
    K = R.shape[-1]
    lost = R - R[..., -1:, :]
    each = [lost[..., j:-1, j].max(axis=-1) for j in range(K - 1)]
    return np.stack([*each, np.full(R.shape[:-2], np.nan)], axis=-1)


def _checked(R) -> np.ndarray:
    R = _floats(R, "R")
    if R.ndim < 2 or R.shape[-1] != R.shape[-2] or not R.shape[-1]:
        raise InputError(f"R {R.shape}: an accuracy matrix has a row and a column for each task, (..., K, K)")
    return R


def _scores(scores, R: np.ndarray, name: str) -> np.ndarray:
    """Scores (..., K) with the axes in front that R has; NaN for None."""
    scores = np.full(R.shape[-1], np.nan) if scores is None else _floats(scores, name)
    if not scores.ndim or scores.shape != R.shape[:-1][-scores.ndim :]:
        raise InputError(f"{name} {scores.shape}: R {R.shape} asks for one score a task, {R.shape[:-1]}")
    return np.broadcast_to(scores, R.shape[:-1])


def _floats(values, name: str) -> np.ndarray:
    try:
        return np.asarray(values, dtype=float)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: not an array of numbers ({error})") from error


def _diagonal(R: np.ndarray) -> np.ndarray:
    return np.diagonal(R, axis1=-2, axis2=-1)  # (..., K)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, NaN where it is empty."""
    return values.mean(axis=-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan)
