"""The simulator's batches: physics of the leads, reproducibility, masks, rates and lengths, records, reports."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ecgraft.plugs import configure
from ecgraft.record import LEADS, UsageError
from ecgraft.simulator import CODES, FINDINGS, NAMES, PREVALENCE, Config, simulate, torso
from ecgraft.simulator.draw import Draw
from ecgraft.simulator.text import WORDS

ALL_LEADS = {"lead_loss": 0, "flat": 0}
SILENT = {**ALL_LEADS, "wander": 0, "muscle": 0, "motion": 0, "mains": 0, "swap": 0}


@pytest.fixture(scope="module")
def noisy():
    return simulate(7, range(48), Config(**ALL_LEADS, swap=0.3, handheld=0.5))


def test_einthoven_and_goldberger_hold_in_noise_and_with_swapped_electrodes(noisy):
    i, ii, iii, avr, avl, avf = noisy.x[:, :6].double().unbind(1)
    for left, right in ((iii, ii - i), (avr, -(i + ii) / 2), (avl, i - ii / 2), (avf, ii - i / 2)):
        assert (left - right).abs().max() < 1e-4


def test_a_dipole_has_rank_three_and_a_patient_one_torso():
    """Without noise twelve leads are a fixed matrix times three sources; it belongs to the patient."""
    made = simulate(0, range(8), Config(**SILENT, records_per_patient=2))
    assert made.patient.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    x = made.x.double()
    values = torch.linalg.svdvals(x)
    assert (values[:, 3] < 1e-5 * values[:, 0]).all()
    together = torch.linalg.svdvals(torch.cat([x[0::2], x[1::2]], 2))  # both records of each patient
    assert (together[:, 3] < 1e-5 * together[:, 0]).all()
    apart = torch.linalg.svdvals(torch.cat([x[0], x[2]], 1))
    assert apart[3] > 1e-3 * apart[0]


def test_lead_field_gives_the_dower_leads():
    leads = torso.leads_of_electrodes() @ torso.electrode_field()
    given = torch.tensor(torso.DOWER, dtype=torch.float64)
    assert torch.allclose(leads[[0, 1, 6, 7, 8, 9, 10, 11]], given, atol=1e-12)


def test_swapped_arms_mirror_lead_i():
    leads, field = torso.leads_of_electrodes(), torso.electrode_field()
    swaps = torso.swapped(Draw(0, torch.arange(400)), torch.ones(400))
    arms = next(m for m in swaps if m[0, 1] == 1)
    before, after = leads @ field, leads @ arms @ field
    assert torch.allclose(after[:6], torch.stack([-before[0], *before[[2, 1, 4, 3, 5]]]))
    assert torch.allclose(after[6:], before[6:])
    assert (swaps.sum((1, 2)) == 9).all() and (
        torso.swapped(Draw(0, torch.arange(9)), torch.zeros(9)) == torch.eye(9)
    ).all()


def test_a_record_is_the_same_in_any_company():
    whole, some = simulate(3, range(40)), simulate(3, [31, 4, 17])
    rows = [31, 4, 17]
    assert torch.allclose(whole.x[rows], some.x, atol=2e-5)
    for name in ("present", "y", "fiducials", "symbols", "peaks", "patient", "index", "german"):
        assert torch.equal(getattr(whole, name)[rows], getattr(some, name)), name
    assert torch.equal(whole.waves()[rows], some.waves())
    assert [whole.text(i) for i in rows] == [some.text(i) for i in range(3)]


def test_seeds_and_indices_are_independent():
    a = Draw(0, torch.arange(20_000))
    others = Draw(1, torch.arange(20_000)), Draw(0, torch.arange(20_000), "other"), Draw(0, torch.arange(1, 20_001))
    u = a.uniform("u")
    pairs = [(u, other.uniform("u")) for other in others] + [(u, a.uniform("v")), (u, a.uniform("u", n=2)[:, 1])]
    for left, right in pairs:
        r = torch.corrcoef(torch.stack([left, right]))[0, 1]
        assert abs(r) < 5 / 20_000**0.5
    assert not torch.allclose(simulate(0, [0]).x, simulate(1, [0]).x, atol=0.1)


def test_draws_have_the_moments_of_their_distributions():
    draw, n = Draw(5, torch.arange(200)), 500
    u, z = draw.uniform("u", 2, 5, n), draw.normal("z", 1, 2, n)
    assert abs(u.mean() - 3.5) < 5 * 3 / 12**0.5 / 100_000**0.5 and abs(u.var() - 9 / 12) < 0.02
    assert abs(z.mean() - 1) < 5 * 2 / 100_000**0.5 and abs(z.std() - 2) < 0.03  # cut at 3 sd: 1.973
    share = torch.bincount(draw.choice("c", (1, 3, 6), n).flatten(), minlength=3) / 100_000
    assert torch.allclose(share, torch.tensor([0.1, 0.3, 0.6]), atol=0.01)


@pytest.mark.parametrize(("rate", "seconds"), [(100, 4.0), (128.5, 0.7), (360, 31.3), (1000, 2.5)])
def test_any_rate_and_length(rate, seconds):
    made = simulate(1, range(12), Config(rate=rate, seconds=seconds))
    T = round(rate * seconds)
    assert made.x.shape == (12, 12, T) and made.waves().shape == (12, T)
    assert made.x.isfinite().all() and made.fiducials.max() < T and made.peaks.max() < T
    assert made.x.abs().amax((1, 2)).min() > 0.05


def test_the_rate_only_samples_the_same_ecg():
    fine, coarse = (simulate(2, range(16), Config(rate=rate, seconds=6, **SILENT)) for rate in (1000, 250))
    assert torch.equal(fine.y, coarse.y)
    there = coarse.fiducials >= 0
    assert (fine.fiducials - 4 * coarse.fiducials)[there & (fine.fiducials >= 0)].abs().max() <= 3
    quiet = ~coarse.y[:, [NAMES.index(name) for name in ("PACE", "AFIB", "AFLT")]].any(1)  # spikes, noise tables
    assert (fine.x[quiet][:, :, ::4] - coarse.x[quiet]).abs().max() < 2e-3


def test_absent_leads_are_zero_and_as_many_as_asked():
    made = simulate(4, range(100), Config(seconds=1, lead_loss=0.3))
    assert (made.x.abs().amax(2) > 0)[made.present].float().mean() > 0.98  # some are flat
    assert made.x[~made.present].abs().max() == 0
    assert abs((~made.present).float().mean() - 0.3) < 4 * (0.3 * 0.7 / 1200) ** 0.5
    assert simulate(4, range(30), Config(seconds=1, lead_loss=1)).present.sum(1).tolist() == [1] * 30
    record = made.record(3)
    assert record.leads == tuple(lead for lead, there in zip(LEADS, made.present[3]) if there)
    assert np.array_equal(record.signal, made.x[3][made.present[3]].numpy())


def test_record_says_what_the_batch_says(noisy):
    for i in range(12):
        record = noisy.record(i)
        rows = noisy.fiducials[i].numpy()
        listed = {(k + 1, -1, *rows[n, k].tolist()) for n in range(len(rows)) for k in range(3) if rows[n, k, 1] >= 0}
        assert {tuple(row) for row in record.waves.tolist()} == listed
        assert record.beats["sample"].tolist() == [p for p in noisy.peaks[i].tolist() if p >= 0]
        assert set(record.labels) == set(CODES)
        named = {code for f, yes in zip(FINDINGS, noisy.y[i]) if yes for code in f.codes}
        assert {code for code, yes in record.labels.items() if yes} == named
        assert record.rate == 500 and record.seconds == 10 and record.rhythms["stop"].tolist() == [5000]


def test_scored_span_has_no_wave_that_is_cut(noisy):
    for i in range(len(noisy.index)):
        record, waves = noisy.record(i), noisy.waves()[i].numpy()
        _, start, stop = record.scored[0]
        painted = np.zeros(5000, np.uint8)
        for kind in (3, 1, 2):  # QRS hides P, P hides T
            for wave in record.waves[record.waves["kind"] == kind]:
                painted[wave["onset"] : wave["offset"] + 1] = kind
        assert stop - start > 2500 and np.array_equal(painted[start:stop], waves[start:stop])


def test_batch_is_that_of_the_training_loop(noisy):
    batch = noisy.batch()
    B, C, T = batch["x"].shape
    assert batch["waves"].shape == batch["scored"].shape == (B, C, T) and batch["waves"].dtype == torch.uint8
    assert batch["y"].shape == batch["known"].shape == (B, len(NAMES)) and batch["known"].all()
    assert batch["length"].tolist() == [T] * B and len(batch["text"]) == B and batch["labelled"].all()


def test_report_names_every_finding_in_one_language(noisy):
    assert set(WORDS) == set(NAMES)
    for i in range(len(noisy.index)):
        text = noisy.text(i).lower()
        for name, yes in zip(NAMES, noisy.y[i]):
            words = WORDS[name][bool(noisy.german[i])].lower().split("|")
            assert not yes or any(word in text for word in words), (name, text)
    assert 8 < noisy.german.sum() < 40 and len({noisy.text(i) for i in range(48)}) > 30


@pytest.mark.parametrize(
    "values",
    [{"seconds": 0}, {"rate": -1}, {"swap": 1.5}, {"prevalence": {"AFIBB": 0.1}}, {"prevalence": {"AFIB": 1.0}}],
)
def test_wrong_settings_are_told(values):
    with pytest.raises(UsageError, match=next(iter(values))):
        configure(Config, values, "simulate")


def test_default_prevalences_leave_room_for_sinus_rhythm():
    assert sum(PREVALENCE[name] for name in NAMES if name in PREVALENCE and name in "SBRAD STACH SARRH AFIB AFLT") < 0.6
