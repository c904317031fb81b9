"""P, QRS and T beside NeuroKit2: python benchmarks/waves.py --data FOLDER

Grafts with all weights free, begun from the packaged one (simulated ECGs alone) and trained on LUDB, half of each batch
simulated. LUDB: five folds, each record by the graft that has not seen it. QTDB, CPSC 2021: one graft that was trained
on all of LUDB; QTDB leads are read one by one. A fixed number of steps, no validation part. The constants of the
decoder (signal.decoder.Reader) were chosen on every second record of LUDB; nothing was chosen on the other databases.

The same rules as benchmarks/references.py, whose tools are in the same result. "together": global boundaries of LUDB,
the reference where at least half of the leads are in the same annotated wave (signal.waves.fuse). "decoders": the same
answers of the network without the grammar, and without boundaries between samples.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import references
from _corpora import arguments, corpus
from _result import keep

from ecgraft.commands._examples import Corpus
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings
from ecgraft.metrics import waves
from ecgraft.model import Graft, Model, infer
from ecgraft.record import SPAN
from ecgraft.signal import decoder
from ecgraft.signal import waves as wave_rows
from ecgraft.store import splits
from ecgraft.training import Examples

FOLDS, ALL = 5, 9  # seeds: 0 to 4 of the folds, 9 of the graft that is trained on all
SETTINGS = Settings(
    simulated=0.5, batch=64,
    augment={
        "gain": {"record": 1.5, "lead": 1.1, "flip": 0.05}, "noise": {"share": 0.3},
        "lead_loss": {"share": 0.2, "single": 0.25, "unnamed": 0.2},
    },
    training={"steps": 1500, "rate": 1e-3, "average": 0.998, "keep": "last", "precision": "fp32"},
)  # fmt: skip
DECODERS = ("grammar", "largest", "whole samples")


def trained(model: Model, data: Corpus, rows: np.ndarray, seed: int, path: Path, device: str) -> Graft:
    """The graft that is kept at `path`, or trained on these records and kept there."""
    settings = dataclasses.replace(SETTINGS, training=SETTINGS.training | {"seed": seed})
    job = Job(model, data, rows, rows[:0], settings, "waves", model.grafts["waves"], device=device)
    if path.is_file():
        graft = Graft.load(path)
        wanted, is_ = (dict(each) for each in (dataclasses.asdict(job.training), graft.card["settings"]["training"]))
        if {**wanted, "checkpoint_every": 0} != {**is_, "checkpoint_every": 0}:
            raise SystemExit(f"{path}: trained with other settings; take another --runs")
        return graft
    graft = job.run(path.with_suffix(""))
    graft.save(path)
    return graft


def answers(network, data: Corpus, rows: np.ndarray):
    """Per record its row, its probabilities (C, 4, T) on the leads that are used, and these leads."""
    cache = data.store.prepared(network.recipe)
    for i, output in infer.run(network, Examples(cache, rows), network.recipe.samples):
        slots = cache.lead_slots(int(rows[i]))
        used = np.flatnonzero(slots >= 0)
        yield int(rows[i]), output["waves"][slots[used]], used


def read(probability: np.ndarray, rate: float, to: float, leads: np.ndarray, how: str = "grammar") -> np.ndarray:
    """WAVE rows by one of DECODERS; lead -1 stands for the leads together."""
    if how == "largest":
        rows = wave_rows.decode(probability, rate, to=to)
    else:
        given = rate if how == "whole samples" else to
        rows = decoder.decode(probability, rate, to=given).waves
        for side in ("onset", "peak", "offset"):
            rows[side] = np.rint(rows[side] * to / given)
    rows["lead"] = np.where(rows["lead"] >= 0, leads[rows["lead"]], -1)
    return rows


def on_ludb(given, model: Model, data: Corpus) -> dict[str, list[np.ndarray]]:
    """By decoder what is said of each record by the graft of its fold."""
    rows, said = np.flatnonzero(data.known), {how: {} for how in DECODERS}
    fold = splits.folds(data.store, FOLDS, given.seed)
    for k in range(FOLDS):
        model.add(
            trained(model, data, rows[fold[rows] != k], k, given.runs / "waves" / f"fold{k}.safetensors", given.device)
        )
        for row, probability, leads in answers(model.network("waves"), data, rows[fold[rows] == k]):
            to = float(data.store.number("rate")[row])
            for how in DECODERS:
                said[how][row] = read(probability, model.recipe.rate, to, leads, how)
    return {how: [each[row] for row in rows] for how, each in said.items()}


def alone(model: Model, data: Corpus) -> list[np.ndarray]:
    """What is said of each lead of each record when it is all that there is; as lead -1 what they say together."""
    made, said = infer.ready(model.network("waves")), []
    for row in np.flatnonzero(data.known):
        record, parts, seen = data.store.record(int(row)), [], []
        of = model.recipe.rate, record.rate
        for lead, name in enumerate(record.leads):
            one = record.but(signal=record.signal[[lead]], leads=(name,), waves=None, scored=None)
            memory = infer.Memory([one], model.recipe)
            ((_, output),) = infer.run(made, Examples(memory, np.arange(1)), model.recipe.samples)
            seen.append(output["waves"][memory.prepared[0].slots])
            parts.append(each_lead([read(seen[-1], *of, np.array([lead]))])[0])
        every = read(np.concatenate(seen), *of, np.arange(len(seen)))
        said.append(np.concatenate([*parts, every[every["lead"] < 0]]))
    return said


def on_qtdb(model: Model, data: Corpus) -> dict:
    """Boundaries on the better lead, on lead 0, and of both leads together."""
    said, rows = alone(model, data), np.flatnonzero(data.known)
    both = references.wave_counts(data, rows, said, [(-1,)] * len(rows))
    counted = references.boundaries(both, data.patients(rows), waves.BOUNDARIES)
    return references.qtdb(data, each_lead(said)) | {"both leads together": counted}


def in_leads(model: Model, data: Corpus) -> list[np.ndarray]:
    """What is said of each lead of each record, all leads in one pass."""
    rates, rows = data.store.number("rate"), np.flatnonzero(data.known)
    every = answers(model.network("waves"), data, rows)
    return each_lead([read(p, model.recipe.rate, float(rates[row]), leads) for row, p, leads in every])


def each_lead(said: list[np.ndarray]) -> list[np.ndarray]:
    """Without the rows of the leads together."""
    return [rows[rows["lead"] >= 0] for rows in said]


def half(data: Corpus, said: list[np.ndarray]) -> dict:
    """Boundaries on the records that no constant of the decoder was chosen on."""
    rows = np.flatnonzero(data.known)
    other = dataclasses.replace(data, known=data.known & (np.arange(len(data.known)) % 2 == 1))
    return references.ludb(other, [found for row, found in zip(rows, said) if other.known[row]])["all leads"]


def together(data: Corpus, said: list[np.ndarray]) -> dict:
    """Global boundaries, within the span that is annotated in all leads."""
    counts, rows = [], np.flatnonzero(data.known)
    for row, found in zip(rows, said):
        rate, length = float(data.store.number("rate")[row]), int(data.store.number("length")[row])
        spans = data.store.scored(row)
        span = np.array([(-1, spans["start"].max(), spans["stop"].min())], SPAN)
        truth = wave_rows.fuse(data.store.waves(row), len(data.store.leads(row)), length, rate)
        counts.append(waves.count(truth, found[found["lead"] < 0], span, rate, (-1,), references.TOLERANCE))
    return references.boundaries(np.array(counts), data.patients(rows), waves.BOUNDARIES)


def scored(given, model: Model, data: dict[str, Corpus]) -> dict:
    """All figures of ecgraft's grafts."""
    ludb, rows = data["ludb"], np.flatnonzero(data["ludb"].known)
    simulated = {
        "qtdb": on_qtdb(model, data["qtdb"]),
        "ludb": references.ludb(ludb, in_leads(model, ludb)),
        "false_p_ludb_af": references.false_p_ludb(ludb, in_leads(model, ludb)),
        "false_p_cpsc2021_af": references.false_p_cpsc2021(data["cpsc2021"], in_leads(model, data["cpsc2021"])),
    }
    of_folds = on_ludb(given, model, ludb)
    leads = each_lead(of_folds["grammar"])
    model.add(trained(model, ludb, rows, ALL, given.runs / "waves" / "all.safetensors", given.device))
    two = in_leads(model, data["cpsc2021"])
    return {
        "simulated ECGs alone": simulated,
        "ludb": references.ludb(ludb, leads),
        "ludb, every second record, which chose nothing": half(ludb, leads),
        "ludb together": together(ludb, of_folds["grammar"]),
        "decoders": {how: references.ludb(ludb, each_lead(of_folds[how]))["all leads"] for how in DECODERS},
        "false_p_ludb_af": references.false_p_ludb(ludb, leads),
        "qtdb": on_qtdb(model, data["qtdb"]),
        "false_p_cpsc2021_af": references.false_p_cpsc2021(data["cpsc2021"], two),
        "p_cpsc2021_no_af": references.false_p_cpsc2021(data["cpsc2021"], two, "N"),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cpu")
    given, start = parser.parse_args(), time.perf_counter()
    tasks = {"ludb": "waves", "qtdb": "waves", "cpsc2021": "qrs"}
    data = {name: corpus(given, name, task) for name, task in tasks.items()}
    found = {"ecgraft": scored(given, Model.load(), data), "neurokit2": references.delineators(given, data)}
    settings = dataclasses.asdict(SETTINGS)
    keep("waves", **found, tools=references.TOOLS, settings=settings, seed=given.seed,
         minutes=round((time.perf_counter() - start) / 60, 1))  # fmt: skip


if __name__ == "__main__":
    main()
