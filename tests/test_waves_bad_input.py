"""Signals that are no ECG, or a bad one: no wave is invented, a reason is given, and JSON can say it.

The figures behind the bounds are those of the packaged model: what they forbid is a decoder that reads noise.
"""

from __future__ import annotations

import json
import tracemalloc
import warnings

import numpy as np
import pytest
import torch

import ecgraft
from ecgraft import views
from ecgraft.metrics import beats
from ecgraft.model import Model
from ecgraft.record import LEADS, QRS, InputError, P, Record, T
from ecgraft.signal.spectral import filter_resample
from ecgraft.simulator import Config, simulate

pytestmark = pytest.mark.slow

RATE = 500
CALM = dict(swap=0, lead_loss=0, flat=0, handheld=0)
QUIET = CALM | dict(wander=0, muscle=0, motion=0, mains=0)
RHYTHMS = ("SBRAD", "STACH", "SARRH", "AFIB", "AFLT", "SVTAC", "2AVB1", "2AVB2", "3AVB")
SETS = {1: ("II",), 2: ("II", "V2"), 12: LEADS}


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load()


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def read(model, signal, leads, rate=RATE):
    """What is said of it, after a look at whether all of it can be said in JSON."""
    said = model.predict(Record(signal, rate, leads), ["waves"])["waves"]
    json.dumps(said.to_dict(), allow_nan=False)
    for interval in said.intervals:
        numbers = interval.median, interval.low, interval.high
        assert bool(interval.reason) == (interval.median is None)
        assert interval.reason or np.isfinite(numbers).all()
    for some in (said.waves, said.together):
        assert ((some["onset"] <= some["peak"]) & (some["peak"] <= some["offset"])).all()
        assert not len(some) or (some["onset"].min() >= 0 and some["offset"].max() < np.shape(signal)[1])
    return said


def nothing(said):
    """No wave at all, and why."""
    assert len(said.waves) == len(said.together) == 0
    assert {interval.reason for interval in said.intervals} == {"no QRS complex was found"}
    assert any("nothing can be read" in note for note in said.notes)


def ecg(count=2, seed=3, index=1, **config) -> Record:
    record = simulate(seed, [index], Config(**CALM | config)).record(0)
    return record.but(signal=np.stack([record.lead(name) for name in SETS[count]]), leads=SETS[count])


def of(said, kind, lead=-1):
    waves = said.together if lead < 0 else said.waves[said.waves["lead"] == lead]
    return waves[waves["kind"] == kind]


@pytest.mark.parametrize("leads", [1, 2, 12])
@pytest.mark.parametrize("level", [0.0, 1.234, -5.0])
def test_a_flat_line_has_no_waves_and_its_leads_are_named(model, leads, level):
    said = read(model, np.full((leads, 5000), level), SETS[leads])
    nothing(said)
    assert said.unreadable == [(0, 5000)]
    for name in SETS[leads]:
        assert f"lead {name} is flat at {level:.3g} mV" in said.notes


@pytest.mark.parametrize("leads", [1, 2, 12])
@pytest.mark.parametrize("step", [0.001, 0.002])
def test_the_least_bit_of_a_converter_is_no_ecg(model, leads, step):
    said = read(model, np.random.default_rng(leads).integers(-1, 2, (leads, 5000)) * step, SETS[leads])
    nothing(said)
    assert any(f"lead {SETS[leads][0]} spans only" in note for note in said.notes)


@pytest.mark.parametrize("leads", [2, 12])
def test_a_flat_lead_takes_no_waves_from_the_others(model, leads):
    record = ecg(leads)
    signal, row = record.signal.copy(), leads - 1
    signal[row] = 0.7
    whole, said = read(model, record.signal, record.leads), read(model, signal, record.leads)
    assert len(of(said, QRS, row)) == len(of(said, P, row)) == len(of(said, T, row)) == 0 < len(of(whole, QRS, row))
    assert len(of(said, QRS, 0)) == len(of(whole, QRS, 0)) and len(of(said, QRS)) == len(of(whole, QRS))
    assert f"lead {record.leads[row]} is flat at 0.7 mV" in said.notes


def test_a_lead_falls_off_and_another_has_a_gap(model):
    record = ecg()
    signal = record.signal.copy()
    signal[0, 2500:], signal[1, 500:2000] = signal[0, 2500], np.nan
    said = read(model, signal, record.leads)
    for lead, a, b in ((0, 2500, 5000), (1, 500, 2000)):
        onset = said.waves["onset"][said.waves["lead"] == lead]
        assert len(onset) > 10 and not ((onset > a) & (onset < b)).any()
    assert len(of(said, QRS)) == len(of(read(model, record.signal, record.leads), QRS))


