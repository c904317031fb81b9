"""Forgetting and transfer: a matrix by hand, a loop over the formulas, exact zeros, what was not measured."""

from __future__ import annotations

import numpy as np
import pytest

from ecgraft.metrics import bootstrap, forgetting
from ecgraft.record import InputError

R = np.array([[0.9, 0.5, 0.4], [0.8, 0.85, 0.45], [0.7, 0.8, 0.9]])
BEFORE, ALONE = np.full(3, 0.5), np.array([0.9, 0.8, 0.95])


def test_the_example_of_the_method():
    """ecg-cl.md, oracle 10; forgetting .9 - .7 and .85 - .8, gain 0, .05 and -.05."""
    found = forgetting.summary(R, BEFORE, ALONE)
    expected = {"acc": 0.8, "bwt": -0.125, "fwt": -0.025, "mean forgetting": 0.125, "mean gain": 0}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12) and found[name].shape == ()
    assert np.allclose(found["forgetting"], [0.2, 0.05, np.nan], rtol=0, atol=1e-12, equal_nan=True)
    assert np.allclose(found["gain"], [0, 0.05, -0.05], rtol=0, atol=1e-12)


def test_forgetting_counts_from_the_best_score_and_can_be_negative():
    """The score of the first task rises from .7 to .9 and falls to .8; that of the second is best at the end."""
    rises = [[0.7, 0, 0], [0.9, 0.6, 0], [0.8, 0.65, 0.5]]
    assert np.allclose(forgetting.forgetting(rises)[:2], [0.1, -0.05])
    assert np.allclose(forgetting.backward(rises), [0.1, 0.05])


def loop(R, before, alone):
    """Section 2.6 of ecg-cl.md, counted from 1 as there."""
    K = len(R)
    r = {(i, j): R[i - 1, j - 1] for i in range(1, K + 1) for j in range(1, K + 1)}
    lost = [max(r[i, j] for i in range(j, K)) - r[K, j] for j in range(1, K)]
    return {
        "acc": sum(r[K, j] for j in range(1, K + 1)) / K,
        "bwt": sum(r[K, j] - r[j, j] for j in range(1, K)) / (K - 1),
        "fwt": sum(r[j - 1, j] - before[j - 1] for j in range(2, K + 1)) / (K - 1),
        "mean forgetting": sum(lost) / (K - 1),
        "mean gain": sum(r[j, j] - alone[j - 1] for j in range(1, K + 1)) / K,
        "forgetting": [*lost, np.nan],
        "gain": [r[j, j] - alone[j - 1] for j in range(1, K + 1)],
    }


def test_axes_in_front_stay_and_each_replicate_stands_alone():
    rng = np.random.default_rng(0)
    many, before, alone = rng.random((2, 3, 5, 5)), rng.random((2, 3, 5)), rng.random((2, 3, 5))
    found = forgetting.summary(many, before, alone)
    for at in np.ndindex(2, 3):
        for name, value in loop(many[at], before[at], alone[at]).items():
            assert np.allclose(found[name][at], value, rtol=0, atol=1e-12, equal_nan=True)
    shared = forgetting.summary(many, before[0, 0], alone[0])
    assert np.array_equal(shared["fwt"][0, 0], found["fwt"][0, 0]) and shared["fwt"].shape == (2, 3)
    assert np.array_equal(shared["gain"][0], found["gain"][0]) and shared["gain"].shape == (2, 3, 5)


@pytest.mark.parametrize("K", [2, 3, 7, 50])
def test_scores_that_stay_bit_for_bit_are_exactly_no_change(K):
    """Means of the rows first would leave 1e-17."""
    rng = np.random.default_rng(K)
    for score in rng.random((20, K)):
        kept = np.where(np.tri(K, dtype=bool), score, rng.random((K, K)))
        found = forgetting.summary(kept, independent=score)
        assert found["bwt"] == 0.0 and found["mean forgetting"] == 0.0 and found["mean gain"] == 0.0
        assert (found["forgetting"][:-1] == 0.0).all() and (found["gain"] == 0.0).all()


def test_what_was_not_measured_takes_only_what_needs_it():
    last = np.full((3, 3), np.nan)
    last[-1] = 0.7, 0.8, 0.9  # joint training
    found = forgetting.summary(last, BEFORE, ALONE)
    assert found["acc"] == pytest.approx(0.8) and np.isclose(found["gain"][2], -0.05)
    assert all(np.isnan(found[name]) for name in ("bwt", "fwt", "mean forgetting", "mean gain"))

    lower = np.where(np.tri(3, dtype=bool), R, np.nan)
    found, whole = forgetting.summary(lower, BEFORE, ALONE), forgetting.summary(R, BEFORE, ALONE)
    assert np.isnan(found.pop("fwt"))
    assert all(np.array_equal(value, whole[name], equal_nan=True) for name, value in found.items())

    gap = R.copy()
    gap[1, 0] = np.nan  # the best score of task 1 is not known, its first and last are
    found = forgetting.summary(gap, BEFORE, [0.9, np.nan, 0.95])
    assert np.isnan(found["mean forgetting"]) and np.array_equal(np.isnan(found["forgetting"]), [True, False, True])
    assert found["bwt"] == whole["bwt"] and found["fwt"] == whole["fwt"]
    assert np.isnan(found["mean gain"]) and np.array_equal(np.isnan(found["gain"]), [False, True, False])


def test_without_references_there_is_no_transfer():
    found = forgetting.summary(R)
    assert np.isnan(found["fwt"]) and np.isnan(found["mean gain"]) and np.isnan(found["gain"]).all()
    assert found["bwt"] == pytest.approx(-0.125)


@pytest.mark.filterwarnings("error")
def test_one_task_cannot_be_forgotten():
    found = forgetting.summary(np.full((4, 1, 1), 0.8), [0.5], [0.75])
    assert np.array_equal(found["acc"], np.full(4, 0.8)) and np.allclose(found["mean gain"], 0.05)
    for name in ("bwt", "fwt", "mean forgetting"):
        assert found[name].shape == (4,) and np.isnan(found[name]).all()
    assert found["forgetting"].shape == (4, 1) and np.isnan(found["forgetting"]).all()


def test_it_can_be_resampled():
    def scores(weights):
        return forgetting.summary(R + 0.01 * weights.mean(axis=-1)[..., None, None] * np.tri(3), BEFORE)

    found = bootstrap.estimate(scores, np.arange(30), replicates=50)
    assert found["bwt"].low == pytest.approx(-0.125) and found["forgetting"].value.shape == (3,)
    assert found["fwt"].low == pytest.approx(-0.025) and np.isnan(found["mean gain"].low)


@pytest.mark.parametrize(
    "given",
    [
        (R[:2],),
        (R[0],),
        (0.5,),
        (np.zeros((0, 0)),),
        ([[0.9], [0.8, 0.7]],),
        ([["good"]],),
        (R, BEFORE[:2]),
        (R, 0.5),
        (R, [0.5]),
        (R, None, R),
        (np.stack([R, R]), np.full((3, 3), 0.5)),
        (np.stack([R, R]), np.full((1, 3), 0.5)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(given):
    with pytest.raises(InputError, match=r"R|before|independent"):
        forgetting.summary(*given)
