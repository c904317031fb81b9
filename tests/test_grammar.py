"""The likeliest path of heart beats against a search through every path there is."""

from __future__ import annotations

from itertools import groupby, pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgraft.record import NONE, QRS, P, T
from ecgraft.signal.grammar import CLASS, IN_P, IN_QRS, IN_T, NEVER, PQ, ST, STATES, TP, Order, emissions, paths

EVERY = np.ones(6, bool)
WAY = {IN_P: (PQ, IN_QRS, TP), PQ: (IN_QRS, TP), IN_QRS: (ST, IN_T), ST: (IN_T, IN_P, IN_QRS)}
WAY |= {IN_T: (TP, IN_P, IN_QRS), TP: (IN_P, IN_QRS)}


def price(before, after, order):
    """Of one step, as the module's first lines say it; None where it cannot be."""
    if before == after:
        return 0.0
    if after not in WAY[before]:
        return None
    if after == TP:
        return order.blocked if before in (IN_P, PQ) else 0.0
    without_t = order.no_t if before == ST and after in (IN_P, IN_QRS) else 0.0
    return without_t + (order.no_p if after == IN_QRS and before in (TP, IN_T, ST) else 0.0)


def long_enough(path, least):
    """Whether each run lasts `least`; one cut off by an end half of it; one cut off by both whatever it is."""
    sizes = [(state, len(list(run))) for state, run in groupby(path)]
    for i, (state, size) in enumerate(sizes):
        cut = (i == 0) + (i == len(sizes) - 1)
        if cut < 2 and size < (least[state] if not cut else (least[state] + 1) // 2):
            return False
    return True


def worth(path, emission, order):
    """The score of a path, or None where a step cannot be."""
    steps = [price(a, b, order) for a, b in pairwise(path)]
    if None in steps:
        return None
    return sum(emission[s, t] for t, s in enumerate(path)) - sum(steps)


def searched(emission, start, stop, order, rate):
    """The best path and its score by trying every one."""
    least, best = order.lengths(rate), (None, -np.inf)
    for path in product(range(6), repeat=emission.shape[1]):
        if start[path[0]] and stop[path[-1]] and long_enough(path, least):
            score = worth(path, emission, order)
            if score is not None and score > best[1]:
                best = path, score
    return best


def drawn(rng, samples, lanes=1, spread=3.0):
    return rng.normal(0, spread, (lanes, 6, samples)).astype(np.float32)


def orders(rng):
    """Small costs, and waves that last 1 to 3 samples at 1 Hz."""
    return Order(*rng.uniform(0, 4, 3), shortest=tuple(rng.integers(1, 4, 3).astype(float)))


@pytest.mark.parametrize("seed", range(40))
def test_the_best_path_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    samples, order = 1 + seed % 6, orders(rng)
    emission = drawn(rng, samples)
    start, stop = rng.random((2, 6)) < 0.5
    expected, score = searched(emission[0], start, stop, order, 1.0)
    path, best = paths(emission, np.array([samples]), start[None], stop[None], order, 1.0)
    assert best[0] == pytest.approx(score, abs=1e-4)
    assert path[0].tolist() == (list(expected) if expected else [TP] * samples)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_best_path_of_eight_samples(seed):
    rng = np.random.default_rng(seed)
    order, emission = orders(rng), drawn(rng, 8)
    expected, score = searched(emission[0], EVERY, EVERY, order, 1.0)
    path, best = paths(emission, np.array([8]), EVERY[None], EVERY[None], order, 1.0)
    assert path[0].tolist() == list(expected)
    assert best[0] == pytest.approx(score, abs=1e-4)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.sampled_from([1.0, 2.0, 4.0]), st.sampled_from([0.3, 1, 5]))
