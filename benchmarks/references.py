"""Other tools in ecgraft's scoring, to stand beside its numbers: python benchmarks/references.py --data FOLDER

Delineators see one lead alone, detectors the first lead; see _references.py. A tool that raises has found nothing on
that lead (`raised` counts). The functions that score take what any method said, a list of WAVE rows or of R peaks per
record, so ecgraft's own benchmarks count by the same rules.

LUDB, QTDB: boundaries within 150 ms inside annotated spans; lead II of LUDB, and in QTDB lead 0 and the better lead of
each record (by mean boundary F1), also alone. QTDB leads are processed whole, but for "cwt", which takes time by the
square of the length: from 10 s before the first annotated span to 10 s after the last one. False P waves: `false_p`.
CPSC 2019: the official score; hits within 75 and 150 ms. MIT-BIH: lead 0, hits within 150 ms, without ventricular
flutter; with and without the first five minutes (the learning period of EC57). The eight records of MIT-BIH have no AF.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import neurokit2 as nk
import numpy as np
from _corpora import arguments, corpus, rounded
from _references import DELINEATORS, DETECTORS, GIVEN, TOOLS, each_lead, filled, first_lead, kept
from _result import keep

from ecgraft.commands._examples import Corpus
from ecgraft.metrics import beats, bootstrap, challenges, waves
from ecgraft.metrics.sums import ratio
from ecgraft.record import QRS, SPAN, P

FIBRILLATION = "snomed:164889003"
TOLERANCE = 0.150  # s
EDGE = 2.0  # s at each end of a stretch of a rhythm that are not looked at
LEARNING = 300  # s, the learning period of EC57
SCORES = ("sensitivity", "precision", "f1", "mean", "sd")
HOUR = ("112", "118")  # two records of MIT-BIH with the same leads, 30 min each


def ludb(data: Corpus, said: list[np.ndarray], given=waves.BOUNDARIES) -> dict:
    """Boundaries on all leads, and on lead II. `given`: the boundaries that the method gives; others are not scored."""
    rows = np.flatnonzero(data.known)
    names = [data.store.leads(row) for row in rows]
    every = wave_counts(data, rows, said, [range(len(leads)) for leads in names])
    second = wave_counts(data, rows, said, [[leads.index("II")] for leads in names])
    patients = data.patients(rows)
    return {"all leads": boundaries(every, patients, given), "lead II": boundaries(second, patients, given)}


def qtdb(data: Corpus, said: list[np.ndarray], given=waves.BOUNDARIES) -> dict:
    """Boundaries on lead 0, and on the lead of each record with the larger mean boundary F1."""
    rows = np.flatnonzero(data.known)
    each = np.stack([wave_counts(data, rows, said, [[lead]] * len(rows)) for lead in (0, 1)], axis=1)
    better = np.nan_to_num(waves.scores(only(each, given))["mean f1"], nan=-1).argmax(axis=1)
    best, patients = each[np.arange(len(rows)), better], data.patients(rows)
    return {"best lead": boundaries(best, patients, given), "lead 0": boundaries(each[:, 0], patients, given)}


def wave_counts(data: Corpus, rows: np.ndarray, said: list[np.ndarray], leads: list) -> np.ndarray:
    """metrics.waves.COUNTS per record and boundary, (n, 6, 5)."""
    store, rate = data.store, data.store.number("rate")
    return np.array([
        waves.count(store.waves(row), found, store.scored(row), float(rate[row]), list(on), TOLERANCE)
        for row, found, on in zip(rows, said, leads)
    ])  # fmt: skip


def only(counts: np.ndarray, given) -> np.ndarray:
    """Counts (..., 6, 5) without those of boundaries that are not given; their scores are NaN."""
    return counts * np.isin(waves.BOUNDARIES, given)[:, None]


def boundaries(counts: np.ndarray, patients: np.ndarray, given) -> dict:
    """Mean F1 of the given boundaries, [value, low, high], and the scores of each."""
    counts = only(counts, given)
    scores = bootstrap.estimate(lambda w: waves.scores(np.tensordot(w, counts, 1)), patients)
    table = {
        name: {key: rounded([part[b] for part in scores[key]]) for key in SCORES}
        for b, name in enumerate(waves.BOUNDARIES) if name in given
    }  # fmt: skip
    return {"records": len(counts), "mean_f1": rounded(scores["mean f1"]), "boundaries": table}


def false_p(said: np.ndarray, stretches: np.ndarray, rate: float, reference: np.ndarray | None = None) -> np.ndarray:
    """P waves that there are none of, per stretch (SPAN rows, each of one lead) of one record.

    A predicted P wave lies at its peak, or without one midway between its boundaries (at the one that is known). It
    counts if that is in [start, stop) and farther than 150 ms from every P wave of the `reference` on that lead.
    """
    lead, at = places(said, P)
    other, there = (np.empty(0, int), np.empty(0)) if reference is None else places(reference, P)
    near = (np.abs(at[:, None] - there) <= TOLERANCE * rate) & ((lead[:, None] == other) | (other == -1))
    lead, at = lead[~near.any(axis=1)], at[~near.any(axis=1)]
    return np.array([((lead == on) & (at >= start) & (at < stop)).sum() for on, start, stop in stretches.tolist()], int)


def places(rows: np.ndarray, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Lead and place of the waves of a kind: the peak, or the middle of what is known of onset and offset."""
    rows = rows[rows["kind"] == kind]
    first, last = (np.where(rows[a] >= 0, rows[a], rows[b]) for a, b in (("onset", "offset"), ("offset", "onset")))
    return rows["lead"], np.where(rows["peak"] >= 0, rows["peak"], (first + last) / 2)


