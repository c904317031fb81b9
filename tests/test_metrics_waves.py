"""Boundary, Dice and beat metrics against cases made by hand and straightforward loops."""

from __future__ import annotations

import numpy as np
import pytest

from ecgraft.metrics import beats, bootstrap, challenges, match, waves
from ecgraft.record import QRS, SPAN, WAVE, P, T, waves_array

RATE = 500  # 75 samples are 150 ms


def rows(*waves_):
    """WAVE rows of (kind, lead, onset, offset)."""
    return waves_array([(k, lead, on, (on + off) // 2, off) for k, lead, on, off in waves_])


def spans(*rows_):
    return np.array(list(rows_), dtype=SPAN)


def named(count):
    """{boundary: (hits, missed, false)} of the boundaries that have any."""
    return {n: tuple(c[:3].astype(int)) for n, c in zip(waves.BOUNDARIES, count) if c[:3].any()}


def test_pairs_are_those_of_taking_the_closest_first():
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = (np.sort(rng.integers(0, 60, rng.integers(0, 12))) for _ in range(2))
        distance = np.abs(a[:, None] - b).astype(float)
        total, number = 0.0, 0
        while distance.size and distance.min() <= 7:
            i, j = np.unravel_index(distance.argmin(), distance.shape)
            total, number = total + distance[i, j], number + 1
            distance[i], distance[:, j] = np.inf, np.inf
        i, j = match.pairs(a, b, 7)
        assert len(set(i)) == len(i) and len(set(j)) == len(j)
        assert (len(i), np.abs(a[i] - b[j]).sum()) == (number, total)


def test_of_two_predictions_the_nearer_is_the_hit_and_the_other_is_false():
    truth = rows((QRS, 0, 500, 550))
    found = rows((QRS, 0, 490, 560), (QRS, 0, 530, 580))
    count = waves.count(truth, found, None, RATE, leads=(0,))
    assert named(count) == {"QRS onset": (1, 0, 1), "QRS offset": (1, 0, 1)}
    assert count[2, 3] == -20 and count[3, 3] == 20  # ms: 10 samples early, 10 late


def test_tolerance_is_150_ms_and_belongs_to_it():
    for shift, hit in ((75, True), (76, False)):
        count = waves.count(rows((P, 0, 1000, 1050)), rows((P, 0, 1000 + shift, 1050)), None, RATE, leads=(0,))
        assert named(count)["P onset"] == ((1, 0, 0) if hit else (0, 1, 1))


def test_kinds_leads_and_sides_do_not_mix():
    truth = rows((P, 0, 100, 150), (T, 1, 100, 150))
    found = rows((P, 1, 100, 150), (T, 0, 100, 150))
    assert (
        waves.count(truth, found, None, RATE, leads=(0, 1))[:, :3].tolist()
        == [[0, 1, 1]] * 2 + [[0] * 3] * 2 + [[0, 1, 1]] * 2
    )
    assert waves.count(truth, found, None, RATE, leads=(1,))[4, :3].tolist() == [0, 1, 0]


def test_only_the_annotated_span_is_scored_and_its_edges_belong_to_the_reference():
    span = spans((0, 1000, 2001))  # the reference wave ends with the last sample of the span
    truth = rows((P, 0, 1000, 1050), (T, 0, 1900, 2000))
    early_and_late = rows((P, 0, 990, 1040), (T, 0, 1910, 2010))
    assert named(waves.count(truth, early_and_late, span, RATE, leads=(0,))) == {
        "P onset": (1, 0, 0),
        "P offset": (1, 0, 0),
        "T onset": (1, 0, 0),
        "T offset": (1, 0, 0),
    }
    outside = rows((QRS, 0, 700, 750), (QRS, 0, 950, 1000), (QRS, 0, 2001, 2050))
    assert named(waves.count(truth[:0], outside, span, RATE, leads=(0,))) == {"QRS offset": (0, 0, 1)}
    assert named(waves.count(rows((QRS, 0, 950, 990)), rows((QRS, 0, 950, 1005)), span, RATE, leads=(0,))) == {}
    assert named(waves.count(truth, truth[:0], spans((0, 1000, 2000)), RATE, leads=(0,)))["T offset"] == (0, 1, 0)
    assert named(waves.count(truth, truth, spans((1, 1000, 2000)), RATE, leads=(0,))) == {}


def test_a_side_that_the_reference_does_not_give_is_neither_missed_nor_invented():
    truth = np.array([(T, 0, -1, 1200, 1300)], dtype=WAVE)
    found = rows((T, 0, 1100, 1290), (T, 0, 2100, 2290))
    count = waves.count(truth, found, None, RATE, leads=(0,))
    assert named(count) == {"T onset": (0, 0, 1), "T offset": (1, 0, 1)}


def test_a_row_of_lead_minus_one_stands_for_every_lead_and_global_marks_score_each_other():
    truth, found = rows((QRS, -1, 500, 550)), rows((QRS, 0, 505, 550), (QRS, 2, 500, 560))
    assert named(waves.count(truth, found, spans((-1, 0, 1000)), RATE, leads=range(3))) == {
        "QRS onset": (2, 1, 0),
        "QRS offset": (2, 1, 0),
    }
    both = np.concatenate([truth, found])
    assert named(waves.count(both, truth, None, RATE, leads=(-1,))) == {"QRS onset": (1, 0, 0), "QRS offset": (1, 0, 0)}


def test_scores_by_hand():
    count = np.zeros((6, 5))
    count[2] = [4, 1, 2, 8.0, 56.0]  # errors -2, 0, 4, 6 ms
    scores = waves.scores(count)
    assert scores["sensitivity"][2] == 0.8 and scores["precision"][2] == pytest.approx(4 / 6)
    assert scores["f1"][2] == pytest.approx(8 / 11) == scores["mean f1"]
    assert scores["mean"][2] == 2 and scores["sd"][2] == pytest.approx(np.std([-2, 0, 4, 6], ddof=1))
    assert np.isnan(scores["f1"][0]) and np.isnan(scores["sd"][0])
    assert waves.scores(np.stack([count, 2 * count]))["f1"].shape == (2, 6)


def test_errors_are_what_was_added_in_milliseconds_at_any_rate():
    rng = np.random.default_rng(0)
    for rate in (250, 360, 500):
        onset = np.arange(1, 60) * rate
        shift = rng.integers(-20, 20, len(onset))
        truth = rows(*((QRS, 0, on, on + rate // 10) for on in onset))
        found = rows(*((QRS, 0, on + s, on + rate // 10) for on, s in zip(onset, shift)))
        scores = waves.scores(waves.count(truth, found, None, rate, leads=(0,)))
        assert scores["f1"][2] == 1
        assert scores["mean"][2] == pytest.approx(1000 * shift.mean() / rate)
        assert scores["sd"][2] == pytest.approx(1000 * shift.std(ddof=1) / rate)


def test_counts_of_records_bootstrap_by_patient():
    truth = rows((QRS, 0, 500, 550), (QRS, 0, 1500, 1550))
    one = waves.count(truth, truth[:1], None, RATE, leads=(0,))
    counts = np.stack([one, one, waves.count(truth, truth, None, RATE, leads=(0,))])
    result = bootstrap.estimate(lambda w: waves.scores(np.tensordot(w, counts, 1)), ["a", "a", "b"], replicates=300)
    assert result["sensitivity"].value[2] == pytest.approx(4 / 6)
    assert (result["sensitivity"].low[2], result["sensitivity"].high[2]) == (0.5, 1)  # patient a alone, patient b alone


def test_dice_by_hand():
    # 101 and 101 samples, 51 of them in both; the span cuts both at 1100: 101 and 51, 51 in both
    truth, found = rows((P, 0, 1000, 1100)), rows((P, 0, 1050, 1150))
    whole = waves.dice(waves.overlap(truth, found, None, (0,), 2000))
    assert whole[0] == pytest.approx(2 * 51 / 202) and np.isnan(whole[1:]).all()
    cut = waves.overlap(truth, found, spans((-1, 0, 1101)), (0,), 2000)
    assert waves.dice(cut)[0] == pytest.approx(2 * 51 / 152)
    assert cut[0].tolist() == [51, 152]


def test_beats_are_counted_inside_the_scored_part():
    reference, predicted = [90, 500, 1000, 1500], [100, 490, 700, 1049, 1400]
    assert beats.count(reference, predicted, 1000, tolerance=0.05).tolist() == [3, 1, 2]
    assert beats.count(reference, predicted, 1000, tolerance=0.05, start=95, stop=1400).tolist() == [2, 0, 1]
    scores = beats.scores([[3, 1, 2], [0, 0, 0]])
    assert scores["sensitivity"][0] == 0.75 and scores["precision"][0] == 0.6
    assert scores["f1"][0] == pytest.approx(6 / 9) and np.isnan(scores["f1"][1])
    assert beats.count([], [], 250).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("predicted", "score"),
    [
        ([1000, 2000, 3000, 4000], 1.0),
        ([1037, 1963, 3000, 4000], 1.0),  # 74 ms
        ([1000, 2000, 3000, 3500, 4000], 0.7),
        ([1000, 1500, 2000, 3000, 4000], 0.7),  # between the first two, where the challenge's own script does not look
        ([1000, 2000, 3000, 3010, 4000], 0.7),  # twice
        ([1000, 2000, 3000], 0.3),
        ([1000, 2000, 3500], 0.0),
        ([1000, 1500, 2000, 3000, 3500, 4000], 0.0),
        ([100, 270, 1000, 2000, 3000, 4000, 4730, 4990], 1.0),  # nothing counts near the ends
        ([], 0.0),
    ],
)
def test_the_cpsc2019_rule(predicted, score):
    assert challenges.cpsc2019([60, 1000, 2000, 3000, 4000, 4900], predicted, rate=500) == score