def test_whatever_comes_in_a_legal_path_comes_out_with_its_score(seed, samples, rate, spread):
    rng = np.random.default_rng(seed)
    order, lanes = orders(rng), 4
    emission, length = drawn(rng, samples, lanes, spread), rng.integers(1, samples + 1, lanes)
    start, stop = rng.random((2, lanes, 6)) < 0.7
    found, score = paths(emission, length, start, stop, order, rate)
    for k in range(lanes):
        path = found[k, : length[k]].tolist()
        if score[k] == -np.inf:
            assert set(path) == {TP}
            continue
        assert start[k, path[0]] and stop[k, path[-1]]
        assert long_enough(path, order.lengths(rate))
        assert score[k] == pytest.approx(worth(path, emission[k], order), abs=1e-2)


@pytest.mark.parametrize("seed", range(5))
def test_stretches_of_a_batch_do_not_know_of_each_other(seed):
    rng = np.random.default_rng(seed)
    order, lanes, samples = Order(1, 2, 3, (3, 3, 5)), 9, 60
    emission, length = drawn(rng, samples, lanes), rng.integers(1, samples + 1, lanes)
    start, stop = rng.random((2, lanes, 6)) < 0.7
    found, score = paths(emission, length, start, stop, order, 1.0)
    for k, n in enumerate(length):
        one, best = paths(emission[k : k + 1, :, :n], length[k : k + 1], start[k : k + 1], stop[k : k + 1], order, 1.0)
        assert one[0].tolist() == found[k, :n].tolist()
        assert best[0] == score[k]


def test_many_blocks_of_samples_are_one_path(monkeypatch):
    emission = drawn(np.random.default_rng(0), 300, 3)
    of = np.full(3, 300), EVERY[None].repeat(3, 0), EVERY[None].repeat(3, 0), Order(1, 2, 3, (3, 4, 5)), 1.0
    whole = paths(emission, *of)
    monkeypatch.setattr("ecgraft.signal.grammar.BLOCK", 7)
    parts = paths(emission, *of)
    assert (whole[0] == parts[0]).all() and (whole[1] == parts[1]).all()


def test_without_atria_there_is_never_a_p_wave():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([0.3] * 4, (6, 400)).transpose(0, 2, 1)
    p[:, P] += 5
    p /= p.sum(1, keepdims=True)
    of = np.full(6, 400), EVERY[None].repeat(6, 0), EVERY[None].repeat(6, 0), Order(), 100.0
    without = paths(emissions(p, atria=False), *of)[0]
    assert not np.isin(without, (IN_P, PQ)).any()
    assert (paths(emissions(p), *of)[0] == IN_P).any()
    mixed = paths(emissions(p, np.arange(6) % 2 == 0), *of)[0]
    assert (mixed[1::2] == without[1::2]).all() and (mixed[::2] == IN_P).any(1).all()


def test_emissions_are_the_log_probability_of_the_class_of_a_state():
    p = np.random.default_rng(0).dirichlet([1] * 4, 7).T
    for state, row in enumerate(emissions(p)):
        assert row == pytest.approx(np.log(p[CLASS[state]]), abs=1e-5)
    without = emissions(p[None], atria=False, mistaken=0.25)[0]
    for state in (ST, TP):
        assert without[state] == pytest.approx(np.log(p[NONE] + 0.25 * p[P]), abs=1e-5)
    assert (without[[IN_P, PQ]] == -NEVER).all()
    assert without[[IN_QRS, IN_T]] == pytest.approx(np.log(p[[QRS, T]]), abs=1e-5)
    assert np.isfinite(emissions(np.eye(4))).all()


def test_the_table_of_costs_says_what_the_words_say():
    order = Order(1, 2, 4)
    for before, after in product(range(6), repeat=2):
        if before != after:
            said = price(before, after, order)
            assert order.costs()[before, after] == (NEVER if said is None else said)
    assert [STATES[s] for s in range(6)] == ["P", "PQ", "QRS", "ST", "T", "TP"]
    assert order.lengths(250).tolist() == [8, 1, 8, 1, 13, 1]
    assert order.lengths(1).tolist() == [1] * 6