def noise(kind: str, leads: int, seed: int) -> np.ndarray:
    """Ten seconds (leads, 5000) of unit standard deviation."""
    rng = np.random.default_rng(seed)
    x, time = rng.normal(size=(leads, 5000)).astype(np.float32), np.arange(5000) / RATE
    if kind == "muscle":
        x = filter_resample(x, RATE, RATE, 20, 200)
        x *= np.exp(12 * filter_resample(rng.normal(size=x.shape), RATE, RATE, None, 1))
    elif kind == "wander":
        x = filter_resample(x, RATE, RATE, 0.05, 0.7)
    elif kind == "mains":
        x = np.sin(2 * np.pi * (50 * time + rng.uniform(size=(leads, 1)))) + 0.01 * x
    elif kind == "walk":
        x = x.cumsum(1)
    elif kind == "beat band":
        x = filter_resample(x, RATE, RATE, 1, 15)
    return x / x.std(1, keepdims=True)


@pytest.mark.parametrize("leads", [1, 12])
@pytest.mark.parametrize("kind", ["white", "muscle", "wander", "mains", "walk", "beat band"])
def test_noise_is_no_ecg(model, kind, leads):
    """A decoder that must read everything invents 50 to 250 waves a minute here."""
    found, seeds = 0, range(3)
    for seed in seeds:
        for size in (0.02, 0.2, 2.0):
            said = read(model, np.round(noise(kind, leads, seed) * size / 0.0025) * 0.0025, SETS[leads])
            found += len(said.together)
            assert len(said.together) or said.unreadable == [(0, 5000)]
    assert found / (len(seeds) * 3) * 6 <= 15  # a minute


def test_what_worn_electrodes_do_is_mostly_no_ecg(model):
    view = views.build({"artefact": {"rate": 250.0, "share": 1.0}})
    still_there = torch.ones(16, 1, dtype=torch.bool)
    batch = {"x": torch.zeros(16, 1, 2500), "present": still_there, "length": torch.full((16,), 2500)}
    signals = view(batch, torch.Generator().manual_seed(0))[0]["x"].numpy()
    found = [read(model, signal, ("II",), 250) for signal in signals]
    assert sum(len(said.together) for said in found) / len(found) * 6 < 75  # a minute; an ECG has about 200


@pytest.mark.parametrize("leads", [1, 2, 12])
@pytest.mark.parametrize("kind", ["flat", "wander"])
def test_asystole_has_no_waves(model, leads, kind):
    record = ecg(leads, seed=21, index=1)
    signal, rng, time = record.signal.copy(), np.random.default_rng(0), np.arange(2500) / RATE
    signal[:, 2500:] = signal[:, 2499:2500]
    if kind == "wander":
        signal[:, 2500:] += 0.005 * rng.normal(size=(leads, 2500)) + 0.3 * np.sin(0.4 * np.pi * time)
    said = read(model, signal, record.leads)
    assert (of(said, QRS)["onset"] < 2500).sum() >= 3
    assert (said.together["onset"] > 2550).sum() <= (kind == "wander")
    assert any("nothing can be read" in note for note in said.notes)
    (span,) = said.unreadable
    assert span[0] < (2500 if kind == "flat" else 4000) and span[1] == 5000


@pytest.mark.parametrize("rate", [500, 1000])
@pytest.mark.parametrize("leads", [None, "II"])
def test_pacing_spikes_are_no_qrs_complexes(model, rate, leads):
    paced = Config(rate=rate, prevalence=dict.fromkeys(RHYTHMS, 0.0) | {"PACE": 1.0}, **CALM)
    sim, counts = simulate(5, range(15), paced), np.zeros(3)
    for i in range(15):
        record = sim.record(i)
        some = (record.signal, record.leads) if leads is None else (record.lead(leads)[None], (leads,))
        found, truth = of(read(model, *some, rate), QRS), record.waves[record.waves["kind"] == QRS]
        counts += beats.count(truth["onset"], found["onset"], rate, 0.06, int(0.5 * rate), int(9.5 * rate))
    hits, missed, false = counts
    assert hits > 120 and missed <= 1 and false <= 1


@pytest.mark.parametrize(("leads", "row"), [(12, 0), (1, 0), (2, 1)])
def test_an_inverted_lead_keeps_its_waves(model, leads, row):
    shift = []
    for index in range(6):
        record = ecg(leads, seed=6, index=index)
        turned = record.signal.copy()
        turned[row] *= -1
        a, b = (of(read(model, x, record.leads), QRS)["onset"] for x in (record.signal, turned))
        assert abs(len(a) - len(b)) <= 1
        shift += [b[np.abs(b - t).argmin()] - t for t in a]
    shift = np.array(shift)[np.abs(shift) < 0.15 * RATE] / RATE * 1000
    assert np.abs(shift).mean() < 10 and np.abs(shift.mean()) < 5


def test_saturation(model):
    record = ecg()
    whole, clipped = read(model, record.signal, record.leads), np.clip(record.signal, -0.3, 0.3)
    said = read(model, clipped, record.leads)
    assert len(of(said, QRS)) == len(of(whole, QRS))
    assert sum("is clipped at" in note for note in said.notes) == 2
    clipped[:, 1500:3500] = 0.3
    said = read(model, clipped, record.leads)
    assert not ((said.together["onset"] > 1520) & (said.together["offset"] < 3480)).any() and len(of(said, QRS)) > 4
    assert [any(a < 2500 < b for a, b in said.unreadable), "nothing can be read" in " ".join(said.notes)] == [True] * 2


