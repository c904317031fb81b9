"""Limb leads, slots and the vectorcardiogram against Einthoven, Goldberger and the identities of the Dower matrix."""

from itertools import combinations

import numpy as np
import pytest

from ecgraft.record import LEADS
from ecgraft.signal import leads

RNG = np.random.default_rng(0)
LIMB = LEADS[:6]


def limb_leads(T=50):
    """I and II at random, the rest by the textbook's formulas."""
    one, two = RNG.standard_normal((2, T)).astype(np.float32)
    return np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2])


@pytest.mark.parametrize("pair", list(combinations(LIMB, 2)))
def test_any_two_limb_leads_give_all_six(pair):
    truth = limb_leads()
    have = np.stack([truth[LIMB.index(name)] for name in pair])
    signal, names, notes = leads.derive(have, pair, LEADS)
    assert set(names) == set(LIMB)
    assert len(notes) == 4
    for name, x in zip(names, signal):
        assert x == pytest.approx(truth[LIMB.index(name)], abs=1e-5)


def test_only_what_is_wanted_is_derived_and_nothing_from_one_lead():
    two = limb_leads()[:2]
    assert leads.derive(two, ("I", "II"), ("II", "aVF"))[1] == ("I", "II", "aVF")
    assert leads.derive(two[:1], ("I",), LEADS)[1] == ("I",)
    assert leads.derive(two, ("V1", "II"), LEADS)[1] == ("V1", "II")


def test_slots_follow_names_not_positions():
    rows, slots, notes = leads.assign(("V1", "aVF", "aVL"), LEADS, "II")
    assert (rows, slots, notes) == ([2, 1, 0], [4, 5, 6], [])


def test_one_unnamed_lead_goes_to_the_free_slot():
    assert leads.assign(("ECG",), LEADS, "II") == ([0], [1], ["lead ECG is taken as II"])
    assert leads.assign(("V5", "CM5"), LEADS, "II")[:2] == ([1, 0], [1, 10])
    assert leads.assign(("II", "CM5"), LEADS, "II") == ([0], [1], ["not used: lead CM5"])
    notes = ["lead ECG1 is taken as II", "not used: lead ECG2"]
    assert leads.assign(("ECG1", "ECG2"), LEADS, "II") == ([0], [1], notes)
    assert leads.assign(("V5", "ECG1", "ECG2"), LEADS, "II") == ([0], [10], ["not used: leads ECG1, ECG2"])
    assert leads.assign(("ECG",), ("V1",), "II")[0] == []


def test_canonical_order():
    names = ("V6", "aVF", "aVL", "X", "I")
    assert [names[i] for i in leads.canonical(names)] == ["I", "aVL", "aVF", "V6", "X"]


def test_dower_identities():
    K, D = leads.INVERSE_DOWER, leads.DOWER
    assert pytest.approx(np.eye(3), abs=1e-12) == K @ D
    P = D @ K
    assert pytest.approx(P.T, abs=1e-12) == P
    assert pytest.approx(P, abs=1e-12) == P @ P
    assert np.diag(P) == pytest.approx([0.1536, 0.9297, 0.3073, 0.4257, 0.4097, 0.3154, 0.2696, 0.1890], abs=5e-5)


def test_vcg_returns_the_dipole_that_made_the_leads():
    dipole = RNG.standard_normal((3, 40))
    signal = leads.dipole_vectors(LEADS) @ dipole
    assert leads.vcg(signal.astype(np.float32), LEADS) == pytest.approx(dipole, abs=1e-5)
    order = RNG.permutation(12)
    mixed = leads.vcg(signal[order].astype(np.float32), tuple(LEADS[i] for i in order))
    assert mixed == pytest.approx(dipole, abs=1e-5)
    assert signal[2] == pytest.approx(signal[1] - signal[0])


def test_vcg_says_what_is_missing():
    with pytest.raises(ValueError, match="V6"):
        leads.vcg(np.zeros((7, 5)), ("I", "II", "V1", "V2", "V3", "V4", "V5"))
