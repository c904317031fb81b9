"""Order of labels, operating points and comparisons against scikit-learn, loops and numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ecgraft.metrics import bootstrap, classify, compare, operating, order, ranking
from ecgraft.metrics.sums import cumulative

sklearn = pytest.importorskip("sklearn.metrics")


def made(coarse=False, records=120, seed=3):
    """Labels (some records with none or all), scores, and weights of three replicates."""
    rng = np.random.default_rng(seed)
    y = (rng.random((records, 6)) < (0.5, 0.3, 0.2, 0.2, 0.1, 0.1)).astype(int)
    y[0], y[1] = 0, 1
    score = 1 / (1 + np.exp(-rng.normal(size=y.shape) - y))
    return y, np.round(score, 1) if coarse else score, rng.integers(0, 4, (3, records)).astype(float)


@pytest.mark.parametrize("coarse", [False, True])
def test_order_within_a_record_equals_scikit_learn(coarse):
    y, score, weights = made(coarse)
    for ours, theirs in (
        (order.ranking_loss, sklearn.label_ranking_loss),
        (order.coverage_error, sklearn.coverage_error),
    ):
        assert ours(y, score) == pytest.approx(theirs(y, score), abs=1e-9)
        expected = [theirs(y, score, sample_weight=w) for w in weights]
        assert np.allclose(ours(y, score, weights=weights), expected, rtol=0, atol=1e-9)


def test_unknown_labels_are_left_out_of_a_record():
    y, score, _ = made()
    wide = np.concatenate([y, np.full((len(y), 2), -1)], axis=1)
    filled = np.concatenate([score, np.full((len(y), 2), np.nan)], axis=1)
    nothing = np.full((5, 8), -1)
    wide, filled = np.concatenate([wide, nothing]), np.concatenate([filled, np.zeros((5, 8))])
    for metric in (order.ranking_loss, order.coverage_error, order.fmax):
        assert metric(wide, filled) == pytest.approx(metric(y, score), abs=1e-12)
        assert np.isnan(metric(nothing, np.zeros((5, 8))))


def loop_fmax(y, score, weights, limits):
    """Radivojac's definition, record by record."""
    best = 0.0
    for t in limits:
        called = score >= t
        precision = [(w, (c & v).sum() / c.sum()) for w, c, v in zip(weights, called, y == 1) if c.any()]
        recall = [(w, (c & v).sum() / v.sum()) for w, c, v in zip(weights, called, y == 1) if v.any()]
        if sum(w for w, _ in precision) > 0:
            p, r = (sum(w * x for w, x in each) / sum(w for w, _ in each) for each in (precision, recall))
            best = max(best, 2 * p * r / (p + r) if p + r else 0)
    return best


@pytest.mark.slow
@pytest.mark.parametrize("coarse", [False, True])
def test_fmax_is_that_of_a_loop(coarse):
    y, score, weights = made(coarse)
    ones = np.ones(len(y))
    for thresholds, limits in ((101, np.linspace(0, 1, 101)), (None, np.unique(score))):
        assert order.fmax(y, score, thresholds=thresholds) == pytest.approx(loop_fmax(y, score, ones, limits), abs=1e-9)
        expected = [loop_fmax(y, score, w, limits) for w in weights]
        found = order.fmax(y, score, weights=weights, thresholds=thresholds)
        assert np.allclose(found, expected, rtol=0, atol=1e-9)
    assert np.isnan(order.fmax(np.zeros((4, 2)), np.ones((4, 2))))


@pytest.mark.parametrize("coarse", [False, True])
def test_operating_points_are_those_of_the_roc_curve(coarse):
    y, score, weights = made(coarse)
    at_specificity = operating.at_specificity(y, score, 0.9, weights=weights)
    at_sensitivity = operating.at_sensitivity(y, score, 0.8, weights=weights)
    for r, w in enumerate(weights):
        for k in range(y.shape[1]):
            fpr, tpr, _ = sklearn.roc_curve(y[:, k], score[:, k], sample_weight=w, drop_intermediate=False)
            expected = tpr[1 - fpr >= 0.9 - 1e-12].max()
            assert at_specificity["sensitivity"][r, k] == pytest.approx(expected, abs=1e-9)
            assert at_sensitivity["specificity"][r, k] == pytest.approx((1 - fpr)[tpr >= 0.8 - 1e-12].max(), abs=1e-9)
        for found in (at_specificity, at_sensitivity):
            same = operating.at_threshold(y, score, found["threshold"][r], weights=w)
            assert np.allclose(found["sensitivity"][r], same["sensitivity"], atol=1e-9)
            assert np.allclose(found["specificity"][r], same["specificity"], atol=1e-9)


