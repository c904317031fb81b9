"""Annotations on windows, against loops over waves and samples."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgraft.record import BEAT, LEADS, SPAN, WAVE, Record
from ecgraft.signal import waves as wave_rows
from ecgraft.signal.recipe import Recipe
from ecgraft.store import Store, StoreWriter, render
from ecgraft.tasks import Task
from made_records import noise, plain


def store_of(path, *records) -> Store:
    with StoreWriter(path) as writer:
        for record in records:
            writer.add(record)
    return Store(path)


sample = st.integers(-1, 60)
rows_of = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(-1, 3), sample, sample), max_size=25)


@settings(max_examples=200, deadline=None)
@given(
    rows=rows_of, start=st.lists(st.integers(0, 45), min_size=3, max_size=3), ratio=st.sampled_from([1.0, 0.5, 1.37])
)
def test_classes_as_in_a_loop(rows, start, ratio):
    """Three records with four leads; lead 0 has slot 2, lead 1 none, lead 2 slot 0, lead 3 slot 1; lead -1 all."""
    slots, shape, start = np.array([[2, -1, 0, 1]] * 3), (3, 3, 30), np.array(start)
    owner = np.array([b for b, *_ in rows], int)
    waves = np.array([(kind, lead, a, -1, b) for _, kind, lead, a, b in rows], WAVE)
    expected = np.zeros((3, 3, 200), np.uint8)
    for kind in (1, 3, 2):
        for b, k, lead, first, last in rows:
            if k == kind and 0 <= first <= last:
                where = slice(None) if lead < 0 else slots[b, lead]
                if lead < 0 or where >= 0:
                    expected[b, where, round(first * ratio) : round(last * ratio) + 1] = kind
    expected = np.stack([whole[:, s : s + 30] for whole, s in zip(expected, start)])
    assert np.array_equal(render.classes(waves, owner, slots, shape, start, np.full(3, ratio)), expected)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2), st.integers(0, 40), st.integers(0, 60)), max_size=12))
def test_scored_as_in_a_loop(rows):
    slots, start = np.array([[0, 1, -1]] * 3), np.array([0, 7, 20])
    owner, marks = np.array([b for b, *_ in rows], int), np.array([row[1:] for row in rows], SPAN)
    expected = np.zeros((3, 2, 80), bool)
    for b, lead, first, stop in rows:
        if lead < 2:
            expected[b, slice(None) if lead < 0 else lead, first:stop] = True
    expected = np.stack([whole[:, s : s + 25] for whole, s in zip(expected, start)])
    assert np.array_equal(render.scored(marks, owner, slots, (3, 2, 25), start, np.ones(3)), expected)


def annotated(i: int, leads) -> Record:
    random = np.random.default_rng(i)
    onset = np.sort(random.integers(0, 470, 20))
    kinds, rows = random.integers(1, 4, 20), random.integers(-1, len(leads), 20)
    waves = np.array([(k, r, on, on + 5, on + 30) for k, r, on in zip(kinds, rows, onset)], WAVE)
    scored = np.array([(-1, 20, 300), (0, 250, 490)], SPAN)
    return Record(noise(i, leads), 250.0, leads, id=f"w{i}", waves=waves, scored=scored)


def test_cache_renders_what_the_rows_say(tmp_path):
    """At the record's own rate the windows are cuts of `signal.waves.classes`, which is a loop."""
    recipe = Recipe(leads=("V1", "II", "I"), rate=250)
    records = [annotated(0, ("I", "II", "V1")), annotated(1, ("II",)), plain(2)]
    cache = store_of(tmp_path / "s", *records).prepared(recipe)
    waves, scored = cache.waves(np.array([0, 1, 2, 0]), np.array([0, 100, 0, 333]), 400)
    classes, slots = wave_rows.classes(records[0].waves, 3, 500), [2, 1, 0]  # lead -> slot
    assert np.array_equal(waves[0][slots], classes[:, :400]) and np.array_equal(
        waves[3][slots][:, :167], classes[:, 333:]
    )
    assert not waves[3][:, 167:].any() and not scored[3][:, 167:].any()
    assert np.array_equal(waves[1][1], wave_rows.classes(records[1].waves, 1, 500)[0, 100:])
    assert not waves[1][[0, 2]].any() and not scored[1][[0, 2]].any()  # absent leads
    assert scored[0].sum(1).tolist() == [280, 280, 380] and not scored[2].any()


def test_peaks_and_beats(tmp_path):
    beats = np.array([(40, b"N"), (200, b"V"), (260, b"?"), (460, b"N")], BEAT)
    records = [plain(0, LEADS[:2], beats=beats), plain(1, LEADS[:2])]
    cache = store_of(tmp_path / "s", *records).prepared(Recipe(leads=("I",), rate=125))
    task = Task("t", "beats", ("V", "N"), {"N": ("N",), "V": ("V",)})
    index, start = np.array([0, 1, 0]), np.array([0, 0, 20])
    assert cache.peaks(index, start, 150).tolist() == [[20, 100, 130], [-1, -1, -1], [0, 80, 110]]
    peaks, classes = cache.beats(index, start, 150, task)
    assert classes.tolist() == [[1, 0, -1], [-1, -1, -1], [1, 0, -1]] and peaks.shape == (3, 3)
    at, true = cache.beats_of(0, task)
    assert at.tolist() == [20, 100, 230] and true.tolist() == [1, 0, 1]
    assert cache.peaks(np.array([1]), np.array([0]), 50).tolist() == [[-1]]
