"""The beats kept beside a store are those of the direct call, in windows too, however often the work was stopped."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ecgraft import simulator
from ecgraft.record import LEADS, InputError
from ecgraft.signal.beats import BEAT_FEATURES, RECORD_FEATURES, measure
from ecgraft.signal.recipe import Recipe
from ecgraft.store import Store, StoreWriter, beats
from made_records import plain

RECIPE = Recipe(leads=LEADS[:11])
F, R = len(BEAT_FEATURES), len(RECORD_FEATURES)


@pytest.fixture(scope="module")
def records() -> list:
    """Simulated ECGs: 2 has a single lead and one annotated beat, 3 no lead of the recipe, 4 is flat, 10 is longer."""
    made = simulator.simulate(7, range(8), simulator.Config(seconds=10, rate=RECIPE.rate))
    found = [made.record(i) for i in range(8)]
    ii = found[2].lead("II")[None]
    found[2] = found[2].but(signal=ii, leads=("II",), waves=None, scored=None, beats=found[2].beats[:1])
    found.insert(3, plain(3, ("V6",)))
    found.insert(4, plain(4, ("I", "II")).but(signal=np.zeros((2, 1500), np.float32)))
    return [*found, plain(5, ("II",)).but(signal=np.tile(ii, 3))]


@pytest.fixture
def cache(tmp_path, records):
    return write(tmp_path / "s", *records).prepared(RECIPE)


def write(path, *records) -> Store:
    with StoreWriter(path) as writer:
        for record in records:
            writer.add(record)
    return Store(path)


def directly(cache, i: int):
    batch = cache.batch(np.array([i]), np.array([0]), int(cache.length[i]))
    return measure(batch["x"][0][batch["present"][0]] * np.float32(1e-3), cache.rate)


def same(one: beats.BeatTable, other: beats.BeatTable) -> bool:
    names = ("offsets", "peaks", "beats", "records")
    return all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in names)


def folder_of(cache):
    return next((cache.store.path / "cache").glob("beats-*"))


def test_every_window_is_that_of_the_direct_call(cache):
    table = beats.store_beats(cache)
    assert len(table) == len(cache) == 11
    index, start, S = np.array([0, 10, 2, 3, 4, 10, 0, 9]), np.array([0, 5000, 700, 0, 0, 7300, 400, 2400]), 1250
    batch = table.batch(index, start, S)
    P = batch["peaks"].shape[1]
    assert batch["peaks"].dtype == np.int32 and P > 3 and batch["beat_features"].dtype == np.float32
    assert batch["beat_features"].shape == (8, P, F) and batch["record_features"].shape == (8, R)
    for b, (i, first) in enumerate(zip(index, start)):
        known = directly(cache, i)
        inside = (known.peaks >= first) & (known.peaks < first + S)
        n = inside.sum()
        assert batch["peaks"][b].tolist() == [*(known.peaks[inside] - first), *[-1] * (P - n)]
        assert np.array_equal(batch["beat_features"][b, :n], known.features[inside], equal_nan=True)
        assert np.isnan(batch["beat_features"][b, n:]).all()
        assert np.array_equal(batch["record_features"][b], known.record, equal_nan=True)
    assert not (batch["peaks"][3:5] >= 0).any() and np.isnan(batch["record_features"][3:5]).all()


def test_all_beats_of_some_records(cache):
    table, index = beats.store_beats(cache), np.array([10, 3, 1])
    known = [directly(cache, i) for i in index]
    assert np.array_equal(table.beat_features(index), np.concatenate([b.features for b in known]), equal_nan=True)
    assert np.array_equal(table.record_features(index), np.stack([b.record for b in known]), equal_nan=True)
    assert table.beat_features(np.empty(0, int)).shape == (0, F)


def test_detected_beats_even_where_beats_are_annotated(cache):
    """The record of a single lead has but one annotated beat."""
    table = beats.store_beats(cache)
    assert table.offsets[3] - table.offsets[2] > 5 and np.isfinite(table.records[2]).any()


def test_missing(cache):
    """By hand: over all beats, and over all records that have a lead of the recipe (all but the fourth)."""
    table = beats.store_beats(cache)
    missing = table.missing()
    assert missing["beat_features"] == pytest.approx(np.isnan(table.beats).mean(0))
    assert missing["record_features"] == pytest.approx(np.isnan(np.delete(table.records, 3, 0)).mean(0))
    first = BEAT_FEATURES.index("rr_before")
    assert missing["beat_features"][first] == pytest.approx(9 / len(table.beats))  # the first of each record with beats
    some = table.missing(np.array([10, 4]))
    assert some["beat_features"] == pytest.approx(np.isnan(table.beats[table.offsets[10] :]).mean(0))
    assert (table.missing(np.array([4]))["beat_features"] == 1).all() and some["record_features"].min() == 0.5


def test_it_goes_on_where_it_stopped(tmp_path, cache, records, monkeypatch):
    whole = beats.store_beats(write(tmp_path / "other", *records).prepared(RECIPE))
    monkeypatch.setattr(beats, "CHUNK", 4)
    done = []

    def stops(x, rate):
        done.append(x.shape)
        if len(done) == 7:
            raise KeyboardInterrupt
        return measure(x, rate)

    monkeypatch.setattr(beats, "measure", stops)
    with pytest.raises(KeyboardInterrupt):
        beats.store_beats(cache)
    assert len(list(folder_of(cache).glob("chunk-*"))) == 1 and not (folder_of(cache) / "cache.json").exists()
    assert same(beats.store_beats(cache), whole) and len(done) == 7 + 7  # the first four were not measured again
    assert same(beats.store_beats(cache), whole) and len(done) == 14
    left = {path.name for path in folder_of(cache).iterdir()}
    assert left == {".lock", "cache.json", "offsets.npy", "peaks.npy", "beats.npy", "records.npy"}


@pytest.mark.slow
def test_several_processes_find_the_same(tmp_path, cache, records, monkeypatch):
    whole = beats.store_beats(cache)
    monkeypatch.setattr(beats, "CHUNK", 6)
    other = write(tmp_path / "other", *records).prepared(RECIPE)
    assert same(beats.store_beats(other, workers=2), whole)


@pytest.mark.parametrize("name", ["VERSION", "DETECTOR"])
def test_older_code_and_other_records_are_not_read(cache, monkeypatch, name):
    beats.store_beats(cache)
    calls = []
    monkeypatch.setattr(beats, "measure", lambda *given: calls.append(1) or measure(*given))
    monkeypatch.setattr(beats, name, 2 if name == "VERSION" else "another 1")
    beats.store_beats(cache)
    assert len(calls) == 11
    with StoreWriter(cache.store.path) as writer:
        writer.add(plain(9, ("II",)))
    assert len(beats.store_beats(Store(cache.store.path).prepared(RECIPE))) == 12 and len(calls) == 11 + 12


def truncated(folder):
    (folder / "beats.npy").write_bytes((folder / "beats.npy").read_bytes()[:-7])


def not_json(folder):
    (folder / "cache.json").write_text("{")


def lost(folder):
    (folder / "records.npy").unlink()


def other_type(folder):
    np.save(folder / "records.npy", np.load(folder / "records.npy").astype(float))


def an_object(folder):
    np.save(folder / "peaks.npy", np.array([{}]), allow_pickle=True)


def outside(folder):
    peaks = np.load(folder / "peaks.npy")
    peaks[3] = 10**6
    np.save(folder / "peaks.npy", peaks)


def backwards(folder):
    offsets = np.load(folder / "offsets.npy")
    offsets[2], offsets[3] = offsets[3], offsets[2]
    np.save(folder / "offsets.npy", offsets)


def no_count(folder):
    said = json.loads((folder / "cache.json").read_text())
    (folder / "cache.json").write_text(json.dumps(said | {"beats": "many"}))


DAMAGES = (truncated, not_json, lost, other_type, an_object, outside, backwards, no_count)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_files(cache, damage):
    whole = beats.store_beats(cache)
    kept = [np.array(part) for part in (whole.offsets, whole.peaks, whole.beats, whole.records)]
    folder = folder_of(cache)
    damage(folder)
    with pytest.raises(InputError, match="delete this folder") as found:
        beats.store_beats(cache)
    assert str(folder) in str(found.value)
    for path in folder.iterdir():
        path.unlink()
    again = beats.store_beats(cache)
    for a, b in zip(kept, (again.offsets, again.peaks, again.beats, again.records)):
        assert np.array_equal(a, b, equal_nan=True)


def test_a_damaged_chunk(cache, monkeypatch):
    monkeypatch.setattr(beats, "_join", lambda *given: None)
    with pytest.raises(InputError):
        beats.store_beats(cache)
    (next(folder_of(cache).glob("chunk-*")) / "peaks.npy").write_bytes(b"no")
    monkeypatch.undo()
    with pytest.raises(InputError, match="delete this folder"):
        beats.store_beats(cache)
