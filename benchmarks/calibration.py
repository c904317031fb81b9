"""Calibration and conformal sets: python benchmarks/calibration.py --data FOLDER

A new head on the packaged encoder, or all of its weights, trained on 60 % of the records; a further 20 % give the
temperature, isotonic curves and conformal limits; the last 20 % are the test. Splits by patient, a seed each; means
over them. Labels with too few positives in validation have no limit for them: they are then always possible, and not
counted. Bars: coverage within 2 points of the stated 90 %; a smaller calibration error than before.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from _corpora import arguments, corpus
from _result import keep

from ecgraft import datasets, tasks
from ecgraft.commands import _calibrate, _score
from ecgraft.commands._bench import standins
from ecgraft.commands._examples import Corpus
from ecgraft.commands._features import features
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings, with_defaults
from ecgraft.metrics import classify, conformal, distance
from ecgraft.model import Model
from ecgraft.store import Store, StoreWriter, splits

SHARES, COVERAGE = (0.6, 0.2, 0.2), 0.9
STEPS = {"linear": 600, "full": 400}
SETTINGS = Settings(
    adapter="linear", augment={}, seconds=10.0, start="new", training={"rate": 5e-3, "decay": 0.1, "keep": "last"}
)
FULL = replace(
    SETTINGS, adapter="full", augment={"gain": {}, "noise": {"share": 0.2}}, training={"average": 0.99, "keep": "last"}
)
METHODS = ("none", "temperature", "isotonic")


def run(data: Corpus, model: Model, settings: Settings, seed: int, foreign: dict[str, Store]) -> dict[str, float]:
    """One split: what the test part says; `foreign` stores are to be flagged as unlike the training."""
    split = replace(data, part=splits.split(data.store, seed, SHARES))
    train, held = split.rows("train"), split.rows("validation")
    job = Job(
        model,
        split,
        train,
        held,
        with_defaults(settings, STEPS[settings.adapter], seed),
        data.task.name,
        progress=False,
    )
    graft = job.run()
    model.add(graft)
    network = model.network(graft.name)
    test = split.rows("test")
    validation, found = (job.answer(network, rows[job.cache.usable[rows]]) for rows in (held, test))
    numbers = {}
    for method in METHODS:
        calibration, _ = _score.calibrated(split, validation, method)
        p = _score.probabilities(data.task, found, calibration)
        y = np.where(split.known_each[found.rows], split.y[found.rows], -1)
        numbers |= {
            f"ECE {method}": np.nanmean(classify.ece(y, p)),
            f"Brier {method}": np.nanmean(classify.brier(y, p)),
        }
        if method == "temperature":
            fitted = _calibrate.fit_sets(split, validation, calibration, COVERAGE)
            numbers |= of_sets(split, found, p, fitted)
    shown = {"unusual, test": found.features}
    shown |= {f"unusual, {name}": features_of(job, network, store) for name, store in foreign.items()}
    return {name: float(value) for name, value in (numbers | unusual(graft, shown)).items()}


def features_of(job: Job, network, store: Store) -> np.ndarray:
    cache = store.prepared(job.recipe)
    return features(network.encoder, job.recipe, cache, np.flatnonzero(cache.usable))


def unusual(graft, shown: dict[str, np.ndarray]) -> dict[str, float]:
    """The share of records that are farther from the training than nearly all of the validation part."""
    fitted = {name: t.numpy() for name, t in graft.part("distance").items()}
    return {name: (distance.distance(h, fitted) > graft.distance["limit"]).mean() for name, h in shown.items()}


def noise(given: argparse.Namespace) -> Store:
    """Electrode motion without an ECG (NSTDB "em"), cut into records of 10 s and called lead I."""
    path = given.runs / "stores" / "noise"
    if not path.exists():
        (entry,) = [e for e in datasets.entries("nstdb", given.data / "nstdb") if e.id == "em"]
        record, T = datasets.read(entry), 3600
        with StoreWriter(path) as writer:
            for k in range(record.signal.shape[1] // T):
                piece = record.signal[:1, k * T : (k + 1) * T]
                writer.add(record.but(signal=piece, leads=("I",), id=f"em{k}", beats=None, rhythms=None))
    return Store(path)


def of_sets(data: Corpus, found, p: np.ndarray, fitted: dict) -> dict:
    """Coverage, size of the sets, share that is answered, and how often answers are right, all and the answered."""
    if data.task.kind == "multiclass":
        truth, sets = _score.classes(data, found.rows), conformal.class_sets(p, fitted)
        single, right = sets.sum(1) == 1, p.argmax(1) == truth
    else:
        truth = np.where(data.known_each[found.rows], data.y[found.rows], -1)
        sets = conformal.label_sets(p, fitted)
        single, right = sets.sum(2) == 1, (p >= 0.5) == (truth == 1)
        right, single = right[truth >= 0], single[truth >= 0]
        limited = np.array([[limit is not None for limit in pair] for pair in fitted["limits"]])  # (K, no and yes)
        promised = limited[np.arange(len(limited)), np.maximum(truth, 0)]
        truth = np.where(promised, truth, -1)
    measured = conformal.coverage(truth, sets)
    said = {name: np.nanmean(value) for name, value in measured.items()}
    return said | {"right, all": right.mean(), "right, answered": right[single].mean() if single.any() else np.nan}


def summary(rows: list[dict]) -> dict:
    """Means over the splits, with the standard deviation between them."""
    return {
        name: [
            round(float(np.nanmean([r[name] for r in rows])), 4),
            round(float(np.nanstd([r[name] for r in rows])), 4),
        ]
        for name in rows[0]
    }


def simulated(given: argparse.Namespace) -> Corpus:
    store = standins.make(standins.SIMULATED, given.runs / "stores" / "simulated-5000", {"count": 5000})
    return Corpus.open(store, tasks.find("findings"))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--splits", type=int, default=20, help="how many, from --seed on")
    parser.add_argument("--full", type=int, default=3, help="splits on which all weights are trained, too")
    given = parser.parse_args()
    corpora = {
        "cinc2017, rhythm": corpus(given, "cinc2017", "rhythm"),
        "ptb_xl, superclass": corpus(given, "ptb_xl", "superclass"),
        "simulated, findings": simulated(given),
    }
    foreign = {"electrode motion": noise(given), "CPSC2019": corpus(given, "cpsc2019", "qrs").store}
    runs = [(name, SETTINGS, given.splits) for name in corpora]
    runs += [(name, FULL, given.full) for name in corpora if given.full and not name.startswith("simulated")]
    found = {}
    for name, settings, splits_ in runs:
        data, model = corpora[name], Model.load()
        said = {"records": int(data.known.sum()), "labels": len(data.task.labels), "splits": splits_}
        others = foreign if name.startswith("cinc2017") else {}
        said |= summary([run(data, model, settings, given.seed + k, others) for k in range(splits_)])
        found[f"{name}, {'all weights' if settings is FULL else 'a new head'}"] = said
        print(name, said)
    keep("calibration", bar="coverage 0.88 to 0.92", stated=COVERAGE, seed=given.seed, **found)


if __name__ == "__main__":
    main()