def test_operating_points_by_hand():
    # Negatives .1 to .9 and one at .95: nine of ten lie below .95, so 0.9 allows it and 0.95 asks for more than .95
    y, score = np.repeat([0, 1], [10, 2])[:, None], np.array([*np.arange(1, 10) / 10, 0.95, 0.92, 0.97])[:, None]
    point = operating.at_specificity(y, score, 0.9)
    assert (point["sensitivity"][0], point["specificity"][0], point["threshold"][0]) == (1, 0.9, 0.92)
    point = operating.at_specificity(y, score, 0.95)
    assert (point["sensitivity"][0], point["specificity"][0], point["threshold"][0]) == (0.5, 1, 0.97)
    point = operating.at_specificity(y, np.ones((12, 1)), 0.5)
    assert (point["sensitivity"][0], point["specificity"][0], point["threshold"][0]) == (0, 1, np.inf)
    assert np.isnan(operating.at_sensitivity(np.zeros((3, 1)), np.ones((3, 1)))["specificity"][0])
    fixed = operating.at_threshold(y, score, 0.95)
    assert (fixed["precision"][0], fixed["negative predictive value"][0]) == (0.5, 0.9)


def loop_delong(y, a, b):
    """Variance of the difference of the AUROCs from all O(m n) pairs, DeLong et al. 1988."""
    components = []
    for s in (a, b):
        won = (s[y == 1][:, None] > s[y == 0]) + 0.5 * (s[y == 1][:, None] == s[y == 0])
        components.append((won.mean(axis=1), won.mean(axis=0)))
    s10, s01 = (np.cov(np.stack([components[0][i], components[1][i]])) for i in (0, 1))
    s = s10 / (y == 1).sum() + s01 / (y == 0).sum()
    return [c[0].mean() for c in components], s[0, 0] + s[1, 1] - 2 * s[0, 1]


@pytest.mark.parametrize("coarse", [False, True])
def test_delong_is_that_of_all_pairs(coarse):
    y, a, _ = made(coarse)
    b = made(coarse, seed=4)[1]
    y[:7, 2] = -1
    found = compare.delong(y, a, b)
    for k in range(y.shape[1]):
        at = y[:, k] >= 0
        areas, variance = loop_delong(y[at, k], a[at, k], b[at, k])
        assert (found.a[k], found.b[k]) == pytest.approx(tuple(areas), abs=1e-12)
        assert found.error[k] ** 2 == pytest.approx(variance, abs=1e-12)
    assert np.allclose(found.a, ranking.auroc(y, a), atol=1e-12)
    assert np.allclose(found.z, found.difference / found.error)
    same = compare.delong(y, a, a)
    assert (same.p == 1).all() and np.isnan(same.z).all()
    assert np.isnan(compare.delong(np.array([[1], [0], [0]]), np.ones((3, 1)), np.zeros((3, 1))).error[0])


def test_the_p_of_delong_is_near_that_of_swapping_the_two_scores():
    rng = np.random.default_rng(1)
    y = (rng.random((300, 1)) < 0.4).astype(int)
    a, b = y + rng.normal(size=y.shape) * 1.5, y + rng.normal(size=y.shape) * 2.0
    a, b = a.argsort(0).argsort(0), b.argsort(0).argsort(0)  # ranks, so that a swap keeps the scale
    observed = compare.delong(y, a, b)
    swap = rng.random((2000, 300)) < 0.5
    first = ranking.auroc(np.repeat(y, 2000, 1), np.where(swap, a[:, 0], b[:, 0]).T)
    second = ranking.auroc(np.repeat(y, 2000, 1), np.where(swap, b[:, 0], a[:, 0]).T)
    p = (np.abs(first - second) >= abs(observed.difference[0])).mean()
    assert observed.p[0] == pytest.approx(p, abs=0.03)


def test_delong_of_patients():
    """With one record a patient nothing changes; with every record twice the error is about that of one of each."""
    y, a, _ = made(records=400)
    b = made(records=400, seed=4)[1]
    plain = compare.delong(y, a, b)
    assert np.allclose(compare.delong(y, a, b, patients=np.arange(400)).error, plain.error, atol=1e-12)
    twice = [np.repeat(each, 2, axis=0) for each in (y, a, b)]
    clustered = compare.delong(*twice, patients=np.repeat(np.arange(400), 2))
    assert np.allclose(clustered.difference, plain.difference, atol=1e-12)
    assert np.allclose(clustered.error, plain.error, rtol=1e-9)
    assert (compare.delong(*twice).error < 0.75 * plain.error).all()


