"""What a report says of waves and R peaks beyond their boundaries: Dice, invented P waves, what EC57 leaves out."""

from __future__ import annotations

import numpy as np
import pytest

from ecgraft import tasks
from ecgraft.commands import _score
from ecgraft.commands._examples import Corpus
from ecgraft.commands.evaluate import plain
from ecgraft.metrics import beats
from ecgraft.record import BEAT, RHYTHM, SPAN, Record, waves_array
from ecgraft.signal.recipe import Recipe
from ecgraft.store import Store, StoreWriter

RATE, T = 250.0, 2500


def record(name: str, labels: dict[str, int]) -> Record:
    signal = np.random.default_rng(0).normal(size=(1, T)).astype(np.float32)
    rows = waves_array([(2, 0, 500, 510, 525), (2, 0, 1000, 1010, 1025)])
    found = np.array([(510, "N"), (1010, "N"), (2010, "N")], BEAT)
    rhythms = np.array([(0, 750, "N"), (750, 1500, "VFL"), (1500, T, "N")], RHYTHM)
    scored = np.array([(0, 0, T)], SPAN)
    return Record(signal, RATE, ("II",), name, labels=labels, waves=rows, scored=scored, beats=found, rhythms=rhythms)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    path = tmp_path_factory.mktemp("score") / "store"
    with StoreWriter(path) as writer:
        for name, label in (("a", {"snomed:164889003": 1}), ("b", {"snomed:426783006": 1}), ("c", {"scp:AFIB": 1})):
            writer.add(record(name, label))
    return Store(path)


def answers(corpus: Corpus, false: list[int]) -> _score.Answers:
    """So many invented P waves in each record."""
    counts = np.zeros((3, 6, 5))
    counts[:, 2:4, 0] = 2
    counts[:, 0, 2] = false
    overlaps = np.array([[[0, 0], [10, 40], [0, 4]]] * 3, float)
    rows = corpus.rows("all")
    return _score.Answers(rows, counts=counts, overlaps=overlaps, fibrillating=_score._fibrillating(corpus, rows))


def test_p_waves_are_invented_where_the_atria_fibrillate(store):
    corpus = Corpus.open(store, tasks.find("waves"))
    found = answers(corpus, [4, 100, 1])
    scores = _score.scorer(corpus, found, {}, {})(np.ones(3))
    assert found.fibrillating.tolist() == [True, False, True]
    assert scores["false p in af"] == 2.5
    assert np.allclose(scores["dice"], [np.nan, 0.5, 0.0], equal_nan=True)
    steady = found.take(np.array([1]))
    assert "false p in af" not in _score.scorer(corpus, steady, {}, {})(np.ones(1))
    said = plain(_score.with_intervals(corpus, _score.scorer(corpus, found, {}, {}), found, 20), corpus.task)
    assert said["dice"]["QRS"]["value"] == 0.5 and said["false p in af"]["value"] == 2.5


@pytest.mark.parametrize(
    ("spans", "start", "left"),
    [
        ([], 0, [(0, 100)]),
        ([(20, 30)], 0, [(0, 20), (30, 100)]),
        ([(20, 30)], 25, [(30, 100)]),
        ([(0, 10), (10, 40), (90, 100)], 5, [(40, 90)]),
        ([(0, 100)], 0, []),
        ([(20, 30)], 200, []),
    ],
)
def test_what_is_left_without_flutter(spans, start, left):
    assert beats.outside(spans, 100, start) == left


def test_no_beat_is_scored_in_ventricular_flutter(store):
    """The beat at sample 1010 lies in flutter; the answer has it and one more there, and lacks the last."""
    corpus = Corpus.open(store, tasks.find("qrs"))
    cache = store.prepared(Recipe(leads=("II",)), progress=False)
    p = np.zeros((1, 2, T), np.float32)
    for at in (510, 1010, 1250):
        p[0, 1, at - 12 : at + 13] = 1
    p[:, 0] = 1 - p[:, 1]
    found = _score._answer_peaks([(0, p)], corpus, np.array([0]), cache)
    assert found.peaks[0].tolist() == [510, 1010, 1250] and found.counts[0, :3].tolist() == [1, 1, 0]
