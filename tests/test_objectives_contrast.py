"""The contrastive loss and its targets against the numbers of beat-ssl.md 6 and sums by hand."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ecgraft.objectives._contrast import contrast, own_view
from ecgraft.objectives._similarity import Scaling, centres, exponent_for, nearest, similarity, soft_views

POWERS = [0.97, 0.80, 0.70]  # S^50 of the pairs 01, 02, 12
E1, E2 = [1.0, 0.0], [0.0, 1.0]


def toy() -> torch.Tensor:
    """S of three records, float64."""
    S = torch.eye(3, dtype=torch.float64)
    for (i, j), power in zip(((0, 1), (0, 2), (1, 2)), POWERS):
        S[i, j] = S[j, i] = power ** (1 / 50)
    return S


def random(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- oracle 1: targets


def test_hard_targets_are_the_other_view():
    expected = torch.zeros(6, 6)
    for i, j in ((0, 3), (1, 4), (2, 5)):
        expected[i, j] = expected[j, i] = 1
    assert torch.equal(own_view(3), expected)


def test_soft_targets_of_three_records():
    S = toy()
    assert [S[0, 1].item(), S[0, 2].item(), S[1, 2].item()] == pytest.approx([0.999391, 0.995547, 0.992892], abs=1e-6)
    T = soft_views(S, 50)
    assert (T.diagonal() == 0).all()
    assert torch.equal(T, T.T)
    assert T.diagonal(3).tolist() == [1, 1, 1]
    assert T.sum(1).tolist() == pytest.approx([4.54, 4.34, 4.00] * 2)


# --- oracle 2: equal features, and the least that is attainable


@pytest.mark.parametrize("rows", ["weighted", "normalised"])
def test_equal_features_cost_the_logarithm_of_the_rest(rows):
    assert contrast(torch.ones(8, 5), own_view(4), 0.1, rows).item() == pytest.approx(1.945910, abs=1e-6)
    toys = {"weighted": 6.909853, "normalised": 1.609438}
    assert contrast(torch.ones(6, 5), soft_views(toy(), 50), 0.1, rows).item() == pytest.approx(toys[rows], abs=1e-5)


def test_crowded_targets_teach_almost_nothing():
    T = soft_views(toy(), 50)[0]
    p = T / T.sum()
    entropy = torch.special.entr(p).sum().item()
    assert T.sum().item() == pytest.approx(4.54)
    assert entropy == pytest.approx(1.604584, abs=1e-6)
    assert 4.54 * entropy == pytest.approx(7.284809, abs=1e-5)
    assert 4.54 * log(5) == pytest.approx(7.307, abs=1e-3)


# --- oracle 3: closed forms


@pytest.mark.parametrize("tau, loss", [(1.0, 0.551445), (0.5, 0.239545), (0.1, 9.0796e-5)])
def test_two_records_apart(tau, loss):
    z = torch.tensor([E1, E2, E1, E2], dtype=torch.float64)
    assert contrast(z, own_view(2), tau).item() == pytest.approx(log(1 + 2 * exp(-1 / tau)), rel=1e-9)
    assert contrast(z, own_view(2), tau).item() == pytest.approx(loss, rel=1e-5)


def test_one_record_has_nothing_to_tell_apart():
    assert contrast(torch.tensor([E1, E2]), own_view(1), 0.1).item() == 0


def test_four_beats_of_two_classes():
    kind = torch.tensor([0, 0, 1, 1])
    T = (kind[:, None] == kind).double().fill_diagonal_(0)
    z = torch.tensor([E1, E1, E2, E2], dtype=torch.float64)
    assert contrast(z, T, 1.0).item() == pytest.approx(0.551445, abs=1e-6)


def test_equals_nt_xent_and_supcon_as_they_are_written():
    z, kind = random(10, 6), torch.tensor([0, 1, 2, 0, 1, 0, 0, 2, 1, 3])
    unit = F.normalize(z, dim=-1)
    logits = (unit @ unit.T / 0.2).fill_diagonal_(-torch.inf)
    nt_xent = F.cross_entropy(logits, torch.arange(10).roll(5))
    for rows in ("weighted", "normalised"):
        assert contrast(z, own_view(5), 0.2, rows).item() == pytest.approx(nt_xent.item())
    each = []
    for i in range(9):  # beat 9 is alone in its class
        others = [j for j in range(10) if j != i]
        below = sum(exp(unit[i] @ unit[j] / 0.2) for j in others)
        alike = [log(exp(unit[i] @ unit[j] / 0.2) / below) for j in others if kind[j] == kind[i]]
        each.append(-sum(alike) / len(alike))
    T = (kind[:, None] == kind).double()
    assert contrast(z, T, 0.2).item() == pytest.approx(np.mean(each))


def test_bce_by_hand():
    z = torch.tensor([E1, E1, E2], dtype=torch.float64)
    T = torch.tensor([[0, 1.0, 0], [1.0, 0, 0], [0, 0, 0]])

    def nats(logit, target):
        return log(1 + exp(-logit)) if target else log(1 + exp(logit))

    row = (nats(2 - 0.5, True) + nats(0 - 0.5, False)) / 2  # the third row has no target
    assert contrast(z, T, 0.5, "bce", -0.5).item() == pytest.approx(row)


# --- oracle 4


def test_soft_targets_become_hard_ones():
    assert pytest.approx(1.8e-8, rel=0.01) == 0.7**50
    S = similarity(random(6, 4).float(), "standard").double()
    T, z = soft_views(S, 5000.0), random(12, 8)
    assert torch.allclose(T, own_view(6).double(), atol=1e-6)
    assert contrast(z, T, 0.1, "weighted").item() == pytest.approx(contrast(z, own_view(6), 0.1).item(), abs=1e-5)


# --- oracle 9: invariances


@pytest.mark.parametrize("rows", ["weighted", "normalised", "bce"])
def test_order_and_length_do_not_matter(rows):
    z, S = random(10, 6), similarity(random(5, 3, seed=1), "standard").double()
    T = soft_views(S, 4.0)
    loss = contrast(z, T, 0.1, rows).item()
    order = torch.tensor([3, 0, 4, 1, 2])
    both = torch.cat([order, order + 5])
    assert contrast(z[both], soft_views(S[order][:, order], 4.0), 0.1, rows).item() == pytest.approx(loss)
    scale = random(10, 1, seed=2).abs() + 0.1
    assert contrast(z * scale, T, 0.1, rows).item() == pytest.approx(loss)


@pytest.mark.parametrize("rows", ["weighted", "normalised", "bce"])
def test_what_is_not_compared_gets_no_gradient(rows):
    z = random(6, 4).requires_grad_()
    among = torch.ones(6, 6, dtype=torch.bool)
    among[5] = among[:, 5] = False
    T = soft_views(toy(), 1.0)
    loss = contrast(z, T, 0.1, rows, among=among)
    loss.backward()
    assert (z.grad[5] == 0).all() and (z.grad[:5] != 0).any(1).all()
    rest = contrast(z[:5], T[:5, :5], 0.1, rows)
    assert loss.item() == pytest.approx(rest.item())


@pytest.mark.parametrize("rows", ["weighted", "normalised", "bce"])
@pytest.mark.parametrize("N", [0, 1, 4])
def test_no_targets_at_all(rows, N):
    z = random(N, 3).requires_grad_()
    loss = contrast(z, torch.zeros(N, N), 0.1, rows)
    loss.backward()
    assert loss.item() == 0 and (z.grad == 0).all()


def test_half_precision_does_not_round_the_logits():
    z = random(12, 16).float()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = contrast(z, own_view(6), 0.1)
    assert torch.equal(rounded, contrast(z, own_view(6), 0.1))


# --- similarity


def features(n=400, seed=0) -> np.ndarray:
    """Six features: two groups of alike ones, one constant, one missing in half of the rows, one mostly 0."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 6)) * [100, 10, 1, 0.1, 1, 1] + [800, 160, 1, 0.2, 3, 0]
    x[:, 3] = 0.2
    x[draw.random(n) < 0.5, 4] = np.nan
    x[:, 5] = draw.random(n) < 0.1
    x[draw.random(n) < 0.2, 2] = np.nan
    return x


