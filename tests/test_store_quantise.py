"""16-bit codes: exact for what came from an AD converter, half a step for the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgraft.store.quantise import WIDEST, decode, encode

ULP = 2.0**-23  # one unit in the last place of a float32, relative


def both_ways(signal: np.ndarray) -> np.ndarray:
    return decode(*encode(signal.astype(np.float32)))


@settings(max_examples=60, deadline=None)
@given(
    gain=st.sampled_from([1000.0, 200.0, 204.8, 1 / 0.00488, 400.0, 287.43, 3276.8, 2000.0, 16.0, 1e5]),
    baseline=st.sampled_from([0, 1024, -3000, 40_000]),
    span=st.integers(1, 30_000),
    seed=st.integers(0, 1000),
)
def test_samples_of_an_ad_converter_come_back(gain, baseline, span, seed):
    raw = np.random.default_rng(seed).integers(-span, span + 1, (3, 700))
    mv = ((raw - baseline) / gain).astype(np.float32)
    assert (np.abs(both_ways(mv) - mv) <= 1.5 * ULP * np.abs(mv)).all()


@pytest.mark.parametrize("gain", [1000.0, 200.0, 204.8, 400.0, 287.43, 0.5])
def test_bit_by_bit_where_the_gain_is_a_short_number(gain):
    mv = np.random.default_rng(0).integers(-3000, 3000, (12, 5000)).astype(np.float32) / np.float32(gain)
    assert np.array_equal(both_ways(mv), mv)


@settings(max_examples=60, deadline=None)
@given(low=st.floats(-64, 64, width=32), width=st.floats(2.0**-10, 2.0**14, width=32), seed=st.integers(0, 1000))
def test_other_samples_within_half_a_step(low, width, seed):
    mv = (low + width * np.random.default_rng(seed).random((2, 400))).astype(np.float32)
    codes, lead, _ = encode(mv)
    back = decode(codes, lead, False).astype(np.float64)
    step = 1 / lead["gain"].astype(np.float64)[:, None]
    assert (np.abs(back - mv) <= step / 2 + ULP * np.abs(mv)).all()
    span = np.ptp(mv.astype(np.float64), axis=1)[:, None]
    finest = np.maximum(span / WIDEST, np.abs(mv).max(1, keepdims=True) * ULP)
    assert (step <= 1.01 * np.maximum(finest, 1e-9)).all()


def test_missing_samples_stay_missing():
    mv = np.linspace(-1, 1, 60, dtype=np.float32).reshape(3, 20)
    mv[0, 3:5], mv[1, 7], mv[1, 8], mv[2] = np.nan, np.inf, -np.inf, np.nan
    codes, lead, gaps = encode(mv)
    back = decode(codes, lead, gaps)
    assert gaps and np.array_equal(np.isnan(back), ~np.isfinite(mv)) and (codes[~np.isfinite(mv)] == -32768).all()
    assert np.nanmax(np.abs(np.where(np.isfinite(mv), back - mv, 0))) < 1e-5


@pytest.mark.parametrize("value", [0.0, 1.0, -0.333, 9.0001, 3e30, -1e-12, 32.768])
def test_a_constant_lead(value):
    mv = np.full((1, 50), value, np.float32)
    assert np.abs(both_ways(mv) - mv).max() <= max(ULP * abs(value), 0.5e-9)


def test_leads_of_one_record_have_their_own_steps():
    random = np.random.default_rng(1)
    mv = np.stack([random.integers(-99, 99, 300) / 204.8, random.integers(-99, 99, 300) / 1000, random.random(300)])
    _, lead, _ = encode(mv.astype(np.float32))
    assert np.allclose(lead["gain"][:2], [204.8, 1000]) and lead["gain"][2] > 60_000


def test_codes_depend_on_the_samples_alone():
    a, b = (np.random.default_rng(k).integers(-99, 99, (2, 300)).astype(np.float32) / np.float32(204.8) for k in (0, 1))
    first = encode(a)[0]
    encode(b)
    assert np.array_equal(encode(a)[0], first)
