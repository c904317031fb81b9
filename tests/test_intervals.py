"""Intervals and axes of waves made by hand, against arithmetic; of simulated ECGs, against what they were made of."""

import json
import warnings

import numpy as np
import pytest

from ecgraft.record import QRS, WAVE, P, T, waves_array
from ecgraft.signal.intervals import UNITS, measure, to_dict
from ecgraft.simulator import NAMES, PREVALENCE, Config, simulate

RATE = 500.0
CORRECTED = [name for name in UNITS if name.startswith("QTc")]
NOT_COUPLED = "P waves and QRS complexes are not coupled"
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def nothing_is_said_on_the_way():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def wave(kind, onset, length, rate=RATE):
    """A global WAVE row from seconds, its peak in the middle; no whole samples are lost if the seconds are such."""
    return kind, -1, *(round(rate * time) for time in (onset, onset + length / 2, onset + length))


def made(qrs=(), p=(), t=(), rate=RATE):
    """Waves from their onsets (s): P of 100 ms, QRS of 80 ms, T of 160 ms."""
    rows = [
        wave(kind, at, length, rate)
        for kind, length, onsets in ((P, 0.1, p), (QRS, 0.08, qrs), (T, 0.16, t))
        for at in onsets
    ]
    return waves_array(rows) if rows else np.zeros(0, WAVE)


def sinus(rr, pr=0.16, first=0.6, rate=RATE):
    """Beats with the RR intervals `rr` (s), QT 400 ms."""
    qrs = np.cumsum([first, *rr])
    return made(qrs, qrs - pr, qrs + 0.24, rate)


def named(*args, **given):
    found = measure(*args, **given)
    assert [(interval.name, interval.unit) for interval in found] == list(UNITS.items())
    for interval in found:
        numbers = (interval.low, interval.median, interval.high)
        assert (None in numbers) == bool(interval.reason) == (interval.beats == 0)
        assert interval.reason or (np.isfinite(numbers).all() and list(numbers) == sorted(numbers))
    json.dumps(to_dict(found), allow_nan=False)
    return {interval.name: interval for interval in found}


def test_a_regular_rhythm_by_hand():
    found = named(sinus([1.0] * 8), RATE)
    expected = {"heart rate": 60, "PR": 160, "QRS": 80, "QT": 400, "P duration": 100} | dict.fromkeys(CORRECTED, 400)
    for name, value in expected.items():  # all four formulas leave QT alone at 60 beats a minute
        interval = found[name]
        assert (interval.low, interval.median, interval.high) == pytest.approx((value,) * 3), name
        assert interval.beats == 9 and interval.reason == ""
    assert [found[f"{kind} axis"].reason for kind in ("QRS", "P", "T")] == ["no signal was given"] * 3


@pytest.mark.parametrize(
    "rr, values",
    [  # of QT 400 ms, with a pocket calculator
        (0.64, (500, 464.16, 455.44, 400 + 1.75 * 33.75)),
        (0.8, (447.21, 430.89, 430.8, 426.25)),
        (1.44, (333.33, 354.22, 332.24, 400 - 1.75 * 18.3333)),
    ],
)
def test_qt_corrected_for_rate(rr, values):
    found = named(sinus([rr] * 6), RATE)
    assert [found[name].median for name in CORRECTED] == pytest.approx(values, abs=0.01)
    assert found["heart rate"].median == pytest.approx(60 / rr)


def test_qt_is_corrected_by_the_rr_before_and_that_of_the_first_beat_by_the_one_behind():
    found = named(sinus([0.64, 1.0]), RATE)["QTc Bazett"]  # beats: 0.64 (behind), 0.64, 1.0
    assert found.beats == 3 and found.median == pytest.approx(500) and found.low == pytest.approx(450)


def test_quartiles_over_the_beats():
    """RR 0.8, 0.9, 1.0, 1.1, 1.2: quartiles 0.9, 1.0, 1.1."""
    found = named(sinus([1.0, 0.8, 1.2, 0.9, 1.1]), RATE)["heart rate"]
    assert (found.low, found.median, found.high) == pytest.approx((60 / 1.1, 60, 60 / 0.9))
    assert found.beats == 6


