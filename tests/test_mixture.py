"""Batches of several sources: every record once an epoch, gaps filled, ranks apart, and the same with any threads."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ecgraft import simulator, tasks
from ecgraft.record import LEADS, UsageError
from ecgraft.signal.recipe import Recipe
from ecgraft.signal.spectral import filter_resample
from ecgraft.store import Store, StoreWriter
from ecgraft.tasks import targets
from ecgraft.training import Ahead, Examples, Mixture, Simulated
from ecgraft.training.mixture import joined
from made_records import plain

RECIPE = Recipe(leads=("I", "II", "V1"), rate=100.0, seconds=2.0)
SAMPLES = RECIPE.samples


class Cache:
    """Records whose samples tell source and record: 1000 source + record, in mV."""

    def __init__(self, source: int, count: int, leads: int = 3, length: int = 300):
        self.length, self.source, self.leads = np.full(count, length), source, leads

    def batch(self, index, start, samples):
        B = len(index)
        x = np.zeros((B, 3, samples), np.float32)
        x[:, : self.leads] = (1000 * self.source + index)[:, None, None]
        present = np.zeros((B, 3), bool)
        present[:, : self.leads] = True
        return {"x": x, "present": present, "length": np.full(B, samples, np.int32)}


def kept(**arrays):
    """What is kept beside a store: the same for every record."""
    return SimpleNamespace(
        batch=lambda index, start, samples: {k: np.stack([v] * len(index)) for k, v in arrays.items()}
    )


def sources(*counts: int) -> list[Examples]:
    return [Examples(Cache(s, n, leads=3 - s % 2), np.arange(n)) for s, n in enumerate(counts)]


def shown(batch: dict) -> list[int]:
    return batch["x"][:, 0, 0].round().int().tolist()


def test_every_record_comes_once_an_epoch_whatever_its_store():
    mixture = Mixture(sources(7, 3, 10), 8, SAMPLES, seed=4)
    drawn = [name for number in range(5) for name in shown(mixture(number))]  # 40: two epochs of 20
    everyone = [*range(7), *range(1000, 1003), *range(2000, 2010)]
    assert sorted(drawn[:20]) == sorted(drawn[20:]) == everyone
    assert drawn[:20] != drawn[20:] and shown(Mixture(sources(7, 3, 10), 8, SAMPLES, seed=5)(0)) != drawn[:8]
    batch = mixture(0)
    assert batch["present"].sum(1).tolist() == [2 if 1000 <= name < 2000 else 3 for name in drawn[:8]]
    assert (batch["step"], batch["seed"]) == (0, 4) and "index" not in batch


def test_stores_of_other_leads_and_rates_come_together(tmp_path):
    """Two real stores, prepared by one recipe: what the batch holds is what each cache says."""
    for name, count, leads, rate in (("two", 5, LEADS[:2], 250.0), ("one", 4, ("V1",), 200.0)):
        with StoreWriter(tmp_path / name) as writer:
            for i in range(count):
                writer.add(plain(i, leads=leads, samples=round(3 * rate), rate=rate, patient=None))
    caches = [Store(tmp_path / name).prepared(RECIPE) for name in ("two", "one")]
    found = [Examples(cache, np.arange(len(cache.length))) for cache in caches]
    mixture = Mixture(found, 9, SAMPLES, seed=0)
    batch = mixture(3)
    assert batch["x"].shape == (9, 3, SAMPLES) and batch["x"].dtype == torch.float32
    assert sorted(batch["present"].int().tolist()) == [[0, 0, 1]] * 4 + [[1, 1, 0]] * 5
    assert not batch["x"][~batch["present"]].any() and (batch["length"] == SAMPLES).all()
    whole = [
        cache.batch(np.array([i]), np.array([0]), 300)["x"][0] for cache in caches for i in range(len(cache.length))
    ]
    for x in batch["x"]:
        window = np.rint(x.numpy() * 1000)
        places = [(k, s) for k, record in enumerate(whole) for s in range(101) if (record[:, s] == window[:, 0]).all()]
        assert any(np.array_equal(whole[k][:, s : s + SAMPLES], window) for k, s in places)


def test_what_only_some_know_is_unknown_in_the_others():
    one = Examples(Cache(0, 2), np.arange(2), more=(kept(peaks=np.array([5, 9], np.int32)),))
    beats = {"peaks": np.array([1, 2, 3], np.int32), "beat_features": np.ones((3, 4), np.float32)}
    text = {"text": np.ones(6, np.float32), "text_known": np.array(True), "text_key": np.array(7)}
    y = np.ones((2, 5), np.float32)
    more = (kept(**beats), kept(**text), kept(record_features=np.ones(3, np.float32)))
    two = Examples(Cache(1, 2, leads=2), np.arange(2), y, y > 0, more=more)
    batch = Mixture([one, two], 4, SAMPLES)(0)
    first = torch.tensor([name < 1000 for name in shown(batch)])
    assert batch["peaks"][first].tolist() == [[5, 9, -1]] * 2 and batch["peaks"][~first].tolist() == [[1, 2, 3]] * 2
    for name in ("beat_features", "record_features"):
        assert batch[name][first].isnan().all() and (batch[name][~first] == 1).all()
    assert not batch["text"][first].any() and not batch["text_known"][first].any()
    assert batch["text_known"][~first].all() and batch["text_key"].tolist() == [-1 if f else 7 for f in first]
    assert not batch["known"][first].any() and batch["known"][~first].all() and batch["known"].dtype == torch.bool


def test_rows_stand_where_they_were_drawn():
    parts = [{"x": torch.full((2, 1), 1.0), "index": 0}, {"x": torch.full((1, 1), 2.0)}]
    assert joined(parts, [np.array([0, 2]), np.array([1])])["x"].flatten().tolist() == [1, 2, 1]


def test_the_stated_share_is_simulated_and_no_ecg_comes_twice():
    asked = []

    class Made:
        def batch(self, first, count):
            asked.extend(range(first, first + count))
            x = torch.full((count, 3, SAMPLES), -1.0)
            return {"x": x, "present": torch.ones(count, 3, dtype=torch.bool), "length": torch.full((count,), SAMPLES)}

    mixture = Mixture(sources(6, 6), 8, SAMPLES, simulated=Made(), share=0.25)
    drawn = [shown(mixture(number)) for number in range(4)]
    assert [batch.count(-1) for batch in drawn] == [2] * 4 and asked == list(range(8))
    assert len({name for batch in drawn[:2] for name in batch if name >= 0}) == 12  # an epoch of two batches
    alone = Mixture([], 4, SAMPLES, simulated=Made(), share=1.0)(2)
    assert shown(alone) == [-1] * 4 and asked[-4:] == [8, 9, 10, 11]


def test_ranks_take_disjoint_parts_of_the_doubled_batch():
    given = {"seed": 1, "simulated": Simulated(RECIPE, 0), "share": 0.25}
    whole = Mixture(sources(9, 8), 8, SAMPLES, **given)
    ranks = [Mixture(sources(9, 8), 4, SAMPLES, **given, rank=rank, world=2) for rank in range(2)]
    for number in range(5):
        parts, together = [ranks[rank](number) for rank in range(2)], whole(number)
        assert shown(together)[:6] == [name for part in parts for name in shown(part)[:3]]
        assert torch.equal(together["x"][6:], torch.cat([part["x"][3:] for part in parts]))
        assert parts[0]["seed"] != parts[1]["seed"]


def test_a_batch_is_a_function_of_seed_and_number():
    def mixture(seed):
        long = [Examples(Cache(0, 30, length=9999), np.arange(30)), *sources(5)]
        return Mixture(long, 6, SAMPLES, seed=seed, simulated=Simulated(RECIPE, seed), share=0.5)

    before = mixture(3)
    for number in (0, 1, 2, 17):
        before(number)
    for a, b in ((before(9), mixture(3)(9)), (before(0), mixture(3)(0))):
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a if torch.is_tensor(a[k]))
    assert not torch.equal(mixture(4)(9)["x"], before(9)["x"])


@pytest.mark.parametrize("threads", [1, 3])
def test_ahead_gives_the_same_batches_in_the_same_order(threads):
    def slow(number):
        time.sleep(0.002 * (number % 3))
        return {"number": number}

    ahead = Ahead(slow, 5, threads)
    assert [ahead(number)["number"] for number in range(12)] == list(range(12))
    ahead.close()
    plain_, mixture = Mixture(sources(9, 4), 4, SAMPLES, seed=2), Mixture(sources(9, 4), 4, SAMPLES, seed=2)
    ahead = Ahead(mixture, 8, threads)
    assert all(torch.equal(ahead(number)["x"], plain_(number)["x"]) for number in range(3, 12))
    ahead.close()


def test_ahead_passes_exceptions_on_and_closes():
    made = []

    def batches(number):
        made.append(number)
        if number == 2:
            raise ValueError("batch 2")
        return number

    ahead = Ahead(batches, 4, 2)
    assert [ahead(0), ahead(1)] == [0, 1]
    with pytest.raises(ValueError, match="batch 2"):
        ahead(2)
    ahead.close()
    count = len(made)
    assert count <= 7 and not [t for t in threading.enumerate() if t.name.startswith("batches")]
    time.sleep(0.01)
    assert len(made) == count


def test_simulated_ecgs_are_as_the_recipe_prepares_them():
    recipe = Recipe(leads=("V2", "I"), rate=100.0, seconds=2.0, low=1.0, high=30.0, mains=50)
    config = simulator.Config(lead_loss=0.3)
    batch = Simulated(recipe, 7, config).batch(4, 3)
    made = simulator.simulate(7, range(4, 7), simulator.Config(seconds=2.0, rate=100.0, lead_loss=0.3))
    slots = [LEADS.index("V2"), LEADS.index("I")]
    for x, raw in zip(batch["x"], made.x[:, slots]):
        assert np.allclose(x, filter_resample(raw.numpy(), 100.0, None, 1.0, 30.0, 50), atol=1e-6)
    assert batch["present"].any(1).all() and not batch["x"][~batch["present"]].any()
    assert set(batch) == {"x", "present", "length"}
    with pytest.raises(UsageError, match="the encoder reads others"):
        Simulated(Recipe(leads=("I", "CM5")), 0)


def test_labels_and_waves_of_simulated_ecgs_are_those_of_a_store_of_them(tmp_path):
    task = tasks.find("findings")
    simulated = Simulated(RECIPE, 3, labels=task, waves=True).batch(0, 24)
    config = simulator.Config(seconds=2.0, rate=100.0)
    made = simulator.simulate(3, range(24), config)
    with StoreWriter(tmp_path / "s") as writer:
        for i in range(24):
            writer.add(made.record(i))
    store = Store(tmp_path / "s")
    y, known = targets(task, store.codes, store.labels)
    assert known.all() and np.array_equal(simulated["y"].numpy(), y)
    waves, scored = store.prepared(RECIPE).waves(np.arange(24), np.zeros(24, int), SAMPLES)
    there = simulated["scored"].numpy()
    assert np.array_equal(there.any(2), scored.any(2))
    assert (simulated["waves"].numpy() == waves)[there & scored].mean() > 0.97  # borders are rounded once more
