"""Waves that are painted as probabilities come out of the decoder, and nothing else."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from ecgraft.record import NONE, QRS, WAVE, P, T
from ecgraft.signal import decoder
from ecgraft.signal.decoder import ATRIA, NO_ATRIA, UNREADABLE, Reader, decode
from made_waves import RATE, beats, close, exact, painted, rows


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("leads", [1, 2, 12])
def test_usual_beats(leads):
    waves = beats(10)
    found = exact(painted(2000, *[waves] * leads), *[waves] * leads)
    assert (found.modes == ATRIA).all() and len(found.stretches) == 11
    assert found.waves.dtype == WAVE


@pytest.mark.parametrize("width", [9, 12, 20, 40])
def test_a_qrs_complex_is_as_wide_as_it_is(width):
    waves = [(QRS, 60 + 200 * i, 59 + 200 * i + width) for i in range(10)]
    waves += [(T, 130 + 200 * i, 170 + 200 * i) for i in range(10)]
    exact(painted(2000, waves, soft=0.7), waves)


@pytest.mark.parametrize("leads", [1, 3])
def test_noise_of_fibrillation_is_no_p_wave(leads):
    waves = [wave for wave in beats(10) if wave[0] != P]
    p = painted(2000, *[waves] * leads)
    waver = 0.2 + 0.15 * np.sin(np.arange(2000) / 7)  # fibrillation goes on through all pauses
    for first, last in ((420, 445), (1220, 1245), (1635, 1650)):
        waver[first : last + 1] = 0.53
    p[:, P] = waver * p[:, NONE]
    p[:, NONE] -= p[:, P]
    assert (decode(p, RATE, reader=Reader(no_atria=1e6)).waves["kind"] == P).any()
    found = exact(p, *[waves] * leads)
    assert (found.modes == NO_ATRIA).all()
    assert found.spans(NO_ATRIA) == [(0, 1999)] and found.spans(ATRIA) == []


def test_no_trace_of_p_waves():
    waves = [wave for wave in beats(10) if wave[0] != P]
    exact(painted(2000, waves, waves), waves, waves)


def test_every_second_p_wave_is_blocked():
    waves = beats(10, without=[(i, kind) for i in range(1, 10, 2) for kind in (QRS, T)])
    found = exact(painted(2000, waves, waves), waves, waves)
    assert (found.modes == ATRIA).all()


def test_a_missing_t_wave_and_a_missing_p_wave():
    waves = beats(10, without=[(4, T), (7, P)])
    exact(painted(2000, waves, waves), waves, waves)


def test_waves_on_waves():
    p_on_t = [(kind, first, last) for kind, first, last in beats(10) if kind != P]
    p_on_t += [(P, 166 + 200 * i, 190 + 200 * i) for i in range(10)]
    exact(painted(2100, p_on_t), p_on_t)
    r_on_t = [wave for wave in beats(10) if wave[:2] not in ((P, 1020), (T, 920), (T, 1120))]
    r_on_t = [wave for wave in r_on_t if wave[:2] != (QRS, 1060)]
    r_on_t += [(T, 920, 945), (QRS, 946, 985), (T, 1010, 1070)]
    exact(painted(2000, r_on_t, r_on_t), r_on_t, r_on_t)


def test_a_dip_inside_a_wave_does_not_part_it():
    waves = beats(10)
    p = painted(2000, waves)
    for kind, at in ((P, 432), (QRS, 1072), (T, 940)):  # where a biphasic wave crosses the line
        p[0, kind, at : at + 3], p[0, NONE, at : at + 3] = 0.3, 0.69
    assert rows(decode(p, RATE)) == sorted(waves, key=lambda wave: wave[1])


@pytest.mark.parametrize("leads", [2, 3, 12])
def test_a_lead_that_shows_no_qrs_complex_keeps_its_p_and_t(leads):
    waves = beats(10)
    unseen = [wave for wave in waves if wave[0] != QRS]
    each = [*[waves] * (leads - 1), unseen]
    exact(painted(2000, *each), *each)


@pytest.mark.parametrize("leads", [2, 3, 12])
def test_a_flat_lead_has_no_waves_and_takes_none_from_the_others(leads):
    each = [*[beats(10)] * (leads - 1), []]
    exact(painted(2000, *each), *each)


def test_a_lead_falls_off_in_the_middle():
    waves = beats(40)
    each = waves, waves, [wave for wave in waves if wave[2] < 4000]
    found = decode(painted(8000, *each), RATE)
    for lead in range(3):
        assert close(rows(found, lead), each[lead], 1)
    together = [wave for wave in rows(found, -1) if wave[2] < 4000 or wave[1] > 4300]  # it goes on counting for a while
    assert together == [wave for wave in sorted(waves, key=lambda wave: wave[1]) if wave[2] < 4000 or wave[1] > 4300]


@pytest.mark.parametrize("shift", [-14, -10, 10, 14])
def test_a_qrs_complex_beside_that_of_the_other_leads_keeps_its_place(shift):
    waves = beats(10)
    beside = [(QRS, first + shift + 6, last + shift - 6) if kind == QRS else (kind, first, last)
              for kind, first, last in waves if kind != P or shift > 0]  # fmt: skip
    each = *[waves] * 5, beside
    found = decode(painted(2000, *each), RATE)
    assert close(rows(found, 0), waves, 1)
    assert close([wave for wave in rows(found, 5) if wave[0] == QRS], [w for w in beside if w[0] == QRS], 3)


@pytest.mark.parametrize("samples", [1, 2, 3, 7, 100, 2500, 20000])
def test_nothing_but_background(samples):
    for leads in (1, 2, 12):
        found = exact(painted(samples, *[[]] * leads), *[[]] * leads)
        assert (found.modes != UNREADABLE).all()


def test_noise_is_not_readable():
    for seed, leads in enumerate((1, 2, 12)):
        p = np.random.default_rng(seed).dirichlet([2] * 4, (leads, 2500)).transpose(0, 2, 1)
        found = decode(p, RATE)
        assert len(found.waves) == 0
        assert found.spans(UNREADABLE) == [(0, 2499)]


@pytest.mark.parametrize("leads", [1, 3])
def test_noise_between_beats_leaves_the_qrs_complexes_beside_it_whole(leads):
    waves = beats(20)
    p = painted(4000, *[waves] * leads)
    p[..., 1300:2210] = np.random.default_rng(0).dirichlet([2] * 4, (leads, 910)).transpose(0, 2, 1)
    found = decode(p, RATE)
    for lead in (-1, *range(leads)):
        near = [wave for wave in sorted(waves, key=lambda wave: wave[1]) if wave[2] < 1290 or wave[1] > 2230]
        assert [wave for wave in rows(found, lead) if wave[2] < 1200 or wave[1] > 2290] == [
            wave for wave in near if wave[2] < 1200 or wave[1] > 2290
        ]
        assert not [wave for wave in rows(found, lead) if wave[1] > 1300 and wave[2] < 2200]
        assert (QRS, 1260, 1284) in rows(found, lead) and (QRS, 2260, 2284) in rows(found, lead)
    assert len(found.spans(UNREADABLE)) == 1


def test_nothing_is_found_in_a_pause_after_beats():
    waves = beats(10) + beats(10, at=4600)
    found = exact(painted(6600, waves, waves), waves, waves)
    assert np.diff(found.stretches, axis=1).max() <= 6 * RATE


def test_beats_of_which_no_qrs_complex_is_sure():
    waves = beats(40, every=210)
    p = painted(8500, waves, sure=(0.97, 0.66, 0.97), soft=0.1)
    assert not len(decoder.certain(p[0, QRS], RATE, Reader()))
    assert rows(decode(p, RATE)) == sorted(waves, key=lambda wave: wave[1])


def test_cuts_at_both_ends_of_the_record():
    assert decoder._between(np.array([0, 5, 9]), np.ones(10), 250, 6, 0)[0].tolist() == [[0, 5], [5, 9]]
    assert decoder._between(np.array([0]), np.ones(1), 250, 6, 0)[0].tolist() == [[0, 0]]
    waves = [(QRS, 0, 12), (T, 40, 80), (P, 140, 165), (QRS, 187, 199)]
    exact(painted(200, waves), waves)
    for samples in (1, 2, 3):
        waves = [(QRS, 0, samples - 1)]
        exact(painted(samples, waves, waves, soft=0.1), waves, waves)


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2, 4, 1.44])
def test_a_boundary_between_two_samples_is_rounded_without_bias(times):
    # P goes over the background at x samples, on a line; the first sample that it holds is half a sample later.
    rng, early, late = np.random.default_rng(0), [], []
    for x, y in rng.uniform([300, 330], [320, 350], (200, 2)):
        grid = np.arange(700)
        p = np.clip(np.minimum(0.5 + (grid - x) / 4, 0.5 + (y - grid) / 4), 0, 1)
        probability = np.stack([1 - p, p, 0 * p, 0 * p])[None] * 0.996 + 0.001
        (row,) = rows(decode(probability, RATE, RATE * times, reader=Reader(decoder.Order(blocked=0))))
        early.append(row[1] - (x + 0.5) * times)
        late.append(row[2] - (y - 0.5) * times)
    for off in (early, late):
        assert np.abs(off).max() <= 0.5 + 1e-4
        assert abs(np.mean(off)) < 0.06


def test_what_a_model_learns_from_comes_back():
    """Ends at 500 Hz, rounded to 250 Hz as a store does; certain probabilities give them back without bias."""
    rng, off = np.random.default_rng(0), []
    for _ in range(40):
        at = np.sort(rng.choice(np.arange(10, 400), 2, replace=False)) + [500, 540]
        first, last = np.rint(at / 2).astype(int)
        p = painted(700, [(P, first, last)], soft=0.05)
        (row,) = rows(decode(p, RATE, 500, reader=Reader(decoder.Order(blocked=0))))
        off.append(np.array(row[1:]) - at)
    assert np.abs(off).max() <= 1
    assert np.abs(np.mean(off, axis=0)).max() < 0.25


def test_confidence_is_the_mean_probability():
    waves = beats(10)
    p = painted(2000, waves, waves)
    found = decode(p, RATE)
    for (kind, lead, onset, _, offset), sure, first in zip(found.waves.tolist(), found.confidence, found.first):
        assert first == onset
        if lead >= 0:
            assert sure == pytest.approx(p[lead, kind, onset : offset + 1].mean(), abs=1e-5)


@pytest.mark.parametrize("begins", [250, 12345, 10_000_003])
def test_the_first_sample_shifts_everything(begins):
    waves = beats(10)
    p = painted(2000, waves, waves)
    here, there = decode(p, RATE), decode(p, RATE, begins=begins)
    for name in ("onset", "peak", "offset"):
        assert (there.waves[name] == here.waves[name] + begins).all()
    assert (there.first == here.first + begins).all() and (there.confidence == here.confidence).all()
    assert (there.stretches == here.stretches + begins).all()
    here, there = decode(p, RATE, 360), decode(p, RATE, 360, begins=begins)
    for name in ("onset", "offset"):
        off = there.waves[name] - here.waves[name] - begins * 1.44
        assert np.abs(off).max() <= 1 and (begins != 250 or not off.any())


def test_peaks_are_those_of_the_signal_and_a_lead_without_samples_is_no_trouble():
    waves = beats(10)
    time = np.arange(2000)
    signal = sum(np.exp(-(((time - 200 * i - 70) / 4) ** 2)) for i in range(10))
    signal = np.stack([signal, np.full(2000, np.nan), -2 * signal]).astype(np.float32)
    signal[:, 100:110] = np.nan
    found = decode(painted(2000, waves, [], waves), RATE, signal=signal)
    for lead in (0, 2, -1):
        some = found.waves[(found.waves["lead"] == lead) & (found.waves["kind"] == QRS)]
        assert some["peak"].tolist() == [70 + 200 * i for i in range(10)]
    short = decode(painted(2000, waves), RATE, signal=signal[:1, :1990], begins=0)
    assert short.waves["offset"].max() < 1990
    decode(painted(2000, waves), RATE, signal=np.full((1, 2000), np.nan, np.float32))


def test_single_and_double_precision_say_the_same():
    waves = beats(10)
    p = painted(2000, waves, waves)
    assert (decode(p, RATE).waves == decode(p.astype(np.float64), RATE).waves).all()
    assert len(decode(p.astype(np.float16), RATE).waves) == 3 * len(waves)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_comes_in_waves_are_in_order_and_inside(seed):
    rng = np.random.default_rng(seed)
    rate, to = rng.choice([50, 100, 250, 500]), rng.choice([40, 128, 250, 360, 1000])
    leads, samples, begins = int(rng.choice([1, 2, 12])), int(rng.integers(1, 1500)), int(rng.integers(0, 1000))
    smooth = rng.normal(0, rng.choice([1, 4, 9]), (leads, 4, samples + 20)).cumsum(-1)
    smooth = (smooth[..., 20:] - smooth[..., :-20]) / 5
    p = np.exp(smooth - smooth.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    found = decode(p, rate, to, begins=begins)
    end = max(1, round((begins + samples) * to / rate))
    assert np.isfinite(found.confidence).all() and ((found.confidence >= 0) & (found.confidence <= 1)).all()
    for lead in range(-1, leads):
        some = found.waves[found.waves["lead"] == lead]
        assert ((some["onset"] <= some["peak"]) & (some["peak"] <= some["offset"]) & (some["offset"] < end)).all()
        assert (np.diff(some["onset"]) >= 0).all()
        assert (some["onset"][1:] - some["offset"][:-1] > (0 if to >= rate else -2)).all()