def test_order_and_repetition_of_the_rows_and_the_sampling_rate_change_nothing():
    rr = [0.8, 0.76, 1.0, 0.92, 0.84]
    waves = sinus(rr)
    expected = measure(waves, RATE)
    assert measure(waves[RNG.permutation(len(waves))], RATE) == expected
    assert measure(np.concatenate([waves, waves[3:9]]), RATE) == expected
    for rate in (250.0, 1000.0):
        for other, interval in zip(measure(sinus(rr, rate=rate), rate), expected):
            assert other.median == pytest.approx(interval.median) if interval.median else other == interval


def test_waves_of_several_leads_are_refused():
    waves = sinus([1.0])
    one_lead = waves.copy()
    one_lead["lead"] = 3
    assert measure(one_lead, RATE) == measure(waves, RATE)
    with pytest.raises(ValueError, match="several leads"):
        measure(np.concatenate([waves, one_lead]), RATE)


def test_no_beat():
    for waves in (np.zeros(0, WAVE), made(p=[1.0], t=[2.0]), waves_array([(QRS, -1, -1, -1, -1)])):
        assert {interval.reason for interval in named(waves, RATE).values()} == {"no QRS complex was found"}


def test_one_beat():
    found = named(sinus([]), RATE)
    assert [found[name].median for name in ("PR", "QRS", "QT")] == pytest.approx([160, 80, 400])
    assert {found[name].reason for name in ("heart rate", *CORRECTED)} == {"one QRS complex only"}


def test_fibrillation_has_no_pr():
    qrs = np.cumsum(RNG.uniform(0.5, 1.0, 12).round(2))
    found = named(made(qrs, t=qrs + 0.24), RATE)
    assert found["PR"].reason == found["P duration"].reason == found["P axis"].reason == "no P wave was found"
    assert found["QT"].median == pytest.approx(400)
    assert found["heart rate"].median == pytest.approx(60 / np.mean(np.diff(qrs)))
    found = named(made(qrs, p=qrs[[3, 7]] - 0.16, t=qrs + 0.24), RATE)
    assert found["PR"].reason == found["P duration"].reason == "P waves before only 2 of 12 beats"


def test_t_waves_that_are_missing():
    qrs = np.arange(10) + 0.6
    found = named(made(qrs, qrs - 0.16), RATE)
    assert {found[name].reason for name in ("QT", "T axis", *CORRECTED)} == {"no T wave was found"}
    found = named(made(qrs, qrs - 0.16, qrs[:3] + 0.24), RATE)
    assert {found[name].reason for name in ("QT", "T axis", *CORRECTED)} == {"T waves behind only 3 of 10 beats"}
    assert found["PR"].median == pytest.approx(160)
    assert named(made(qrs, t=qrs[::2] + 0.24), RATE)["QT"].beats == 5
    assert named(made(qrs, t=[*(qrs + 0.24), *(qrs + 0.45)]), RATE)["QT"].median == pytest.approx(400)  # U waves


def test_waves_too_far_from_a_qrs_are_not_its_own():
    """P 520 ms before, T 720 ms behind."""
    qrs = np.arange(10) * 2.0 + 0.6
    found = named(made(qrs, qrs - 0.52, qrs + 0.72), RATE)
    assert found["PR"].reason == "no P wave within 500 ms before a QRS complex"
    assert found["QT"].reason == "no T wave was found"


def test_bounds_that_are_not_known():
    waves = sinus([1.0] * 9)
    p = np.flatnonzero(waves["kind"] == P)
    waves["onset"][p[:2]] = -1
    found = named(waves, RATE)["PR"]
    assert (found.median, found.beats) == (pytest.approx(160), 8)
    waves["onset"][p] = -1
    assert named(waves, RATE)["PR"].reason == "P waves before 10 of 10 beats, but with known bounds of only 0"
    assert named(waves, RATE)["P duration"].reason == "no wave has known bounds"
    for bound in ("onset", "offset"):
        waves[bound] = -1
    found = named(waves, RATE)  # R peaks alone
    assert found["heart rate"].median == pytest.approx(60)
    assert found["QRS"].reason == "no wave has known bounds"
    waves = sinus([1.0] * 9)
    waves["peak"] = -1
    assert named(waves, RATE)["heart rate"].median == pytest.approx(60)
    waves["offset"] = waves["onset"]
    assert named(waves, RATE)["QRS"].median is None


