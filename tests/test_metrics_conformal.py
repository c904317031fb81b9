"""Conformal sets, isotonic calibration and feature distance against definitions, scikit-learn and scipy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.special import expit, log_softmax, softmax

from ecgraft.metrics import calibrate, conformal, distance
from ecgraft.record import InputError

isotonic = pytest.importorskip("sklearn.isotonic")


def test_the_quantile_by_hand():
    scores = np.arange(1, 10) / 10  # nine: the ceil(10 x 0.9) = ninth; 0.91 would be the tenth
    assert conformal.quantile(scores, 0.9) == 0.9
    assert conformal.quantile(scores, 0.81) == 0.9 and conformal.quantile(scores, 0.8) == 0.8
    assert conformal.quantile(scores, 0.91) is None and conformal.quantile([], 0.5) is None
    assert conformal.quantile([0.3, np.nan, 0.1, 0.2], 0.5) == 0.2
    with pytest.raises(InputError, match="between 0 and 1"):
        conformal.quantile(scores, 1)


def drawn(rng, n, K=4):
    """Probabilities that are not quite those that the truth is drawn from."""
    logit = rng.normal(size=(n, K)) * 1.5
    truth = (rng.random((n, 1)) > softmax(logit, axis=1).cumsum(axis=1)).sum(axis=1).clip(0, K - 1)
    return truth, softmax(2 * logit, axis=1)


def test_class_sets_hold_the_truth_as_often_as_asked():
    rng, held = np.random.default_rng(0), []
    for _ in range(300):
        truth, p = drawn(rng, 239)
        fitted = json.loads(json.dumps(conformal.fit_classes(truth[:39], p[:39], 0.8)))
        held.append(conformal.coverage(truth[39:], conformal.class_sets(p[39:], fitted))["coverage"])
    assert np.mean(held) == pytest.approx(0.8, abs=0.012)  # 39: (n + 1) 0.8 is whole, so the coverage is exact


def test_class_sets_by_class_hold_within_each_class():
    truth, p = drawn(np.random.default_rng(1), 40_000)
    fitted = conformal.fit_classes(truth[:20_000], p[:20_000], 0.9, by_class=True)
    sets = conformal.class_sets(p[20_000:], fitted)
    for k in range(4):
        at = truth[20_000:] == k
        assert conformal.coverage(truth[20_000:][at], sets[at])["coverage"] == pytest.approx(0.9, abs=0.015)
    few = conformal.fit_classes([0, 0, -1, 1], p[:4], 0.9, by_class=True)
    assert few["limits"] == [None] * 4 and conformal.class_sets(p[:3], few).all()
    one = conformal.fit_classes([0, 1], np.array([[0.8, 0.2], [0.4, 0.6]]), 0.6)
    assert one["limits"] == [pytest.approx(0.4)] * 2  # ceil(3 x 0.6) = second of 0.2, 0.4
    assert conformal.class_sets([[0.6, 0.4], [0.5, 0.5]], one).tolist() == [[True, False], [False, False]]


def test_label_sets_hold_among_yes_and_among_no():
    rng = np.random.default_rng(2)
    logit = rng.normal(size=(40_000, 2)) * 2 - (0, 3)
    y = (rng.random(logit.shape) < expit(logit)).astype(int)
    y[::7, 0] = -1
    p = expit(logit * 1.7 + 0.5)
    half = 20_000
    fitted = json.loads(json.dumps(conformal.fit_labels(y[:half], p[:half], 0.9)))
    sets = conformal.label_sets(p[half:], fitted)
    for answer in (0, 1):
        only = np.where(y[half:] == answer, answer, -1)
        assert conformal.coverage(only, sets)["coverage"] == pytest.approx([0.9, 0.9], abs=0.02)
    few = conformal.fit_labels(y[:9], p[:9], 0.99)
    assert few["limits"] == [[None, None]] * 2 and conformal.label_sets(p[:3], few).all()


def test_label_sets_by_hand():
    y, p = np.array([[0], [0], [0], [1], [1], [1]]), np.array([[0.1], [0.2], [0.6], [0.3], [0.7], [0.9]])
    fitted = conformal.fit_labels(y, p, 0.5)  # ceil(4 x 0.5) = the second: 0.2 of the no, 0.3 of the yes
    assert fitted["limits"] == [[0.2, pytest.approx(0.3)]]
    sets = conformal.label_sets([[0.15], [0.5], [0.8]], fitted)
    assert sets[:, 0].tolist() == [[True, False], [False, False], [False, True]]


def test_value_ranges_hold_as_often_as_asked():
    rng = np.random.default_rng(3)
    y = rng.normal(60, 10, 20_000)
    said = y + rng.normal(2, 5, len(y))
    fitted = conformal.fit_values(y[:10_000], said[:10_000], 0.9)
    found = conformal.coverage(y[10_000:], conformal.value_ranges(said[10_000:], fitted))
    assert found["coverage"] == pytest.approx(0.9, abs=0.01) and found["answered"] == 1
    assert found["size"] == pytest.approx(2 * fitted["half"])
    few = conformal.fit_values(y[:5], said[:5], 0.9)
    assert few["half"] is None and np.isinf(conformal.value_ranges(said[:1], few)).all()
    weights = np.array([[1, 1, 1], [0, 1, 1]], dtype=np.float32)
    found = conformal.coverage(y[:3], conformal.value_ranges(said[:3], few), weights=weights)
    assert np.isinf(found["size"]).all() and (found["answered"] == 0).all() and (found["coverage"] == 1).all()


def test_coverage_by_hand():
    sets = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], dtype=bool)
    found = conformal.coverage([0, 1, 0, -1], sets)  # held: yes, yes, no; the last is not known
    assert {name: float(v) for name, v in found.items()} == pytest.approx(
        {"coverage": 2 / 3, "size": 1, "answered": 1 / 3}
    )
    found = conformal.coverage([0, 1, 0, -1], sets, weights=np.array([[1, 1, 1, 1], [3, 1, 0, 0]]))
    assert found["coverage"] == pytest.approx([2 / 3, 1]) and found["size"] == pytest.approx([1, 5 / 4])
    labels = np.array([[[1, 0]], [[1, 1]], [[0, 1]]], dtype=bool)
    found = conformal.coverage(np.array([[0], [1], [0]]), labels, known=np.array([[1], [1], [1]]))
    assert found["coverage"].tolist() == [pytest.approx(2 / 3)] and found["answered"].tolist() == [pytest.approx(2 / 3)]


@pytest.mark.parametrize("digits", [1, 8])
def test_isotonic_equals_scikit_learn(digits):
    rng = np.random.default_rng(4)
    logit = np.round(rng.normal(size=(500, 3)) * 2, digits)
    y = (rng.random(logit.shape) < expit(logit**3)).astype(int)
    y[:50, 1] = -1
    y[:, 2] = 0
    fitted = json.loads(json.dumps(calibrate.isotonic(logit, y)))
    new = np.linspace(-9, 9, 301)[:, None].repeat(3, axis=1)
    found = calibrate.probability(new, fitted, "multilabel")
    for k in (0, 1):
        at = y[:, k] >= 0
        oracle = isotonic.IsotonicRegression(out_of_bounds="clip").fit(logit[at, k], y[at, k])
        assert np.allclose(found[:, k], oracle.predict(new[:, k]), rtol=0, atol=1e-9)
    assert fitted["isotonic"][2] is None and np.allclose(found[:, 2], expit(new[:, 2]))
    assert len(fitted["isotonic"][0][0]) < 120


def test_isotonic_of_classes_is_each_against_the_rest_scaled_to_one():
    rng = np.random.default_rng(5)
    logit = rng.normal(size=(800, 3))
    truth = (rng.random((800, 1)) > softmax(2 * logit, axis=1).cumsum(axis=1)).sum(axis=1).clip(0, 2)
    truth[:20] = -1
    p = calibrate.probability(logit, calibrate.isotonic(logit, truth), "multiclass")
    x, seen = log_softmax(logit, axis=1), truth >= 0
    each = [isotonic.IsotonicRegression(out_of_bounds="clip").fit(x[seen, k], truth[seen] == k) for k in range(3)]
    raw = np.stack([oracle.predict(x[:, k]) for k, oracle in enumerate(each)], axis=1)
    assert np.allclose(p, raw / raw.sum(axis=1, keepdims=True), atol=1e-9) and np.allclose(p.sum(axis=1), 1)
    zero = {"isotonic": [[[-9.0, 0.0], [0.0, 0.0]]] * 3}
    assert np.allclose(calibrate.probability(logit, zero, "multiclass"), softmax(logit, axis=1))


def test_distance_of_all_axes_is_mahalanobis():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(400, 5)) @ rng.normal(size=(5, 5)) + 3
    fitted = distance.fit(x, rank=5)
    inverse = np.linalg.inv(np.cov(x.T))
    expected = [mahalanobis(row, x.mean(axis=0), inverse) for row in x[:50]]
    assert np.allclose(distance.distance(x[:50], fitted), expected, rtol=1e-4)  # what is fitted is float32
    assert all(value.dtype == np.float32 for value in fitted.values())


def test_distance_under_probabilistic_pca_is_mahalanobis_under_its_covariance():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(300, 8)) * (5, 4, 3, 1, 1, 1, 1, 1)
    fitted = distance.fit(x, rank=3)
    variance, axes = np.linalg.eigh(np.cov(x.T))
    variance, axes = variance[::-1], axes[:, ::-1]
    rest = variance[3:].mean()
    covariance = axes[:, :3] @ np.diag(variance[:3] - rest) @ axes[:, :3].T + rest * np.eye(8)
    expected = [mahalanobis(row, x.mean(axis=0), np.linalg.inv(covariance)) for row in x[:50]]
    assert np.allclose(distance.distance(x[:50], fitted), expected, rtol=1e-4)


def test_few_are_flagged_that_are_alike_and_all_that_are_far():
    rng = np.random.default_rng(8)
    mix = rng.normal(size=(6, 64))
    inside = rng.normal(size=(2400, 6)) @ mix + 0.1 * rng.normal(size=(2400, 64))
    fitted = distance.fit(inside[:400])
    limit = distance.limit(distance.distance(inside[400:1400], fitted), 0.95)
    assert (distance.distance(inside[1400:], fitted) > limit).mean() == pytest.approx(0.05, abs=0.025)
    off = inside[1400:] + 3 * rng.normal(size=64)
    assert (distance.distance(off, fitted) > limit).all()


def test_distance_of_few_records_is_defined():
    rng = np.random.default_rng(9)
    x = rng.normal(size=(10, 40))
    fitted = distance.fit(x)
    assert fitted["axes"].shape == (5, 40) and fitted["rest"] > 0
    assert np.isfinite(distance.distance(rng.normal(size=(3, 40)), fitted)).all()
    alike = distance.fit(np.ones((4, 3)))
    assert distance.distance(np.ones((1, 3)), alike) == 0 and distance.distance(np.zeros((1, 3)), alike) > 1e6
    assert distance.limit(np.arange(10.0)) is None
    with pytest.raises(InputError, match="at least 2"):
        distance.fit(x[:1])
