"""One answer over the labels of several grafts, where classes were learnt one after another and no task is named.

The rule: of each label its own head's calibrated log odds, log p / (1 - p); the label with the largest is the answer,
and the probabilities are the softmax of these log odds over all labels. If the labels are independent yes/no questions
and exactly one of them is a yes, that softmax is the probability of each to be the one: P(k alone) = odds_k times the
product of all (1 - p_j), which is the same factor for all. No weight is fitted over the grafts together, so a further
one changes no other's log odds; what it rests on is the calibration of each, and that none has seen the others' "no".
Classes of one multiclass graft enter by log p - log(1 - p) of its softmax, though they exclude each other already.

`NONE` is the answer where no label reaches the threshold of its own head (0.5 where it has none, as classes of a
multiclass graft): so it comes of the same numbers as each graft's own answer. The probabilities stay those of the rule.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy.special import logit, logsumexp, softmax

from ..metrics.calibrate import probability
from ..record import UsageError
from . import chain
from .prediction import Prediction

UNION, NONE = "union", "none of these"
KINDS = ("multilabel", "multiclass")
LEAST = 1e-6  # of a probability and of its complement, read from a curve, which may say 0 or 1


def log_odds(task, logits, calibration: dict) -> np.ndarray:  # (n, K) -> (n, K)
    """The calibrated log odds of each label of one graft, float64.

    Multilabel: logit / temperature, or the logit of the curve's probability; multiclass: log p - log(1 - p) of the
    softmax of logit / temperature, or of the curves' probabilities. UsageError for a task without labels of a record.
    """
    if task.kind not in KINDS:
        raise UsageError(f"task {task.name}: a {task.kind} task has no labels of a record, which a union is made of")
    logits = np.asarray(logits, dtype=float)
    scaled = logits / calibration.get("temperature", 1.0)
    plain = scaled if task.kind == "multilabel" else _against_the_rest(scaled)
    curves = calibration.get("isotonic")
    if not curves:
        return plain
    read = logit(probability(logits, calibration, task.kind).clip(LEAST, 1 - LEAST))
    if task.kind == "multiclass":  # scaled together
        return read
    return np.stack([plain[:, k] if curve is None else read[:, k] for k, curve in enumerate(curves)], axis=1)


def _against_the_rest(z: np.ndarray) -> np.ndarray:
    """log p - log(1 - p) of a softmax: z_k less the logarithm of the sum of the others' exp."""
    rest = [logsumexp(np.delete(z, k, axis=1), axis=1) for k in range(z.shape[1])]
    return z - np.stack(rest, axis=1)


def joined(parts: list[np.ndarray]) -> np.ndarray:  # [(n, K_t)] -> (n, sum of K_t)
    """Logits whose softmax is the answer over the union: the log odds of the grafts side by side, as they were learnt.

    Of equally sure labels the one that was learnt first is the answer (argmax). See the module for the rule and why.
    """
    return np.concatenate(parts, axis=1)


def labels(tasks: dict) -> list[str]:
    """The labels of a union, graft -> task. UsageError where two grafts have the same one."""
    found = [label for task in tasks.values() for label in task.labels]
    twice = [label for label, count in Counter(found).items() if count > 1]
    if twice:
        of = [name for name, task in tasks.items() if twice[0] in task.labels]
        raise UsageError(
            f"union: label {twice[0]!r} is one of grafts {' and '.join(of)}; each label may be that of one graft alone"
        )
    return found


def members(model, names: list[str]) -> list[str]:
    """The grafts of a union in the order of learning: those whose weights build on each other in that order and first,
    others as they are named.

    UsageError for a graft that is unknown, named twice, or without labels of a record, and for a label of two.
    """
    tasks = {name: model.graft(name).task for name in names}
    if len(tasks) < max(2, len(names)):
        raise UsageError(f"union of {', '.join(names) or 'nothing'}: name two grafts or more, each once")
    if UNION in tasks:
        raise UsageError(f"union: a graft is named {UNION!r} itself; give it another name")
    for task in tasks.values():
        if task.kind not in KINDS:
            log_odds(task, [], {})  # says why not
    labels(tasks)
    learnt = [graft.name for graft in chain.order(model.grafts)]
    return sorted(names, key=lambda name: learnt.index(name) if name in learnt else len(learnt))


def answer(model, names: list[str], said: dict[str, Prediction]) -> Prediction:
    """The one answer of `members` to a record, from what each of them says of it."""
    parts = [said[name] for name in names]
    found = labels({name: model.graft(name).task for name in names})
    sure = softmax(joined([part.log_odds[None] for part in parts]), axis=1)[0]  # (K,)
    single = [(label, p, model.graft(name).thresholds) for name in names for label, p in said[name].probability.items()]
    reached = [p >= thresholds.get(label, 0.5) for label, p, thresholds in single]
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    made = Prediction(parts[0].record, UNION, UNION, parts[0].rate, leads=parts[0].leads, notes=notes, members=names)
    made.probability = {label: float(p) for label, p in zip(found, sure)}
    made.answer = [found[int(sure.argmax())]] if any(reached) else [NONE]
    unusual = [part.unusual for part in parts]
    made.unusual = True if True in unusual else None if None in unusual else False
    return made
