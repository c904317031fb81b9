"""Filter and resampling against scipy, closed forms and themselves."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from scipy import signal as scipy_signal

from ecgraft.signal.spectral import ORDER, _ratio, _whole, filter_resample, response


def test_equals_forward_backward_butterworth_away_from_edges():
    rate, rng = 4000, np.random.default_rng(0)  # so fast that the bilinear transform bends nothing
    x = rng.standard_normal((2, 40 * rate)).astype(np.float32).cumsum(axis=1) * 0.01
    sos = scipy_signal.butter(ORDER, [0.5, 40], "bandpass", fs=rate, output="sos")
    inside = slice(12 * rate, -12 * rate)
    expected = scipy_signal.sosfiltfilt(sos, x)[:, inside]
    assert np.abs(filter_resample(x, rate, None, 0.5, 40)[:, inside] - expected).max() < 1e-3 * np.ptp(expected)


def test_close_to_the_digital_filter_at_usual_rates():
    rate = 500
    sos = scipy_signal.butter(ORDER, [0.5, 40], "bandpass", fs=rate, output="sos")
    f, digital = scipy_signal.sosfreqz(sos, fs=rate, worN=4096)
    assert np.abs(response(f, 0.5, 40) - np.abs(digital) ** 2).max() < 0.02


@pytest.mark.parametrize("rate", [100, 128, 250, 257, 300, 1000 / 3, 360, 500, 513.259, 1000])
def test_sinusoids_come_out_with_the_filters_gain_and_no_shift(rate):
    to, low, high = 250.0, 0.5, 40.0
    T = int(30 * rate)
    t, new = np.arange(T) / rate, np.arange(ceil(T * to / rate - 1e-9)) / to
    frequencies = np.array([0.5, 1.0, 7.3, 25.0, 40.0])
    x = np.sin(2 * np.pi * frequencies[:, None] * t + 0.7)
    y = filter_resample(x, rate, to, low, high)
    expected = response(frequencies, low, high)[:, None] * np.sin(2 * np.pi * frequencies[:, None] * new + 0.7)
    assert y.shape == expected.shape
    assert y.dtype == np.float32
    middle = slice(8 * 250, -8 * 250)
    assert np.abs(y - expected)[:, middle].max() < 2e-3


@pytest.mark.parametrize(("rate", "to"), [(500, 250), (250, 500), (360, 250), (257, 250), (128, 250), (1000 / 3, 100)])
def test_chirp_keeps_its_time(rate, to):
    seconds = 20
    t, new = np.arange(int(seconds * rate)) / rate, np.arange(ceil(int(seconds * rate) * to / rate - 1e-9)) / to

    def chirp(t):  # 1 to 30 Hz
        return np.sin(2 * np.pi * (t + 29 * t * t / (2 * seconds)))

    y = filter_resample(chirp(t)[None], rate, to)[0]
    assert np.abs(y - chirp(new))[100:-100].max() < 5e-3


def test_half_power_gains_and_open_ends():
    f = np.array([0.5, 40.0, 5.0])
    assert response(f, 0.5, 40)[:2] == pytest.approx(0.5)
    assert response(f, 0.5, None)[0] == pytest.approx(0.5)
    assert response(f, None, 40)[1] == pytest.approx(0.5)
    assert response(f, 0.5, 40)[2] == pytest.approx(1, abs=1e-4)
    assert response(np.array([0.0]), 0.5, 40)[0] == 0


def test_mains_and_its_harmonics_go_and_the_rest_stays():
    t = np.arange(5000) / 500
    x = np.sin(2 * np.pi * np.array([[50.0], [100.0], [20.0]]) * t)
    rms = filter_resample(x, 500, mains=50)[:, 1000:-1000].std(axis=1) * np.sqrt(2)
    assert rms == pytest.approx([0, 0, 1], abs=0.02)


def test_a_straight_line_is_left_alone_without_a_high_pass_and_removed_with_one():
    line = np.linspace(-3, 5, 3000)[None]
    resampled = filter_resample(line, 300, 250)
    assert resampled[0] == pytest.approx(-3 + np.arange(2500) * (8 / 2999) * 1.2, abs=1e-4)
    assert np.abs(filter_resample(line, 300, 250, 0.5, 40)).max() < 1e-4


def test_same_ecg_at_any_rate_gives_the_same():
    rng = np.random.default_rng(1)
    fine = scipy_signal.resample(rng.standard_normal(10 * 60), 10 * 4000)  # nothing above 30 Hz
    outputs = [filter_resample(fine[None, :: 4000 // rate], rate, 250, 0.5, 40) for rate in (200, 250, 500, 1000)]
    for y in outputs[1:]:
        assert np.abs(y - outputs[0])[:, 250:-250].max() < 2e-3


def test_blocks_equal_the_whole():
    t = np.arange(360 * 600) / 360
    beats = np.exp(-((((t % 0.83) - 0.4) / 0.02) ** 2))
    x = np.stack([beats + np.sin(2 * np.pi * f * t) for f in (0.07, 0.31)])  # mV; wander as large as the beats
    for to in (250, 257, 360):
        whole = _whole(x, 360, _ratio(360, to, x.shape[1]), 0.5, 40, None)
        error = np.abs(filter_resample(x, 360, to, 0.5, 40) - whole) / np.ptp(whole)
        assert error[:, 2 * to : -2 * to].max() < 5e-4
        assert error.max() < 5e-3


def test_gaps_are_bridged_and_marked():
    t = np.arange(5000) / 500
    x = np.stack([np.sin(2 * np.pi * 5 * t), np.sin(2 * np.pi * 5 * t)])
    x[1, 1000:1100] = np.nan
    y = filter_resample(x, 500, 250, 0.5, 40)
    assert np.flatnonzero(np.isnan(y[1])).tolist() == list(range(500, 550))
    assert not np.isnan(y[0]).any()
    assert np.abs(y[1, 800:] - y[0, 800:]).max() < 0.02


@pytest.mark.parametrize("T", [1, 2, 3, 17, 333])
@pytest.mark.parametrize("rate", [40, 257, 1000 / 3, 999.999, 100_000])
def test_any_length_and_rate_gives_the_stated_length(T, rate):
    y = filter_resample(np.ones((1, T)), rate, 250, 0.5, 40)
    assert y.shape == (1, ceil(T * Fraction(250) / Fraction(rate).limit_denominator(1000)))
    assert np.isfinite(y).all()


def test_awkward_rates_stay_within_a_hundredth_of_a_sample():
    for rate, T in [(513.259, 15360), (99_999.999, 10_000), (360.123, 31_000_000)]:
        exact = Fraction(250) / Fraction(rate).limit_denominator(1000)
        ratio = _ratio(rate, 250, T)
        assert abs(ratio - exact) * T <= exact / 50 or abs(ratio - exact) * T < 0.02
        assert ratio.denominator <= 1_000_000
