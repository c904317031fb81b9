"""Other tools on one lead, each by its own recipe: the delineators of NeuroKit2, its R peaks, XQRS of wfdb.

Every method cleans the signal as its documentation says and keeps its defaults (NeuroKit2's power line of 50 Hz, too).
Of NeuroKit2's delineators "dwt", "cwt" and "prominence" give all six boundaries, "peak" only P onset and T offset
(its Q and S peaks are no boundaries). "cwt" has no P before the first R peak and no T after the last. Its scales are in
samples, not in time: it does worse at low rates, so "cwt1000" is the same on the signal brought to 1000 Hz.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import neurokit2 as nk
import numpy as np
from scipy.signal import resample_poly
from wfdb.processing import xqrs_detect

from ecgraft.metrics.waves import BOUNDARIES
from ecgraft.record import QRS, WAVE, P, T, waves_array

TOOLS = {name: version(name) for name in ("neurokit2", "wfdb", "numpy", "scipy", "PyWavelets")}
DELINEATORS = ("dwt", "cwt", "cwt1000", "peak", "prominence")
DETECTORS = ("neurokit", "pantompkins1985", "xqrs")
GIVEN = dict.fromkeys(DELINEATORS, BOUNDARIES) | {"peak": ("P onset", "T offset")}  # the boundaries that each gives


def delineate(signal: np.ndarray, rate: float, method: str) -> np.ndarray:
    """WAVE rows (lead 0) of a lead (T,) in mV by NeuroKit2: its cleaning, its R peaks, then `method` of DELINEATORS."""
    if method == "cwt1000":
        return _at_1000(signal, rate, "cwt")
    with warnings.catch_warnings(action="ignore"):
        rate = _whole(rate)
        cleaned = nk.ecg_clean(filled(signal), sampling_rate=rate)
        beats = nk.ecg_peaks(cleaned, sampling_rate=rate)[1]["ECG_R_Peaks"]
        found = nk.ecg_delineate(cleaned, beats, sampling_rate=rate, method=method)[1]
    found = {**found, "ECG_R_Peaks": beats}
    return waves_array([row for name, kind in (("P", P), ("R", QRS), ("T", T)) for row in _rows(found, name, kind)])


def r_peaks(signal: np.ndarray, rate: float, method: str) -> np.ndarray:
    """R peaks (samples, where the tool puts them) of a lead (T,) in mV by `method` of DETECTORS."""
    signal, rate = filled(signal), _whole(rate)
    with warnings.catch_warnings(action="ignore"):
        if method == "xqrs":
            return np.asarray(xqrs_detect(signal, rate, verbose=False), dtype=int)
        cleaned = nk.ecg_clean(signal, sampling_rate=rate, method=method)
        return np.asarray(nk.ecg_peaks(cleaned, sampling_rate=rate, method=method)[1]["ECG_R_Peaks"], dtype=int)


def filled(signal: np.ndarray) -> np.ndarray:
    """As float64, samples that are missing on the line between their neighbours."""
    signal = np.array(signal, dtype=float)
    known = np.isfinite(signal)
    return signal if known.all() else np.interp(np.arange(len(signal)), np.flatnonzero(known), signal[known])


def attempt(tool: Callable, signal: np.ndarray, rate: float, method: str) -> np.ndarray | None:
    """What a tool finds; None where it raises."""
    try:
        return tool(signal, rate, method)
    except Exception:
        return None


def kept(path: Path, make: Callable[[], Iterable[tuple[np.ndarray, int]]]) -> tuple[list[np.ndarray], int]:
    """What a tool found, an array per record, and on how many leads it raised; from `path` if made before."""
    if not path.is_file():
        found, raised = zip(*make())
        path.parent.mkdir(parents=True, exist_ok=True)
        ends = np.cumsum([len(each) for each in found])
        np.savez(path, found=np.concatenate(found), ends=ends, raised=sum(raised))
    with np.load(path) as file:
        return np.split(file["found"], file["ends"][:-1]), int(file["raised"])


def each_lead(
    store, rows: np.ndarray, method: str, piece: Callable = lambda row: (0, None)
) -> Iterator[tuple[np.ndarray, int]]:
    """`delineate` on every lead alone: per record WAVE rows and how many leads raised. `piece(row)`: start and stop."""
    for row in rows:
        start, stop = piece(row)
        found, raised = [np.empty(0, WAVE)], 0
        for lead, signal in enumerate(store.signal(row, start, stop)):
            said = attempt(delineate, signal, float(store.number("rate")[row]), method)
            raised += said is None
            found += [] if said is None else [_moved(said, lead, start)]
        yield np.concatenate(found), raised


def first_lead(store, rows: np.ndarray, method: str) -> Iterator[tuple[np.ndarray, int]]:
    """`r_peaks` on the first lead: per record peaks (samples) and whether the tool raised."""
    for row in rows:
        said = attempt(r_peaks, store.signal(row)[0], float(store.number("rate")[row]), method)
        yield np.empty(0, int) if said is None else said, said is None


def _at_1000(signal: np.ndarray, rate: float, method: str) -> np.ndarray:
    """As `delineate`, the signal brought to 1000 Hz and the marks back."""
    times, signal = Fraction(1000 / rate).limit_denominator(1000), filled(signal)
    found = delineate(resample_poly(signal - np.median(signal), times.numerator, times.denominator), 1000, method)
    for side in ("onset", "peak", "offset"):
        found[side] = np.where(found[side] >= 0, np.round(found[side] * (rate / 1000)), -1)
    return found


def _whole(rate: float) -> int | float:
    """The rate as an int where it is whole: NeuroKit2 cuts and ranges by it."""
    return int(rate) if float(rate).is_integer() else rate


def _rows(found: dict, name: str, kind: int) -> Iterator[tuple]:
    """(kind, lead 0, onset, peak, offset) of the waves of which any mark is known.

    NeuroKit2 leaves marks at or before sample 0 out of its lists, so shorter lists are filled up from the front.
    """
    lists = [np.asarray(found.get(f"ECG_{name}_{side}", ()), dtype=float) for side in ("Onsets", "Peaks", "Offsets")]
    most = max(len(marks) for marks in lists)
    marks = np.stack([np.concatenate([np.full(most - len(each), np.nan), each]) for each in lists], axis=1)
    for onset, peak, offset in np.where(marks >= 0, marks, -1).astype(int).tolist():
        if max(onset, peak, offset) >= 0:
            yield kind, 0, onset, peak, offset


def _moved(waves: np.ndarray, lead: int, by: int) -> np.ndarray:
    """WAVE rows on another lead, `by` samples later."""
    waves = waves.copy()
    waves["lead"] = lead
    for side in ("onset", "peak", "offset"):
        waves[side] += np.where(waves[side] >= 0, by, 0).astype(np.int32)
    return waves
