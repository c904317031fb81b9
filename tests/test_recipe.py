"""The recipe: what it prepares, what it refuses, and that numpy and torch give the same numbers."""

import json

import numpy as np
import pytest

from ecgraft.record import LEADS, InputError, Record, UsageError
from ecgraft.signal.recipe import Recipe
from ecgraft.signal.spectral import filter_resample

RNG = np.random.default_rng(0)


def record(leads=LEADS, T=5000, rate=500, **known):
    """Smooth noise of about 1 mV that obeys nothing."""
    return Record(RNG.standard_normal((len(leads), T)).cumsum(axis=1) * 0.05, rate, leads, id="r1", **known)


def batch(B=3, C=4, T=200):
    x = RNG.standard_normal((B, C, T)).astype(np.float32) * 2 + 1
    present = np.ones((B, C), dtype=bool)
    present[1, 2] = False
    x[0, 1, 30:50] = np.nan
    x[2, 3] = 0.7
    return x, present, np.array([T, T - 30, T], dtype=np.int32)


def test_prepare_puts_leads_by_name_into_slots_and_filters_each():
    ecg = record(("V6", "aVF", "V1", "aVL", "I"))
    prepared = Recipe(leads=("I", "aVL", "aVF", "V1", "V2", "V6")).prepare(ecg)
    assert prepared.slots.tolist() == [0, 1, 2, 3, 5]
    assert prepared.slots.dtype == np.int8
    assert prepared.signal.shape == (5, 2500)
    assert prepared.signal.dtype == np.float32
    alone = filter_resample(ecg.lead("aVL")[None], 500, 250, 0.5, 40)[0]
    assert prepared.signal[1] == pytest.approx(alone, abs=1e-5)


def test_missing_limb_leads_are_derived_and_said():
    prepared = Recipe().prepare(record(("I", "II", "V1")))
    assert prepared.slots.tolist() == [0, 1, 2, 3, 4, 5, 6]
    one, two, three, avr, avl, avf = prepared.signal[:6]
    assert three == pytest.approx(two - one, abs=1e-4)
    assert avr + avl + avf == pytest.approx(np.zeros(2500), abs=1e-4)
    assert prepared.notes[0] == "lead III is derived from I and II"
    assert len(prepared.notes) == 4


def test_a_lead_of_no_known_name_goes_to_the_slot():
    prepared = Recipe().prepare(record(("ECG",)))
    assert prepared.slots.tolist() == [1]
    assert prepared.notes == ["lead ECG is taken as II"]
    assert Recipe(slot="V5").prepare(record(("CM5",))).slots.tolist() == [10]


def test_a_flat_lead_stays_and_is_noted():
    ecg = record(("II", "V1"))
    ecg.signal[1] = 0.25
    prepared = Recipe().prepare(ecg)
    assert prepared.slots.tolist() == [1, 6]
    assert prepared.notes == ["lead V1 is flat"]


def test_an_empty_lead_is_absent_and_derived_where_possible():
    ecg = record(("I", "II", "III"))
    ecg.signal[1] = np.nan
    ecg.signal[0, 100:200] = np.inf
    prepared = Recipe(leads=("I", "II", "III")).prepare(ecg)
    assert prepared.notes == ["lead II has no samples", "lead II is derived from I and III"]
    assert np.flatnonzero(np.isnan(prepared.signal[1])).tolist() == list(range(50, 100))


@pytest.mark.parametrize(
    ("ecg", "message"),
    [
        (record(("V1", "V2")), "record 'r1': none of the leads I, II of the recipe; it has V1, V2"),
        (Record(np.full((1, 900), np.nan), 300, ("II",), id="r2"), "'r2': not a single sample in it"),
        (record(rate=10), "record 'r1': rate 10 Hz is too low"),
    ],
)
def test_what_cannot_be_prepared_is_said(ecg, message):
    with pytest.raises(InputError, match=message):
        Recipe(leads=("I", "II")).prepare(ecg)


@pytest.mark.parametrize("normalise", ["lead", "record", "none"])
def test_numpy_and_torch_agree_and_give_the_moments(normalise):
    torch = pytest.importorskip("torch")
    x, present, length = batch()
    before = x.copy()
    recipe = Recipe(leads=LEADS[:4], normalise=normalise)
    y = recipe.normalise_batch(x, present, length)
    other = recipe.normalise_batch(*map(torch.from_numpy, (x, present, length)))
    assert other.numpy() == pytest.approx(y, abs=1e-5)
    assert y.dtype == np.float32
    assert np.array_equal(x, before, equal_nan=True)
    assert np.isfinite(y).all()
    assert (y[1, 2] == 0).all()
    assert (y[1, :, 170:] == 0).all()
    assert (y[0, 1, 30:50] == 0).all()
    seen = np.delete(y[0, 1], range(30, 50))
    moments = {"lead": (0, 1), "record": (None, None), "none": (np.nanmean(x[0, 1]), np.nanstd(x[0, 1]))}[normalise]
    if normalise == "record":
        values = np.concatenate([y[0, 0], seen, y[0, 2], y[0, 3]])
        assert (values.mean(), values.std()) == pytest.approx((0, 1), abs=1e-4)
        assert np.ptp(y[0, 0]) / np.ptp(y[0, 2]) == pytest.approx(np.ptp(x[0, 0]) / np.ptp(x[0, 2]), rel=1e-4)
    else:
        assert (seen.mean(), seen.std()) == pytest.approx(moments, abs=1e-4)


def test_constant_leads_and_empty_records_become_zeros():
    x, present, length = batch()
    assert (Recipe(leads=LEADS[:4]).normalise_batch(x, present, length)[2, 3] == 0).all()
    assert (Recipe(leads=LEADS[:4]).normalise_batch(x, present, length * 0) == 0).all()
    assert (Recipe(normalise="record").normalise_batch(x, present & False, length) == 0).all()


def test_to_and_from_plain_values():
    recipe = Recipe(leads=("DII", "mlii2"), rate=100, low=None, mains=50)
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    assert again.leads == ("II", "mlii2")
    assert again.hash == recipe.hash
    assert Recipe().samples == 2500


def test_hash_and_cache_key_change_with_what_they_cover():
    base = Recipe()
    assert len(base.hash) == 12
    for changed in (Recipe(rate=500), Recipe(high=None), Recipe(leads=LEADS[:8]), Recipe(slot="V1"), Recipe(mains=60)):
        assert changed.hash != base.hash
        assert changed.cache_key != base.cache_key
    for changed in (Recipe(normalise="record"), Recipe(seconds=30)):
        assert changed.hash != base.hash
        assert changed.cache_key == base.cache_key


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lead": ["II"]}, "unknown key 'lead'; did you mean 'leads'"),
        ({"rate": 0}, "rate"),
        ({"rate": "fast"}, "rate"),
        ({"low": 50.0}, "below high"),
        ({"leads": []}, "at least one lead"),
        ({"leads": ["II", "MLII"]}, "only once"),
        ({"normalise": "z"}, "normalise"),
        ({"mains": 55}, "mains"),
        ({"seconds": -1}, "seconds"),
    ],
)
def test_wrong_values_are_usage_errors(values, message):
    with pytest.raises(UsageError, match=message):
        Recipe.from_dict(values)


def test_describe_says_every_step():
    text = Recipe(leads=("II",), mains=50, normalise="record").describe()
    assert text == (
        "leads II, zero-phase band-pass 0.5-40 Hz, 50 Hz and harmonics removed, 250 Hz, windows of 10 s, "
        "record to mean 0, SD 1"
    )
    assert "no filter" in Recipe(low=None, high=None).describe()