def test_scaling_by_median_and_quartiles_of_the_corpus():
    scaling, x = Scaling(6), features()
    scaling.fit(x)
    assert scaling.weight.tolist() == [1, 1, 1, 0, 0, 1]
    assert scaling.missing[[2, 4]].tolist() == pytest.approx([0.2, 0.5], abs=0.07)
    z = scaling.standard(torch.tensor([[800.0, 1e6, np.nan, 7, np.nan, 1]]))
    q1, median, q3 = np.percentile(x[:, 0], [25, 50, 75])
    assert z[0].tolist() == pytest.approx(
        [(800 - median) / (q3 - q1), 5, 0, 0, 0, 1 / (1.349 * x[:, 5].std())], rel=1e-4
    )
    raw = scaling.raw(torch.tensor([[800.0, 160, np.nan, 7, 3, 1]]))
    assert raw[0].tolist() == pytest.approx([800, 160, np.nanmedian(x[:, 2]), 0, 0, 1], rel=1e-5)
    nothing = torch.tensor([[np.nan, np.nan, np.nan, 1, 1, np.nan], [1, np.nan, np.nan, 1, 1, np.nan]])
    assert scaling.known(nothing).tolist() == [False, True]


@pytest.mark.parametrize("kind", ["raw", "standard"])
def test_similarity_is_symmetric_with_unit_diagonal(kind):
    scaling, x = Scaling(6), features()
    scaling.fit(x)
    x = torch.tensor(x[:40], dtype=torch.float32)
    S = similarity(getattr(scaling, kind)(x), kind)
    assert torch.allclose(S, S.T, atol=1e-6)
    assert (S.diagonal() == 1).all() and S.min() >= 0 and S.max() <= 1
    some = similarity(getattr(scaling, kind)(x[:10]), kind)
    assert torch.allclose(some, S[:10, :10], atol=1e-6)  # whatever else is in the batch
    unknown = similarity(getattr(scaling, kind)(x), kind, torch.arange(40) > 0)
    assert unknown[0].tolist() == [1] + [0] * 39 and torch.equal(unknown[1:, 1:], S[1:, 1:])


