"""BELL: the oracles of its specification, by number. Missing leads and pairs: test_objectives_bell_leads."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ecgraft import encoders, views
from ecgraft.nn import ConvNorm, files
from ecgraft.objectives import bell, byol
from ecgraft.objectives._look import draw, look
from ecgraft.record import InputError, UsageError
from ecgraft.signal.recipe import Recipe
from ecgraft.training import Config, fit
from made_bootstrap import EIGHT, THREE, TINY, copy_lead, drawn, made, made_batch, one_step

GROUPS = ((8, 8), (16, 16), (32, 32, 32), (64, 64, 64), (64, 64, 64))


def published(branches: str, **values) -> bell.Bell:
    return made(leads=EIGHT, encoder={"groups": GROUPS, "branches": branches}, hidden=512, outputs=512, **values)


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def gradients(objective: nn.Module) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}
    objective.zero_grad()
    return found


# --- 1: parameters


def test_counts():
    separate, shared = published("separate"), published("shared")
    assert count(separate.encoder) == 625_728 and count(separate.encoder) // 8 == 78_216
    assert count(separate.project) == 8 * 296_960 and count(separate.predict) == 8 * 526_336
    assert count(separate) == 7_212_096
    assert count(shared) == 901_512 + 64
    assert count(published("separate", predictor="shared").predict) == 526_336
    assert count(published("shared", predictor="per_lead").predict) == 8 * 526_336


def test_counts_of_the_comparators():
    narrow = encoders.build("vgg", {"leads": EIGHT, "branches": "joint"})
    groups = ((22, 22), (45, 45), (90,) * 3, (181,) * 3, (181,) * 3)
    wide = encoders.build("vgg", {"leads": EIGHT, "branches": "joint", "groups": groups})
    assert (count(narrow), narrow.width) == (78_384, 64) and (count(wide), wide.width) == (616_530, 181)
    x, present = torch.randn(2, 8, 333), torch.ones(2, 8, dtype=torch.bool)
    levels = wide.eval()(x, present)
    assert [level.shape[1] for level in levels] == wide.widths
    assert wide.pool(levels, torch.tensor([333, 200])).shape == (2, 181)


# --- 2, 3, 4: the loss by hand


def by_hand(q, z):
    there = torch.ones(q.shape[:2], dtype=torch.bool)
    return bell.distances(q, z, there, there)


def test_distances_of_vectors():
    q = torch.tensor([[[1.0, 2.0]]])
    for z, expected in ((q, 0.0), (torch.tensor([[[-2.0, 1.0]]]), 2.0), (-q, 4.0)):
        for a, b in ((1, 1), (5, 1), (1, 0.1)):
            assert float(by_hand(a * q, b * z)[0]) == pytest.approx(expected, abs=1e-6)


def test_two_leads_by_hand():
    q, z = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    D, n = by_hand(q, z)
    assert D.tolist() == [[0, 4], [2, 2]] and (n == 1).all()
    for gamma, expected in ((0, 3), (0.5, 2), (0.8, 1.4), (1, 1)):
        loss, intra, inter = bell.fused(D, n, gamma)
        assert (float(intra), float(inter)) == (1, 3) and float(loss) == pytest.approx(expected, abs=1e-6)
    assert float(D.sum()) == float(2 * 2**2 - 2 * (q.sum(1) * z.sum(1)).sum()) == 8


def test_closed_form_of_the_sum_and_the_plain_mean():
    q, z = (torch.nn.functional.normalize(torch.randn(2, 5, 8, 7, dtype=torch.float64), dim=-1)).unbind(0)
    D, n = by_hand(q, z)
    closed = (2 * 8**2 - 2 * (q.sum(1) * z.sum(1)).sum(-1)).mean()
    torch.testing.assert_close(D.sum(), closed)
    torch.testing.assert_close(bell.fused(D, n, 1 / 8)[0], D.mean(), rtol=1e-6, atol=0)


# --- 5: gamma = 1 is BYOL lead by lead


def lead_of(objective: bell.Bell, i: int) -> byol.Byol:
    """The BYOL objective of lead i alone with the weights of its branch."""
    leads = (THREE[i],)
    encoder = encoders.build("vgg", {"leads": leads, "groups": TINY})
    for old, new in zip(objective.encoder.parameters(), encoder.parameters()):
        new.data.copy_(old.data.chunk(3)[i])
    config = byol.Config(hidden=16, outputs=8)
    alike = byol.build(config, encoder, Recipe(leads=leads, rate=encoder.rate, seconds=2.0))
    for heads, one in ((objective.project, alike.project), (objective.predict, alike.predict)):
        copy_lead(heads, one, i)
    alike.target = byol.Target(config, alike._followed())
    return alike


def test_gamma_one_is_byol_per_lead():
    objective, batch = made(gamma=1.0, views={"gain": {}}), made_batch()
    seen = drawn(objective, batch)
    losses = []
    for i in range(3):
        part = lead_of(objective, i)
        own = [(s.batch | {"present": s.batch["present"][:, [i]]}, s.x[:, [i]], s.time) for s in seen]
        losses.append(float(part.compare(look(part.encoder, own), batch)["loss"].detach()))
    loss = float(objective.compare(seen, batch)["loss"].detach())
    assert loss == pytest.approx(sum(losses) / 3, abs=1e-5)


def test_gradients_couple_branches_only_by_the_inter_term():
    for gamma, coupled in ((1.0, False), (0.5, True)):
        objective, batch = made(gamma=gamma, views={"gain": {}}), made_batch()
        found = []
        for other in (1.0, -0.3):
            x = batch["x"].clone()
            x[:, 2] = other * x[:, 2] ** 2
            objective.compare(drawn(objective, batch | {"x": x}), batch)["loss"].backward()
            found.append(gradients(objective)["encoder.stages.0.0.conv.weight"])
        a, b = found  # (3 * 4, 1, 3)
        assert torch.allclose(a[:8], b[:8], atol=1e-6) is not coupled
        assert not torch.allclose(a[8:], b[8:], atol=1e-6)


# --- 6: at the start


@pytest.mark.parametrize("seed", range(5))
def test_random_networks_stand_at_two(seed):
    torch.manual_seed(seed)
    encoder = encoders.build("vgg", {"leads": EIGHT})
    objective = bell.build(bell.Config(), encoder, Recipe(leads=EIGHT, rate=204.8)).train()
    present, length = torch.ones(16, 8, dtype=torch.bool), torch.full((16,), 512)
    made_views = [({"present": present, "length": length}, torch.randn(16, 8, 512), None) for _ in range(2)]
    with torch.no_grad():
        out = objective.compare(look(encoder, made_views), made_batch(B=16))
    assert abs(float(out["intra"]) - 2) < 0.05 and abs(float(out["inter"]) - 2) < 0.05
    assert objective.matrix.shape == (8, 8) and objective.matrix.isfinite().all()


# --- 7, 8: the target (its update over many steps and its ramp: test_objectives_byol)


@pytest.mark.parametrize("name", ["vgg", "resnet18"])
def test_target_follows(name):
    objective = made(name, ema="cosine", steps=10)
    pairs = [(objective.encoder, objective.target["encoder"]), (objective.project, objective.target["project"])]
    old = [{path: value.clone() for path, value in target.named_buffers()} for _, target in pairs]
    for (online, _), values in zip(pairs, old):
        assert all(torch.equal(values[path], p) for path, p in online.named_parameters())
        assert values.keys() == dict(online.named_parameters()).keys()
    one_step(objective, made_batch(), 5)
    m = 1 - 0.004 * (math.cos(math.pi / 2) + 1) / 2
    for (online, target), values in zip(pairs, old):
        for path, theta in online.named_parameters():
            xi = target.get_buffer(path)
            assert xi.grad is None and not xi.requires_grad
            assert (xi - (m * values[path].double() + (1 - m) * theta.double())).abs().max() <= 1e-7
    assert not [name for name, _ in objective.target.named_buffers() if "predict" in name]
    with pytest.raises(UsageError, match="steps"):
        made(ema="cosine")


# --- 9: symmetric


@pytest.mark.parametrize("branches", ["separate", "shared", "joint"])
def test_swapping_the_views(branches):
    for symmetric in (True, False):
        objective, batch = made(encoder={"branches": branches}, symmetric=symmetric), made_batch()
        seen = drawn(objective, batch)
        a, b = (float(objective.compare(order, batch)["loss"].detach()) for order in (seen, seen[::-1]))
        assert (abs(a - b) < 1e-5) is symmetric


# --- 10: shared branches


@torch.inference_mode()
def test_shared_branches_know_a_lead_by_its_embedding_alone():
    encoder = encoders.build("vgg", {"leads": EIGHT, "branches": "shared"}).eval()
    x, present, length = torch.randn(3, 8, 400), torch.ones(3, 8, dtype=torch.bool), torch.tensor([400, 300, 400])
    present[1, 4:] = False

    def h(x, there=present):
        return encoder.by_lead(encoder(x, there), length, there)  # (B, C, D)

    plain, order = h(x), torch.tensor([3, 1, 4, 0, 5, 7, 2, 6])
    torch.testing.assert_close(h(x[:, order], present[:, order]), plain[:, order])
    assert not plain[1, 4:].any()
    torch.testing.assert_close(plain[1, :4], h(x, torch.ones_like(present))[1, :4])  # no matter how many others
    encoder.stages[0][1].table[2] = 1.0
    assert [bool((h(x)[:, i] != plain[:, i]).any()) for i in range(8)] == [i == 2 for i in range(8)]


def test_trap_a_constant_before_a_norm_of_a_single_lead():
    layer, x = ConvNorm(1, 8, 3).train(), torch.randn(6, 1, 200)
    before = layer.conv(x)
    torch.testing.assert_close(layer.norm(before + 5.0), layer.norm(before), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(layer.norm(before) + 5.0, layer.norm(before))


@torch.inference_mode()
def test_other_leads_go_by_name_and_unknown_ones_get_the_mean_row():
    encoder = encoders.build("vgg", {"leads": EIGHT, "branches": "shared"}).eval()
    encoder.stages[0][1].table.normal_()
    other = encoder.for_leads(("V3", "II", "CM5"))
    table = encoder.stages[0][1].table
    assert torch.equal(other.stages[0][1].table, torch.stack([table[4], table[0], table.mean(0)]))
    x, present, length = torch.randn(2, 8, 300), torch.ones(2, 8, dtype=torch.bool), torch.full((2,), 300)
    whole = encoder.by_lead(encoder(x, present), length, present)
    some = other.by_lead(other(x[:, [4, 0, 1]], present[:, :3]), length, present[:, :3])
    torch.testing.assert_close(some[:, :2], whole[:, [4, 0]])
    with pytest.raises(UsageError, match="separate"):
        encoders.build("vgg").for_leads(("II",))


# --- 11: views


@pytest.mark.parametrize("crop", ["stretch", "window"])
def test_views(crop):
    objective = made(crop=crop)
    batch = made_batch(B=40, T=400)
    ramp = torch.arange(1.0, 401.0).expand(40, 3, 400)
    for name in ("crop", "mask"):
        view = views.build({name: objective.config.cropped()[name]})
        seen, time = view(batch | {"x": ramp}, views.generator(1, 2))
        assert seen["x"].shape == ramp.shape and torch.equal(seen["x"], seen["x"][:, :1].expand(40, 3, 400))
        if name == "mask":
            share = time.cut.float().mean(-1)
            assert share.max() <= 0.5 and share.max() > 0.4 and share.min() < 0.1
        else:
            assert ((time.a == 1) == (crop == "window")).all()
    first, second = (x for _, x, _ in draw(batch, objective.view, objective.after, objective.recipe, 2))
    assert first.shape == second.shape == batch["x"].shape and not torch.equal(first, second)


# --- 12: collapse


@pytest.mark.parametrize("branches", ["separate", "joint"])
def test_collapse_has_the_lowest_loss_and_is_stopped(branches):
    objective = made(encoder={"branches": branches}, patience=3)
    with torch.no_grad():
        for module in (objective.encoder, objective.target["encoder"]):  # constant: the last norm gives its bias
            layer = [layer for layer in module.modules() if isinstance(layer, ConvNorm)][-1]
            layer.norm.weight.zero_(), layer.norm.bias.fill_(0.3)
        for head in (objective.project, objective.predict, objective.target["project"]):
            for name, value in [*head.named_parameters(), *head.named_buffers()]:
                if "bias" in name and ("second" in name or "mlp.3" in name):
                    value.fill_(1.0)
                elif "second" in name or "mlp.3" in name:
                    value.zero_()
    objective.train()
    out = objective(made_batch())
    assert float(out["loss"].detach()) == pytest.approx(0, abs=1e-6)
    assert float(out["q_deviation"]) < 1e-6 and float(out["z_deviation"]) < 1e-6
    with pytest.warns(UserWarning, match="nearly the same"):
        objective.after_step(0)
    objective.after_step(1)
    objective.after_step(2)
    assert int(objective.guard.low) == 3 and "guard.low" in dict(objective.named_buffers())
    with pytest.raises(InputError, match="collapsed"):
        objective.after_step(3)


def test_a_healthy_run_is_not_stopped():
    objective = made("resnet18", patience=1)
    fit(objective, lambda n: made_batch(n, B=8), Config(steps=4, precision="fp32"), progress=False)
    assert int(objective.guard.low) == 0


# --- 13: what is kept


@pytest.mark.parametrize("name", ["vgg", "resnet18"])
def test_the_stored_encoder_gives_the_same_bits(name, tmp_path):
    objective, batch = made(name), made_batch(9)
    fit(objective, made_batch, Config(steps=3, precision="fp32"), progress=False)
    files.save(tmp_path / "encoder.safetensors", dict(objective.encoder.state_dict()), {})
    stored = made(name).encoder
    stored.load_state_dict(files.load(tmp_path / "encoder.safetensors")[0])
    stored.eval()
    assert not [key for key in stored.state_dict() if "target" in key or "project" in key]
    with torch.inference_mode():
        h = stored.pool(stored(batch["x"], batch["present"]), batch["length"])
        trained = objective.eval().encoder
        assert torch.equal(h, trained.pool(trained(batch["x"], batch["present"]), batch["length"]))
