"""The recipe (leads, band-pass, 500 to 250 Hz, z-score) of a 12-lead ECG of 10 s, against NeuroKit2's ecg_clean.

    python benchmarks/recipe.py

One record at a time; neither side uses more than one thread. NeuroKit2 cleans lead by lead at 500 Hz and neither
resamples nor normalises; R peaks are compared on one lead, cleaning included. Repeats are interleaved and medians
compared, so that a busy machine slows all alike. The ECG is made here: speed does not depend on what is in it.
"""

from __future__ import annotations

import statistics
import time

import neurokit2
import numpy as np
from _result import keep

from ecgraft.record import LEADS, Record
from ecgraft.signal.peaks import r_peaks
from ecgraft.signal.recipe import Recipe

RATE, SECONDS, REPEATS = 500, 10, 60


def made() -> Record:
    """Beats of 1 mV at 75 a minute, wander and noise, in twelve leads."""
    t, draw = np.arange(RATE * SECONDS) / RATE, np.random.default_rng(0)
    beats = np.exp(-((((t % 0.8) - 0.4) / 0.012) ** 2)) + 0.2 * np.exp(-((((t % 0.8) - 0.65) / 0.05) ** 2))
    x = draw.uniform(-1, 1.5, (12, 1)) * beats + 0.2 * np.sin(2 * np.pi * 0.2 * t)
    return Record(x + 0.02 * draw.standard_normal(x.shape), RATE, LEADS, id="made")


def medians(functions: dict) -> dict[str, float]:
    """Milliseconds of each, called in turn."""
    times = {name: [] for name in functions}
    for repeat in range(REPEATS + 3):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if repeat >= 3:  # the first calls warm caches
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    record, recipe = made(), Recipe()
    present, length = np.ones((1, len(LEADS)), dtype=bool), np.array([recipe.samples])
    double = record.signal.astype(float)

    def whole():
        return recipe.normalise_batch(recipe.prepare(record).signal[None], present, length)

    def peaks_neurokit():
        clean = neurokit2.ecg_clean(double[1], sampling_rate=RATE)
        return neurokit2.ecg_findpeaks(clean, sampling_rate=RATE)["ECG_R_Peaks"]

    milliseconds = medians(
        {
            "recipe, 12 leads": whole,
            "of which prepare": lambda: recipe.prepare(record),
            "NeuroKit2 ecg_clean, 12 leads": lambda: [neurokit2.ecg_clean(x, sampling_rate=RATE) for x in double],
            "R peaks, 12 leads": lambda: r_peaks(record.signal, RATE),
            "R peaks, 1 lead": lambda: r_peaks(record.signal[1:2], RATE),
            "NeuroKit2 R peaks, 1 lead": peaks_neurokit,
        }
    )
    ratios = {
        "recipe": milliseconds["NeuroKit2 ecg_clean, 12 leads"] / milliseconds["recipe, 12 leads"],
        "R peaks": milliseconds["NeuroKit2 R peaks, 1 lead"] / milliseconds["R peaks, 1 lead"],
    }
    keep(
        "recipe", bar="at least 5", record=f"12 x {RATE * SECONDS} at {RATE} Hz", recipe=recipe.describe(),
        milliseconds={name: round(value, 4) for name, value in milliseconds.items()},
        times_as_fast_as_neurokit2={name: round(value, 1) for name, value in ratios.items()},
    )  # fmt: skip


if __name__ == "__main__":
    main()