def fibrillating(data: Corpus) -> np.ndarray:
    """Positions, among the annotated records, of those with the label atrial fibrillation."""
    return np.flatnonzero(data.store.labels[data.known, data.store.codes.index(FIBRILLATION)] == 1)


def false_p_ludb(data: Corpus, said: list[np.ndarray]) -> dict:
    """P waves invented inside the annotated spans of records with atrial fibrillation, all leads."""
    store, rows, table = data.store, np.flatnonzero(data.known), []
    for i in fibrillating(data):
        row = rows[i]
        spans, truth, rate = store.scored(row), store.waves(row), float(store.number("rate")[row])
        false = false_p(said[i], spans, rate, truth)
        lead, at = places(truth, QRS)
        within = [((lead == on) & (at >= start) & (at < stop)).sum() for on, start, stop in spans.tolist()]
        seconds = (spans["stop"] - spans["start"]).sum() / rate
        table.append(
            (false.sum(), sum(within), seconds / 60, len(spans), (false > 0).sum(), (truth["kind"] == P).sum())
        )
    *_, leads, touched, marked = np.sum(table, axis=0).tolist()
    extra = {"leads": int(leads), "leads_with_any": int(touched), "p_in_reference": int(marked)}
    return {"records": len(table), **extra, **per(np.array(table)[:, :3], data.patients(rows[fibrillating(data)]))}


def false_p_cpsc2021(data: Corpus, said: list[np.ndarray], rhythm: str = "AFIB") -> dict:
    """P waves predicted in stretches of a rhythm, both leads: false ones in AFIB; in N most beats have one."""
    rows = np.flatnonzero(data.known)
    table = [stretch_counts(data.store, row, found, rhythm) for row, found in zip(rows, said)]
    there = np.array([minutes > 0 for _, _, minutes in table])
    return {"records": int(there.sum()), **per(np.array(table)[there], data.patients(rows[there]))}


def stretch_counts(store, row: int, said: np.ndarray, rhythm: str) -> tuple[int, int, float]:
    """P waves, beats times leads, minutes times leads in the stretches of a rhythm, without their edges."""
    rate, leads, rhythms = float(store.number("rate")[row]), len(store.leads(row)), store.rhythms(row)
    cut = round(EDGE * rate)
    inner = [(start + cut, stop - cut) for start, stop, name in rhythms.tolist() if name == rhythm]
    inner = [(start, stop) for start, stop in inner if stop > start]
    spans = np.array([(lead, start, stop) for lead in range(leads) for start, stop in inner], SPAN)
    at = store.beats(row)["sample"]
    within = sum(((at >= start) & (at < stop)).sum() for start, stop in inner)
    return false_p(said, spans, rate).sum(), leads * within, (spans["stop"] - spans["start"]).sum() / rate / 60


