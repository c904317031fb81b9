"""What a pretraining may learn from: nothing of test parts, of their copies, of their patients; and how few."""

from __future__ import annotations

import numpy as np
import pytest

import ecgraft
from ecgraft.commands import _pool, _sources
from ecgraft.commands.pretrain import Settings
from ecgraft.record import LEADS, InputError
from ecgraft.signal.recipe import Recipe
from ecgraft.store import Store, splits
from made_pretraining import flat, records, written
from made_records import plain

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    path = tmp_path_factory.mktemp("pool") / "simulated"
    ecgraft.simulate(to=path, count=40, seed=8, seconds=6.0, rate=250.0, progress=False)
    return path


def ids(pool: _pool.Pool) -> list[set]:
    return [{store.column("id")[int(i)] for i in rows} for store, rows in zip(pool.stores, pool.rows)]


def parted(path, made):
    """A store whose records are all to be learnt from, but for one: a database that has a test part of its own."""
    last = plain(9_999_999, leads=("III", "aVF"), samples=700, patient=None).but(id="test", split="test")
    return written(path, [*(each.but(split=each.split or "train") for each in made), last.but(source=made[0].source)])


def test_test_parts_are_left_out(simulated):
    pool = _pool.open_pool([simulated])
    test = np.flatnonzero(splits.split(Store(simulated)) == "test")
    assert len(test) and not np.intersect1d(pool.rows[0], test).size
    assert len(pool) == 40 - len(test) and pool.left_out == {"test": len(test), "like a test record": 0}


def test_test_only_databases_are_left_out_whole(tmp_path):
    store = written(tmp_path / "s", [plain(i, source="mitdb" if i < 4 else "made", patient=None) for i in range(40)])
    assert not {f"r{i}" for i in range(4)} & ids(_pool.open_pool([store]))[0]


def test_copies_of_test_records_are_left_out_in_whatever_store(simulated, tmp_path):
    """The same samples, and the same ECG at another gain, under other names and patients."""
    own = Store(simulated)
    test = np.flatnonzero(splits.split(own) == "test")
    known = [own.record(int(i)) for i in test[:4]]
    copies = [each.but(id=f"copy{i}", patient=f"q{i}", split=None) for i, each in enumerate(known[:2])]
    turned = [
        each.but(signal=-1.5 * each.signal, id=f"gain{i}", patient=f"g{i}", split=None)
        for i, each in enumerate(known[2:])
    ]
    fresh = [each.but(id=f"own{each.id}", split=None) for each in records(_other(tmp_path))]
    other = parted(tmp_path / "other", [*copies, *turned, *fresh])
    pool = _pool.open_pool([simulated, other])
    assert ids(pool)[1] == {each.id for each in fresh} and pool.left_out["like a test record"] == 4
    assert len(_pool.open_pool([other])) == len(fresh) + 4  # alone, nobody says that they are to be tested on


def _other(tmp_path):
    ecgraft.simulate(to=tmp_path / "fresh", count=12, seed=9, seconds=6.0, rate=250.0, progress=False)
    return tmp_path / "fresh"


def test_patients_of_test_records_are_left_out_in_whatever_store(tmp_path):
    one = parted(tmp_path / "one", [plain(i, patient=f"p{i}", split="test" if i < 3 else "train") for i in range(12)])
    two = parted(tmp_path / "two", [plain(100 + i, patient=f"p{i}") for i in range(6)])
    pool = _pool.open_pool([one, two])
    assert ids(pool) == [{f"r{i}" for i in range(3, 12)}, {f"r{i}" for i in range(103, 106)}]
    assert pool.left_out == {"test": 5, "like a test record": 3}


def test_what_a_protocol_withholds_is_left_out_with_its_copies(tmp_path):
    """Also where the store that it is in is none of the pool's."""
    one = parted(tmp_path / "one", [plain(i, patient=f"p{i}") for i in range(12)])
    two = parted(tmp_path / "two", [plain(i, patient=f"q{i}") for i in range(20)])
    pool = _pool.open_pool([one, two], {one: np.array([2, 5])})
    assert "r2" not in ids(pool)[0] | ids(pool)[1] and "r5" not in ids(pool)[0] | ids(pool)[1] and len(pool) == 28
    outside = _pool.open_pool([two], {one: np.array([2, 5])})
    assert [store.path for store in outside.stores] == [two] and len(outside.rows) == 1
    assert ids(outside)[0] == {f"r{i}" for i in range(20)} - {"r2", "r5"}


