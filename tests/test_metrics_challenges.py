"""Scores of the challenges against their definitions, record by record and by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ecgraft.metrics import challenges
from ecgraft.record import InputError
from ecgraft.tasks import snomed26


def test_the_cinc2017_score_by_hand():
    # Rows the reference N, A, O, ~. F1 N = 2 x 90 / (100 + 100), A = 2 x 6 / (10 + 10), O = 2 x 30 / (50 + 45)
    matrix = np.array([[90, 1, 7, 2], [1, 6, 3, 0], [8, 2, 30, 10], [1, 1, 5, 3]])
    expected = (180 / 200 + 12 / 20 + 60 / 95) / 3
    assert challenges.cinc2017(matrix, ("N", "A", "O", "~")) == pytest.approx(expected, abs=1e-12)
    turned = matrix[np.ix_([3, 2, 1, 0], [3, 2, 1, 0])]
    assert challenges.cinc2017(turned, ("~", "O", "A", "N")) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(InputError, match="A is not among"):
        challenges.cinc2017(np.eye(2), ("N", "O"))


CODES = [snomed26.CODES[name] for name in snomed26.TASK.labels]
TABLE = json.loads(challenges.REWARDS.read_text(encoding="utf-8"))


def loop(y, said, reward, normal) -> float:
    """The modified confusion matrix and the normalised score, record by record."""

    def score(answers):
        total = 0.0
        for truth, answer in zip(y, answers):
            size = max((truth | answer).sum(), 1)
            total += sum(reward[j, k] / size for j in np.flatnonzero(truth) for k in np.flatnonzero(answer))
        return total

    inactive = np.zeros_like(y)
    inactive[:, normal] = True
    return (score(said) - score(inactive)) / (score(y) - score(inactive))


def of_table(codes, classes):
    """Columns in the order of the table."""
    return [next(k for k, column in enumerate(codes) if f"snomed:{names[0]}" in column) for names in classes]


def test_the_rewards_are_a_table_of_26_classes():
    reward = np.array(TABLE["reward"])
    assert reward.shape == (26, 26) and (reward == reward.T).all() and (np.diag(reward) == 1).all()
    assert len({code for names in TABLE["codes"] for code in names}) == 30
    af, flutter = (TABLE["codes"].index([code]) for code in ("164889003", "164890007"))
    assert reward[af, flutter] == 0.5
    assert reward[reward < 1].max() == 0.5 and reward.min() == 0.15


@pytest.mark.parametrize("year", [2020, 2021])
def test_the_scores_of_2020_and_2021_are_those_of_a_loop(year):
    rng = np.random.default_rng(0)
    y, said = rng.random((60, 26)) < 0.08, rng.random((60, 26)) < 0.1
    keep = [i for i, names in enumerate(TABLE["codes"]) if year == 2021 or names[0] not in ("6374002", "365413008")]
    columns = of_table(CODES, [TABLE["codes"][i] for i in keep])
    reward = np.array(TABLE["reward"])[np.ix_(keep, keep)]
    normal = columns.index(snomed26.TASK.labels.index("NSR"))
    score = getattr(challenges, f"cinc{year}")
    expected = loop(y[:, columns], said[:, columns], reward, normal)
    assert score(y, said, CODES) == pytest.approx(expected, abs=1e-9)
    assert score(y, y, CODES) == pytest.approx(1, abs=1e-12)
    always = np.arange(26) == snomed26.TASK.labels.index("NSR")
    assert score(y, np.tile(always, (60, 1)), CODES) == pytest.approx(0, abs=1e-12)
    weights = rng.integers(0, 3, (4, 60))
    drawn = [np.repeat(np.arange(60), w) for w in weights]
    expected = [loop(y[d][:, columns], said[d][:, columns], reward, normal) for d in drawn]
    assert np.allclose(score(y, said, CODES, weights=weights), expected, rtol=0, atol=1e-9)
    turned = rng.permutation(26)
    assert score(y[:, turned], said[:, turned], [CODES[k] for k in turned]) == pytest.approx(score(y, said, CODES))


def test_columns_of_one_class_count_as_one_and_unknown_pairs_do_not_count():
    rng = np.random.default_rng(1)
    y, said = (rng.random((40, 26)) < 0.1).astype(int), rng.random((40, 26)) < 0.1
    whole, pair = challenges.cinc2021(y, said, CODES), snomed26.TASK.labels.index("CRBBB|RBBB")
    half = rng.random(40) < 0.5
    first, second = (np.where(side[:, None], y, 0)[:, pair : pair + 1] for side in (half, ~half))
    split = [*CODES[:pair], ("snomed:713427006",), *CODES[pair + 1 :], ("snomed:59118001",), ("snomed:55827005",)]
    y2 = np.concatenate([y[:, :pair], first, y[:, pair + 1 :], second, np.ones((40, 1), int)], axis=1)
    said2 = np.concatenate([said, said[:, pair : pair + 1], np.ones((40, 1), bool)], axis=1)
    assert challenges.cinc2021(y2, said2, split) == pytest.approx(whole)
    hidden = y.copy()
    hidden[:, 0] = -1
    none = y.copy()
    none[:, 0] = 0
    no = said.copy()
    no[:, 0] = False
    assert challenges.cinc2021(hidden, said, CODES) == pytest.approx(challenges.cinc2021(none, no, CODES))
    with pytest.raises(InputError, match="no column for 1 of the 26 scored classes: 164889003"):
        challenges.cinc2021(y[:, 1:], said[:, 1:], CODES[1:])
    with pytest.raises(InputError, match="do not fit"):
        challenges.cinc2021(y, said, CODES[1:])


def test_phase_one_of_2020_by_hand():
    # Class 0: TP 1 (weight 1/2) and 1, FN 1 (weight 1); class 1: TP 1/2, FP 1; 2 called in vain; 3 neither
    y = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    said = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    found = challenges.cinc2020_phase1(y, said)
    f2 = (5 * 1.5 / (5 * 1.5 + 4 * 1), 5 * 0.5 / (5 * 0.5 + 1), 0)
    g2 = (1.5 / (1.5 + 2 * 1), 0.5 / (0.5 + 1), 0)
    assert found["f2"] == pytest.approx(np.mean(f2)) and found["g2"] == pytest.approx(np.mean(g2))
    again = challenges.cinc2020_phase1(y, said, weights=np.array([[1, 1, 1, 1], [2, 2, 2, 2]]))
    assert again["f2"] == pytest.approx([np.mean(f2)] * 2)


def test_cpsc2018_by_hand():
    y = np.zeros((6, 9), int)
    for row, labels in enumerate([(0,), (1, 4), (1, 4), (4, 1), (7,), ()]):
        y[row, list(labels)] = 1
    answer = np.array([0, 4, 7, 2, 7, 3])  # hit, hit of the second label, wrong (first AF), wrong (first RBBB), hit
    first = np.array([0, 1, 1, 4, 7, 0])
    found = challenges.cpsc2018(y, answer, first)
    assert found["f1"][[0, 1, 2, 4, 7]] == pytest.approx(
        [1, 0, 0, 2 / 3, 2 / 3]
    )  # AF 0 of 1; RBBB 1 of 2; STD 1 of 1, 2
    assert np.isnan(found["f1"][3]) and np.isnan(found["macro f1"])  # nothing of LBBB: the last record has no label
    assert found["f af"] == 0 and found["f st"] == pytest.approx(2 / 3) and np.isnan(found["f pc"])
    assert found["f block"] == pytest.approx(2 * 1 / (2 + 2))  # rows 2, columns I-AVB 1 and RBBB 1
    by_number = challenges.cpsc2018(y, answer)  # the fourth is counted against AF
    assert by_number["f block"] == pytest.approx(2 * 1 / (1 + 2))
    twice = challenges.cpsc2018(y, answer, first, weights=np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 1, 1]]))
    assert twice["f1"][:, 4] == pytest.approx([2 / 3, 1])
    y[1, 4] = -1
    assert challenges.cpsc2018(y, answer, first)["f1"][4] == 0  # the second record is left out
    with pytest.raises(InputError, match="records, 9"):
        challenges.cpsc2018(y[:, :8], answer)


@pytest.mark.parametrize(
    ("said", "score"), [(60, 1), (61.9, 1), (63, 0.75), (66, 0.5), (70, 0.25), (48, 0.25), (73, 0)]
)
def test_the_heart_rate_of_cpsc2019(said, score):
    peaks = np.array([100, 900, 2900, 3400, 3900, 4400, 4900])  # 60 a minute between 5.5 and 9.5 s
    assert challenges.cpsc2019_heart_rate(peaks, said, rate=500) == score
    assert np.isnan(challenges.cpsc2019_heart_rate([100, 3000], said, rate=500))