def per(table: np.ndarray, patients: np.ndarray) -> dict:
    """P waves per minute and per beat of a lead, [value, low, high], of (P waves, beats, minutes) per record."""
    p, beat, minute = table.T

    def scores(w: np.ndarray) -> dict:
        return {"per_minute_and_lead": ratio(w @ p, w @ minute), "per_beat_and_lead": ratio(w @ p, w @ beat)}

    found = {name: rounded(each) for name, each in bootstrap.estimate(scores, patients).items()}
    sums = {"p_waves": int(p.sum()), "beats": int(beat.sum()), "lead_minutes": round(float(minute.sum()), 2)}
    return {"patients": len(np.unique(patients)), **sums, **found}


def cpsc2019(data: Corpus, said: list[np.ndarray]) -> dict:
    """The official score, and hits within 75 and 150 ms, of R peaks per record."""
    rows, store = np.flatnonzero(data.known), data.store
    rate = store.number("rate")[rows].astype(float)
    truth, seconds = [store.beats(row)["sample"] for row in rows], store.number("length")[rows] / rate
    each = list(zip(truth, said, rate))
    official = np.array([challenges.cpsc2019(*one, seconds=length) for one, length in zip(each, seconds)])
    patients = data.patients(rows)
    score = bootstrap.estimate(lambda w: {"score": w @ official / w.sum(-1)}, patients)["score"]
    within = {f"{ms} ms": peaks(np.array([beats.count(*one, ms / 1000) for one in each]), patients) for ms in (75, 150)}
    return {"records": len(rows), "official": rounded(score), **within}


def mitdb(data: Corpus, said: list[np.ndarray]) -> dict:
    """R peaks over 30 min, and without the first five; nothing is scored in ventricular flutter. A table by record."""
    rows = np.flatnonzero(data.known)
    patients, ids = data.patients(rows), [data.store.column("id")[int(row)] for row in rows]
    each = {
        since: np.array([beat_counts(data.store, *one, since) for one in zip(rows, said)]) for since in (0, LEARNING)
    }
    records = {name: counts.astype(int).tolist() for name, counts in zip(ids, each[0])}
    return {
        "30 min": peaks(each[0], patients), "after 5 min": peaks(each[LEARNING], patients),
        "records": {"columns": ["hits", "missed", "false"], **records},
    }  # fmt: skip


def beat_counts(store, row: int, said: np.ndarray, since: float) -> np.ndarray:
    """Hits, missed, false (3,) outside of ventricular flutter from second `since` on."""
    rate, length = float(store.number("rate")[row]), int(store.number("length")[row])
    flutter = [(start, stop) for start, stop, name in store.rhythms(row).tolist() if name == "VFL"]
    parts, truth = beats.outside(flutter, length, round(since * rate)), store.beats(row)["sample"]
    scored = [beats.count(truth, said, rate, TOLERANCE, start, stop) for start, stop in parts]
    return np.sum(scored, axis=0)


def peaks(counts: np.ndarray, patients: np.ndarray) -> dict:
    """What counts of R peaks (n, 3) sum up to."""
    hits, missed, false = counts.sum(axis=0).astype(int).tolist()
    scores = bootstrap.estimate(lambda w: beats.scores(w @ counts), patients)
    named = {name: rounded(score) for name, score in scores.items()}
    return {"hits": hits, "missed": missed, "false": false, "errors": missed + false, **named}


def hour(data: Corpus) -> tuple[np.ndarray, float]:
    """One hour of two leads (2, T) and its rate: two records of MIT-BIH, one after the other."""
    ids = [data.store.column("id")[i] for i in range(len(data.store))]
    parts = [data.store.signal(ids.index(name)) for name in HOUR]
    return np.concatenate(parts, axis=1), float(data.store.number("rate")[ids.index(HOUR[0])])


