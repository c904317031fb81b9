"""Classification metrics, calibration and bootstrap against scikit-learn, brute force and the official definitions."""

from __future__ import annotations

import numpy as np
import pytest

from ecgraft.metrics import bootstrap, calibrate, classify, ranking
from ecgraft.record import InputError

sklearn = pytest.importorskip("sklearn.metrics")


@pytest.fixture(params=["fine", "coarse"])
def case(request):
    """Labels with unknowns, scores (with many ties if coarse) and weights with zeros."""
    rng = np.random.default_rng(7)
    y = (rng.random((300, 4)) < (0.5, 0.2, 0.05, 0.01)).astype(np.int8)
    y[:4] = np.eye(4)
    score = 1 / (1 + np.exp(-rng.normal(size=y.shape) - y))
    if request.param == "coarse":
        score = np.round(score, 1)
    known = rng.random(y.shape) < 0.9
    known[:8] = True
    return y, score, known, rng.integers(0, 4, size=(5, 300)).astype(float)


def each(function, y, score, known, weights):
    """A scikit-learn score per replicate and class."""
    return [
        [function(y[m, k], score[m, k], sample_weight=w[m]) for k, m in enumerate(known.T)]
        for w in np.atleast_2d(weights)
    ]


def test_areas_equal_scikit_learn_with_ties_weights_and_unknowns(case):
    y, score, known, weights = case
    weights[:, :8] = 1
    auroc, precision = ranking.areas(y, score, known, weights)
    assert np.allclose(auroc, each(sklearn.roc_auc_score, *case[:3], weights), rtol=0, atol=1e-9)
    assert np.allclose(precision, each(sklearn.average_precision_score, *case[:3], weights), rtol=0, atol=1e-9)
    unit = np.ones(len(y))
    assert np.allclose(ranking.auroc(y, score, known), each(sklearn.roc_auc_score, y, score, known, unit), atol=1e-9)


def test_micro_areas_equal_scikit_learn(case):
    y, score, known, weights = case
    pair = np.broadcast_to(weights[0][:, None], y.shape)[known]
    auroc, precision = ranking.micro_areas(y, score, known, weights[0])
    assert auroc == pytest.approx(sklearn.roc_auc_score(y[known], score[known], sample_weight=pair), abs=1e-9)
    assert precision == pytest.approx(
        sklearn.average_precision_score(y[known], score[known], sample_weight=pair), abs=1e-9
    )


def test_scores_at_a_threshold_equal_scikit_learn(case):
    y, score, known, _ = case
    count = classify.counts(y, score >= 0.6, known)
    for k, m in enumerate(known.T):
        truth, said = y[m, k], score[m, k] >= 0.6
        assert classify.sensitivity(count)[k] == pytest.approx(sklearn.recall_score(truth, said), abs=1e-9)
        assert classify.specificity(count)[k] == pytest.approx(sklearn.recall_score(1 - truth, ~said), abs=1e-9)
        assert classify.precision(count)[k] == pytest.approx(sklearn.precision_score(truth, said), abs=1e-9)
        assert classify.accuracy(count)[k] == pytest.approx(sklearn.accuracy_score(truth, said), abs=1e-9)
        for beta in (1, 2):
            expected = sklearn.fbeta_score(truth, said, beta=beta)
            assert classify.f_beta(count, beta)[k] == pytest.approx(expected, abs=1e-9)
    assert np.allclose(
        classify.brier(y, score, known)[0], sklearn.brier_score_loss(y[known[:, 0], 0], score[known[:, 0], 0])
    )


def test_a_label_of_minus_one_is_unknown():
    y, score = np.array([[1], [0], [-1]]), np.array([[0.9], [0.1], [0.0]])
    assert classify.counts(y, score >= 0.5).tolist() == [[1, 0, 0, 1]]
    assert ranking.auroc(y, score)[0] == 1


def test_a_class_without_positives_or_negatives_is_undefined_and_left_out_of_the_mean():
    y = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]])
    score = np.array([[0.9, 0.1, 0.5], [0.2, 0.2, 0.5], [0.1, 0.3, 0.5]])
    auroc, precision = ranking.areas(y, score)
    assert np.isnan(auroc).tolist() == [False, True, True] and np.isnan(precision).tolist() == [False, True, True]
    mean, counted = classify.macro(auroc)
    assert (mean, counted) == (0.5, 1)
    assert np.isnan(classify.f_beta(classify.counts(y, score >= 0.5))).tolist() == [False, True, False]
    assert np.isnan(classify.macro(np.full(3, np.nan))[0])


