"""Memory and time of the waves of a long record, and of an hour beside NeuroKit2: python benchmarks/long_record.py

A made record of two leads at 250 Hz: simulated ECGs without end, with noise, in memory. Peak RSS (getrusage) stands
beside what the process held before it predicted, and beside the record itself. With --data (folder of mitdb) also one
hour of two leads of MIT-BIH: ecgraft and NeuroKit2 (clean, peaks, delineate) in turns.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from _result import keep

from ecgraft.model import Model
from ecgraft.record import QRS, P, Record
from ecgraft.simulator import Config, simulate

LEADS, RATE = ("II", "V2"), 250
METHODS = ("dwt", "prominence")
MIB = 2**20


def made(hours: float) -> tuple[Record, int]:
    """A record of simulated ECGs of a minute in a circle, cut where a P wave begins, and how many beats it has."""
    parts, counts = zip(*(_minute(index) for index in range(8)))
    one, beats = np.concatenate(parts, axis=1), sum(counts)
    times = round(hours * 3600 * RATE / one.shape[1])
    signal, rng = np.empty((len(LEADS), times * one.shape[1]), np.float32), np.random.default_rng(0)
    for piece in np.split(signal, times, axis=1):
        piece[:] = one + 0.01 * rng.standard_normal(one.shape, np.float32)
    return Record(signal, RATE, LEADS, id="long"), times * beats


def _minute(index: int) -> tuple[np.ndarray, int]:
    """About a minute of sinus rhythm that begins and ends at 0 mV, and its beats."""
    rhythms = ("AFIB", "AFLT", "SVTAC", "PACE", "2AVB1", "2AVB2", "3AVB", "PAC", "PVC", "BIGU")
    calm = Config(
        seconds=60.0, rate=RATE, prevalence=dict.fromkeys(rhythms, 0.0), wander=0, motion=0, mains=0, handheld=0,
        swap=0, lead_loss=0, flat=0,
    )  # fmt: skip
    record = simulate(12, [index], calm).record(0)
    begins = record.waves["onset"][record.waves["kind"] == P]
    a, b = int(begins[2]) - 10, int(begins[-3]) - 10
    x = np.stack([record.lead(name)[a:b] for name in LEADS])
    x = x - x[:, :1] - np.linspace(0, 1, b - a, dtype=np.float32) * (x[:, -1:] - x[:, :1])
    at = record.waves["onset"][record.waves["kind"] == QRS]
    return x, int(((at >= a) & (at < b)).sum())


def rss() -> float:
    """Resident memory now, MiB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MIB


def peak_rss() -> float:
    """The largest resident memory so far, MiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def long_record(hours: float) -> dict:
    """What one prediction takes, after a short one that loads all there is to load."""
    record, beats = made(hours)
    model = Model.load()
    model.predict(record.but(signal=record.signal[:, : 60 * RATE]), ["waves"])
    before, wall, processor = rss(), time.perf_counter(), time.process_time()
    said = model.predict(record, ["waves"])["waves"]
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    hours = record.seconds / 3600
    return {
        "hours": round(hours, 3), "leads": len(LEADS), "rate": RATE,
        "beats": beats, "found": int((said.together["kind"] == QRS).sum()), "waves": len(said.waves),
        "MiB": {"record": round(record.signal.nbytes / MIB, 1), "before": round(before, 1),
                "peak": round(peak_rss(), 1), "more": round(peak_rss() - before, 1)},
        "seconds an hour": {"wall": round(wall / hours, 3), "processor": round(processor / hours, 3)},
    }  # fmt: skip


def against(given, turns: int = 3) -> dict:
    """Seconds for both leads of an hour, in turns; the median of each."""
    from _corpora import corpus
    from references import hour, speed

    data = corpus(given, "mitdb", "qrs")
    signal, rate = hour(data)
    record, model = Record(signal, rate, LEADS, id="hour"), Model.load()
    model.predict(record.but(signal=signal[:, : int(60 * rate)]), ["waves"])
    seconds: dict[str, list] = {name: [] for name in ("ecgraft", *METHODS)}
    for _ in range(turns):
        wall, processor = time.perf_counter(), time.process_time()
        model.predict(record, ["waves"])
        seconds["ecgraft"].append((time.perf_counter() - wall, time.process_time() - processor))
        for method in METHODS:
            found = speed(data, method)
            seconds[method].append((found["seconds"], found["processor_seconds"]))
    return {
        name: {key: round(statistics.median(values), 2) for key, values in zip(("wall", "processor"), zip(*each))}
        for name, each in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--data", type=Path, help="folder with the folder mitdb: also an hour against NeuroKit2")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for stores")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.data:
        keep("delineation_speed", hours=1, leads=2, seconds=against(given))
    else:
        keep("long_record", **long_record(given.hours))


if __name__ == "__main__":
    main()