def speed(data: Corpus, method: str) -> dict:
    """Seconds of NeuroKit2 for both leads of an hour, one process: on the clock, of the processor, by step."""
    signal, rate = hour(data)
    seconds, wall, cpu = dict.fromkeys(("clean", "peaks", "delineate"), 0.0), time.perf_counter(), time.process_time()
    with warnings.catch_warnings(action="ignore"):
        for lead in map(filled, signal):
            clean = _timed(seconds, "clean", lambda x=lead: nk.ecg_clean(x, sampling_rate=int(rate)))
            found = _timed(seconds, "peaks", lambda x=clean: nk.ecg_peaks(x, sampling_rate=int(rate)))[1]["ECG_R_Peaks"]
            given = dict(sampling_rate=int(rate), method=method)
            _timed(seconds, "delineate", lambda x=clean, at=found, named=given: nk.ecg_delineate(x, at, **named))
    total = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - cpu}
    numbers = {name: round(value, 2) for name, value in (total | seconds).items()}
    return {"leads": len(signal), "hours": round(signal.shape[1] / rate / 3600, 3), **numbers}


def _timed(seconds: dict, name: str, run: Callable):
    """What `run` returns; the time it took is added to seconds[name]."""
    start = time.perf_counter()
    found = run()
    seconds[name] += time.perf_counter() - start
    return found


def marked(data: Corpus, margin: float = 10.0) -> Callable[[int], tuple[int, int]]:
    """A record's start and stop: from its first to its last annotated span, `margin` seconds more at both ends."""

    def piece(row: int) -> tuple[int, int]:
        spans, more = data.store.scored(row), round(margin * float(data.store.number("rate")[row]))
        return max(0, int(spans["start"].min()) - more), int(spans["stop"].max()) + more

    return piece


def delineators(given, data: dict[str, Corpus]) -> dict:
    """All that is asked of each delineator of NeuroKit2, by method."""
    results = {}
    for method in DELINEATORS:
        said, raised = {}, {}
        for name in ("ludb", "qtdb", "cpsc2021"):
            rows = np.flatnonzero(data[name].known)
            piece = {"piece": marked(data[name])} if name == "qtdb" and method.startswith("cwt") else {}
            path = given.runs / "references" / f"{name}-{method}.npz"
            make = lambda n=name, r=rows, p=piece, m=method: each_lead(data[n].store, r, m, **p)  # noqa: E731
            said[name], raised[name] = kept(path, make)
            print(f"{method} on {name}: raised on {raised[name]} leads")
        results[method] = {
            "gives": list(GIVEN[method]), "raised": raised,
            "ludb": ludb(data["ludb"], said["ludb"], GIVEN[method]),
            "qtdb": qtdb(data["qtdb"], said["qtdb"], GIVEN[method]),
            "false_p_ludb_af": false_p_ludb(data["ludb"], said["ludb"]),
            "false_p_cpsc2021_af": false_p_cpsc2021(data["cpsc2021"], said["cpsc2021"]),
            "p_cpsc2021_no_af": false_p_cpsc2021(data["cpsc2021"], said["cpsc2021"], "N"),
        }  # fmt: skip
    return results


def detectors(given, data: dict[str, Corpus]) -> dict:
    """All that is asked of each detector of R peaks, by method."""
    results = {}
    for method in DETECTORS:
        said, raised = {}, {}
        for name in ("cpsc2019", "mitdb"):
            rows = np.flatnonzero(data[name].known)
            path = given.runs / "references" / f"{name}-{method}.npz"
            said[name], raised[name] = kept(path, lambda n=name, r=rows, m=method: first_lead(data[n].store, r, m))
        scores = {
            "cpsc2019": cpsc2019(data["cpsc2019"], said["cpsc2019"]),
            "mitdb": mitdb(data["mitdb"], said["mitdb"]),
        }
        results[method] = {"raised": raised, **scores}
    return results


def main() -> None:
    given = arguments(__doc__).parse_args()
    tasks = {"ludb": "waves", "qtdb": "waves", "cpsc2021": "qrs", "cpsc2019": "qrs", "mitdb": "qrs"}
    data = {name: corpus(given, name, task) for name, task in tasks.items()}
    keep(
        "references", tools=TOOLS, delineators=delineators(given, data), detectors=detectors(given, data),
        speed={method: speed(data["mitdb"], method) for method in ("dwt", "prominence")},
    )  # fmt: skip


if __name__ == "__main__":
    main()
