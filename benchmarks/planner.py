"""Does ecgraft plan keep its word? python benchmarks/planner.py --data FOLDER

CinC 2017, task rhythm3, the encoder that comes with ecgraft, only a head learns. From the training and validation part
subsets of 100 labelled records are drawn; the planner sees one of them and states a 90 % interval for the score with
200, 400 and 1,000 labels. Then grafts are made of so many labels, the subset's among them, and scored on all other
records: what is left of these parts, and the test part, which no plan has seen. Reported: how many of these scores lie
in their intervals, how far the expected score is off, and how wide the intervals are.
"""

from __future__ import annotations

import numpy as np
from _corpora import arguments, corpus
from _result import keep

from ecgraft.commands import _trials
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings, fitting_steps, with_defaults
from ecgraft.commands.plan import measure
from ecgraft.model import Model
from ecgraft.store import splits

SEEN, ASKED = 100, (200, 400, 1000)
MINUTES = 10.0  # more than the planner needs for a head alone: its splits are then the same on every machine
LINEAR = _trials.named("linear")


def truth(job: Job, rows: np.ndarray, seen: np.ndarray, labels: int, seed: int) -> float:
    """The score of a graft from the seen records and others, as many as `labels` in all."""
    data, options = job.corpus, job.options
    more = splits.few(data.store, np.setdiff1d(rows, seen), data.y, labels - len(seen), seed)
    chosen = np.union1d(seen, more)
    held = splits.few(data.store, chosen, data.y, 0.2, seed + 1)
    train = np.setdiff1d(chosen, held)
    job.options = with_defaults(options, fitting_steps(len(train), options.batch), seed)
    tested = np.setdiff1d(np.union1d(rows, data.rows("test")), chosen)
    made = _trials.trial(job, LINEAR["linear"], train, held, tested)
    job.options = options
    return float(_trials.replicas(data, [made.found], 1)[0][0])


def one(job: Job, rows: np.ndarray, seed: int) -> list[dict]:
    """A plan from one subset, and what came true of it."""
    data = job.corpus
    seen = splits.few(data.store, rows, data.y, SEEN, seed)
    summary, _ = measure(job, seen, LINEAR, np.array(ASKED), MINUTES, seed)
    found = []
    for line in summary["expected"]:
        said, came = line["scores"]["linear"], truth(job, rows, seen, line["labels"], seed)
        inside = bool(said["low"] <= came <= said["high"])
        stated = [round(said[key], 4) for key in ("value", "low", "high")]
        found.append({"labels": line["labels"], "stated": stated, "came": round(came, 4), "inside": inside})
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--subsets", type=int, default=12)
    given = parser.parse_args()
    data, none = corpus(given, "cinc2017", "rhythm3"), np.zeros(0, np.int64)
    rows = np.union1d(data.rows("train"), data.rows("validation"))
    job = Job(Model.load(), data, none, none, Settings(), "rhythm3", progress=False)
    rows = rows[job.cache.usable[rows]]
    runs = [one(job, rows, given.seed + 100 * k) for k in range(given.subsets)]
    numbers = {}
    for k, labels in enumerate(ASKED):
        lines = [run[k] for run in runs]
        off = [line["stated"][0] - line["came"] for line in lines]
        numbers[str(labels)] = {
            "inside": f"{sum(line['inside'] for line in lines)} of {len(lines)}",
            "mean score that came": round(float(np.mean([line["came"] for line in lines])), 4),
            "mean error": round(float(np.mean(off)), 4),
            "mean absolute error": round(float(np.mean(np.abs(off))), 4),
            "mean width": round(float(np.mean([line["stated"][2] - line["stated"][1] for line in lines])), 4),
        }
    every = [line["inside"] for run in runs for line in run]
    keep(
        "planner", level=0.9, metric="cinc2017", labels_seen=SEEN, coverage=round(float(np.mean(every)), 4),
        by_labels=numbers, runs=runs,
    )  # fmt: skip


if __name__ == "__main__":
    main()
