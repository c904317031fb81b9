"""Classes per sample to waves and back, by hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest

from ecgraft.record import QRS, WAVE, P, T, waves_array
from ecgraft.signal.waves import classes, decode, fuse

RATE = 500


def painted(samples, *runs, leads=1):
    """Classes (C, T) of (lead, kind, first, last)."""
    found = np.zeros((leads, samples), dtype=np.uint8)
    for lead, kind, first, last in runs:
        found[lead, first : last + 1] = kind
    return found


def probabilities(found):
    """Certain ones (C, 4, T) of classes (C, T)."""
    return np.eye(4)[found].transpose(0, 2, 1)


def test_runs_become_rows_in_order_of_time():
    found = painted(1000, (1, T, 400, 499), (0, P, 100, 149), (0, QRS, 200, 249), leads=2)
    expected = [(P, 0, 100, 124, 149), (QRS, 0, 200, 224, 249), (T, 1, 400, 449, 499)]
    assert decode(found, RATE).tolist() == expected
    assert decode(probabilities(found), RATE).tolist() == expected
    assert decode(found, RATE).dtype == WAVE


def test_rows_and_classes_are_each_others_inverse():
    rng = np.random.default_rng(0)
    edges = np.sort(rng.choice(np.arange(1, 100), size=(3, 12)), axis=1) * 60
    rows = [
        (1 + i // 2 % 3, lead, e[i] + 5, e[i] + 10, e[i + 1] - 5)
        for lead, e in enumerate(edges)
        for i in range(0, 12, 2)
    ]
    rows = waves_array([row for row in rows if row[4] > row[2]])
    again = decode(classes(rows, 3, 6000), RATE)
    for name in ("kind", "lead", "onset", "offset"):
        assert (again[name] == rows[name]).all()


def test_short_gaps_close_and_short_runs_fall():
    # At 500 Hz 20 ms are 10 samples: a gap of 9 closes, one of 10 stays. P 30 ms = 15 samples, T 50 ms = 25 samples.
    found = painted(2000, (0, P, 100, 119), (0, P, 129, 150), (0, P, 300, 319), (0, P, 330, 350))
    assert decode(found, RATE)[["onset", "offset"]].tolist() == [(100, 150), (300, 319), (330, 350)]
    found = painted(2000, (0, P, 100, 113), (0, P, 300, 314), (0, T, 500, 523), (0, T, 700, 724))
    assert decode(found, RATE)[["kind", "onset"]].tolist() == [(P, 300), (T, 700)]


def test_a_flicker_of_another_class_does_not_cut_a_wave():
    found = painted(1000, (0, T, 400, 600), (0, QRS, 500, 504))
    assert decode(found, RATE)[["kind", "onset", "offset"]].tolist() == [(T, 400, 600)]


def test_gaps_do_not_close_across_leads_and_runs_may_touch_the_ends():
    found = painted(100, (0, P, 70, 99), (1, P, 0, 29), leads=2)
    assert decode(found, RATE)[["lead", "onset", "offset"]].tolist() == [(1, 0, 29), (0, 70, 99)]
    assert decode(probabilities(found), RATE)[["onset", "offset"]].tolist() == [(0, 29), (70, 99)]
    assert len(decode(painted(100), RATE)) == 0


def test_the_peak_is_farthest_from_the_line_between_the_ends():
    time = np.arange(1000)
    signal = np.stack([0.01 * time - np.exp(-(((time - 230) / 6) ** 2)), np.full(1000, np.nan)]).astype(np.float32)
    found = painted(1000, (0, QRS, 200, 250), (1, QRS, 200, 250), leads=2)
    rows = decode(found, RATE, signal=signal)
    assert rows["peak"].tolist() == [230, 200]


def test_at_a_higher_rate_a_boundary_lies_where_the_class_overtakes():
    # P rises from 0 at sample 100 to 1 at 101, and falls from 1 at 149 to 0 at 153; it overtakes at 1/2.
    p = np.interp(np.arange(400), [100, 101, 149, 153], [0, 1, 1, 0])
    found = np.stack([1 - p, p, 0 * p, 0 * p])[None]
    row = decode(found, 250, to=1000)[0]
    assert (row["onset"], row["offset"]) == (402, 604 - 1)  # 100.5 x 4 = 402; 151 x 4 = 604 is a tie, won by "none"
    hard = decode(painted(400, (0, P, 101, 150)), 250, to=500)[0]
    assert (hard["onset"], hard["offset"]) == (201, 301)  # half-way: 100.5 x 2 and 150.5 x 2
    same = decode(found, 250)[0]
    assert (same["onset"], same["offset"]) == (101, 150)


def test_a_boundary_is_within_half_a_sample_of_the_true_one_after_resampling():
    rng = np.random.default_rng(0)
    grid = np.arange(2500) / 250
    for onset in rng.uniform(2, 3, 50):
        p = 1 / (1 + np.exp(-(grid - onset) / 0.008)) * (grid < 4)
        row = decode(np.stack([1 - p, p, 0 * p, 0 * p])[None], 250, to=1000)[0]
        assert abs(row["onset"] / 1000 - onset) < 0.0015  # the grid alone would be off by up to 0.004


def test_smoothing_takes_a_lonely_burst_away():
    found = probabilities(painted(1000, (0, P, 300, 320)))
    found[0, :, 305:307] = [[1], [0], [0], [0]]
    assert len(decode(found, RATE, gap=0.0, shortest={P: 0.03})) == 0
    row = decode(found, RATE, smooth=0.014, gap=0.0, shortest={P: 0.03})[0]
    assert (row["onset"], row["offset"]) == (300, 320)


def test_fused_waves_stand_where_half_of_the_leads_agree():
    rows = waves_array(
        [(QRS, lead, on, on + 10, 280) for lead, on in enumerate((200, 204, 210))] + [(P, 0, 100, 120, 140)]
    )
    assert fuse(rows, 3, 1000, RATE).tolist() == [(QRS, -1, 204, 242, 280)]
    assert fuse(waves_array([(T, -1, 100, 150, 200)]), 3, 1000, RATE).tolist() == [(T, -1, 100, 150, 200)]


def test_classes_paint_every_lead_for_minus_one_and_leave_out_what_has_no_extent():
    rows = waves_array([(P, -1, 10, 12, 14), (QRS, 0, 14, 16, 18), (T, 0, -1, 30, 40)])
    shape = classes(rows, 2, 30)
    assert shape[1].tolist() == [0] * 10 + [P] * 5 + [0] * 15
    assert shape[0].tolist() == [0] * 10 + [P] * 4 + [QRS] * 5 + [0] * 11


@pytest.mark.parametrize("found", [np.zeros((2, 1), dtype=np.uint8), np.full((1, 4, 3), 0.25)])
def test_the_shortest_input_has_no_waves(found):
    assert len(decode(found, RATE)) == 0
