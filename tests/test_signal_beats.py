"""Beats of ECGs made of triangles with known values, of simulated ones with exact waves, and of LUDB's."""

import warnings

import numpy as np
import pytest

from ecgraft import simulator
from ecgraft.signal import delineate
from ecgraft.signal.beats import BEAT_FEATURES, RECORD_FEATURES, Beats, measure, measure_batch
from ecgraft.signal.recipe import Recipe
from ecgraft.signal.spectral import filter_resample

RATE = 250.0
CLEAN = {"wander": 0.3, "muscle": 0.3, "mains": 0.3, "motion": 0, "handheld": 0, "swap": 0, "lead_loss": 0, "flat": 0}


def triangles(at, seconds=10.0, rate=RATE, p=0.15, t=0.3, st=0.0):
    """(T,) mV: P from -210 to -110 ms, QRS of 1 mV from -40 to 40 ms, T from 220 to 380 ms, `st` from 40 to 220 ms."""
    time = np.arange(round(seconds * rate)) / rate - np.asarray(at)[:, None]  # (P, T)
    waves = ((-0.16, 0.05, p), (0.0, 0.04, 1.0), (0.30, 0.08, t))
    x = sum(height * np.clip(1 - np.abs(time - centre) / half, 0, None) for centre, half, height in waves)
    level = st * np.clip(np.minimum((time - 0.02) / 0.04, (0.30 - time) / 0.04), 0, 1)  # reaches its value at 60 ms
    return (x + level).sum(axis=0).astype(np.float32)


def named(beats: Beats) -> tuple[dict, dict]:
    """Features of the beats and of the record by name."""
    return dict(zip(BEAT_FEATURES, beats.features.T)), dict(zip(RECORD_FEATURES, beats.record))


@pytest.fixture(scope="module")
def simulated():
    made = simulator.simulate(1, range(150), simulator.Config(seconds=10, rate=RATE, **CLEAN))
    B, C, T = made.x.shape
    return made, filter_resample(made.x.reshape(B * C, T).numpy(), RATE, None, 0.5, 40).reshape(B, C, T)


@pytest.mark.parametrize("leads", [[1.0], [1.0, -1.0, 1.0]], ids=["one lead", "three leads"])
@pytest.mark.parametrize("rate", [250.0, 500.0])
def test_triangles(leads, rate):
    at = np.arange(0.6, 9.5, 1.0)
    x = np.array(leads, np.float32)[:, None] * triangles(at, rate=rate)
    beats = measure(x, rate)
    assert np.array_equal(beats.peaks, np.round(at * rate))
    beat, record = named(beats)
    inner = slice(1, -1)
    expected = {"rr_before": 1, "rr_after": 1, "pr": 0.17, "qrs": 0.08, "qtc": 0.42}
    expected["p_duration"] = 0.1 * (1 - delineate.P_FOOT)  # between the places at that share of its height
    for name, value in expected.items():
        assert beat[name][inner] == pytest.approx(value, abs=0.013), name
    assert beat["t_duration"][inner] == pytest.approx(0.16, abs=0.02)
    for name, value in {"r_amplitude": 1, "p_amplitude": 0.15, "t_amplitude": 0.3, "st_level": 0}.items():
        assert beat[name][inner] == pytest.approx(value, abs=0.12 * value + 0.005), name  # smoothing takes from a tip
    assert beat["qrs_slope"] == pytest.approx(25, rel=0.02)
    assert np.isnan(beat["rr_before"][0]) and np.isnan(beat["rr_after"][-1]) and np.isfinite(beat["qtc"][0])
    assert record["rr_mean"] == record["rr_median"] == 1 and record["rr_sd"] == record["rmssd"] == 0
    assert [record[name] for name in ("pnn50", "p_absent", "qrs_wide", "pr_long", "st_shifted")] == [0] * 5


def test_signs_and_shares():
    """Without P, a T wave that points away from R, ST 0.15 mV up."""
    at = np.arange(0.6, 9.5, 1.0)
    beat, record = named(measure(triangles(at, p=0, t=-0.4)[None], RATE))
    assert (beat["t_amplitude"] < -0.3).all() and np.isnan(beat["pr"]).all()
    assert record["p_absent"] == 1 and np.isnan(record["pr_mean"]) and np.isnan(record["pr_long"])
    beat, record = named(measure(triangles(at, st=0.15)[None], RATE))
    assert beat["st_level"] == pytest.approx(0.15, abs=0.01) and record["st_shifted"] == 1