def test_g_beta_by_hand():
    # TP 6, FP 2, FN 1: 6 / (6 + 2 + 2 x 1) = 0.6
    assert classify.g_beta(np.array([6, 2, 1, 0])) == pytest.approx(0.6)


def test_expected_calibration_error_by_hand():
    # Bins of 0.5: probabilities .2, .4 (mean .3, none positive), .6, .8 (mean .7, all positive): 1/2 x .3 + 1/2 x .3
    y, score = np.array([[0], [0], [1], [1]]), np.array([[0.2], [0.4], [0.6], [0.8]])
    assert classify.ece(y, score, bins=2)[0] == pytest.approx(0.3)
    assert classify.ece(y, y.astype(float))[0] == 0  # 1.0 belongs to the last bin


def test_confusion_matrix_equals_scikit_learn_and_leaves_unknown_out():
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    assert (classify.confusion(truth, said, 4) == sklearn.confusion_matrix(truth, said)).all()
    truth[:50] = -1
    matrix = classify.confusion(truth, said, 4)
    assert matrix.sum() == 150
    f1 = classify.f_beta(classify.one_against_rest(matrix))
    assert np.allclose(f1, sklearn.f1_score(truth[50:], said[50:], average=None), atol=1e-9)


def test_the_tables_of_a_report_hold_the_same_numbers():
    rng = np.random.default_rng(1)
    truth = rng.integers(-1, 3, 90)
    probability = rng.dirichlet(np.ones(3), 90)
    scores = classify.multiclass(truth, probability)
    seen = truth >= 0
    expected = sklearn.roc_auc_score(truth[seen], probability[seen], multi_class="ovr")
    assert scores["macro auroc"] == pytest.approx(expected, abs=1e-9)
    assert scores["accuracy"] == pytest.approx(np.mean(probability[seen].argmax(1) == truth[seen]))
    y = np.where(truth[:, None] < 0, -1, truth[:, None] == np.arange(3))
    again = classify.multilabel(y, probability, np.full(3, 0.4))
    assert np.allclose(again["auroc"], scores["auroc"], atol=1e-12)
    expected = sklearn.f1_score(y[seen], probability[seen] >= 0.4, average="micro")
    assert again["micro f1"] == pytest.approx(expected, abs=1e-9)


def test_bad_scores_are_named():
    y, score = np.array([[1, 0], [0, 1]]), np.array([[0.1, 0.2], [0.3, np.nan]])
    with pytest.raises(InputError, match="1 scores are not finite, the first of record 1, class 1"):
        ranking.auroc(y, score)
    with pytest.raises(InputError, match="must both be"):
        ranking.auroc(y, score[:1])