def test_a_smaller_number_is_among_a_larger_one(tmp_path):
    stores = [
        written(tmp_path / f"s{k}", [plain(1000 * k + i, samples=300, patient=None) for i in range(n)])
        for k, n in enumerate((90, 40, 70))
    ]
    pool = _pool.open_pool(stores)
    few, more, every = (pool.few(n, 3) for n in (50, 100, 0))
    assert (len(few), len(more)) == (50, 100) and every is pool is pool.few(10_000, 3)
    for a, b in zip(few.rows, more.rows):
        assert set(a) < set(b) and len(a) > 5
    assert any(not np.array_equal(a, b) for a, b in zip(few.rows, pool.few(50, 4).rows))


def test_stores_of_one_name_are_counted_apart(tmp_path):
    paths = [
        parted(tmp_path / place / "store", [plain(10 * k + i, patient=None) for i in range(3 + k)])
        for k, place in enumerate(("a", "b", "c"))
    ]
    assert _pool.open_pool(paths).counts() == {"store": 3, "store (2)": 4, "store (3)": 5}


def test_short_records_and_those_without_leads_are_left_out(tmp_path):
    recipe = Recipe(leads=("I", "II"), rate=250.0, seconds=2.0)
    made = [plain(i, samples=n, patient=None) for i, n in enumerate((240, 249, 250, 600))]
    made += [plain(9, leads=("V5",), patient=None)]
    pool, caches = _pool.long_enough(_pool.open_pool([parted(tmp_path / "s", made)]), recipe)
    assert ids(pool)[0] == {"r2", "r3"} and pool.left_out["short or without leads"] == 3 and len(caches) == 1
    with pytest.raises(InputError, match=r"s: no record to learn from: .*I, II.* shorter than 5 s, half a window"):
        _pool.long_enough(pool, Recipe(leads=("I", "II"), rate=250.0, seconds=10.0))


def made_sources(pool, wanted, recipe, **given) -> _sources.Sources:
    pool, caches = _pool.long_enough(pool, recipe)
    return _sources.Sources(pool, caches, recipe, Settings(seconds=recipe.seconds, **given), wanted, 0, False)


def test_simulated_ecgs_are_others_than_those_of_a_store(tmp_path):
    """The numbers of ecgraft simulate begin at 0 with seed 0, too: its test part must not be learnt from."""
    recipe = Recipe(seconds=4.0)
    ecgraft.simulate(to=tmp_path / "s", count=20, seconds=4.0, rate=250.0, progress=False)
    sources = made_sources(_pool.open_pool([tmp_path / "s"]), set(), recipe, simulated=0.5)
    cache = Store(tmp_path / "s").prepared(recipe)
    stored = cache.batch(np.arange(20), np.zeros(20, int), 1000)["x"][:, 0] * 1e-3
    made = sources.simulated.batch(0, 20)["x"][:, 0].numpy()
    z = [(x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-9) for x in (stored, made)]
    assert np.abs(z[0] @ z[1].T / 1000).max() < 0.95


@pytest.mark.parametrize("leads", [("II", "I"), LEADS[6:8], LEADS])
def test_beats_of_simulated_ecgs_for_any_leads(leads):
    """Features are measured in the encoder's own leads, at the peaks that the simulator has set."""
    recipe = Recipe(leads=leads, seconds=4.0)
    sources = made_sources(_pool.Pool([], []), {"peaks"}, recipe, simulated=1)
    batch = sources.simulated.batch(0, 6)
    assert (batch["peaks"] >= 0).sum() > 12 and batch["peaks"].max() < recipe.samples
    rr = batch["beat_features"][..., 0]
    gaps = np.diff(batch["peaks"].numpy(), axis=1) / 250.0
    there = (batch["peaks"] >= 0).numpy()[:, 1:]
    assert np.allclose(rr.numpy()[:, 1:][there], gaps[there], atol=1e-6)
    assert batch["beat_features"].isfinite().float().mean() > 0.3 and batch["record_features"].shape[0] == 6


def test_no_heart_beats_for_beat_ssl(tmp_path):
    sources = made_sources(_pool.open_pool([flat(tmp_path / "flat")]), {"peaks"}, Recipe(seconds=2.0))
    with pytest.raises(InputError, match=r"flat: not a single heartbeat was found; beat_ssl needs some"):
        sources.kinds[0]._corpus()
