"""BELL where leads are missing or drawn, on every encoder, compared from views that are encoded already, resumed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ecgraft import plugs
from ecgraft.nn.heads import alone
from ecgraft.objectives import bell
from ecgraft.objectives._look import Seen
from ecgraft.objectives._mlp import mlp
from ecgraft.objectives._per_lead import LeadHeads
from ecgraft.objectives._spread import EVERY
from made_bootstrap import EIGHT, check_resume, copy_lead, drawn, made, made_batch, with_leads


def test_distances_only_over_records_with_both_leads():
    q, z = torch.randn(2, 7, 3, 5).unbind(0)
    asked, answered = (torch.rand(2, 7, 3) < 0.6).unbind(0)
    asked[:, 2] = False
    D, n = bell.distances(q, z, asked, answered)
    unit_q, unit_z = (side / side.norm(dim=-1, keepdim=True) for side in (q, z))
    for i in range(3):
        for j in range(3):
            rows = asked[:, i] & answered[:, j]
            assert n[i, j] == rows.sum()
            expected = (unit_q[rows, i] - unit_z[rows, j]).square().sum(-1).mean() if rows.any() else 0.0
            assert float(D[i, j]) == pytest.approx(float(expected), abs=1e-5)
    kept = [(i, j) for i in range(2) for j in range(3) if n[i, j]]
    intra, inter = ([float(D[p]) for p in kept if (p[0] == p[1]) is same] for same in (True, False))
    loss, *terms = bell.fused(D, n, 0.3)
    for value, entries in zip(terms, (intra, inter)):
        assert float(value) == pytest.approx(sum(entries) / len(entries), abs=1e-5)
    assert float(loss) == pytest.approx(0.3 * float(terms[0]) + 0.7 * float(terms[1]), abs=1e-5)


@pytest.mark.parametrize("branches", ["separate", "shared", "joint"])
@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_records_of_a_single_lead_have_the_intra_term_alone(branches, gamma):
    objective = made(encoder={"branches": branches}, gamma=gamma)
    single = with_leads(made_batch(), [False, True, False])
    out = objective(single)
    torch.testing.assert_close(out["loss"], 2 * out["intra"])
    assert float(out["intra"].detach()) > 0 and float(out["inter"].detach()) == 0
    assert objective.matrix.isfinite().nonzero().tolist() == [[1, 1]]
    out["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)


@pytest.mark.parametrize("branches", ["separate", "shared", "joint"])
@pytest.mark.parametrize("pairs", ["all", "sampled"])
def test_single_leads_among_whole_records(branches, pairs):
    present = torch.eye(3, dtype=torch.bool).repeat(2, 1) | torch.tensor([True, False] * 3)[:, None]
    objective = made(encoder={"branches": branches}, pairs=pairs)
    out = objective.train()(with_leads(made_batch(), present))
    out["loss"].backward()
    assert float(out["intra"].detach()) > 0 and float(out["inter"].detach()) > 0
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)


def test_absent_leads_do_not_enter_the_heads():
    """Heads of each lead equal those of one lead over the records that have it, running statistics too."""
    torch.manual_seed(0)
    heads, h = LeadHeads(3, 5, 6, 4), torch.randn(7, 3, 5)
    there = torch.rand(7, 3) < 0.7
    parts = [mlp(5, 6, 4) for _ in range(3)]
    for i, part in enumerate(parts):
        copy_lead(heads, part, i)
    for mode in (True, False):
        heads.train(mode)
        out = heads(h, there)
        assert not out[~there].any()
        for i, part in enumerate(parts):
            torch.testing.assert_close(out[there[:, i], i], part.train(mode)(h[there[:, i], i]))
            torch.testing.assert_close(heads.norm.running_var.view(3, 6)[i], part[1].running_var)
    few = torch.zeros(7, 3, dtype=torch.bool)
    few[0, 0] = True
    before = heads.norm.running_mean.clone()
    assert torch.isfinite(heads.train()(h, few)).all() and torch.equal(heads.norm.running_mean, before)


def test_heads_start_as_linear_layers_do():
    torch.manual_seed(0)
    layer, plain = LeadHeads(40, 64, 32, 8).first, nn.Linear(64, 1280)
    assert layer.weight.std().item() == pytest.approx(plain.weight.std().item(), rel=0.02)
    assert layer.weight.abs().max() <= 1 / 8 and layer.bias.abs().max() <= 1 / 8 and layer.bias.ndim == 1


@torch.inference_mode()
def test_one_by_one_reads_only_what_is_there():
    objective, batch = made("resnet18"), made_batch()
    encoder, there = objective.encoder.eval(), torch.rand(6, 3) < 0.5
    there[0] = False
    seen = []
    encoder.register_forward_hook(lambda module, given, out: seen.append(len(given[0])))
    h = bell.one_by_one(encoder, batch["x"], there, batch["present"], batch["length"])
    assert seen == [int(there.sum())] and not h[~there].any()
    x, present = alone(batch["x"], batch["present"])
    whole = encoder.pool(encoder(x, present), batch["length"].repeat_interleave(3)).view(6, 3, -1)
    torch.testing.assert_close(h[there], whole[there])


def test_which_leads_are_sampled():
    """Two of each record, those that both views have where there are two; each as often as another."""
    objective = made("resnet18", leads=EIGHT, whole=False)
    B, random = 4000, torch.Generator().manual_seed(0)
    present = torch.rand(2, B, 8, generator=random) < 0.6
    present[:, :, 0] |= ~present.any(2)
    seen = [Seen({"present": p}, torch.empty(0), [], torch.empty(0), None) for p in present]
    one, two = objective._leads(seen, made_batch(B=B, C=8))
    both = (present[0] & present[1]).sum(1)
    for picked, there in zip((one, two), present):
        assert not (picked & ~there).any() and torch.equal(picked.sum(1), there.sum(1).clamp(max=2))
    assert torch.equal(one[both > 1], two[both > 1]) and ((one & two).sum(1) == both.clamp(max=2)).all()
    usual = one[(both == 8) | (both > 1)].float().mean(0)[1:]
    assert (usual / usual.mean() - 1).abs().max() < 0.1
    again, _ = objective._leads(seen, made_batch(B=B, C=8))
    other, _ = objective._leads(seen, made_batch(1, B=B, C=8))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert objective.sampled and not made().sampled and not made("resnet18", pairs="all").sampled


def test_sampled_pairs_average_to_all_of_them():
    D = torch.rand(8, 8)
    objective, total, n = made("resnet18", leads=EIGHT, whole=False), torch.zeros(8, 8), torch.zeros(8, 8)
    seen = [Seen({"present": torch.ones(500, 8, dtype=torch.bool)}, torch.empty(0), [], torch.empty(0), None)] * 2
    for k in range(10):
        one, two = objective._leads(seen, made_batch(k, B=500, C=8))
        times = (one[:, :, None] & two[:, None]).sum(0)
        total, n = total + D * times, n + times
    assert n.diagonal().std() / n.diagonal().mean() < 0.1
    off = ~torch.eye(8, dtype=torch.bool)
    assert float(n[off].std() / n[off].mean()) < 0.15 and n.diagonal().sum() == n[off].sum()


def test_the_whole_record_is_one_of_the_leads():
    """It is one of the two that are sampled, and left out where it is a single lead, which stands for itself."""
    objective, batch = made("resnet18"), with_leads(made_batch(), [[1, 1, 1]] * 4 + [[0, 1, 0]] * 2)
    seen = [Seen({"present": batch["present"]}, torch.empty(0), [], torch.empty(0), None)] * 2
    one, _ = objective._leads(seen, batch)
    assert torch.equal(one[:, 3], batch["present"].sum(1) > 1) and torch.equal(
        one.sum(1), torch.tensor([2] * 4 + [1] * 2)
    )
    encoder = objective.encoder.eval()
    there = torch.tensor([[False, False, False, True]]).expand(6, 4)
    h = bell.one_by_one(encoder, batch["x"], there, batch["present"], batch["length"])
    expected = encoder.pool(encoder(batch["x"], batch["present"]), batch["length"])
    torch.testing.assert_close(h[:, 3], expected)
    assert objective(batch)["loss"].isfinite() and objective.matrix.shape == (4, 4)


# --- all encoders, logs, resume


@pytest.mark.parametrize("name", plugs.names("encoders"))
def test_every_encoder(name):
    objective = made(name)
    out = objective.train()(made_batch(B=3, T=96))
    out["loss"].backward()
    assert 0 <= float(out["loss"].detach()) <= 8
    assert any(p.grad.any() for p in objective.encoder.parameters())
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)


def test_comparing_what_is_encoded_already_is_the_same():
    for branches in ("separate", "shared", "joint"):
        objective, batch = made(encoder={"branches": branches}), made_batch()
        loss = objective.eval()(batch)["loss"]
        torch.testing.assert_close(objective.compare(drawn(objective, batch), batch)["loss"], loss)


def test_what_is_logged():
    objective = made()
    plain = {"loss", "intra", "inter", "q_deviation", "z_deviation"}
    out = objective(made_batch(3))
    assert out.keys() == plain and all(value.ndim == 0 for value in out.values())
    assert {*plain, "rank", "uniformity"} <= objective(made_batch(EVERY - 1)).keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg", "resnet18"])
def test_resumes_to_the_same_weights(name, tmp_path):
    check_resume(tmp_path, name=name)