def test_what_the_record_cuts_off_is_not_held_against_it():
    """Bigeminy that begins with a beat whose P wave is cut off: P waves before 4 of 10 beats, 5 expected."""
    normal = np.arange(5) * 1.6 + 0.1
    early = normal + 0.56
    found = named(made([*normal, *early], normal[1:] - 0.16), RATE)
    assert (found["PR"].median, found["PR"].beats) == (pytest.approx(160), 4)
    found = named(made([*normal, *early], normal[2:] - 0.16), RATE)
    assert found["PR"].reason == "P waves before only 3 of 10 beats"
    assert named(made(normal, t=normal[[0, 2]] + 0.24), RATE)["QT"].beats == 2
    assert named(made(normal, t=normal[[2, 4]] + 0.24), RATE)["QT"].reason == "T waves behind only 2 of 5 beats"


def test_two_to_one_block():
    """Only the P wave next to the QRS counts; it is 180 ms before, the blocked one 900 ms."""
    qrs = np.arange(6) * 1.44 + 1.0
    found = named(made(qrs, [*(qrs - 0.18), *(qrs - 0.9)], qrs + 0.24), RATE)
    assert found["PR"].median == pytest.approx(180) and found["PR"].beats == 6
    assert found["P duration"].beats == 12


@pytest.mark.parametrize("atria, ventricles", [(0.7, 1.54), (0.74, 1.3), (0.6, 1.9), (0.8, 1.1), (1.2, 0.9)])
def test_p_waves_that_march_through(atria, ventricles):
    """Complete block; in the last case dissociation with the ventricles in the lead."""
    qrs = np.arange(0.9, 14, ventricles)
    found = named(made(qrs, np.arange(0.2, 14, atria), qrs + 0.24), RATE)
    assert found["PR"].reason.startswith(NOT_COUPLED)
    assert found["P duration"].median == pytest.approx(100)


def test_a_complete_block_with_ectopic_beats_is_not_taken_for_wenckebach():
    """The ectopic beats have short RR intervals without a blocked P wave."""
    escape = np.arange(0.9, 14, 1.54)
    found = named(made([*escape, *(escape[1::2] + 0.5)], np.arange(0.2, 14, 0.7)), RATE)
    assert found["PR"].reason.startswith(NOT_COUPLED)


@pytest.mark.parametrize("prs", [(0.16, 0.26), (0.16, 0.28, 0.34), (0.16, 0.24, 0.28, 0.3)])
def test_wenckebach_periods_have_a_pr(prs):
    """P waves 800 ms apart; behind each period of beats with longer and longer PR one is blocked."""
    p = np.arange(3 * (len(prs) + 1)) * 0.8 + 0.4
    place = np.arange(len(p)) % (len(prs) + 1)
    qrs = [at + prs[i] for at, i in zip(p, place) if i < len(prs)]
    found = named(made(qrs, p), RATE)["PR"]
    assert found.median == pytest.approx(1000 * np.median(prs)) and found.beats == 3 * len(prs)
    assert (found.low, found.high) == pytest.approx(np.quantile(np.tile(prs, 3), [0.25, 0.75]) * 1000)


def test_pr_may_vary_but_less_where_p_waves_are_blocked():
    """Quartiles of PR 60 ms apart, without and with a blocked P wave before every QRS, RR regular."""
    qrs = np.arange(9) * 1.5 + 1.0
    p = qrs - np.linspace(0.14, 0.26, 9)
    assert named(made(qrs, p), RATE)["PR"].median == pytest.approx(200)
    assert named(made(qrs, [*p, p[4] - 0.7]), RATE)["PR"].median == pytest.approx(200)
    assert named(made(qrs, [*p, *(p - 0.7)]), RATE)["PR"].reason.startswith(NOT_COUPLED)


