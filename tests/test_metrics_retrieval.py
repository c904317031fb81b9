"""Ranks, medians and chance of a search, against counting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ecgraft.metrics import retrieval


def test_ranks_by_counting():
    random = np.random.default_rng(0)
    one, other, key = random.normal(size=(40, 3)), random.normal(size=(40, 3)), random.integers(9, size=40)
    expected = []
    for i in range(40):
        order = np.argsort(-(other @ one[i]))
        expected.append(1 + next(place for place, j in enumerate(order) if key[j] == key[i]))
    assert retrieval.ranks(one, other, key, key).tolist() == expected


def test_a_tie_stands_where_chance_would_put_it():
    """Candidates that are all alike: 1 + wrong / (right + 1), the mean place of the first right one."""
    same, key = np.ones((6, 2)), np.array([0, 0, 1, 2, 2, 2])
    places = [next(p for p, i in enumerate(order) if key[i] == 0) + 1 for order in itertools.permutations(range(6))]
    found = retrieval.ranks(same, same, key, key)
    assert found[0] == pytest.approx(np.mean(places)) and found[2] == pytest.approx(3.5) and found[3] == 1.75


def test_chance_by_going_through_all_orders():
    right = np.array([1, 2, 2])
    ranks = [
        min(place for place, i in enumerate(order) if i < h) + 1
        for h in right
        for order in itertools.permutations(range(5))
    ]
    found = retrieval.chance(right, 5, at=(1, 2, 10))
    assert found["recall@1"] == pytest.approx(np.mean(np.array(ranks) <= 1))
    assert found["recall@2"] == pytest.approx(np.mean(np.array(ranks) <= 2)) and found["recall@10"] == 1
    assert found["median rank"] == np.quantile(ranks, 0.5, method="inverted_cdf")


def test_weighted_median():
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([[1, 1, 1], [5, 1, 1], [0, 2, 2]])
    assert retrieval.weighted_median(values, weights).tolist() == [2, 3, 1]