def test_similarity_by_hand():
    phi = torch.tensor([[1.0, 0], [1, 1], [-1, 0]])
    assert similarity(phi, "raw")[0].tolist() == pytest.approx([1, 0.5**0.5, 0])
    assert similarity(phi, "standard")[0].tolist() == pytest.approx([1, (1 + 0.5**0.5) / 2, 0])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(similarity(phi, "raw"), similarity(phi.float(), "raw"))


def test_nothing_known_of_the_corpus():
    scaling = Scaling(3)
    for x in (np.zeros((0, 3)), np.full((5, 3), np.nan), np.full((5, 3), 2.0)):
        scaling.fit(x)
        assert (scaling.weight == 0).all()
        assert not scaling.known(torch.ones(2, 3)).any()
        assert torch.isfinite(scaling.standard(torch.ones(2, 3))).all()
    assert exponent_for(torch.zeros(0, 3), "standard", 8, 3.0) == 1.0
    assert (centres(np.zeros((0, 3)), 4) == 0).all()


@pytest.mark.parametrize("positives", [2.0, 3.0, 8.0])
def test_exponent_gives_the_stated_number_of_positives(positives):
    scaling, x = Scaling(6), features(2000)
    scaling.fit(x)
    phi = scaling.standard(torch.tensor(x, dtype=torch.float32))
    g = exponent_for(phi, "standard", 64, positives)
    draw, sums = np.random.default_rng(9), []
    for _ in range(40):
        S = similarity(phi[draw.choice(2000, 64, replace=False)], "standard")
        sums.append(soft_views(S, g).sum(1))
    assert torch.cat(sums).median().item() == pytest.approx(positives, rel=0.03)


def test_k_means_finds_groups():
    draw = np.random.default_rng(0)
    middle = np.array([[0, 0], [3, 0], [0, 3]])
    phi = middle[np.arange(300) % 3] + 0.2 * draw.normal(size=(300, 2))
    found = centres(phi, 3)
    apart = np.linalg.norm(found[:, None] - middle, axis=-1)
    assert apart.min(0).max() < 0.1
    assert np.array_equal(found, centres(phi, 3))
    kind = nearest(torch.tensor(phi)[None], torch.tensor(found))[0]
    assert all(len(set(kind[i::3].tolist())) == 1 for i in range(3)) and len(kind.unique()) == 3
    few = centres(np.array([[1.0, 2.0], [1.0, 2.0], [5.0, 6.0]]), 4)
    assert few.tolist() == [[1, 2], [5, 6], [1, 2], [1, 2]]