def test_one_stray_p_wave_does_no_harm():
    waves = np.concatenate([sinus([0.9] * 9), made(p=[3.7])])
    found = named(waves, RATE)["PR"]
    assert (found.median, found.beats) == (pytest.approx(160), 10)


def vector(waves, angles, level=(0.0, 0.0), drift=0.0):
    """I and aVF (2, T) mV of triangles in the directions `angles` (degrees, by kind; for QRS one a beat or one for all)
    as an equilateral triangle of electrodes sees them."""
    x = np.tile(np.array(level)[:, None], round(12 * RATE)).astype(float)
    beat = 0
    for kind, _, onset, peak, offset in waves.tolist():
        angle = np.radians(np.broadcast_to(angles[kind], 20)[beat])
        beat += kind == QRS
        span = np.arange(onset, offset + 1)
        shape = 1 - np.abs(span - peak) / (peak - onset)
        x[:, span] += np.array([[np.cos(angle)], [np.sqrt(3) / 2 * np.sin(angle)]]) * shape
    return x + drift * np.arange(x.shape[1]) / RATE


def apart(a, b):
    return abs((a - b + 180) % 360 - 180)


@pytest.mark.parametrize("angle", [-90, -30, 0, 60, 90, 120, 150, 179, 180, -179, -120])
def test_axes_of_known_vectors(angle):
    waves = sinus([1.0] * 8)
    x = vector(waves, {P: angle + 75, QRS: angle, T: angle - 50}, level=(0.3, -0.2))
    found = named(waves, RATE, x, ("I", "aVF"))
    for kind, expected in (("QRS", angle), ("P", angle + 75), ("T", angle - 50)):
        axis = found[f"{kind} axis"]
        assert apart(axis.median, expected) < 0.5 and -180 <= axis.median <= 180 and axis.beats == 9
        assert axis.high - axis.low < 0.5


def test_axes_with_a_baseline_that_drifts():
    """P and T waves stand on the line between their ends."""
    waves = sinus([1.0] * 8)
    found = named(waves, RATE, vector(waves, {P: 50, QRS: 70, T: 40}, drift=1.0), ("I", "aVF"))
    assert [found[f"{kind} axis"].median for kind in ("P", "T")] == pytest.approx([50, 40], abs=0.5)
    assert found["QRS axis"].median == pytest.approx(70, abs=3)


def test_axes_with_an_st_segment_that_is_raised():
    """QRS complexes stand on the level before them."""
    waves = sinus([1.0] * 8)
    x = vector(waves, {P: 50, QRS: 70, T: 40})
    for offset in waves["offset"][waves["kind"] == QRS]:
        x[1, offset + 1 : offset + 60] += 0.5
    found = named(waves, RATE, x, ("I", "aVF"))
    assert found["QRS axis"].median == pytest.approx(70, abs=0.5)


def test_axes_around_the_back():
    """Beats at 170, 174, 178, -178, -174 (that is 182, 186): median 178, quartiles 174 and 182."""
    waves = sinus([1.0] * 4)
    found = named(waves, RATE, vector(waves, {P: 0, QRS: [170, 174, 178, -178, -174] + [0] * 15, T: 90}), ("I", "aVF"))
    axis = found["QRS axis"]
    assert (axis.low, axis.median, axis.high) == pytest.approx((174, 178, 182), abs=0.1)


