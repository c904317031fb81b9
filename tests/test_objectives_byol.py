"""BYOL: the target's update in closed form, the distance, the guard against collapse, resume to the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ecgraft import encoders, plugs
from ecgraft.objectives import byol
from ecgraft.objectives._target import Bootstrap, Guard, Target, deviation, distance, momentum
from ecgraft.record import InputError, UsageError
from made_bootstrap import THREE, TINY, check_resume, drawn, made, made_batch, one_step, with_leads


def small(name: str = "vgg", **values) -> byol.Byol:
    return made(name, plug=byol, **values)


# --- distance and target


def test_distance_by_hand():
    """BELL, oracle 2."""
    q = torch.tensor([[1.0, 2.0]])
    for z, expected in ((q, 0.0), (torch.tensor([[-2.0, 1.0]]), 2.0), (-q, 4.0)):
        for a, b in ((1, 1), (3, 1), (1, 0.2)):
            assert float(distance(a * q, b * z)) == pytest.approx(expected, abs=1e-6)


def test_target_is_a_copy_that_follows():
    """BELL, oracle 7: xi = m xi + (1 - m) theta; no gradient; the predictor is not in it."""
    objective = small(momentum=0.9)
    online = dict(objective.encoder.named_parameters())
    before = {name: value.clone() for name, value in objective.target["encoder"].named_buffers()}
    assert all(torch.equal(before[name], online[name]) for name in online) and before.keys() == online.keys()
    one_step(objective, made_batch())
    for name, value in objective.target["encoder"].named_buffers():
        expected = 0.9 * before[name].double() + 0.1 * online[name].double()
        assert not value.requires_grad and value.grad is None
        assert (value - expected).abs().max() <= 1e-7
    assert any(not torch.equal(before[name], value) for name, value in objective.target["encoder"].named_buffers())
    assert set(objective.target) == {"encoder", "project"} and not list(objective.target.parameters())
    assert not any("running" in name for name, _ in objective.target.named_buffers())


def test_target_after_250_updates():
    """BELL, oracle 7: theta 1, xi from 0: 1 - 0.996^250."""
    one, nothing = nn.Linear(2, 2), nn.Linear(2, 2)
    for module, value in ((one, 1.0), (nothing, 0.0)):
        for p in module.parameters():
            nn.init.constant_(p, value)
    target = Target(Bootstrap(), {"body": nothing})
    for k in range(250):
        target.follow({"body": one}, k)
    values = torch.cat([value.flatten() for value in target["body"].buffers()])
    assert values.numpy() == pytest.approx(0.632858, abs=2e-6)


def test_ramp_of_the_momentum():
    """BELL, oracle 8."""
    config = Bootstrap(ema="cosine", steps=40)
    assert momentum(config, 0) == pytest.approx(0.996, abs=1e-12) and momentum(config, 40) == 1.0
    assert momentum(config, 20) == pytest.approx(0.998, abs=1e-12)
    assert momentum(Bootstrap(), 33) == 0.996
    with pytest.raises(UsageError, match="steps"):
        small(ema="cosine")


def test_target_uses_the_batch_and_keeps_no_statistics():
    objective = small()
    x, present = torch.randn(4, 3, 64), torch.ones(4, 3, dtype=torch.bool)
    fresh = encoders.build("vgg", {"leads": THREE, "groups": TINY}).train()
    fresh.load_state_dict(objective.encoder.state_dict())
    expected = fresh(x, present)[-1]
    for mode in (True, False):
        objective.train(mode)
        torch.testing.assert_close(objective.target["encoder"](x, present)[-1], expected)


# --- loss


def test_loss_is_what_the_paper_says():
    """Both ways by hand; the second half of what is encoded together predicts the first and the other way round."""
    objective, batch = small(), made_batch()
    seen = drawn(objective, batch)
    q = objective.predict(objective.project(torch.cat([seen[0].h, seen[1].h])))
    x = torch.cat([seen[0].x, seen[1].x])
    present, length = (torch.cat([s.batch[key] for s in seen]) for key in ("present", "length"))
    encoder = objective.target["encoder"]
    z = objective.target["project"](encoder.pool(encoder(x, present), length))
    q, z = (side / side.norm(dim=1, keepdim=True) for side in (q, z))
    expected = (q[:6] - z[6:]).square().sum(1).mean() + (q[6:] - z[:6]).square().sum(1).mean()
    torch.testing.assert_close(objective.compare(seen, batch)["loss"], expected)


def test_swapping_the_views_changes_nothing():
    """BELL, oracle 9; without `symmetric` it does."""
    for symmetric in (True, False):
        objective, batch = small(symmetric=symmetric), made_batch()
        seen = drawn(objective, batch)
        a, b = (float(objective.compare(views, batch)["loss"].detach()) for views in (seen, seen[::-1]))
        assert (abs(a - b) < 1e-5) is symmetric


def test_predicting_oneself_costs_nothing():
    z = torch.randn(5, 8)
    assert float(distance(z, 3 * z).abs().max()) < 1e-6


@pytest.mark.parametrize("name", plugs.names("encoders"))
def test_every_encoder(name):
    objective = small(name)
    out = objective.train()(made_batch(B=3, T=96))
    out["loss"].backward()
    assert 0 <= float(out["loss"].detach()) <= 8
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in objective.parameters())


def test_absent_leads_and_short_records():
    batch = with_leads(made_batch(), torch.tensor([[True, False, False]] * 3 + [[True] * 3] * 3))
    batch["length"][2:] = 90
    batch["x"][2:, :, 90:] = 0
    assert torch.isfinite(small()(batch)["loss"])


# --- collapse


def test_deviation():
    even = torch.randn(4000, 1, 512, generator=torch.Generator().manual_seed(0))
    there = torch.ones(4000, 1, dtype=torch.bool)
    assert float(deviation(even, there)) == pytest.approx(512**-0.5, rel=0.01)
    apart = torch.eye(3)[None].expand(10, 3, 3)  # every lead has collapsed to a place of its own
    assert float(deviation(apart, torch.ones(10, 3, dtype=torch.bool))) < 1e-7
    assert torch.isnan(deviation(apart[:1], torch.ones(1, 3, dtype=torch.bool)))


def test_guard_counts_steps_in_a_row():
    guard = Guard(patience=2)
    for value, low in ((0.04, 0), (0.001, 1), (0.2, 0)):
        guard.watch(torch.tensor(value))
        if low:
            with pytest.warns(UserWarning, match="nearly the same"):
                guard.after_step()
        else:
            guard.after_step()
        assert int(guard.low) == low
    guard.watch(torch.tensor(0.001))
    guard.after_step()
    guard.after_step()
    with pytest.raises(InputError, match=r"collapsed.*3 steps.*learning rate"):
        guard.after_step()


def test_a_flat_predictor_alone_is_no_collapse():
    objective = small(patience=1)
    with torch.no_grad():
        objective.predict[3].weight.zero_()
    for step in range(3):
        out = objective.train()(made_batch(step))
        objective.after_step(step)
    assert float(out["q_deviation"]) < 1e-6 < 0.01 < float(out["z_deviation"]) and int(objective.guard.low) == 0


# --- training


def test_resumes_to_the_same_weights(tmp_path):
    check_resume(tmp_path, plug=byol)


def test_what_is_logged():
    objective = small()
    out = objective(made_batch(49))
    assert {"loss", "q_deviation", "z_deviation", "rank", "uniformity"} <= out.keys()
    assert objective(made_batch(3)).keys() == {"loss", "q_deviation", "z_deviation"}