def test_thresholds_are_those_of_a_search_through_all_scores():
    rng = np.random.default_rng(3)
    y = (rng.random((80, 3)) < 0.3).astype(int)
    y[:, 2] = 0
    score = np.round(rng.random((80, 3)) * 0.6 + 0.3 * y, 2)
    value, pooled = calibrate.thresholds(y, score, beta=2)
    assert pooled.tolist() == [False, False, True]

    def best(truth, s):
        f = {t: sklearn.fbeta_score(truth, s >= t, beta=2) for t in np.unique(s)}
        return max(t for t in f if f[t] >= max(f.values()) - 1e-12)

    assert value.tolist() == pytest.approx(
        [best(y[:, 0], score[:, 0]), best(y[:, 1], score[:, 1]), best(y.ravel(), score.ravel())]
    )
    assert calibrate.thresholds(np.zeros((5, 2)), np.random.default_rng(0).random((5, 2))).value.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_temperature_finds_the_one_that_made_the_labels(true):
    rng = np.random.default_rng(0)
    logit = rng.normal(size=(40_000, 3)) * 2
    y = (rng.random(logit.shape) < calibrate.probability(logit, {"temperature": true}, "multilabel")).astype(int)
    assert calibrate.temperature(logit, y) == pytest.approx(true, rel=0.03)
    share = calibrate.probability(logit, {"temperature": true}, "multiclass")
    truth = (rng.random((len(logit), 1)) > share.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    assert calibrate.temperature(logit, truth) == pytest.approx(true, rel=0.03)


def test_temperature_of_what_cannot_be_calibrated():
    assert calibrate.temperature(np.array([[-3.0], [3.0]]), np.array([[-1], [-1]])) == 1
    assert calibrate.temperature(np.array([[-3.0], [3.0]]), np.array([[0], [1]])) >= calibrate.COLDEST


def test_draws_take_whole_patients_as_many_as_there_are():
    patients = np.array(["a", "b", "b", "c"])
    weights = np.concatenate(list(bootstrap.draws(patients, 500, seed=1)))
    assert weights.shape == (500, 4) and (weights[:, 1] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.1)
    assert (weights == np.concatenate(list(bootstrap.draws(patients, 500, seed=1)))).all()


def test_replicates_equal_scikit_learn_on_the_drawn_records():
    rng = np.random.default_rng(5)
    y, score, patients = rng.random((200, 1)) < 0.3, rng.random((200, 1)), rng.integers(0, 60, 200)
    weights = next(bootstrap.draws(patients, 20))
    for auroc, w in zip(ranking.auroc(y, score, weights=weights)[:, 0], weights.astype(int)):
        drawn = np.repeat(np.arange(200), w)
        assert auroc == pytest.approx(sklearn.roc_auc_score(y[drawn], score[drawn]), abs=1e-6)  # weights are float32


def test_the_interval_of_a_mean_is_that_of_theory():
    x = np.random.default_rng(2).normal(size=400)
    result = bootstrap.estimate(lambda w: {"mean": w @ x / w.sum(axis=-1)}, np.arange(400), replicates=4000)["mean"]
    half = 1.96 * x.std() / 20
    assert result.value == pytest.approx(x.mean(), abs=1e-6)
    assert (result.low, result.high) == (
        pytest.approx(x.mean() - half, abs=0.1 * half),
        pytest.approx(x.mean() + half, abs=0.1 * half),
    )


def test_nothing_to_score_is_said():
    with pytest.raises(InputError, match="no records to score"):
        bootstrap.estimate(lambda w: {}, [])


def test_intervals_are_numpy_percentiles_of_the_defined_replicates():
    replicas = np.random.default_rng(0).random((101, 3))
    replicas[:30, 1] = np.nan
    replicas[:60, 2] = np.nan
    low, high = bootstrap.interval(replicas, 0.9)
    assert np.allclose(low[:2], np.nanpercentile(replicas[:, :2], 5, axis=0))
    assert np.allclose(high[:2], np.nanpercentile(replicas[:, :2], 95, axis=0))
    assert np.isnan(low[2]) and np.isnan(high[2])


def test_replicates_of_many_chunks_are_those_of_one_by_one():
    rng = np.random.default_rng(0)
    y = (rng.random((500, 3)) < (0.3, 0.1, 0.02)).astype(np.int8)
    score, patients = rng.random(y.shape) + 0.3 * y, rng.integers(0, 400, 500)
    found = bootstrap.estimate(lambda w: {"auroc": ranking.auroc(y, score, weights=w)}, patients, 150)["auroc"]
    weights = np.concatenate(list(bootstrap.draws(patients, 150)))
    one_by_one = np.array([ranking.auroc(y, score, weights=w) for w in weights])
    low, high = bootstrap.interval(one_by_one)
    assert np.allclose(found.low, low, atol=1e-6) and np.allclose(found.high, high, atol=1e-6)
    assert (found.low < found.value).all() and (found.value < found.high).all()


def test_a_threshold_between_the_scores_gives_the_same_answers():
    """Scores .9 .6 .4 .1, labels 1 0 1 0: F2 is largest from .4 on (0.909); the middle to the next lower one is .25."""
    y, score = np.array([[1], [0], [1], [0]]), np.array([[0.9], [0.6], [0.4], [0.1]])
    plain, middle = (calibrate.thresholds(y, score, beta=2, between=b).value[0] for b in (False, True))
    assert (plain, middle) == (0.4, pytest.approx(0.25))
    assert np.array_equal(score >= plain, score >= middle)
    assert calibrate.thresholds(y[:1].repeat(2, 0) * [[1], [0]], score[:2] * 0 + 0.3, between=True).value[0] == 0.3
