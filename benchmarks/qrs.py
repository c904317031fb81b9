"""R peaks beside other detectors: python benchmarks/qrs.py --data FOLDER

One graft for R peaks with all weights free on the packaged encoder: half of each batch simulated, the other half from
CPSC 2021 and from those records of QTDB whose every beat is annotated and whose patients are not MIT-BIH's; artefacts
of worn electrodes and the recorded noise of NSTDB laid over all. MIT-BIH: both leads, by that graft, which has seen
none of it. CPSC 2019: that graft as it is, and five folds, in each of which it goes on for a short while with the other
four, which also choose its threshold (the files have no patients: a fold may hold a neighbour's patient). A fixed
number of steps; what was chosen while scores of these databases were seen is written in LOG.md.

The same rules as benchmarks/references.py, whose tools are in the same result.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import references
from _corpora import arguments, corpus
from _result import keep

from ecgraft.commands import _score, _seen
from ecgraft.commands._examples import Corpus
from ecgraft.commands._graft_files import merged
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings
from ecgraft.metrics import challenges
from ecgraft.model import Graft, Model, infer
from ecgraft.model.model import PACKAGED
from ecgraft.signal.peaks import decode
from ecgraft.store import splits
from ecgraft.training import Examples

FOLDS = 5
RATE = 250.0  # Hz, of the packaged encoder
THRESHOLDS = (0.5, 0.4, 0.3, 0.2)
TRAINING = {"average": 0.998, "keep": "last", "precision": "fp32"}
GENERAL = Settings(
    simulated=0.5, batch=64,
    augment={
        "gain": {"record": 2.0, "lead": 1.2, "flip": 0.3},
        "noise": {"share": 0.5, "white": 0.05, "muscle": 0.15, "wander": 0.4, "motion": 0.3, "mains": 0.1,
                  "recorded": 0.3},
        "lead_loss": {"share": 0.2, "single": 0.6, "unnamed": 0.6},
        "artefact": {"share": 0.3},
    },
    training=TRAINING | {"steps": 2500, "rate": 2e-3},
)  # fmt: skip
FOLD = replace(GENERAL, batch=32, training=TRAINING | {"steps": 300, "rate": 5e-4, "average": 0.99})


def with_noise(settings: Settings, given, seed: int) -> Settings:
    """The settings with the folder of recorded noise, and a seed."""
    noise = settings.augment["noise"] | {"nstdb": str(given.data / "nstdb")}
    return replace(settings, augment=settings.augment | {"noise": noise}, training=settings.training | {"seed": seed})


def all_beats_known(data: Corpus) -> Corpus:
    """Records of QTDB with every beat annotated, of patients that MIT-BIH does not have."""
    store = data.store
    usable = [
        "beats" not in store.extra(i) and not str(store.column("patient")[i]).startswith("mitdb:")
        for i in range(len(store))
    ]
    return replace(data, known=data.known & np.array(usable))


def kept(path: Path, job: Job) -> Graft:
    """The graft at `path`, or what the job comes to, kept there."""
    if path.is_file():
        return Graft.load(path)
    graft = job.run(path.with_suffix(""))
    graft.save(path)
    return graft


def general(given, data: dict[str, Corpus]) -> Model:
    """The packaged encoder with the graft that knows neither CPSC 2019 nor MIT-BIH."""
    model, first, other = Model.load(), data["cpsc2021"], all_beats_known(data["qtdb"])
    settings, rows = with_noise(GENERAL, given, 0), np.flatnonzero(first.known)
    job = Job(model, first, rows, rows[:0], settings, "qrs", device=given.device, also=[other])
    model.add(kept(given.runs / "qrs" / "general.safetensors", job))
    return model


def install(given, model: Model, data: dict[str, Corpus]) -> None:
    """Puts the general graft into the package, with what it has learnt from."""
    learnt = [(each.store, np.flatnonzero(each.known)) for each in (data["cpsc2021"], all_beats_known(data["qtdb"]))]
    graft, packaged = model.grafts["qrs"], Model.load()
    seen = _seen.joined([_seen.tensors(store, rows, False) for store, rows in learnt])
    settings = with_noise(GENERAL, argparse.Namespace(data=Path("../shared/data")), 0)
    card = {
        **graft.card, "command": "python benchmarks/qrs.py --data FOLDER --install",
        "settings": dataclasses.asdict(settings) | {"training": graft.card["settings"]["training"]},
        "data": "simulated ECGs; CPSC 2021 (CC BY 4.0) and QT Database (ODC-BY 1.0): 27 recordings; noise of NSTDB "
                "(ODC-BY 1.0)",
    }  # fmt: skip
    packaged.add(replace(graft, tensors=graft.tensors | seen, card=card))
    packaged.save(PACKAGED)


def folds(given, data: Corpus, base: Model) -> list[np.ndarray]:
    """R peaks of each record of CPSC 2019 by the graft of its fold, with the threshold that the other folds choose."""
    rows, said = np.flatnonzero(data.known), {}
    unseen = probabilities(base, data, rows)
    fold = splits.folds(data.store, FOLDS, given.seed)
    for k in range(FOLDS):
        model = merged(base, "qrs")
        train, test = rows[fold[rows] != k], rows[fold[rows] == k]
        settings = with_noise(FOLD, given, k)
        job = Job(model, data, train, test[:0], settings, "qrs", model.grafts["qrs"], device=given.device)
        model.add(kept(given.runs / "qrs" / f"fold{given.seed}-{k}.safetensors", job))
        least = chosen(data, train, unseen)
        print(f"fold {k}: threshold {least}")
        of_fold = probabilities(model, data, test)
        said |= {row: peaks(data, row, of_fold[row], least) for row in test.tolist()}
    return [said[row] for row in rows.tolist()]


def chosen(data: Corpus, train: np.ndarray, unseen: dict[int, np.ndarray]) -> float:
    """The threshold with the best official score of the general graft, which has seen none of these records."""
    truth = {row: data.store.beats(row)["sample"] for row in train.tolist()}
    rate = {row: float(data.store.number("rate")[row]) for row in truth}
    score = [np.mean([challenges.cpsc2019(at, peaks(data, row, unseen[row], least), rate[row])
                      for row, at in truth.items()]) for least in THRESHOLDS]  # fmt: skip
    return THRESHOLDS[int(np.argmax(score))]


def probabilities(model: Model, data: Corpus, rows: np.ndarray) -> dict[int, np.ndarray]:
    """Row -> probability (T,) that an R peak is near, at the model's rate."""
    cache = data.store.prepared(model.recipe)
    said = infer.run(model.network("qrs"), Examples(cache, rows), model.recipe.samples)
    return {int(rows[i]): p["qrs"][cache.present_slots(int(rows[i])), 1].mean(0) for i, p in said}