def test_delong_of_patients_is_obuchowskis_formula():
    rng = np.random.default_rng(5)
    patients = rng.integers(0, 25, 90)
    y = (rng.random(90) < 0.4).astype(int)
    a, b = (y + rng.normal(size=90) for _ in range(2))
    won = [(s[y == 1][:, None] > s[y == 0]).astype(float) for s in (a, b)]
    gap = won[0] - won[1]
    theta, m, n = gap.mean(), (y == 1).sum(), (y == 0).sum()
    s10 = s01 = s11 = 0.0
    positive, negative = patients[y == 1], patients[y == 0]
    for i in set(patients):
        u = (gap.mean(axis=1) - theta)[positive == i].sum()
        v = (gap.mean(axis=0) - theta)[negative == i].sum()
        s10, s01, s11 = s10 + u * u, s01 + v * v, s11 + u * v
    i10, i01, i = len(set(positive)), len(set(negative)), len(set(patients))
    variance = i10 / (i10 - 1) * s10 / m**2 + i01 / (i01 - 1) * s01 / n**2 + 2 * i / (i - 1) * s11 / (m * n)
    found = compare.delong(y[:, None], a[:, None], b[:, None], patients=patients)
    assert found.error[0] ** 2 == pytest.approx(variance, abs=1e-12)


def test_holm_by_hand():
    # 4 x .01, 3 x .02, 2 x .03 -> .06 and not less than the one before, 1 x .04 -> .06
    assert compare.holm([0.04, 0.01, np.nan, 0.03, 0.02]) == pytest.approx(
        [0.06, 0.04, np.nan, 0.06, 0.06], nan_ok=True
    )
    assert compare.holm([[0.6, 0.9]]).tolist() == [[1.0, 1.0]]
    assert np.isnan(compare.holm([np.nan])).all()


def test_a_paired_bootstrap_counts_the_replicates_beyond_zero():
    a = np.arange(1, 101, dtype=float)
    found = compare.paired(a, np.full(100, 3.0))  # -2 .. 97: three at or below 0
    assert found["p"] == pytest.approx(2 * 4 / 101)
    assert (found["low"], found["high"]) == (pytest.approx(np.percentile(a - 3, 2.5)), pytest.approx(94.525))
    assert compare.paired(a, a)["p"] == 1
    assert compare.paired(a + 1, 0 * a)["p"] == pytest.approx(2 / 101)
    assert np.isnan(compare.paired(np.where(a < 80, np.nan, a), a)["p"])
    y, score, _ = made()
    weights = np.concatenate(list(bootstrap.draws(np.arange(len(y)), 200)))
    better = compare.paired(ranking.auroc(y, score + y, weights=weights), ranking.auroc(y, score, weights=weights))
    assert (better["p"] < 0.05).all() and (better["low"] > 0).all()


def test_running_sums_are_numpys():
    for m in (0, 1, 31, 32, 33, 1000):
        x = np.random.default_rng(0).integers(0, 9, (m, 5)).astype(np.float32)
        before = x.copy()
        assert (cumulative(x.T) == np.cumsum(x.T, axis=1)).all() and (x == before).all()
        assert (cumulative(x[:, 0]) == np.cumsum(x[:, 0])).all()


def test_a_report_has_the_scores_of_the_order_too():
    y, score, weights = made()
    found = classify.multilabel(y, score, np.full(6, 0.5), weights=weights)
    count = classify.counts(y, score >= 0.5, weights=weights)
    assert np.allclose(found["macro f2"], classify.macro(classify.f_beta(count, 2))[0])
    assert np.allclose(found["macro g2"], classify.macro(classify.g_beta(count, 2))[0])
    assert np.allclose(found["fmax"], order.fmax(y, score, weights=weights))
    assert np.allclose(found["ranking loss"], order.ranking_loss(y, score, weights=weights))
    assert np.allclose(found["coverage error"], order.coverage_error(y, score, weights=weights))
    assert found["accuracy"].shape == (3, 6)
    truth = score.argmax(1)
    expected = sklearn.fbeta_score(truth, y.argmax(1), beta=2, average="macro")
    assert classify.multiclass(truth, np.eye(6)[y.argmax(1)])["macro f2"] == pytest.approx(expected, abs=1e-9)
