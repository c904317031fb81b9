"""Copies of ECGs are found whatever became of them; other ECGs are not."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import resample_poly

import ecgraft
from ecgraft.commands.ingest import ingest
from ecgraft.record import Record
from ecgraft.signal.spectral import filter_resample
from ecgraft.simulator import Config, simulate
from ecgraft.store import Store, StoreWriter, remove_patient
from ecgraft.store import shapes as made
from ecgraft.store.judge import EXCERPT, OVERLAP, SAMPLES, SHAPE
from ecgraft.store.leaks import across, colliding, find, patients
from ecgraft.store.match import NEXT
from ecgraft.store.shapes import seen_in, shapes, sketch, some

COUNT, RATE = 40, 250.0
WANDER = 0.3 * np.sin(2 * np.pi * 0.2 * np.arange(2500) / RATE + 1).astype(np.float32)


def kept(folder, records) -> Store:
    with StoreWriter(folder) as writer:
        for record in records:
            writer.add(record)
    return Store(folder)


@pytest.fixture(scope="module")
def ecgs() -> list[Record]:
    config = Config(rate=RATE, lead_loss=0.0, flat=0.0, prevalence={"PACE": 0.0})
    batch = simulate(5, range(COUNT), config)
    return [batch.record(i) for i in range(COUNT)]


@pytest.fixture(scope="module")
def store(ecgs, tmp_path_factory) -> Store:
    return kept(tmp_path_factory.mktemp("leaks") / "store", ecgs)


def resampled(x, *rates):
    for old, new in pairwise(rates):
        x = resample_poly(x, new, old, axis=1)
    return x.astype(np.float32)


# name -> signal, its rate, gain, offset (s), kind
CHANGES = {
    "gain": (lambda x: x * np.float32(-2.5), 250, -2.5, 0.0, SHAPE),
    "rounded": (lambda x: np.rint(x / 0.005) * 0.005, 250, 1.0, 0.0, SHAPE),
    "resampled": (lambda x: resampled(x, 250, 360, 250), 250, 1.0, 0.0, SHAPE),
    "100 Hz": (lambda x: np.rint(resampled(x, 250, 100) / 0.005) * 0.005, 100, 1.0, 0.0, SHAPE),
    "offset": (lambda x: x + np.float32(9), 250, 1.0, 0.0, SHAPE),
    "wander": (lambda x: x + WANDER, 250, 1.0, 0.0, SHAPE),
    "0.5 to 40 Hz": (lambda x: filter_resample(x, RATE, None, 0.5, 40.0), 250, 1.0, 0.0, SHAPE),
    "excerpt": (lambda x: x[:, 400:2000], 250, 1.0, -1.6, EXCERPT),
    "odd excerpt, upside down": (lambda x: resampled(-x[:, 337:2200], 250, 360), 360, -1.0, -337 / 250, EXCERPT),
    "overlap": (lambda x: np.hstack([x[:, 1000:], FOREIGN]), 250, 1.0, -4.0, OVERLAP),
}
FOREIGN = np.random.default_rng(0).normal(0, 0.3, (12, 1000)).astype(np.float32)


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_found(store, ecgs, tmp_path, name):
    change, rate, gain, offset, kind = CHANGES[name]
    rows = range(0, COUNT, 4)
    copies = [Record(change(ecgs[i].signal), rate, ecgs[i].leads, id=f"copy-{i}") for i in rows]
    leaks = find([store, kept(tmp_path / "copies", copies)])
    assert [leak[:4] for leak in leaks] == [(0, i, 1, k) for k, i in enumerate(rows)]
    for leak in leaks:
        assert (leak.kind, len(leak.leads)) == (kind, 12) and leak.correlation > 0.97
        assert leak.gain == pytest.approx(gain, rel=0.03) and leak.offset == pytest.approx(offset, abs=0.003)
        assert leak.seconds == pytest.approx(min(10, 10 + offset, copies[leak.row_b].seconds), abs=0.05)


@pytest.mark.parametrize("lead", ["I", "II", "V2", "V6"])
def test_one_lead_of_twelve_is_found_under_any_name(store, ecgs, tmp_path, lead):
    copies = [ecgs[i].but(signal=ecgs[i].lead(lead)[None], leads=("ECG",), id=f"copy-{i}") for i in range(0, COUNT, 4)]
    leaks = find([store, kept(tmp_path / "copies", copies)])
    assert [leak[1:4:2] for leak in leaks] == [(i, k) for k, i in enumerate(range(0, COUNT, 4))]
    assert sum(leak.leads == ((lead, "ECG"),) for leak in leaks) >= 9  # a precordial lead may equal its neighbour


def test_other_ecgs_are_not_taken_for_copies(store):
    assert find([store]) == [] and find([]) == []


def test_a_long_record_its_pieces_and_its_drift(tmp_path):
    """2 min at 360 Hz; pieces at 250 Hz; and all of it by a clock that is wrong by 50 ppm (6 ms at the end)."""
    long = simulate(2, [0, 1], Config(rate=360, seconds=120.0, lead_loss=0.0))
    a, other = (long.record(i).but(signal=long.record(i).signal[[1, 6]], leads=("II", "V1")) for i in range(2))
    piece = Record(resampled(a.signal[:, 36 * 360 : 46 * 360], 360, 250), 250.0, ("II", "V1"))
    slow = a.but(rate=360.0 * (1 - 5e-5), signal=a.signal * 2, id="slow")
    leaks = find([kept(tmp_path / "a", [other, a]), kept(tmp_path / "b", [piece, slow])])
    found = {leak[:4]: leak for leak in leaks}
    assert set(found) == {(0, 1, 1, 0), (0, 1, 1, 1), (1, 0, 1, 1)}
    first, second = found[0, 1, 1, 0], found[0, 1, 1, 1]
    assert first.kind == EXCERPT and first.offset == pytest.approx(-36, abs=0.003)
    assert second.kind == SHAPE and second.correlation > 0.99 and second.gain == pytest.approx(2, rel=0.01)


def test_copies_of_one_record_are_linked_however_many(ecgs, tmp_path):
    """More than a key is paired with come as a chain: every copy hangs together with every other."""
    many = kept(
        tmp_path / "many", [ecgs[0].but(signal=ecgs[0].signal * (1 + k / 50), id=f"{k}") for k in range(2 * NEXT)]
    )
    leaks = find([many, kept(tmp_path / "one", [ecgs[0].but(signal=-ecgs[0].signal)])])
    assert {leak.kind for leak in leaks} == {SHAPE}
    assert colliding(leaks, 0, 1).tolist() == list(range(2 * NEXT))


def test_sides_of_a_split_and_pools(ecgs, tmp_path):
    one = kept(tmp_path / "one", [ecgs[0], ecgs[1], ecgs[0].but(id="again"), ecgs[2].but(patient="p")])
    two = kept(tmp_path / "two", [ecgs[3].but(patient="p"), ecgs[1].but(signal=ecgs[1].signal[:, 500:], patient="q")])
    leaks = find([one, two])
    assert [(leak[:4], leak.kind) for leak in leaks] == [((0, 0, 0, 2), SAMPLES), ((0, 1, 1, 1), EXCERPT)]
    assert leaks[0].correlation == 1 and leaks[0].gain == 1 and leaks[0].offset == 0 and leaks[0].seconds == 10
    parts = [np.array(["train", "train", "train", "train"]), np.array(["test", "test"])]
    assert across(leaks, parts) == leaks[1:]
    assert across(leaks, [np.array(["train", "test", "test", "train"]), parts[1]]) == leaks[:1]
    (shared,) = patients([one, two], parts)
    assert shared.patient == "p" and shared.records == ((0, 3), (1, 0)) and shared.parts == ("test", "train")
    assert colliding(leaks, pool=0, held=1, rows=np.array([1])).tolist() == [1]
    assert colliding(leaks, pool=0, held=1, rows=np.array([0])).tolist() == []
    assert colliding(leaks, pool=0, held=0, rows=np.array([2])).tolist() == [0]


def test_a_sketch_knows_what_it_has_seen(store, ecgs, tmp_path):
    found = sketch(shapes(store), np.arange(COUNT))
    assert found.shape == (COUNT, 8) and found.dtype == np.uint64 and (np.diff(found.astype(float)) > 0).all()
    again = kept(tmp_path / "again", [ecgs[i].but(signal=-3 * ecgs[i].signal) for i in range(5)])
    assert seen_in(found, shapes(again)).tolist() == [0, 1, 2, 3, 4]
    assert seen_in(found[5:], shapes(again)).tolist() == seen_in(found[:0], shapes(again)).tolist() == []
    assert seen_in(sketch(shapes(store), np.array([7])), shapes(store)).tolist() == [7]


def test_flat_short_and_broken_records(ecgs, tmp_path):
    """Equal short ones are found; what has no signal is never a copy of anything."""
    x, flat = ecgs[0].signal, np.zeros((12, 2500), np.float32)
    gaps, half, whole = x.copy(), x.copy(), np.full((12, 2500), np.nan, np.float32)
    gaps[:, 1000:1100], half[2:], whole[0, 5] = np.nan, np.nan, 1.0
    signals = [flat, flat, flat + 5, whole, whole, x[:, :1], x[:, :1], x[:, :2], x[:, :40], x[:, :400], -x[:, :400]]
    signals += [ecgs[1].signal[:, :900], 2 * ecgs[1].signal[:, :900], gaps, half]
    odd = kept(tmp_path / "odd", [Record(s, RATE, ecgs[0].leads, id=str(k)) for k, s in enumerate(signals)])
    leaks = find([odd])
    assert {(9, 10), (11, 12), (13, 14)} <= {leak[1:4:2] for leak in leaks}
    assert all(leak.row_a >= 9 for leak in leaks)
    assert find([kept(tmp_path / "flat", [Record(flat, RATE, ecgs[0].leads)])]) == []
    again = kept(tmp_path / "again", [Record(x[:, :40], RATE, ecgs[0].leads)])
    assert [leak[:5] for leak in find([odd, again]) if leak.store_b] == [(0, 8, 1, 0, SAMPLES)]


def test_keys_are_made_once_and_an_interruption_costs_one_chunk(ecgs, tmp_path, monkeypatch):
    monkeypatch.setattr(made, "CHUNK", 8)
    store, calls, work = kept(tmp_path / "s", ecgs), [], made._Worker.__call__

    def stops(self, number):
        calls.append(number)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return work(self, number)

    monkeypatch.setattr(made._Worker, "__call__", stops)
    with pytest.raises(KeyboardInterrupt):
        shapes(store, workers=1)
    found = shapes(store, workers=1)
    assert calls == [0, 1, 2, 2, 3, 4]
    shapes(store, workers=1)
    assert len(calls) == 6 and sorted(p.name for p in (store.path / "cache" / f"shapes-{made.VERSION}").iterdir()) == [
        ".lock", "at.npy", "cache.json", "key.npy", "lead.npy", "record.npy",
    ]  # fmt: skip
    monkeypatch.undo()
    shutil.rmtree(store.path / "cache")
    once = shapes(store)
    assert all(np.array_equal(a, b) for a, b in zip(found, once)) and (np.diff(once.record) >= 0).all()


@pytest.mark.parametrize("damage", ["cut", "head", "missing", "rows"])
def test_a_damaged_folder_is_made_again(store, damage):
    before = [np.array(column) for column in shapes(store)]
    folder = store.path / "cache" / f"shapes-{made.VERSION}"
    if damage == "cut":
        (folder / "key.npy").write_bytes((folder / "key.npy").read_bytes()[:-5])
    elif damage == "head":
        (folder / "cache.json").write_text("{")
    elif damage == "missing":
        (folder / "at.npy").unlink()
    else:
        np.save(folder / "record.npy", before[1] + COUNT)
    assert all(np.array_equal(a, b) for a, b in zip(before, shapes(store)))


def test_keys_go_when_the_store_changes(ecgs, tmp_path):
    store = kept(tmp_path / "s", [ecgs[0].but(patient="a"), ecgs[1].but(patient="b")])
    assert set(shapes(store).record) == {0, 1}
    with StoreWriter(store.path) as writer:
        writer.add(ecgs[2].but(patient="c"))
    assert set(shapes(Store(store.path)).record) == {0, 1, 2}
    assert json.loads((store.path / "cache" / f"shapes-{made.VERSION}" / "cache.json").read_text())["store"]
    remove_patient(store.path, "a")
    assert not list((store.path / "cache").glob("shapes-*"))


def imported(folder, to, **options) -> Store:
    return ingest(folder, to=to, progress=False, workers=1, **options)


@pytest.mark.slow
def test_duplicates_of_ptb_xl_and_its_copies_at_100_hz(shared_data, tmp_path):
    fast, slow = (imported(shared_data / "ptb-xl", tmp_path / f"{rate}", rate=rate) for rate in (500.0, 100.0))
    names = [[name[:5] for name in store.column("id")] for store in (fast, slow)]
    leaks = find([fast, slow])
    twice = {("00137", "00138"), ("00145", "00463"), ("00456", "00457"), ("00459", "00460")}
    for k in (0, 1):
        assert {(names[k][i.row_a], names[k][i.row_b]) for i in leaks if i.store_a == i.store_b == k} == twice
    both = {(names[0][i.row_a], names[1][i.row_b]) for i in leaks if i.store_a != i.store_b}
    assert sum(a == b for a, b in both) >= 0.9 * len(fast)
    assert {pair for pair in both if pair[0] != pair[1]} <= twice | {(b, a) for a, b in twice}


@pytest.mark.slow
def test_databases_that_repeat_each_other(shared_data, tmp_path):
    """S0001 of the 2021 challenge is s0010_re of PTB; a part of MIT-BIH as the QT Database would have it."""
    challenge = imported(shared_data / "challenge2021", tmp_path / "challenge")
    ptb = imported(shared_data / "wfdb" / "s0010_re.hea", tmp_path / "ptb")
    (leak,) = find([challenge, ptb])
    assert challenge.column("id")[leak.row_a] == "S0001" and leak.kind == SHAPE and len(leak.leads) == 12
    mitdb, qtdb = (imported(shared_data / name, tmp_path / name) for name in ("mitdb", "qtdb"))
    record = mitdb.record(3)
    piece = resampled(record.signal[:, 100_000 : 100_000 + 900 * 360], 360, 250)
    excerpt = kept(tmp_path / "excerpt", [Record(np.rint(piece * 200) / 200, 250.0, record.leads, id="sel")])
    (leak,) = find([mitdb, qtdb, excerpt])
    assert leak[:5] == (0, 3, 2, 0, EXCERPT) and leak.offset == pytest.approx(-100_000 / 360, abs=0.003)
    assert leak.seconds == pytest.approx(900, abs=0.1) and leak.correlation > 0.99


def test_a_few_records_of_a_store_are_looked_at_by_themselves(tmp_path):
    """The same keys as from the whole store, and no folder is made for them."""
    ecgraft.simulate(to=tmp_path / "s", count=40, seed=3, seconds=6.0, rate=250.0, progress=False)
    store, rows = Store(tmp_path / "s"), np.array([31, 4, 17])
    few = some(store, rows)
    assert not list((tmp_path / "s" / "cache").glob("shapes-*")) and set(few.record.tolist()) == {4, 17, 31}
    whole = shapes(store)
    assert np.array_equal(sketch(few, rows), sketch(whole, rows))
    assert len(some(store, rows).key) == len(whole.key), "what is there is taken"
    assert len(some(store, rows[:0]).key) == len(whole.key)
