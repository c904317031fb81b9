"""A probe on features that are computed once, against the same head behind its encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ecgraft
from ecgraft import tasks
from ecgraft.commands import _features, _probe, _score
from ecgraft.commands._examples import Corpus
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings, with_defaults
from ecgraft.model import Model
from ecgraft.nn.heads import Pooled
from ecgraft.record import InputError
from ecgraft.store import Store

SMALL = {"widths": (8, 8, 8, 8), "stem": 8}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("probe") / "store"
    ecgraft.simulate(to=path, count=60, seed=2, seconds=7.0, rate=250.0, progress=False)
    return Corpus.open(Store(path), tasks.find("findings"))


def job(corpus, **changes) -> Job:
    train, validation = corpus.few(1, 0)
    options = Settings(adapter="linear", augment={}, seconds=4.0, batch=8, rare="note", **changes)
    model = Model.fresh("resnet18", SMALL)
    return Job(model, corpus, train, validation, with_defaults(options, 30, 0), "findings", progress=False)


def test_the_graft_answers_as_the_probe_did(corpus):
    """Seven seconds are two windows: the mean of their features gives the mean of their logits."""
    made = job(corpus)
    graft = made.run()
    made.model.add(graft)
    rows = corpus.rows("test")
    network = made.model.network("findings")
    by_features = made.answer(network, rows).logits
    assert np.allclose(by_features, _score.answer(network, corpus, rows, made.cache).logits, atol=1e-4)
    fresh = job(corpus)._network()
    assert not np.allclose(by_features, made.answer(fresh, rows).logits, atol=0.1), "it has learnt"


def test_standardising_is_taken_back_exactly():
    torch.manual_seed(0)
    head, features = Pooled(5, 3), np.random.default_rng(0).normal(3, (1, 10, 0.1, 1, 0), (40, 5)).astype(np.float32)
    before = _probe.logits(head.eval(), features)
    probe = _probe.Probe("x", head, features).eval()
    assert np.allclose(_probe.logits(probe.heads["x"], features), before, atol=1e-4)
    probe.fold()
    assert np.allclose(_probe.logits(head, features), before, atol=1e-4)


def test_a_new_head_begins_at_the_odds_of_the_classes():
    head = Pooled(2, 2)
    torch.nn.init.zeros_(head.linear.weight)
    probe = _probe.Probe("x", head, np.random.default_rng(0).random((7, 2)).astype(np.float32))
    y, known = np.array([[1, 0], [0, 0], [0, 1], [0, 0]]), np.array([[1, 1], [1, 1], [1, 0], [1, 1]], bool)
    probe.start_at(y, known)
    expected = [np.log(1.5 / 3.5), np.log(0.5 / 3.5)]
    assert np.allclose(probe({"x": torch.zeros(1, 2)})["x"].detach(), expected, atol=1e-6)


def test_features_are_computed_once_and_only_where_asked_for(corpus, monkeypatch):
    made, asked = job(corpus), []
    real = _features.features
    monkeypatch.setattr(
        _features, "features", lambda e, r, c, rows, d: asked.append(rows.tolist()) or real(e, r, c, rows, d)
    )
    model = Model.fresh("resnet18", SMALL, seed=7)
    one = _features.kept_features(model, made.recipe, made.cache, np.array([3, 5]))
    two = _features.kept_features(model, made.recipe, made.cache, np.array([5, 9, 3]))
    assert asked == [[3, 5], [9]] and np.array_equal(one, two[[2, 0]])
    assert np.allclose(two, real(model.encoder, made.recipe, made.cache, np.array([5, 9, 3])), atol=1e-5)
    other = Model.fresh("resnet18", SMALL, seed=8)
    assert not np.allclose(_features.kept_features(other, made.recipe, made.cache, np.array([3])), one[:1])


def test_damaged_features_are_named(corpus):
    made = job(corpus)
    model = Model.fresh("resnet18", SMALL, seed=9)
    _features.kept_features(model, made.recipe, made.cache, np.array([0]))
    newest = max(
        (corpus.store.path / "cache").glob("features-*"), key=lambda p: (p / "features.npy").stat().st_mtime_ns
    )
    (newest / "features.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match="delete this folder"):
        _features.kept_features(model, made.recipe, made.cache, np.array([0]))


def test_noise_or_an_adapter_need_the_whole_way(corpus):
    train, validation = corpus.few(1, 0)
    for options in (Settings(adapter="linear"), Settings(adapter="full", augment={})):
        assert not Job(Model.fresh("resnet18", SMALL), corpus, train, validation, options, "findings").probing
