"""Bootstrap by patient of AUROC and average precision, against a plain loop of scikit-learn over the drawn records.

    python benchmarks/bootstrap.py

1,000 replicates of 20,000 records x 20 classes, one thread. The loop is run on the first replicates of the same draws
only, and its time taken times 1,000 / their number; on these the numbers are compared. Chunks of ours and replicates of
the loop take turns, so that a busy machine slows both alike.
"""

from __future__ import annotations

import time

import numpy as np
from _result import keep
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgraft.metrics import bootstrap, classify, ranking
from ecgraft.metrics.sums import macro

RECORDS, CLASSES, PATIENTS, REPLICATES, LOOPED = 20_000, 20, 17_000, 1000, 20


def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of 1 to 40 %, probabilities that know something of them, patients."""
    rng = np.random.default_rng(0)
    y = (rng.random((RECORDS, CLASSES)) < rng.uniform(0.01, 0.4, CLASSES)).astype(np.int8)
    return y, 1 / (1 + np.exp(-rng.normal(size=y.shape) - y)), rng.integers(0, PATIENTS, RECORDS)


def looped(y, score, weights) -> np.ndarray:
    """AUROC and average precision (2, K) of one replicate, and the seconds of each."""
    drawn = np.repeat(np.arange(RECORDS), weights.astype(int))
    times, values = [], []
    for metric in (roc_auc_score, average_precision_score):
        start = time.perf_counter()
        values.append([metric(y[drawn, k], score[drawn, k]) for k in range(CLASSES)])
        times.append(time.perf_counter() - start)
    return np.array(values), np.array(times)


def timed(function) -> tuple[object, float]:
    start = time.perf_counter()
    found = function()
    return found, time.perf_counter() - start


def in_turns(y, score, patients) -> tuple[dict, float]:
    """Seconds of REPLICATES of each, and the largest difference on the LOOPED ones."""
    runs = {"draws": [], "macro AUROC": [], "macro AUROC and AP": []}
    loop, gap, draw = [], 0.0, iter(bootstrap.draws(patients, REPLICATES))
    first = next(bootstrap.draws(patients, LOOPED))
    ours = np.stack(ranking.areas(y, score, weights=first), axis=1)  # (LOOPED, 2, K)
    for turn in range(-(-REPLICATES // bootstrap.CHUNK)):
        weights, seconds = timed(lambda: next(draw))
        runs["draws"].append(seconds)
        runs["macro AUROC"].append(timed(lambda w=weights: macro(ranking.auroc(y, score, weights=w)))[1])
        both = timed(lambda w=weights: [macro(each) for each in ranking.areas(y, score, weights=w)])
        runs["macro AUROC and AP"].append(both[1])
        for r in range(turn * LOOPED // 16, min((turn + 1) * LOOPED // 16, LOOPED)):
            values, seconds = looped(y, score, first[r])
            loop.append(seconds)
            gap = max(gap, float(np.abs(values - ours[r]).max()))
    each = np.mean(loop, axis=0) * REPLICATES
    total = {name: sum(times) for name, times in runs.items()}
    drawing = total.pop("draws")
    total = {name: seconds + drawing for name, seconds in total.items()}
    return total | {"loop, AUROC": each[0], "loop, AUROC and AP": each.sum()}, gap


def main() -> None:
    y, score, patients = made()
    seconds, gap = in_turns(y, score, patients)
    limits = np.full(CLASSES, 0.5)
    _, whole = timed(
        lambda: bootstrap.estimate(lambda w: classify.multilabel(y, score, limits, weights=w), patients, REPLICATES)
    )
    ratio = {
        "macro AUROC": seconds["loop, AUROC"] / seconds["macro AUROC"],
        "macro AUROC and AP": seconds["loop, AUROC and AP"] / seconds["macro AUROC and AP"],
        "macro AUROC and AP, against the loop of AUROC alone": seconds["loop, AUROC"] / seconds["macro AUROC and AP"],
    }
    keep(
        "bootstrap", bar="under 10 s, and at least 30 times as fast as the loop", records=RECORDS, classes=CLASSES,
        patients=PATIENTS, replicates=REPLICATES, replicates_of_the_loop=LOOPED,
        seconds={name: round(value, 2) for name, value in seconds.items()},
        seconds_of_every_score_of_a_report=round(whole, 2),
        times_as_fast_as_the_loop={name: round(value, 1) for name, value in ratio.items()},
        largest_difference=gap,
    )  # fmt: skip


if __name__ == "__main__":
    main()
