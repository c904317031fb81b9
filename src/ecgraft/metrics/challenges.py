"""The scores of the PhysioNet/CinC Challenges 2017, 2020, 2021 and of the China Physiological Signal Challenges 2018,
2019, by their official definitions.

The rewards of 2020 and 2021 (rewards.json) are those of weights.csv in the evaluation code of the challenges
(github.com/physionetchallenges, BSD 2-Clause, Copyright (c) 2020, 2021 PhysioNet/Computing in Cardiology Challenges).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from ..record import InputError
from .classify import confusion, counts
from .ranking import checked
from .sums import macro, ratio

REWARDS = Path(__file__).with_name("rewards.json")
CPSC2018 = ("normal", "AF", "I-AVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE")  # 1 to 9 of its reference table
GROUPS = {"f af": (1,), "f block": (2, 3, 4), "f pc": (5, 6), "f st": (7, 8)}
SHARES = ((0.02, 1.0), (0.05, 0.75), (0.1, 0.5), (0.2, 0.25))  # CPSC2019: error of the heart rate, and what it scores


def cinc2017(matrix, labels) -> np.ndarray:
    """Mean F1 of N, A and O, from the confusion matrix (..., K, K) over all classes, noise too.

    F1 of a class = 2 x hits / (reference total + answer total). Clifford et al. 2017, doi:10.22489/CinC.2017.065-469.
    """
    missing = [name for name in "NAO" if name not in labels]
    if missing:
        raise InputError(f"the CinC 2017 score needs the classes N, A and O; {missing[0]} is not among {list(labels)}")
    matrix = np.asarray(matrix, dtype=float)
    f1 = _f1(matrix, [(list(labels).index(name),) for name in "NAO"])
    return f1.mean(axis=-1)


def cinc2020_phase1(y, decision, known=None, weights=None) -> dict[str, np.ndarray]:
    """ "f2" and "g2" of the unofficial phase of 2020, means over the classes, () or (R,): yes/no decisions (N, K).

    A record weighs 1 / (its number of labels). A class that is called but never there scores 0, as in the challenge;
    one that is neither is left out of the mean.
    """
    y, decision, known, weights = checked(y, np.asarray(decision, dtype=float), known, weights)
    labels = np.maximum((y & known).sum(axis=1), 1)
    tp, fp, fn, _ = np.moveaxis(counts(y, decision, known, weights / labels.astype(weights.dtype)), -1, 0)
    return {
        "f2": macro(ratio(5 * tp, 5 * tp + fp + 4 * fn))[0],
        "g2": macro(ratio(tp, tp + fp + 2 * fn))[0],
    }


def cinc2020(y, decision, codes: Sequence[Sequence[str]], known=None, weights=None) -> np.ndarray:
    """The score of 2020 over its 24 classes; otherwise as `cinc2021`."""
    return _rewarded(y, decision, codes, known, weights, leave_out=frozenset(_table()["not_2020"]))


def cinc2021(y, decision, codes: Sequence[Sequence[str]], known=None, weights=None) -> np.ndarray:
    """The score of 2021 over its 26 classes, () or (R,): 1 the right answer, 0 always sinus rhythm.

    decision (N, K) yes/no; codes: of each of the K columns its SNOMED CT codes, "snomed:164889003" or "164889003",
    in any order of the columns; columns of one class count as one, those of no scored class do not count. An answer of
    class k where j holds earns reward[j, k] / (number of classes that hold or are answered). Reyna et al. 2021,
    doi:10.23919/CinC53138.2021.9662687. An unknown label counts neither as there nor as answered.
    """
    return _rewarded(y, decision, codes, known, weights)


def cpsc2018(y, answer, first=None, known=None, weights=None) -> dict[str, np.ndarray]:
    """Scores of 2018: "f1" (..., 9), their mean "macro f1", and "f af", "f block", "f pc", "f st", () or (R,).

    y (N, 9) in the order of CPSC2018, answer (N,) one class index a record. An answer that is one of the record's
    labels is a hit of it; any other is counted against its first label: `first` (N,) as the challenge's table lists
    them, by default the one of the lowest number. Records without a label, or with an answer whose label is unknown,
    are left out. Liu et al. 2018, doi:10.1166/jmihi.2018.2442.
    """
    answer = np.asarray(answer, dtype=int)
    if np.shape(y)[1:] != (len(CPSC2018),) or (answer < 0).any() or (answer >= len(CPSC2018)).any():
        raise InputError(f"the CPSC2018 score needs labels (records, 9) and answers from 0 to 8; labels {np.shape(y)}")
    y, _, known, weights = checked(y, np.zeros(np.shape(y)), known, weights)
    yes, rows = y & known, np.arange(len(y))
    first = yes.argmax(axis=1) if first is None else np.asarray(first, dtype=int)
    truth = np.where(yes[rows, answer], answer, first)
    truth = np.where(yes.any(axis=1) & known[rows, answer], truth, -1)
    matrix = confusion(truth, answer, len(CPSC2018), weights)
    f1 = _f1(matrix, [(k,) for k in range(len(CPSC2018))])
    groups = _f1(matrix, GROUPS.values())
    return {"f1": f1, "macro f1": f1.mean(axis=-1)} | {name: groups[..., i] for i, name in enumerate(GROUPS)}


def cpsc2019(reference, predicted, rate: float, seconds: float = 10, tolerance: float = 0.075) -> float:
    """Score of one record's R peaks by the rule of 2019; average it over records.

    No error 1, one false peak 0.7, one missed peak 0.3, else 0. Reference peaks count from 0.5 s to 0.5 s before the
    end. A false peak lies there, too, by at least the tolerance, and farther than it from every counted peak; a second
    peak within the tolerance of one is false as well. (The challenge's script does not look between the first two
    reference peaks; this one does, and so may be lower, never higher.)
    """
    reference, predicted = np.asarray(reference, dtype=float), np.asarray(predicted, dtype=float)
    start, stop, reach = 0.5 * rate, (seconds - 0.5) * rate, tolerance * rate
    reference = reference[(reference >= start) & (reference <= stop)]
    near = np.abs(predicted[:, None] - reference) <= reach  # (predicted, reference)
    found = near.any(axis=0)
    second = near.sum() - found.sum()
    alone = ~near.any(axis=1) & (predicted >= start + reach) & (predicted <= stop - reach)
    return {(0, 0): 1.0, (0, 1): 0.7, (1, 0): 0.3}.get(((~found).sum(), second + alone.sum()), 0.0)


def cpsc2019_heart_rate(reference, beats_per_minute: float, rate: float, seconds: float = 10) -> float:
    """Score of one record's heart rate by the rule of 2019: 1, 0.75, 0.5, 0.25 within 2, 5, 10, 20 %, else 0.

    The true rate, a whole number, is of the mean interval of the reference peaks between 5.5 s and 0.5 s before the
    end; NaN with fewer than two of them. The answer is cut to a whole number, as in the challenge's script.
    """
    reference = np.asarray(reference, dtype=float)
    late = reference[(reference > 5.5 * rate) & (reference < (seconds - 0.5) * rate)]
    if len(late) < 2:
        return np.nan
    true = round(60 * rate / np.diff(late).mean())
    error = abs(int(beats_per_minute) - true)
    return next((score for share, score in SHARES if error <= share * true), 0.0)


def _f1(matrix, groups) -> np.ndarray:
    """2 x hits / (reference total + answer total) of each group of classes, (..., K, K) -> (..., groups)."""
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    total = matrix.sum(axis=-1) + matrix.sum(axis=-2)
    return np.stack([ratio(2 * hits[..., list(g)].sum(-1), total[..., list(g)].sum(-1)) for g in groups], axis=-1)


@cache
def _table() -> dict:
    return json.loads(REWARDS.read_text(encoding="utf-8"))


def _rewarded(y, decision, codes, known, weights, leave_out=frozenset()) -> np.ndarray:
    """Reward of the answers between that of always sinus rhythm and that of the labels themselves."""
    y, decision, known, weights = checked(y, np.asarray(decision, dtype=float), known, weights)
    if len(codes) != y.shape[1]:
        raise InputError(f"{len(codes)} columns with codes do not fit {y.shape[1]} columns of labels")
    table = _table()
    classes = [set(names) - leave_out for names in table["codes"]]
    reward = np.array(table["reward"], dtype=float)[np.ix_(*2 * [[bool(names) for names in classes]])]
    classes = [names for names in classes if names]
    named = [{code.removeprefix("snomed:") for code in column} for column in codes]
    columns = [[k for k, column in enumerate(named) if column & names] for names in classes]
    lacking = ["|".join(sorted(names)) for names, of in zip(classes, columns) if not of]
    if lacking:
        raise InputError(f"no column for {len(lacking)} of the {len(classes)} scored classes: {', '.join(lacking)}")
    parts = (y & known, (decision > 0) & known, known)
    held, said, sure = (np.stack([part[:, of].any(axis=1) for of in columns], axis=1) for part in parts)  # (N, classes)
    normal = np.array([table["normal"] in names for names in classes]) & sure
    each = np.stack([_earned(held, answer, reward) for answer in (said, held, normal)], axis=-1)  # (N, 3)
    score, right, inactive = np.moveaxis(weights.astype(float) @ each, -1, 0)
    return ratio(score - inactive, right - inactive)


def _earned(held, answer, reward) -> np.ndarray:
    """Reward of each record (N,): the sum over pairs of a class that holds and an answer, by classes in either."""
    return ((held @ reward) * answer).sum(axis=1) / np.maximum((held | answer).sum(axis=1), 1)
