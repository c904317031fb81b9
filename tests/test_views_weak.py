"""Augmentations of CE-SSL: CutMix, bursts, noise, time backwards, shuffled leads; each against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from ecgraft import views
from ecgraft.views import burst, cutmix, hiss, permute, reverse
from test_views import made, run

pytestmark = pytest.mark.slow


def rows(B: int = 8, C: int = 4, T: int = 100) -> dict:
    """Record i holds the number i + 1 everywhere, and half of its labels are known."""
    number = torch.arange(B) + 1
    x = number[:, None, None].expand(B, C, T).float().clone()
    return {
        "x": x,
        "present": torch.ones(B, C, dtype=torch.bool),
        "length": torch.full((B,), T),
        "y": torch.stack((number.float(), (number % 2).float()), 1),
        "known": torch.stack((number > 0, number > 2), 1),
        "waves": x.to(torch.uint8),
        "scored": torch.ones(B, C, T, dtype=torch.bool),
    }


def test_cutmix_mixes_labels_by_the_area_of_a_rectangle():
    batch = rows()
    new, time = run(cutmix, batch=batch)
    mixed = 0
    for i in range(8):
        cut, there = time.cut[i], new["x"][i]
        others = there[cut].unique().tolist()
        area = cut.float().mean().item()
        j = int(others[0]) - 1 if others else i
        mixed += bool(others)
        assert len(others) <= 1 and (there[~cut] == i + 1).all()
        assert new["y"][i].numpy() == pytest.approx(((1 - area) * batch["y"][i] + area * batch["y"][j]).numpy(), 1e-5)
        assert torch.equal(new["known"][i], batch["known"][i] & batch["known"][j])
        leads, steps = cut.any(1), cut.any(0)
        assert torch.equal(cut, leads[:, None] & steps)
        for line in (leads, steps):
            assert line.int().diff().abs().sum() <= 2  # in one piece
    assert torch.equal(new["waves"].float(), new["x"]) and new["scored"].all() and mixed > 4


def test_cutmix_draws_its_areas_from_beta():
    """The quantiles against draws and closed forms, the sides against sqrt(1 - lambda)."""
    table = cutmix.quantiles_of_beta(0.75)
    drawn = cutmix.between(table, torch.rand(20000, generator=torch.Generator().manual_seed(0)))
    assert stats.kstest(drawn.numpy(), stats.beta(0.75, 0.75).cdf).pvalue > 0.01
    line = torch.linspace(0, 1, 7)
    assert torch.allclose(cutmix.between(cutmix.quantiles_of_beta(1.0), line), line, atol=1e-6)  # even
    arcsine = torch.sin(line * torch.pi / 2) ** 2
    assert torch.allclose(cutmix.between(cutmix.quantiles_of_beta(0.5), line), arcsine, atol=1e-4)
    _, time = run(cutmix, batch=rows(B=2000, C=40))
    area = time.cut.float().mean((1, 2))
    area = area[area > 0]
    assert area.mean().item() == pytest.approx(0.5, abs=0.03)
    assert not run(cutmix, batch=rows(), share=0.0)[1].cut.any()


def test_cutmix_keeps_labelled_and_unlabelled_apart():
    batch = rows(B=40)
    batch["labelled"] = torch.arange(40) < 13
    new, time = run(cutmix, batch=batch)
    there = new["x"].amax((1, 2)) * time.cut.any(2).any(1)
    assert there[:13].max() <= 13 and (new["x"][13:] > 13).all()
    assert (new["x"][:13] <= 13).all() and time.cut[13:].any() and time.cut[:13].any()


def test_cutmix_replaces_where_both_have_samples():
    batch = made(B=60)
    batch["present"][::2, :6], batch["length"][::3] = False, 400
    batch = views.compose([])(batch, views.generator(0, 0))[0]
    inside = views.valid(batch)
    batch["x"] = (torch.rand(60, 12, 1000) + 1) * inside
    new, time = run(cutmix, batch=batch)
    assert ((new["x"] != 0) == inside).all() and not (time.cut & ~inside).any()
    assert torch.equal(new["present"], batch["present"]) and torch.equal(new["length"], batch["length"])


def test_burst_silences_one_piece_of_each_lead():
    batch = made(B=400, T=200)
    batch["x"] = batch["x"] + 10 * views.valid(batch)
    new, time = run(burst, batch=batch, longest=0.5)
    assert (new["x"][time.cut] == 0).all() and torch.equal(new["x"][~time.cut], batch["x"][~time.cut])
    assert not (new["scored"] & time.cut).any()
    hit = time.cut.flatten(1).any(1)
    assert hit.float().mean().item() == pytest.approx(0.5, abs=0.08)
    share = time.cut[hit].sum(-1) / batch["length"][hit][:, None]
    assert share.max() <= 0.5 and share.mean().item() == pytest.approx(0.25, abs=0.01)
    assert (time.cut.int().diff(dim=-1).abs().sum(-1) <= 2).all() and not (time.cut[hit] == time.cut[hit][:, :1]).all()
    middle = (time.cut * torch.arange(200.0)).sum(-1) / time.cut.sum(-1)
    assert middle.nanmean().item() == pytest.approx(99.5, abs=4)
    whole = run(burst, batch=batch, longest=1.0, share=1.0)[1].cut[3:].float().mean(-1)
    assert whole.max() > 0.99 and whole.mean().item() == pytest.approx(0.5, abs=0.02)


def test_hiss_is_as_large_as_a_share_of_the_lead():
    batch = made(B=20, T=4000)
    gains = torch.linspace(0.1, 5, 12)[:, None]
    batch["x"] = batch["x"] * gains + 3 * views.valid(batch)
    batch["length"][2], batch["x"][2, :, 700:] = 700, 0
    added = run(hiss, batch=batch, size=0.5)[0]["x"] - batch["x"]
    for i, c, n in ((0, 0, 4000), (5, 11, 4000), (2, 3, 700)):
        lead, noise = batch["x"][i, c, :n].numpy(), added[i, c, :n].numpy()
        assert noise.std() / lead.std() == pytest.approx(0.5, rel=0.12) and abs(noise.mean()) < 0.1 * lead.std()
        assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.15
    assert not added[2, :, 700:].any() and not added[1, 4].any()
    assert torch.equal(run(hiss, batch=batch, share=0.0)[0]["x"], batch["x"])


@pytest.mark.parametrize("each", ["record", "batch"])
def test_reverse_turns_time_round_within_the_record(each):
    batch = made()
    new, time = run(reverse, batch=batch, each=each, share=1.0)
    for i, n in enumerate(batch["length"].tolist()):
        for key in ("x", "waves", "scored"):
            assert torch.equal(new[key][i, :, :n], batch[key][i, :, :n].flip(-1)) and not new[key][i, :, n:].any()
        peaks = batch["peaks"][i]
        assert torch.equal(new["peaks"][i], torch.where(peaks >= 0, n - 1 - peaks, -1))
    assert (time.a == -1).all() and torch.equal(time.b, batch["length"] - 1.0)
    back, twice = run(reverse, batch=new, each=each, share=1.0)
    assert torch.equal(back["x"], batch["x"]) and torch.equal(back["peaks"], batch["peaks"])
    assert (time.then(twice).a == 1).all() and (time.then(twice).b == 0).all()
    many = {key: value[:1].expand(400, *value.shape[1:]) for key, value in batch.items() if torch.is_tensor(value)}
    turned = run(reverse, batch=many, each=each)[1].a < 0
    assert 0.4 < turned.float().mean() < 0.6 if each == "record" else len(turned.unique()) == 1


def test_permute_shuffles_present_leads_alone():
    batch = made(B=100)
    batch["present"][:, 7] = False
    batch["x"] = (torch.arange(12.0)[:, None] + 1) * views.valid(batch)
    batch["scored"] = batch["scored"] & views.valid(batch)
    batch["waves"] = batch["x"].to(torch.uint8)
    new, _ = run(permute, batch=batch)
    lead = new["x"][:, :, 0]
    assert torch.equal(lead.sort(1).values, batch["x"][:, :, 0].sort(1).values)
    assert torch.equal(lead == 0, ~batch["present"]) and torch.equal(new["waves"].float(), new["x"])
    moved = (lead != batch["x"][:, :, 0]).any(1)
    assert 0.35 < moved.float().mean() < 0.65
    for c in range(12):
        assert c == 7 or len(lead[:, c].unique()) > 8


def test_shuffling_within_groups_is_a_permutation_of_each():
    group = torch.rand(50, 9, generator=torch.Generator().manual_seed(0)) < 0.5
    source = views.shuffle_within(group, views.generator(0, 0))
    assert torch.equal(source.sort(1).values, torch.arange(9).expand(50, 9))
    assert torch.equal(group.gather(1, source), group)
    many = views.shuffle_within(torch.ones(6000, 3, dtype=torch.bool), views.generator(0, 0))
    counts = (many @ torch.tensor([9, 3, 1])).unique(return_counts=True)[1]
    assert len(counts) == 6 and (counts.float() / 1000 - 1).abs().max() < 0.13
