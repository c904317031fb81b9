"""Simulated 12-lead ECGs a second, against NeuroKit2's multi-lead simulator: python benchmarks/simulator.py

Both make ECGs of 10 s at 500 Hz. Ours come with noise, labels, the times of all waves, the class of every sample and a
report; theirs are the signals alone. Both run in two processes at once, one for each of 2 cores, and take turns, so
that a busy machine slows both; medians are compared. The bar: at least 500 times as many.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time

import neurokit2
import torch
from _result import keep

from ecgraft.simulator import simulate

BATCH, BATCHES, ROUNDS, PROCESSES = 64, 20, 9, 2


def ours(number: int) -> int:
    """ECGs made."""
    for k in range(BATCHES):
        made = simulate(number, range(k * BATCH, (k + 1) * BATCH))
        made.waves()
        for i in range(BATCH):
            made.text(i)
    return BATCH * BATCHES


def theirs(number: int) -> int:
    neurokit2.ecg_simulate(duration=10, sampling_rate=500, method="multileads", random_state=number)
    return 1


def rate(pool, function, number: int) -> float:
    """ECGs a second of all processes together."""
    start = time.perf_counter()
    made = sum(pool.map(function, range(number, number + PROCESSES), chunksize=1))
    return made / (time.perf_counter() - start)


def main() -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(PROCESSES, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for function in (ours, theirs):  # imports, tables, caches
            pool.map(function, range(4 * PROCESSES), chunksize=1)
        rounds = [(rate(pool, ours, 100 + 2 * k), rate(pool, theirs, 100 + 2 * k)) for k in range(ROUNDS)]
    mine, reference = (statistics.median(rates) for rates in zip(*rounds))
    keep(
        "simulator", bar="at least 500 times as many ECGs a second as NeuroKit2's multi-lead simulator, 2 cores",
        ratio=round(mine / reference), ecgs_per_second=round(mine), neurokit2_ecgs_per_second=round(reference, 2),
        processes=PROCESSES, batch=BATCH, neurokit2=neurokit2.__version__,
    )  # fmt: skip


if __name__ == "__main__":
    main()
