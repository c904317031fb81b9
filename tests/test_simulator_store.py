"""ecgraft simulate: what stands in the store is what the simulator made."""

from __future__ import annotations

import numpy as np
import pytest

from ecgraft.commands import simulate as command
from ecgraft.commands.simulate import simulate
from ecgraft.record import UsageError
from ecgraft.simulator import CODES, Config
from ecgraft.simulator import simulate as simulated
from ecgraft.store import Store

SMALL = {"seconds": 4, "rate": 250}


def test_store_holds_the_simulated_records(tmp_path):
    assert simulate(to=tmp_path / "s", count=70, first=3, seed=5, progress=False, **SMALL) == 70
    store, made = Store(tmp_path / "s"), simulated(5, range(3, 73), Config(**SMALL))
    assert len(store) == 70 and set(CODES) == set(store.codes)
    for i in (0, 63, 64, 69):
        told, kept = made.record(i), store.record(i)
        assert (kept.id, kept.patient, kept.report, kept.leads) == (told.id, told.patient, told.report, told.leads)
        assert np.abs(kept.signal - told.signal).max() < 2e-3  # 16 bits
        assert kept.labels == told.labels and kept.source == "simulator"
        assert np.array_equal(kept.waves, told.waves) and np.array_equal(kept.scored, told.scored)
        assert np.array_equal(kept.beats, told.beats) and np.array_equal(kept.rhythms, told.rhythms)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_store(tmp_path, monkeypatch):
    begun = []

    def stopped(seed, index, config):
        begun.append(index.start)
        if len(begun) == 6:
            raise KeyboardInterrupt
        return simulated(seed, index, config)

    monkeypatch.setattr(command, "simulated", stopped)
    with pytest.raises(KeyboardInterrupt):
        simulate(to=tmp_path / "s", count=400, progress=False, seconds=1, rate=100)
    simulate(to=tmp_path / "s", count=400, progress=False, seconds=1, rate=100)
    assert begun == [0, 64, 128, 192, 256, 320, 256, 320, 384]  # a chunk of 256 was finished
    simulate(to=tmp_path / "t", count=400, progress=False, seconds=1, rate=100)
    one, other = Store(tmp_path / "s"), Store(tmp_path / "t")
    assert list(one.column("id")) == list(other.column("id")) and one.fingerprint == other.fingerprint


@pytest.mark.parametrize("wrong", [{"count": 0}, {"first": -1}, {"secnds": 3}, {"prevalence": {"AFIBB": 0.5}}])
def test_wrong_use_is_told_before_a_store_is_begun(tmp_path, wrong):
    with pytest.raises(UsageError):
        simulate(to=tmp_path / "s", progress=False, **wrong)
    assert not (tmp_path / "s").exists()
