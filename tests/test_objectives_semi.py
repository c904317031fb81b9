"""Objectives that learn from unlabelled records too: what holds for each of them, and numbers by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ecgraft import adapters, plugs, views
from ecgraft.commands import _objective
from ecgraft.nn.paired import Paired
from ecgraft.objectives import _tail, fixmatch, mean_teacher, stage, supervised
from ecgraft.record import UsageError
from ecgraft.training import Config, fit
from made_semi import NAMES, TASKS, batch_of, built, network_of, only_labelled

pytestmark = pytest.mark.slow

KINDS = {"semi_bn": tuple(TASKS), "fixmatch": fixmatch.KINDS, "mean_teacher": mean_teacher.KINDS}
PAIRS = [(name, kind) for name in NAMES for kind in KINDS.get(name, ("multilabel",))]


def values(out: dict) -> dict:
    return {key: value.item() for key, value in out.items()}


# --- what holds for each


def test_they_are_there():
    assert {"semi_bn", "fixmatch", "mean_teacher"} <= set(NAMES)


@pytest.mark.parametrize("name, kind", PAIRS)
def test_without_a_tail_it_is_the_supervised_one_to_the_bit(name, kind):
    for training in (True, False):
        batch = only_labelled(batch_of(kind))
        objective, plain = built(name, kind).train(training), built("supervised", kind).train(training)
        one, two = objective(batch), plain({key: value for key, value in batch.items() if key != "labelled"})
        assert values(one) == values(two)
        one["loss"].backward()
        two["loss"].backward()
        for p, q in zip(objective.network.parameters(), plain.network.parameters()):
            assert torch.equal(p.grad, q.grad)
        for p, q in zip(objective.network.buffers(), plain.network.buffers()):
            assert torch.equal(p, q)


@pytest.mark.parametrize("name, kind", PAIRS)
def test_the_tail_matters_and_its_labels_do_not(name, kind):
    batch = batch_of(kind)
    choice = {"threshold": 0.5} if name == "fixmatch" else {}

    def loss(batch):
        objective = built(name, kind, **choice).train()
        out = objective(batch)
        out["loss"].backward()
        if hasattr(objective, "after_step"):
            objective.after_step(0)
        assert all(torch.isfinite(value).all() for value in out.values())
        gradients = torch.cat([p.grad.flatten() for p in objective.network.parameters()])
        assert torch.isfinite(gradients).all()
        return values(out), gradients

    found, gradients = loss(batch)
    again, same = loss(batch)
    assert found == again and torch.equal(gradients, same)
    lies = dict(batch)
    for key in ("y", "known", "waves", "scored", "peaks", "beats"):
        if key in batch:
            lies[key] = batch[key].clone()
            lies[key][6:] = 1
    assert loss(lies)[0] == found
    other = batch | {"x": torch.cat((batch["x"][:6], batch_of(kind, 1)["x"][6:]))}
    assert loss(other)[0]["loss"] != found["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["multilabel", "multiclass", "waves"])
@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls(name, kind):
    objective = built(name, kind, augment={"gain": {}, **({"cutmix": {"share": 0.5}} if kind != "waves" else {})})
    held = built("supervised", kind, objective.network)
    before = held.eval()(batch_of(kind, 1000, 64, 0))[kind].item()
    config = Config(steps=60, precision="fp32", rate=1e-2)
    log = fit(objective, lambda k: batch_of(kind, k, 16, 16), config, progress=False).log
    assert held.eval()(batch_of(kind, 1000, 64, 0))[kind].item() < 0.6 * before
    assert all(math.isfinite(value) for row in log for value in row.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_goes_on_to_the_same_bits(name, tmp_path):
    class Killed(Exception):
        pass

    def killed(number):
        if number == 3:
            raise Killed
        return batch_of("multilabel", number)

    config = Config(steps=6, precision="fp32", checkpoint_every=1e-9, rate=1e-2)
    whole, half, again = (built(name, "multilabel") for _ in range(3))
    fit(whole, lambda k: batch_of("multilabel", k), config, progress=False)
    with pytest.raises(Killed):
        fit(half, killed, config, folder=tmp_path, progress=False)
    fit(again, lambda k: batch_of("multilabel", k), config, folder=tmp_path, progress=False)
    one, two = whole.state_dict(), again.state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("adapter", [name for name in plugs.names("adapters") if name != "linear"])
@pytest.mark.parametrize("name", NAMES)
def test_any_adapter(name, adapter):
    known = plugs.find("adapters", adapter).Config.__dataclass_fields__
    settings = {key: value for key, value in {"norm": "batch", "rank": 4}.items() if key in known}
    network = network_of("multilabel", adapter=adapter, values=settings)
    try:
        objective = built(name, "multilabel", network).train()
    except UsageError as error:
        assert name == "semi_bn" and f"adapter {adapter} keeps the statistics" in str(error)
        return
    frozen = {key: p.clone() for key, p in network.named_parameters() if not p.requires_grad}
    out = objective(batch_of("multilabel"))
    out["loss"].backward()
    assert any(p.grad is not None and p.grad.any() for p in network.encoder.parameters())
    if hasattr(objective, "after_step"):
        objective.after_step(0)
    assert all(torch.equal(network.get_parameter(key), value) for key, value in frozen.items())
    assert adapters.saved(network.encoder)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("leads", ["joint", "each"])
def test_heads_per_sample(name, leads):
    out = built(name, "waves", network_of("waves", head={"leads": leads})).train()(batch_of("waves"))
    out["loss"].backward()
    assert torch.isfinite(out["loss"])


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_keeps_the_gradients(name):
    """Autocast keeps weights that it has cast; those cast without gradient must not be used again."""
    objective = built(name, "multilabel").train()
    with torch.autocast("cpu", torch.bfloat16):
        out = objective(batch_of("multilabel"))
    out["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in objective.network.parameters() if p.ndim > 1)


@pytest.mark.parametrize("name", NAMES)
def test_pretraining_refuses_them(name):
    for ask in (_objective.check, _objective.needs, _objective.has_noise):
        with pytest.raises(UsageError, match=rf"objective {name}: .* ecgraft adapt \(semi={name}\); .* byol"):
            ask(name, {})
    with pytest.raises(UsageError, match="ecgraft adapt"):
        _objective.check("joint", {"parts": {name: {}}})
    assert stage(supervised) == "pretrain"


def test_neighbours_are_refused():
    for name in NAMES:
        with pytest.raises(UsageError, match=r"head\.kind=linear"):
            built(name, "multilabel", network_of("multilabel", head={"kind": "knn"}))


# --- the supervised part


def test_rows_without_labels_teach_nothing():
    for kind in TASKS:
        batch = batch_of(kind)
        objective = built("supervised", kind).eval()
        whole, alone = objective(batch), objective(only_labelled(batch))
        assert values(whole) == pytest.approx(values(alone), rel=1e-5), kind


def test_soft_classes_are_shares_and_hard_ones_are_as_before():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    hard = {"y": torch.eye(3)[[0, 2, 1, 1]], "known": torch.tensor([[True] * 3] * 3 + [[False] * 3])}
    for smoothing in (0.0, 0.1):
        before = F.cross_entropy(logits[:3], hard["y"][:3].argmax(1), label_smoothing=smoothing)
        found = supervised.multiclass(logits, hard, smoothing)
        assert found.item() == pytest.approx(before.item(), abs=1e-7)
        one, two = (torch.autograd.grad(loss, logits)[0] for loss in (found, before))
        assert torch.allclose(one, two, atol=1e-8)
    soft = {"y": torch.tensor([[0.25, 0.75, 0.0], [0.0, 1.0, 0.0]]), "known": torch.ones(2, 3, dtype=torch.bool)}
    log = logits.log_softmax(1)
    expected = -(0.25 * log[0, 0] + 0.75 * log[0, 1] + log[1, 1]) / 2
    assert supervised.multiclass(logits[:2], soft, 0.0).item() == pytest.approx(expected.item(), abs=1e-6)


# --- semi_bn


def test_semi_bn_is_a_pass_over_both_and_the_loss_of_the_first_rows():
    for tail_grad in (True, False):
        batch = batch_of("multiclass", tail=18)
        objective = built("semi_bn", "multiclass", tail_grad=tail_grad, weak={}).train()
        plain = built("supervised", "multiclass").train()
        random = views.generator(5, 0)
        seen = plain.seen(only_labelled(batch), random)
        both = {key: torch.cat((seen[key], batch[key][6:])) for key in ("x", "present", "length", "y", "known")}
        expected = plain.losses({"multiclass": plain.network(both)["multiclass"][:6]}, only_labelled(both | {
            "labelled": batch["labelled"]}))  # fmt: skip
        out = objective(batch)
        assert out["loss"].item() == pytest.approx(expected["loss"].item(), rel=1e-5)
        for (name, one), (_, two) in zip(objective.network.named_buffers(), plain.network.named_buffers()):
            assert torch.allclose(one, two, rtol=1e-4, atol=1e-6), name
        out["loss"].backward()
        expected["loss"].backward()
        pairs = zip(objective.network.parameters(), plain.network.parameters())
        assert all(torch.allclose(p.grad, q.grad, rtol=1e-3, atol=1e-5) for p, q in pairs) == tail_grad


def test_semi_bn_keeps_the_tail_out_of_heads():
    network = network_of("waves")
    seen = []
    hook = network.heads["waves"].register_forward_pre_hook(lambda head, given: seen.extend(given[0]))
    built("semi_bn", "waves", network).train()(batch_of("waves"))
    hook.remove()
    assert seen and all(type(level) is torch.Tensor and len(level) == 6 for level in seen)
    assert not isinstance(seen[0], Paired)


def test_semi_bn_says_why_there_is_nothing_to_learn():
    with pytest.raises(UsageError, match=r"adapter full keeps the statistics .* adapter_config.norm=batch"):
        built("semi_bn", "multilabel", network_of("multilabel", values={"norm": "frozen"}))
    with pytest.raises(UsageError, match="adapter linear keeps the statistics"):
        built("semi_bn", "multilabel", network_of("multilabel", adapter="linear"))
    network = network_of("multilabel")
    for layer in list(network.encoder.modules()):
        for name, child in list(layer.named_children()):
            if isinstance(child, nn.BatchNorm1d):
                setattr(layer, name, nn.GroupNorm(1, child.num_features))
    with pytest.raises(UsageError, match="encoder resnet18 has no BatchNorm"):
        built("semi_bn", "multilabel", network)


# --- FixMatch


def test_fixmatch_by_hand():
    """CE-SSL, oracle 13: P = (.97, .5, .02), strong logits 0: L_u = 2 ln 2 / 3."""
    asked = torch.logit(torch.tensor([[0.97, 0.5, 0.02]]))
    found = fixmatch.several(asked, torch.zeros(1, 3), torch.ones(1, dtype=torch.bool), [0.95] * 3)
    assert found["unlabelled"].item() == pytest.approx(0.462098, abs=1e-6)
    assert found["used"].item() == pytest.approx(2 / 3) and found["positives"].item() == 0.5
    strict = fixmatch.several(asked, torch.zeros(1, 3), torch.ones(1, dtype=torch.bool), [0.98, 0.5, 0.95])
    assert strict["unlabelled"].item() == pytest.approx(2 * math.log(2) / 3, abs=1e-6)
    assert strict["positives"].item() == 0.5  # 0.5 counts as positive


def test_fixmatch_of_one_class_by_hand():
    """Two records of three are sure; and per sample the entries that are not there do not count."""
    P = torch.tensor([[0.96, 0.02, 0.02], [0.01, 0.97, 0.02], [0.5, 0.3, 0.2]])
    found = fixmatch.one(P.log(), torch.zeros(3, 3), torch.ones(3, dtype=torch.bool), [0.95] * 3)
    assert found["unlabelled"].item() == pytest.approx(2 * math.log(3) / 3, abs=1e-6)
    assert found["used"].item() == pytest.approx(2 / 3) and found["positives"].item() == 0.5
    strict = fixmatch.one(P.log(), torch.zeros(3, 3), torch.ones(3, dtype=torch.bool), [0.97, 0.95, 0.5])
    assert strict["unlabelled"].item() == pytest.approx(math.log(3) / 3, abs=1e-6)
    samples = P.log().T[None]  # (1, K, T)
    there = torch.tensor([[True, False, True]])
    found = fixmatch.one(samples, torch.zeros(1, 3, 3), there, [0.95] * 3)
    assert found["unlabelled"].item() == pytest.approx(math.log(3) / 2, abs=1e-6)
    none = fixmatch.one(samples, torch.zeros(1, 3, 3), there & False, [0.95] * 3)
    assert all(value == 0 for value in none.values())


@pytest.mark.parametrize("together", [True, False])
def test_fixmatch_asks_in_inference_and_moves_no_statistics_twice(together):
    network = network_of("multilabel", head={"dropout": 0.5})
    given = {"threshold": 0.5, "weak": {}, "strong": {}, "weight": 3.0, "together": together}
    objective = built("fixmatch", "multilabel", network, **given).train()
    batch = batch_of("multilabel")
    plain = built("supervised", "multilabel", network_of("multilabel", head={"dropout": 0.5})).train()
    tail = {key: value[6:] for key, value in batch.items() if torch.is_tensor(value)}
    asked = plain.network.eval()(tail)["multilabel"]
    plain.train()
    seen = plain.seen(only_labelled(batch))
    torch.manual_seed(9)
    if together:
        both = {key: torch.cat((seen[key], tail[key])) for key in ("x", "present", "length")}
        said = plain.network(both)["multilabel"][6:]
    else:  # each has its own statistics, and only the labelled move the running ones
        plain.network(seen)
        said = copy.deepcopy(plain.network)(tail)["multilabel"]
    expected = F.binary_cross_entropy_with_logits(said, (asked >= 0).float())
    torch.manual_seed(9)
    out = objective(batch)
    assert out["unlabelled"].item() == pytest.approx(expected.item(), rel=1e-5) and out["used"] == 1
    assert out["loss"].item() == pytest.approx(out["multilabel"].item() + 3 * expected.item(), rel=1e-5)
    moved = zip(network.named_buffers(), plain.network.buffers())
    assert all(torch.equal(p, q) for (name, p), q in moved if "tracked" not in name)
    assert all(layer.momentum == 0.1 for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm1d))
    assert network.training and network.heads["multilabel"].training
    gradient = torch.autograd.grad(out["unlabelled"], [*network.heads.parameters()])
    assert gradient[0].any()


def test_fixmatch_counts_what_is_there_under_both_views():
    one, two = batch_of("waves", tail=0), batch_of("waves", tail=0)
    one["length"][0], two["present"][1, 2], one["present"][2] = 100, False, False
    waves = _tail.there(TASKS["waves"], one, two).view(6, 3, -1)
    assert waves[0].sum() == 300 and waves[1].sum() == 320 and not waves[2].any() and waves[3:].all()
    peaks = _tail.there(TASKS["peaks"], one, two)
    assert peaks[0].sum() == 100 and peaks[1].all() and not peaks[2].any()
    assert _tail.there(TASKS["multilabel"], one, two).all()


@pytest.mark.parametrize(
    "name, kind, given, hint",
    [
        ("fixmatch", "beats", {}, "not beats"),
        ("fixmatch", "regression", {}, "not regression"),
        ("mean_teacher", "beats", {}, "semi=mean_teacher: it learns tasks of the kinds multilabel"),
        ("fixmatch", "multilabel", {"thresholds": {"fats": 0.8}}, "no label 'fats'; did you mean 'fast'"),
        ("fixmatch", "multilabel", {"threshold": 0.3}, "threshold = 0.3"),
        ("fixmatch", "multilabel", {"weak": {"burts": {}}}, "did you mean 'burst'"),
        ("semi_bn", "multilabel", {"weak": {"hiss": {"siez": 1}}}, "did you mean 'size'"),
        ("fixmatch", "waves", {"strong": {"reverse": {}}}, r"views in strong move time, .* semi_config\.strong"),
        ("fixmatch", "peaks", {"weak": {"crop": {"speed": (0.8, 1.2)}}}, "views in weak move time"),
        ("mean_teacher", "waves", {"weak": {"crop": {"keep": (0.5, 1), "samples": 80}}}, "views in weak move time"),
        ("mean_teacher", "multilabel", {"steps": 0}, "semi_config.steps"),
    ],
)
def test_what_cannot_be_is_said(name, kind, given, hint):
    with pytest.raises(UsageError, match=hint):
        built(name, kind, **given)


def test_views_that_move_time_are_well_where_a_record_has_one_answer():
    for name in NAMES:
        out = built(name, "multilabel", weak={"reverse": {}, "crop": {"speed": (0.8, 1.2)}}).train()
        assert torch.isfinite(out(batch_of("multilabel"))["loss"])
    assert torch.isfinite(
        built("fixmatch", "multilabel", strong={"crop": {"samples": 100}})(batch_of("multilabel"))["loss"]
    )
    other = built("fixmatch", "multilabel", strong={"crop": {"samples": 100}}, together=True).train()
    with pytest.raises(UsageError, match="160 samples and unlabelled ones of 100"):
        other(batch_of("multilabel"))


# --- Mean Teacher


def test_mean_teacher_by_hand():
    """CE-SSL, oracle 13: alpha = 0, .5, .9 at t = 0, 1, 9; weight at t = 0 is 0.006738 lambda_max."""
    assert [mean_teacher.alpha(t, 0.999) for t in (0, 1, 9, 10**6)] == pytest.approx([0, 0.5, 0.9, 0.999])
    ramps = [mean_teacher.ramp(torch.tensor(t), 100).item() for t in (0, 50, 100, 500)]
    assert ramps == pytest.approx([0.006738, math.exp(-1.25), 1, 1], abs=1e-6)
    assert mean_teacher.ramp(torch.tensor(0), 0) == 1
    batch = batch_of("multilabel")
    objective = built("mean_teacher", "multilabel", weight=100.0, weak={}, together=True).train()
    tail = {key: value[6:] for key, value in batch.items() if torch.is_tensor(value)}
    teacher = built("supervised", "multilabel").network.eval()(tail)["multilabel"].sigmoid()
    student = built("supervised", "multilabel").train()
    seen = student.seen(only_labelled(batch))
    both = {key: torch.cat((seen[key], tail[key])) for key in ("x", "present", "length")}
    expected = (student.network(both)["multilabel"][6:].sigmoid() - teacher).square().mean().item()
    out = objective(batch)
    assert out["consistency"].item() == pytest.approx(expected, rel=1e-4)
    assert (out["loss"] - out["multilabel"]).item() == pytest.approx(0.6738 * expected, rel=1e-3)


def test_the_teacher_is_a_mean_of_the_student():
    objective = built("mean_teacher", "multilabel", network_of("multilabel", adapter="norm")).train()
    network, teacher = objective.network, objective.teacher.copy
    free = [name for name, p in network.named_parameters() if p.requires_grad]
    mean = {name: network.get_parameter(name).detach().clone() for name in free}
    for step, alpha in enumerate((0, 0.5, 2 / 3)):
        with torch.no_grad():
            for name in free:
                network.get_parameter(name).add_(step + 1.0)
            for value in network.buffers():
                value.add_(1)
        objective.after_step(step)
        for name in free:
            mean[name] = alpha * mean[name] + (1 - alpha) * network.get_parameter(name).detach()
            assert torch.allclose(teacher.get_buffer(name), mean[name], atol=1e-6)
        for name, value in network.named_buffers():
            assert torch.equal(teacher.get_buffer(name), value)
    assert objective.step == 3 and not any(layer.training for layer in teacher.modules())
    assert objective.train().teacher.training is False
    for name, p in network.named_parameters():
        assert p.requires_grad or teacher.get_parameter(name) is p  # what is frozen is there once
    assert {id(p) for p in objective.parameters()} == {id(p) for p in network.parameters()}