def test_axes_from_any_two_limb_leads_that_were_recorded():
    waves = sinus([1.0] * 8)
    one, foot = vector(waves, {P: 50, QRS: 70, T: 40})
    two = foot + one / 2  # aVF = II - I / 2
    flat, chest = np.zeros_like(one), RNG.standard_normal(len(one))
    for signal, leads in (
        ([one, two], ("I", "II")),
        ([two, two - one], ("II", "III")),
        ([chest, -(one + two) / 2, flat, one - two / 2], ("V1", "aVR", "I", "aVL")),
        ([one, foot], ("lead i", "AVF")),
    ):
        axis = named(waves, RATE, np.array(signal, np.float32), leads)["QRS axis"]
        assert axis.median == pytest.approx(70, abs=0.5), leads
    for signal, leads in (
        ([one], ("I",)),
        ([one, flat], ("I", "aVF")),
        ([one, chest], ("I", "V1")),
        ([flat * np.nan] * 2, ("I", "II")),
    ):
        found = named(waves, RATE, np.array(signal), leads)
        assert {found[f"{kind} axis"].reason for kind in ("QRS", "P", "T")} == {"two limb leads are needed"}


def test_axes_with_gaps_in_the_signal():
    waves = sinus([1.0] * 8)
    x = vector(waves, {P: 50, QRS: 70, T: 40})
    x[:, round(1.5 * RATE) : round(1.7 * RATE)] = np.nan  # the second QRS
    found = named(waves, RATE, x, ("I", "aVF"))
    assert (found["QRS axis"].beats, found["P axis"].beats, found["QRS axis"].median) == (
        8,
        8,
        pytest.approx(70, abs=0.5),
    )
    assert named(waves, RATE, x[:, : round(3 * RATE)], ("I", "aVF"))["QRS axis"].beats == 2  # the rest is not in it


def test_rounded_for_json():
    out = to_dict(measure(sinus([0.81, 0.77, 0.83], pr=0.166), RATE))
    assert out["heart rate"] == {"median": 74.7, "low": 73.2, "high": 75.9, "unit": "/min", "beats": 4}
    assert out["PR"] == {"median": 166, "low": 166, "high": 166, "unit": "ms", "beats": 4}
    assert isinstance(out["PR"]["median"], int)
    assert out["P axis"] == {"median": None, "reason": "no signal was given"}
    assert list(out) == list(UNITS)


def numbers(i, ecgs):
    """Rate, PR, QRS and QT of ECG i as simulated, and as measured; its findings."""
    waves = ecgs.record(i).waves
    found = named(waves[RNG.permutation(len(waves))], RATE)
    truth = dict(zip(("heart rate", "PR", "QRS", "QT"), ecgs.numbers[i].tolist()))
    return truth, found, {name for name, yes in zip(NAMES, ecgs.y[i].tolist()) if yes}


def test_simulated_ecgs():
    """Their numbers are means, or what the beats vary about; samples are 2 ms apart."""
    ecgs = simulate(2, range(60), Config(rate=RATE))
    compared = dict.fromkeys(("heart rate", "PR", "QRS", "QT"), 0)
    for i in range(60):
        truth, found, has = numbers(i, ecgs)
        if has & {"AFIB", "AFLT", "SVTAC"}:
            assert found["PR"].reason == "no P wave was found"
        bounds = {"QRS": 2}
        if not has & {"PVC", "BIGU", "2AVB1", "2AVB2", "3AVB", "PACE", "AFIB", "AFLT", "SARRH", "PAC"}:
            bounds |= {"QT": 6, "heart rate": 0.04 * truth["heart rate"]} | ({"PR": 4} if truth["PR"] > 0 else {})
        if has & {"BIGU", "3AVB"}:
            continue
        for name, bound in bounds.items():
            assert found[name].median == pytest.approx(truth[name], abs=bound), (i, name, has)
            compared[name] += 1
    assert min(compared.values()) >= 20 and compared["QRS"] >= 50


@pytest.mark.parametrize("name", ["2AVB1", "2AVB2", "3AVB"])
def test_simulated_blocks(name):
    """A complete block is told from Wenckebach and 2:1 periods but where it happens to march in step."""
    ecgs = simulate(4, range(30), Config(prevalence=dict.fromkeys(PREVALENCE, 0.0) | {name: 1.0}))
    found = [numbers(i, ecgs)[1]["PR"] for i in range(30)]
    if name == "3AVB":
        assert sum(interval.reason.startswith(NOT_COUPLED) for interval in found) >= 27
    else:
        assert not any(interval.reason for interval in found)