def peaks(data: Corpus, row: int, probability: np.ndarray, least: float) -> np.ndarray:
    """R peaks in samples at the record's own rate."""
    return decode(probability, RATE, float(data.store.number("rate")[row]), least)


def found(model: Model, data: Corpus, rows: np.ndarray) -> list[np.ndarray]:
    """R peaks of records, in samples at their own rates."""
    return _score.answer(model.network("qrs"), data, rows, data.store.prepared(model.recipe)).peaks


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--install", action="store_true", help="put the general graft into the package")
    given, start = parser.parse_args(), time.perf_counter()
    data = {name: corpus(given, name, "qrs") for name in ("cpsc2019", "cpsc2021", "mitdb", "qtdb")}
    model = general(given, data)
    if given.install:
        return install(given, model, data)
    every = {name: np.flatnonzero(data[name].known) for name in ("cpsc2019", "mitdb")}
    ours = {
        "cpsc2019": references.cpsc2019(data["cpsc2019"], folds(given, data["cpsc2019"], model)),
        "cpsc2019 unseen database": references.cpsc2019(
            data["cpsc2019"], found(model, data["cpsc2019"], every["cpsc2019"])
        ),
        "mitdb": references.mitdb(data["mitdb"], found(model, data["mitdb"], every["mitdb"])),
    }
    keep(
        "qrs", ecgraft=ours, others=references.detectors(given, data), tools=references.TOOLS, seed=given.seed,
        settings={"general": dataclasses.asdict(GENERAL), "fold": dataclasses.asdict(FOLD)},
        minutes=round((time.perf_counter() - start) / 60, 1),
    )  # fmt: skip


if __name__ == "__main__":
    main()
