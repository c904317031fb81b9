"""R peaks against made signals with known beats and against the annotations of MIT-BIH, LUDB and CPSC2019."""

import numpy as np
import pytest

from ecgraft.signal.peaks import decode, r_peaks

BEATS = set("NLRBAaJSVrFejnE/fQ?")


def made(rate, bpm, seconds=20, noise=0.02):
    """QRS and T waves at known times; (T,) mV and the samples of the peaks."""
    t = np.arange(int(seconds * rate)) / rate
    beats = np.arange(0.7, seconds - 0.5, 60 / bpm)
    qrs = np.exp(-(((t - beats[:, None]) / 0.012) ** 2)).sum(axis=0)
    t_wave = 0.25 * np.exp(-(((t - beats[:, None] - 0.25) / 0.05) ** 2)).sum(axis=0)
    return qrs + t_wave + noise * np.random.default_rng(0).standard_normal(t.size), np.round(beats * rate)


def score(pairs, rate, tolerance=0.1):
    """Sensitivity and positive predictive value over (reference, found) pairs, one to one within `tolerance` s."""
    hits = references = found = 0
    for reference, peaks in pairs:
        used = set()
        for sample in reference:
            near = [k for k in range(*np.searchsorted(peaks, [sample - tolerance * rate, sample + tolerance * rate]))]
            near = [k for k in near if k not in used]
            used |= {min(near, key=lambda k: abs(peaks[k] - sample))} if near else set()
        hits, references, found = hits + len(used), references + len(reference), found + len(peaks)
    return hits / references, hits / found


@pytest.mark.parametrize("rate", [100, 128, 257, 360, 500, 1000])
@pytest.mark.parametrize("bpm", [25, 60, 180])
def test_every_made_beat_is_found_where_it_is(rate, bpm):
    x, beats = made(rate, bpm)
    peaks = r_peaks(x[None], rate)
    assert len(peaks) == len(beats)
    assert np.abs(peaks - beats).max() <= max(1, 0.004 * rate)


def test_other_leads_help_out_when_one_is_lost():
    x, beats = made(500, 70)
    rng = np.random.default_rng(1)
    leads = np.stack([rng.standard_normal(x.size), np.zeros(x.size), 0.3 * x, np.full(x.size, np.nan)])
    peaks = r_peaks(leads, 500)
    assert len(peaks) == len(beats)
    assert np.abs(peaks - beats).max() <= 2


@pytest.mark.parametrize("signal", [np.zeros((3, 5000)), np.zeros((1, 3)), np.full((2, 999), np.nan), np.ones((1, 1))])
def test_nothing_in_nothing(signal):
    assert r_peaks(signal, 500).size == 0


def test_mitdb(shared_data):
    wfdb = pytest.importorskip("wfdb")
    pairs, single = [], []
    for name in ("108", "112", "118", "208", "209", "215"):
        path = str(shared_data / "mitdb" / name)
        end = 360 * 600
        x = wfdb.rdrecord(path, sampto=end).p_signal.T
        annotation = wfdb.rdann(path, "atr", sampto=end)
        beats = np.array([s for s, symbol in zip(annotation.sample, annotation.symbol) if symbol in BEATS])
        pairs.append((beats, r_peaks(x, 360)))
        single.append((beats, r_peaks(x[:1], 360)))
    assert min(score(pairs, 360)) > 0.99
    assert min(score(single, 360)) > 0.98


def test_ludb(shared_data):
    wfdb = pytest.importorskip("wfdb")
    together, single = [], []
    for header in sorted((shared_data / "ludb" / "data").glob("*.hea"))[::3]:
        path = str(header.with_suffix(""))
        x = wfdb.rdrecord(path).p_signal.T
        annotation = wfdb.rdann(path, "ii")
        beats = annotation.sample[np.array(annotation.symbol) == "N"]

        def annotated(peaks, first=beats[0] - 60, last=beats[-1] + 60):  # the outer beats are not annotated
            return peaks[(peaks > first) & (peaks < last)]

        together.append((beats, annotated(r_peaks(x, 500))))
        single.append((beats, annotated(r_peaks(x[1:2], 500))))
    assert min(score(together, 500)) > 0.995
    assert min(score(single, 500)) > 0.98


def test_cpsc2019(shared_data):
    loadmat = pytest.importorskip("scipy.io").loadmat
    pairs = []
    for path in sorted((shared_data / "cpsc2019" / "data").glob("*.mat")):
        reference = path.parent.parent / "ref" / path.name.replace("data_", "R_")
        beats = loadmat(reference)["R_peak"].ravel().astype(int) - 1
        pairs.append((beats, r_peaks(loadmat(path)["ecg"].reshape(1, -1), 500)))
    assert min(score(pairs, 500)) > 0.92  # chosen by its makers to be hard: NeuroKit2's default finds 0.86


def test_peaks_are_read_from_probabilities_at_any_rate():
    """Blocks of 0.1 s around 1, 2 (lopsided) and 3 s (with a gap of 8 ms), and a run that is too short."""
    probability = np.zeros(1000)
    probability[238:263], probability[600:602] = 0.9, 0.9  # 250 +- 12 samples at 250 Hz
    probability[488:513] = np.linspace(0.6, 1.0, 25)
    probability[738:748], probability[750:763] = 0.8, 0.8
    at = decode(probability, 250.0, to=500.0)
    assert at[0] == 500 and abs(at[1] - 1001) <= 4 and abs(at[2] - 1500) <= 2 and len(at) == 3
    assert decode(np.zeros(10), 250.0).tolist() == []