def test_what_is_over_all_beats_by_hand():
    """RR 0.8, 1.0, 0.9, 1.0: differences 0.2, -0.1, 0.1."""
    at = np.cumsum([0.6, 0.8, 1.0, 0.9, 1.0])
    beats = measure(triangles(at, 6)[None], RATE, np.round(at * RATE))
    beat, record = named(beats)
    assert beats.fiducials.shape == (5, 3, 3) and beat["rr_before"][1:] == pytest.approx([0.8, 1.0, 0.9, 1.0])
    assert record["rmssd"] == pytest.approx(np.sqrt(0.02)) and record["pnn50"] == 1
    for name in ("rr_before", "qrs", "qtc", "t_amplitude", "st_level"):
        short, values = name.removesuffix("_before"), beat[name][~np.isnan(beat[name])]
        assert record[f"{short}_mean"] == pytest.approx(values.mean(), rel=1e-5, abs=1e-6)
        assert record[f"{short}_sd"] == pytest.approx(values.std(ddof=1), rel=1e-3, abs=1e-6)
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        assert record[f"{short}_median"] == pytest.approx(middle, abs=1e-6)
        assert record[f"{short}_iqr"] == pytest.approx(high - low, abs=1e-6)


@pytest.mark.parametrize("x", [np.zeros((3, 2500)), np.zeros((0, 2500)), np.zeros((2, 0)), np.full((1, 900), np.nan)])
def test_nothing_in_nothing(x):
    for peaks in (None, np.array([-1, -1]), np.array([100, 300])):
        beats = measure(x, RATE, peaks)
        assert beats.peaks.shape == (0,) and beats.features.shape == (0, len(BEAT_FEATURES))
        assert beats.record.shape == (len(RECORD_FEATURES),) and np.isnan(beats.record).all()


