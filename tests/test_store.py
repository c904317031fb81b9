"""A store gives back what was put into it, in windows and batches too; damaged ones say so."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from ecgraft.record import LEADS, InputError, UsageError
from ecgraft.signal.recipe import Recipe
from ecgraft.store import Store, StoreWriter
from made_records import assert_same, full, noise, plain

RECIPE = Recipe(leads=("I", "II", "V1"), rate=100, low=None, high=None)


def write(path, *records) -> Store:
    with StoreWriter(path) as writer:
        for record in records:
            writer.add(record)
    return Store(path)


def test_a_record_comes_back_whole(tmp_path):
    records = [full(0), plain(1), full(2, waves=None, scored=None, beats=np.empty(0, full().beats.dtype))]
    store = write(tmp_path / "s", *records)
    for i, record in enumerate(records):
        assert_same(store.record(i), record)
    assert_same(store.record(-1), records[-1])
    with pytest.raises(UsageError, match="no record 3; it has 3"):
        store.record(3)


def test_columns(tmp_path):
    store = write(tmp_path / "s", full(0), plain(1, sex="M", split="test"), plain(2))
    assert list(store.column("id")) == ["r0", "r1", "r2"] and store.column("patient")[1:] == ["p0", "p1"]
    assert list(store.column("sex")) == ["F", "M", None] and list(store.column("split")) == ["train", "test", None]
    assert store.column("report")[0].startswith("Sinus") and store.column("report")[1] == ""
    assert store.number("rate").tolist() == [250, 250, 250] and store.number("length").tolist() == [500] * 3
    assert store.number("fold").tolist() == [3, -1, -1] and np.isnan(store.number("age")[1])
    assert store.number("qt")[0] == 0.1 + 0.2 and np.isnan(store.number("qt")[1])
    assert store.has("waves").tolist() == [True, False, False] and store.leads(0) == ("II", "CM5")
    assert store.find("patient", "p0").tolist() == [0, 1] and store.find("id", "r").tolist() == []
    with pytest.raises(UsageError, match="did you mean 'rate'"):
        store.number("rates")
    with pytest.raises(UsageError, match="report"):
        store.column("repot")


def test_unknown_is_not_no(tmp_path):
    """A code that comes later is "no" for records whose vocabulary is complete, unknown for others."""
    path = tmp_path / "s"
    write(path, plain(0, labels={"scp:A": 1}, complete=frozenset({"scp"})), plain(1, labels={"scp:A": 0}))
    store = write(path, plain(2, labels={"scp:B": 1, "own:x": 1}), plain(3, complete=frozenset({"own"})))
    assert store.codes == ["own:x", "scp:A", "scp:B"]
    assert store.labels.tolist() == [[-1, 1, 0], [-1, 0, -1], [1, -1, 1], [0, -1, -1]]
    assert store.record(0).labels == {"scp:A": 1} and store.record(1).labels == {"scp:A": 0}
    assert store.record(3).complete == {"own"}


def test_windows_equal_the_records(tmp_path):
    records = [plain(i) for i in range(5)]
    records[2].signal[1, 60:70] = np.nan
    store = write(tmp_path / "s", *records)
    index, start = np.array([4, 2, 2, 0]), np.array([0, 50, 300, 123])
    expected = [records[i].signal[:, s : s + 200] for i, s in zip(index, start)]
    assert np.array_equal(store.windows(index, start, 200), expected, equal_nan=True)
    with pytest.raises(InputError, match="beyond"):
        store.windows(np.array([0]), np.array([301]), 200)
    mixed = write(tmp_path / "s", plain(9, LEADS))
    with pytest.raises(InputError, match="differ in leads"):
        mixed.windows(np.array([0, 5]), np.zeros(2, int), 10)


def varied() -> list:
    """Other leads, rates and lengths: 12 leads, one of no name, limb leads to derive from, none that fits."""
    return [
        plain(0, LEADS, 1000, 500.0),
        plain(1, ("CM5",), 400, 200.0),
        plain(2, ("I", "III", "V9"), 777, 360.0),
        plain(3, ("V4", "V5"), 300, 100.0),
        plain(4, ("V1",), 2000, 250.0),
    ]


def test_batch_equals_prepare(tmp_path):
    records = varied()
    cache = write(tmp_path / "s", *records).prepared(RECIPE)
    assert cache.usable.tolist() == [True, True, True, False, True]
    index, start, S = np.array([4, 0, 1, 2, 3, 4]), np.array([650, 0, 150, 100, 0, 2]), 150
    batch = cache.batch(index, start, S)
    assert batch["x"].dtype == np.int16 and batch["length"].tolist() == [150, 150, 50, 116, 0, 150]
    for b, (i, s) in enumerate(zip(index, start)):
        expected = np.zeros((3, S), np.float32)
        if i != 3:
            prepared = RECIPE.prepare(records[i])
            piece = prepared.signal[:, s : s + S]
            expected[prepared.slots, : piece.shape[1]] = piece
            assert np.flatnonzero(batch["present"][b]).tolist() == prepared.slots.tolist()
        assert np.abs(batch["x"][b] / 1000 - expected).max() <= 0.000501
    assert not batch["present"][4].any()
    assert cache.lead_slots(0).tolist() == [0, 1, -1, -1, -1, -1, 2, -1, -1, -1, -1, -1]
    assert cache.lead_slots(1).tolist() == [1] and cache.lead_slots(2).tolist() == [0, -1, -1]
    assert cache.present_slots(2).tolist() == [0, 1]  # II is derived


def test_samples_that_are_not_there_are_zero(tmp_path):
    record = plain(0, ("I", "II"))
    record.signal[0, 100:200], record.signal[1] = np.nan, np.nan
    batch = write(tmp_path / "s", record).prepared(RECIPE).batch(np.array([0]), np.array([0]), 200)
    assert (batch["x"][0, 0, 41:79] == 0).all() and batch["x"][0, 0].any() and not batch["present"][0, 1]


def test_cache_is_made_again_after_it_is_deleted(tmp_path):
    store = write(tmp_path / "s", *varied())
    index, start = np.arange(5), np.zeros(5, int)
    before = store.prepared(RECIPE).batch(index, start, 300)
    folder = tmp_path / "s" / "cache" / RECIPE.cache_key
    stamp = (folder / "cache.json").stat().st_mtime_ns
    assert store.prepared(RECIPE).batch(index, start, 300)["x"].any()
    assert (folder / "cache.json").stat().st_mtime_ns == stamp  # it was not made again
    shutil.rmtree(tmp_path / "s" / "cache")
    again = store.prepared(RECIPE).batch(index, start, 300)
    assert all(np.array_equal(before[name], again[name]) for name in before)


def test_cache_goes_on_where_it_stopped(tmp_path, monkeypatch):
    from ecgraft.store import prepare

    monkeypatch.setattr(prepare, "CHUNK", 2)
    store = write(tmp_path / "s", *(plain(i) for i in range(7)))
    whole = store.prepared(RECIPE, workers=1).batch(np.arange(7), np.zeros(7, int), 200)["x"]
    shutil.rmtree(tmp_path / "s" / "cache")
    calls, real = [], Recipe.prepare

    def stops(self, record):
        calls.append(record.id)
        if calls.count("r5") == 1 and record.id == "r5":
            raise KeyboardInterrupt
        return real(self, record)

    monkeypatch.setattr(Recipe, "prepare", stops)
    with pytest.raises(KeyboardInterrupt):
        store.prepared(RECIPE, workers=1)
    again = store.prepared(RECIPE, workers=1).batch(np.arange(7), np.zeros(7, int), 200)["x"]
    assert np.array_equal(again, whole) and calls == ["r0", "r1", "r2", "r3", "r4", "r5", "r4", "r5", "r6"]


def test_cache_of_several_processes_is_the_same(tmp_path, monkeypatch):
    from ecgraft.store import prepare

    monkeypatch.setattr(prepare, "CHUNK", 8)
    store = write(tmp_path / "s", *(plain(i) for i in range(30)))
    index, start = np.arange(30), np.zeros(30, int)
    one = store.prepared(RECIPE, workers=1).batch(index, start, 200)["x"]
    shutil.rmtree(tmp_path / "s" / "cache")
    assert np.array_equal(store.prepared(RECIPE, workers=2).batch(index, start, 200)["x"], one)


def test_more_records_need_a_new_cache(tmp_path):
    write(tmp_path / "s", plain(0)).prepared(RECIPE)
    cache = write(tmp_path / "s", plain(1)).prepared(RECIPE)
    assert len(cache) == 2 and len(list((tmp_path / "s" / "cache").iterdir())) == 1


def test_fingerprint_is_of_the_content(tmp_path):
    a = write(tmp_path / "a", full(0), plain(1))
    write(tmp_path / "b", full(0))
    b = write(tmp_path / "b", plain(1))
    c = write(tmp_path / "c", full(0), plain(1, labels={"x:y": 1}))
    d = write(tmp_path / "d", full(0), plain(1).but(signal=noise(7)))
    assert a.fingerprint == b.fingerprint and len({a.fingerprint, c.fingerprint, d.fingerprint}) == 3


def test_no_store(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=str(path.name)):
            Store(path)


def damage(path, how: str) -> None:
    head, (table,) = path / "store.json", path.glob("table-*")
    content = json.loads(head.read_text())
    changes = {
        "newer": {"format": 99},
        "way out": {"table": "../elsewhere"},
        "records": {"records": 10**12},
        "codes": {"codes": None},
        "shard": {"categories": content["categories"] | {"shard": ["../../etc/passwd"]}},
        "leads": {"categories": content["categories"] | {"leads": [["I"] * 40]}},
        "no categories": {"categories": {}},
    }
    if how in changes:
        head.write_text(json.dumps(content | changes[how]))
    elif how == "no json":
        head.write_text("{")
    elif how == "pickle":
        np.save(table / "rows.npy", np.array([{}], object), allow_pickle=True)
    elif how == "cut shard":
        (shard,) = (path / "signals").iterdir()
        shard.write_bytes(shard.read_bytes()[:-2])
    elif how == "offsets":
        offsets = np.load(table / "offsets.npy")
        offsets["waves"][1] = -7
        np.save(table / "offsets.npy", offsets)
    elif how == "place":
        rows = np.load(table / "rows.npy")
        rows["at"][0] = 10**15
        np.save(table / "rows.npy", rows)
    else:
        file = table / how
        file.write_bytes(file.read_bytes()[:-1])


WAYS = ["newer", "way out", "records", "codes", "shard", "leads", "no categories", "no json", "pickle", "cut shard"]


@pytest.mark.parametrize("how", [*WAYS, "offsets", "place", "rows.npy", "labels.npy", "report.npy"])
def test_damaged_store(tmp_path, how):
    write(tmp_path / "s", full(0), plain(1))
    damage(tmp_path / "s", how)
    with pytest.raises(InputError):
        Store(tmp_path / "s")


def test_damaged_cache(tmp_path):
    store = write(tmp_path / "s", *varied())
    store.prepared(RECIPE)
    rows = next((tmp_path / "s" / "cache").glob("*/rows.npy"))
    places = np.load(rows)
    places["at"][1] = 10**12
    np.save(rows, places)
    with pytest.raises(InputError, match="delete this folder"):
        store.prepared(RECIPE)


def test_a_record_without_a_single_sample_is_refused(tmp_path):
    empty = plain(0).but(signal=np.full((3, 10), np.nan, np.float32))
    with pytest.raises(InputError, match="r0"):
        write(tmp_path / "s", empty)
    assert not (tmp_path / "s").exists()