@pytest.mark.parametrize("samples", [1, 2, 3, 10, 50, 250, 500, 1000])
def test_short_records(model, samples):
    record = ecg()
    said = read(model, record.signal[:, :samples], record.leads)
    most = np.ceil(samples / RATE / 0.8) if samples > 10 else 0  # about 68 beats a minute
    assert len(of(said, QRS)) <= most
    assert samples < 1000 or len(of(said, QRS)) == 2


def test_no_samples_at_all_and_values_that_are_no_numbers(model):
    record = ecg()
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(InputError, match="not a single sample"):
            read(model, np.full((2, 5000), value), record.leads)
        signal = record.signal.copy()
        signal[1] = value
        said = read(model, signal, record.leads)
        assert said.leads == ("II",) and len(of(said, QRS)) > 8 and "lead V2 has no samples" in said.notes
        signal = record.signal.copy()
        signal[:, 1000:2100], signal[0, 3000] = value, value
        said = read(model, signal, record.leads)
        assert not ((said.together["onset"] > 1010) & (said.together["offset"] < 2090)).any()
        assert len(of(said, QRS)) >= 8 and any("has no samples for 22%" in note for note in said.notes)
    signal = record.signal.copy()
    signal[:, 1000] = 1e30
    assert any("more than a heart gives" in note for note in read(model, signal, record.leads).notes)


def test_the_same_waves_at_every_rate(model):
    record = ecg(12, seed=6, index=2)
    expected = read(model, record.signal, record.leads).together
    assert len(expected) > 20
    for rate in (100, 125, 250, 360, 1000):
        found = read(model, filter_resample(record.signal, RATE, rate), record.leads, rate).together
        assert found["kind"].tolist() == expected["kind"].tolist()
        for name in ("onset", "offset"):
            assert np.abs(found[name] / rate - expected[name] / RATE).max() <= 0.012


def endless(minutes: float, leads=("II", "V2"), rate=250, noise=0.01) -> tuple[np.ndarray, int]:
    """A simulated rhythm again and again, cut where a P wave begins, and how many beats it has."""
    config = Config(seconds=60.0, rate=rate, prevalence=dict.fromkeys(RHYTHMS, 0.0) | {"PAC": 0, "PVC": 0}, **QUIET)
    record = simulate(12, [0], config).record(0)
    begins = record.waves["onset"][record.waves["kind"] == P]
    a, b = int(begins[2]) - 10, int(begins[-3]) - 10
    one = np.stack([record.lead(name) for name in leads])[:, a:b]
    one = one - one[:, :1] - np.linspace(0, 1, b - a) * (one[:, -1:] - one[:, :1])
    times = round(minutes * 60 * rate / (b - a))
    signal = np.tile(one, times).astype(np.float32)
    signal += noise * np.random.default_rng(0).standard_normal(signal.shape, np.float32)
    return signal, times * int(((record.waves["kind"] == QRS) & (record.waves["onset"] >= a)
                                & (record.waves["onset"] < b)).sum())  # fmt: skip


def test_half_an_hour(model):
    signal, count = endless(30)
    tracemalloc.start()
    said = read(model, signal, ("II", "V2"), 250)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    at = of(said, QRS)["onset"]
    assert abs(len(at) - count) <= 1 and count > 1500
    assert np.diff(at).min() > 0.5 * np.median(np.diff(at)) and np.diff(at).max() < 2 * np.median(np.diff(at))
    assert peak < 16 * signal.nbytes + 300e6
    assert said.unreadable == [] and not any("nothing can be read" in note for note in said.notes)


def test_the_command_says_the_same_and_writes_valid_json(model, tmp_path, monkeypatch):
    monkeypatch.setattr(Model, "load", lambda name: model)
    signals = {
        "flat": np.zeros((2, 5000)), "noise": noise("white", 2, 0), "short": ecg().signal[:, :3],
        "gap": np.where(np.arange(5000) % 2500 < 1500, ecg().signal, np.nan),
    }  # fmt: skip
    files = []
    for name, signal in signals.items():
        files.append(tmp_path / f"{name}.npz")
        np.savez(files[-1], signal=signal, rate=RATE, leads=np.array(["II", "V2"]), unit="mV")
    to = tmp_path / "said.json"
    ecgraft.predict(files, task=["waves"], to=to)
    rows = json.loads(to.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    said = {row["record"]: row for row in rows}
    for name in ("flat", "noise", "short"):
        assert said[name]["together"] == said[name]["waves"] == [] and said[name]["not readable"]
        assert all(each == {"median": None, "reason": "no QRS complex was found"}
                   for each in said[name]["intervals"].values())  # fmt: skip
    assert len(said["gap"]["together"]) > 10