@pytest.mark.parametrize("count", [1, 2])
def test_few_beats(count):
    """What can be told is told, the rest is NaN, and nothing is said on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        peaks = np.append(np.array([250, 500])[:count], [-1, 900])  # padding, and one that is not in the record
        beats = measure(triangles([1.0, 2.0], 3)[None], RATE, peaks)
    _, record = named(beats)
    assert beats.peaks.tolist() == [250, 500][:count]
    assert record["qrs_mean"] == pytest.approx(0.08, abs=0.013) and np.isnan(record["rmssd"])
    assert np.isnan(record["pnn50"]) and np.isnan(record["rr_sd"]) and np.isnan(record["rr_mean"]) == (count == 1)
    assert np.isnan(record["qrs_sd"]) == (count == 1)


def test_waves_that_leave_the_record_are_missing():
    """The record begins on the first R peak and ends on the last."""
    at = np.array([0.0, 1.0, 2.0])
    beat, _ = named(measure(triangles(at, 2.004)[None], RATE, at * RATE))
    assert np.isnan([beat["qrs"][0], beat["pr"][0], beat["qrs"][-1], beat["qtc"][-1], beat["st_level"][-1]]).all()
    assert np.isfinite([beat["qrs"][1], beat["pr"][1], beat["qtc"][1]]).all()


def test_gaps_and_flat_leads_do_no_harm():
    x = np.stack([triangles(np.arange(0.6, 9.5, 1.0))] * 2)
    whole = measure(x, RATE)
    x = np.concatenate([x, np.zeros_like(x[:1]), np.full_like(x[:1], np.nan)])
    assert np.array_equal(measure(x, RATE).features, whole.features, equal_nan=True)
    x[:2, 1000:1100] = np.nan  # 4.0 to 4.4 s; the beat at 3.6 s loses its T wave's end, no other anything
    gapped = measure(x, RATE, whole.peaks)
    others = np.arange(len(whole.peaks)) != 3
    assert np.allclose(gapped.features[others, :2], whole.features[others, :2], equal_nan=True)
    assert np.allclose(gapped.features[5:, 3], whole.features[5:, 3], atol=0.01)


def test_a_long_record_goes_in_pieces(monkeypatch):
    at = np.arange(0.6, 59.5, 1.0)
    x = triangles(at, 60)[None] + 0.005 * np.random.default_rng(0).standard_normal((1, 15000)).astype(np.float32)
    whole = measure(x, RATE)
    monkeypatch.setattr(delineate, "BEATS", 16)
    pieces = measure(x, RATE)
    assert np.array_equal(pieces.peaks, whole.peaks)
    assert np.allclose(pieces.features, whole.features, atol=0.01, equal_nan=True)


def test_simulated_waves(simulated):
    """Median absolute errors (s) of intervals in sinus rhythm, 12 leads and lead II alone."""
    made, x = simulated
    sinus = np.flatnonzero(made.y[:, simulator.NAMES.index("SR")].numpy())
    for leads in (slice(None), slice(1, 2)):
        errors = []
        for i in sinus:
            exact = made.fiducials[i].numpy().astype(float)
            exact[exact < 0] = np.nan
            beats = measure(x[i, leads], RATE, made.peaks[i].numpy())
            for found in beats.fiducials:
                inside = (exact[:, 1, 0] <= found[1, 1]) & (found[1, 1] <= exact[:, 1, 2])
                if inside.sum() == 1:
                    errors.append(intervals(found) - intervals(exact[inside][0]))
        pr, qrs, qt = np.nanmedian(np.abs(errors), axis=0) / RATE
        assert len(errors) > 500 and pr <= 0.012 and qrs <= 0.012 and qt <= 0.012


def intervals(waves):
    """PR, QRS, QT in samples."""
    return np.array([waves[1, 0] - waves[0, 0], waves[1, 2] - waves[1, 0], waves[2, 2] - waves[1, 0]])


def test_fibrillation_has_no_p_waves(simulated):
    made, x = simulated
    batch = measure_batch(x, made.present.numpy(), RATE, made.peaks.numpy())
    absent = batch["record_features"][:, RECORD_FEATURES.index("p_absent")]
    rhythm = {name: made.y[:, simulator.NAMES.index(name)].numpy() for name in ("SR", "AFIB")}
    assert np.nanmean(absent[rhythm["SR"]]) < 0.08 and np.nanmean(absent[rhythm["AFIB"]]) > 0.85


def test_batch_is_measure(simulated):
    made, x = simulated
    present, length = made.present.numpy().copy(), np.array([2500, 1700, 2500, 40])
    present[0, 2:], present[2] = False, False
    batch = measure_batch(x[:4], present[:4], RATE, length=length)
    assert batch["peaks"].dtype == np.int32 and batch["beat_features"].dtype == np.float32
    for b in range(4):
        alone, n = measure(x[b, present[b], : length[b]], RATE), (batch["peaks"][b] >= 0).sum()
        assert np.array_equal(batch["peaks"][b, :n], alone.peaks) and (batch["peaks"][b, n:] == -1).all()
        assert np.array_equal(batch["beat_features"][b, :n], alone.features, equal_nan=True)
        assert np.isnan(batch["beat_features"][b, n:]).all()
        assert np.array_equal(batch["record_features"][b], alone.record, equal_nan=True)
    assert not (batch["peaks"][2] >= 0).any() and (batch["peaks"][1] < 1700).all()


@pytest.mark.slow
def test_ludb(shared_data):
    """Against the median over the leads of what cardiologists marked."""
    from ecgraft import datasets

    recipe, errors, beats_in_fibrillation = Recipe(), [], []
    for entry in datasets.entries("ludb", shared_data / "ludb")[::3]:
        record = datasets.read(entry)
        beats = measure(recipe.prepare(record).signal, RATE)
        lead = record.scored[record.scored["lead"] == 1][0]
        inside = (beats.peaks * 2 > lead["start"]) & (beats.peaks * 2 < lead["stop"])
        if record.labels.get("snomed:164889003"):
            beats_in_fibrillation += np.isnan(beats.fiducials[inside, 0, 1]).tolist()
        errors += [found * 2 - reference(record.waves, found[1, 1] * 2) for found in beats.fiducials[inside]]
    p, qrs, t = np.nanmedian(np.abs(errors), axis=0) / record.rate  # (3,) onset, peak, offset, s
    assert (qrs[[0, 2]] <= 0.010).all() and (p <= 0.012).all() and t[2] <= 0.020
    assert np.mean(beats_in_fibrillation) > 0.8


def reference(waves, at):
    """(3, 3) samples: P, QRS, T x onset, peak, offset of the beat at `at`, medians of at least four leads."""
    found = np.full((3, 3), np.nan)
    for kind, (first, last) in enumerate(((-200, -30), (-50, 50), (50, 300))):
        near = waves[(waves["kind"] == kind + 1) & (waves["peak"] - at > first) & (waves["peak"] - at < last)]
        near = near[(near["onset"] >= 0) & (near["offset"] >= 0)]
        if len(near) >= 4:
            found[kind] = [np.median(near[name]) for name in ("onset", "peak", "offset")]
    return found
