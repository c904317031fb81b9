"""Semi-supervised BatchNorm: a pass beside a tail against one over both together, and numbers by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ecgraft import adapters, encoders, plugs
from ecgraft.nn import paired
from ecgraft.nn.heads import Pooled
from ecgraft.nn.paired import Paired, Pairing, Run, norms_in_training
from ecgraft.record import UsageError

pytestmark = pytest.mark.slow

SMALL = {  # settings that make an encoder small; others are built as they are
    "resnet18": {"stem": 4, "widths": (4, 6, 8, 8)},
    "xresnet101": {"stem": (4, 4, 8), "width": 4, "depths": (1, 2)},
    "inception": {"width": 4},
    "multires": {"width": 8},
    "net1d": {"stem": 8, "widths": (8, 16), "depths": (1, 2), "group": 4},
    "convtransformer": {"width": 16, "depth": 2, "heads": 2},
    "vgg": {"groups": ((4,), (6,))},
}
CHOICES = [(name, {}) for name in plugs.names("encoders")]
CHOICES += [("vgg", {"branches": branches}) for branches in ("shared", "joint")]
C = 3


class ByHand(nn.Module):
    """BatchNorm in plain arithmetic over the first `n` rows and the others, which are constants unless `grad`."""

    def __init__(self, norm: nn.BatchNorm1d, n: list, grad: bool):
        super().__init__()
        self.norm, self.n, self.grad = norm, n, grad

    def forward(self, x):
        n = len(x) * self.n[0] // self.n[1]
        one, other = x[:n], x[n:] if self.grad else x[n:].detach()
        joint, norm = torch.cat((one, other)), self.norm
        axes = [0, *range(2, x.ndim)]
        shape = (1, -1, *[1] * (x.ndim - 2))
        mean, variance = joint.mean(axes), joint.var(axes, correction=0)
        with torch.no_grad():
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(joint.var(axes), norm.momentum)
        y = (joint - mean.view(shape)) / torch.sqrt(variance + norm.eps).view(shape)
        return y * norm.weight.view(shape) + norm.bias.view(shape)


def by_hand(encoder: nn.Module, n: list, grad: bool) -> nn.Module:
    encoder = copy.deepcopy(encoder)
    for layer in list(encoder.modules()):
        for name, child in list(layer.named_children()):
            if isinstance(child, nn.BatchNorm1d) and child.training:
                setattr(layer, name, ByHand(child, n, grad))
    return encoder


def built(name: str, more: dict) -> nn.Module:
    torch.manual_seed(0)
    encoder = encoders.build(name, {"leads": ("I", "II", "V1")} | SMALL.get(name, {}) | more).double().train()
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm1d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
    return encoder


def drawn(B: int, T: int = 203, seed: int = 0, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    present = torch.rand(B, C, generator=random) < 0.8
    present[:, 0] = True
    x = torch.randn(B, C, T, generator=random, dtype=dtype) * (1 + seed)
    return x.masked_fill(~present[..., None], 0), present


def loss_of(encoder, levels, B: int, T: int = 203):
    """Of every level and of the pooled features."""
    weights = [torch.cos(torch.arange(level[:B].numel(), dtype=level.dtype)).view_as(level[:B]) for level in levels]
    h = encoder.pool([level[:B] for level in levels], torch.full((B,), T))
    return sum((level[:B] * weight).mean() for level, weight in zip(levels, weights)) + h.square().mean()


@pytest.mark.parametrize("tail_grad", [False, True])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name, more", CHOICES, ids=lambda value: value if isinstance(value, str) else str(value))
def test_every_encoder_equals_a_pass_over_both(name, more, n, tail_grad):
    """Levels, gradients and statistics of a first pass, and of a second that ends the tail at the last norm."""
    B, U = 2, 2 * n
    encoder, (x, present), (u, there) = built(name, more), drawn(B), drawn(U, seed=1)
    reference, pairing = by_hand(encoder, [B, B + U], tail_grad), Pairing(tail_grad)
    for turn in range(2):
        u = u.detach().requires_grad_()
        with pairing.beside(encoder, u, there, B):
            levels = encoder(x, present)
        tail = u.detach().clone().requires_grad_()
        expected = reference(torch.cat((x, tail)), torch.cat((present, there)))
        assert all(type(level) is torch.Tensor and len(level) == B for level in levels)
        for one, two in zip(levels, expected):
            assert torch.allclose(one, two[:B], atol=1e-9)
        loss_of(encoder, levels, B).backward()
        loss_of(reference, expected, B).backward()
        for one, two in zip(encoder.parameters(), reference.parameters()):
            assert torch.allclose(one.grad, two.grad, atol=1e-8), turn
        if tail_grad:
            assert torch.allclose(u.grad, tail.grad, atol=1e-9) and u.grad.abs().max() > 0
        else:
            assert u.grad is None
    assert all(torch.allclose(a, b) for a, b in zip(statistics(encoder), statistics(reference)))
    assert pairing.needed == {norms_in_training(encoder): norms_in_training(encoder)}


@pytest.mark.parametrize("tail_grad", [False, True])
@pytest.mark.parametrize("name", ["resnet18", "convtransformer", "vgg"])
@pytest.mark.parametrize("adapter", [name for name in plugs.names("adapters") if name != "linear"])
def test_any_adapter_equals_a_pass_over_both(adapter, name, tail_grad):
    encoder, (x, present), (u, there) = built(name, {}), drawn(2), drawn(5, seed=1)
    known = plugs.find("adapters", adapter).Config.__dataclass_fields__
    adapters.attach(
        encoder, adapter, {key: value for key, value in {"norm": "batch", "rank": 3}.items() if key in known}
    )
    for parameter in encoder.double().train().parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, 0, 0.5)
    reference, pairing = by_hand(encoder, [2, 7], tail_grad), Pairing(tail_grad)
    for _ in range(2):
        with pairing.beside(encoder, u, there, 2):
            levels = encoder(x, present)
        expected = reference(torch.cat((x, u)), torch.cat((present, there)))
        assert all(torch.allclose(one, two[:2], atol=1e-8) for one, two in zip(levels, expected))
        loss_of(encoder, levels, 2).backward()
        loss_of(reference, expected, 2).backward()
    for one, two in zip(encoder.parameters(), reference.parameters()):
        assert (one.grad is None) == (two.grad is None)
        assert one.grad is None or torch.allclose(one.grad, two.grad, rtol=1e-6, atol=1e-7)


def statistics(module: nn.Module) -> list:
    return [b for name, b in module.named_buffers() if "running" in name]


def test_the_concatenated_pass_of_torch_itself():
    """tail_grad: forward values are those of a plain pass over both; without it they are the same."""
    (x, present), (u, there) = drawn(2), drawn(3, seed=1)
    plain = built("resnet18", {})
    expected = plain(torch.cat((x, u)), torch.cat((present, there)))
    for tail_grad in (False, True):
        encoder = built("resnet18", {})
        with Pairing(tail_grad).beside(encoder, u, there, 2):
            levels = encoder(x, present)
        assert all(torch.allclose(a, b[:2], atol=1e-12) for a, b in zip(levels, expected))
        assert all(torch.allclose(a, b) for a, b in zip(statistics(encoder), statistics(plain)))


@pytest.mark.parametrize("tail_grad", [False, True])
def test_numbers_by_hand(tail_grad):
    """CE-SSL, oracle 9: L = (0, 2), U = (4, 6): mean 3, variance 5; statistics from (0, 1) with momentum 0.1."""
    norm = nn.BatchNorm1d(1).train()
    x = torch.tensor([[0.0], [2.0]])
    assert norm(x).flatten().tolist() == pytest.approx([-1, 1], abs=1e-4)
    norm.reset_running_stats()
    y = norm(Paired(x, torch.tensor([[4.0], [6.0]]), Run(tail_grad)))
    assert y.labelled.flatten().tolist() == pytest.approx([-1.3416, -0.4472], abs=1e-4)
    assert y.tail.flatten().tolist() == pytest.approx([0.4472, 1.3416], abs=1e-4)
    assert norm.running_mean.item() == pytest.approx(0.3)
    assert norm.running_var.item() == pytest.approx(1.566667, abs=1e-6)
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize("tail_grad", [False, True])
def test_pooled_moments_of_a_tail_three_times_as_long(tail_grad):
    """CE-SSL, oracle 10."""
    norm = nn.BatchNorm1d(4).double().train()
    one, other = torch.randn(5, 4, 7).double().requires_grad_(), (torch.randn(15, 4, 7).double() + 2).requires_grad_()
    y = norm(Paired(one, other, Run(tail_grad))).labelled
    m, o = (part.mean((0, 2)) for part in (one, other))
    mean = (m + 3 * o) / 4
    within = (one.var((0, 2), correction=0) + 3 * other.var((0, 2), correction=0)) / 4
    variance = within + ((m - mean) ** 2 + 3 * (o - mean) ** 2) / 4
    expected = (one - mean[:, None]) / torch.sqrt(variance + norm.eps)[:, None]
    assert torch.allclose(y, expected, atol=1e-12)
    weight = torch.randn_like(one)
    gradients = torch.autograd.grad((y * weight).sum(), (one, other), allow_unused=True)
    if not tail_grad:
        o_, v_ = o.detach(), other.detach().var((0, 2), correction=0)
        mean = (m + 3 * o_) / 4
        variance = (one.var((0, 2), correction=0) + 3 * v_ + (m - mean) ** 2 + 3 * (o_ - mean) ** 2) / 4
        expected = (one - mean[:, None]) / torch.sqrt(variance + norm.eps)[:, None]
        assert gradients[1] is None
    references = torch.autograd.grad((expected * weight).sum(), (one, other), allow_unused=True)
    for found, reference in zip(gradients, references):
        assert found is reference is None or torch.allclose(found, reference, atol=1e-12)


def test_norms_that_are_held_see_no_tail():
    norm = nn.BatchNorm1d(2).eval()
    x, u = torch.randn(3, 2, 5), torch.randn(4, 2, 5) + 9
    y = norm(Paired(x, u, Run()))
    assert torch.equal(y.labelled, norm(x)) and torch.equal(y.tail, norm(u)) and y.run.norms == 0
    assert not norm.running_mean.any()


def test_norms_in_training_are_those_no_adapter_holds():
    encoder = encoders.build("resnet18", {"stem": 4, "widths": (4, 4, 4, 4)}).eval()
    norms = sum(isinstance(layer, nn.BatchNorm1d) for layer in encoder.modules())
    assert norms_in_training(encoder) == norms > 16 and not encoder.training
    adapters.attach(encoder, "full", {"norm": "frozen"})
    assert norms_in_training(encoder) == 0
    adapters.detach(encoder)
    adapters.attach(encoder, "linear")
    assert norms_in_training(encoder) == 0


def test_one_tensor_to_torch():
    """Operators, methods, lists, changes in place, and the number of records in arithmetic."""
    one, other = torch.randn(2, 3, 8), torch.randn(6, 3, 8)
    both = torch.cat((one, other))
    x = Paired(one, other, Run())

    def check(value, reference, B=2):
        assert torch.equal(torch.cat((value.labelled, value.tail)), reference)
        assert len(value) == len(value.labelled) == B

    check(1 - x * 2 / (x.abs() + 3), 1 - both * 2 / (both.abs() + 3))
    check(torch.ones(3, 8) + x, torch.ones(3, 8) + both)
    check(torch.cat([x, -x], dim=1), torch.cat([both, -both], dim=1))
    check(torch.where(x > 0, x, 0), torch.where(both > 0, both, 0))
    check(x.transpose(1, 2).flatten(1).float(), both.transpose(1, 2).flatten(1))
    check(x[:, None, ..., :4].masked_fill(x[:, None, ..., :4] < 0, 0), both[:, None, ..., :4].clamp(min=0))
    a, b = x.split([1, 2], dim=1)
    check(a, both[:, :1])
    check(b, both[:, 1:])
    B, D, T = x.shape
    assert (B, D, T, x.size(0), x.ndim, x.dtype) == (2, 3, 8, 2, 3, torch.float32) and x.size() == x.shape
    check(x.reshape(B * D, 1, T), both.reshape(24, 1, 8), 6)
    check(x.reshape(B * D, 1, T).view(B * D // D, D, T), both)
    check(x.new_zeros(B, 4) + 1, torch.ones(8, 4))
    y = x * 1
    y += x
    check(torch.relu_(y), (both * 2).relu())
    z = x.clone()
    z[:, 0] = x[:, 1]
    check(z[:, 0], both[:, 1])
    q, k, v = x.permute(1, 0, 2)
    check(q + k - v, both[:, 0] + both[:, 1] - both[:, 2])
    x.run.over = True
    assert torch.equal(x + 1, one + 1) and torch.equal(torch.cat([x, x]), torch.cat([one, one]))


@pytest.mark.parametrize("name", ["convtransformer", "net1d"])
def test_the_tail_ends_at_the_last_norm(name):
    encoder, (x, present), (u, there) = built(name, {}), drawn(2), drawn(2, seed=1)
    pairing, seen = Pairing(), []
    last = encoder.stages[-1].register_forward_hook(lambda module, given, out: seen.append(type(out)))
    for _ in range(2):
        with pairing.beside(encoder, u, there, 2):
            encoder(x, present)
    last.remove()
    assert seen == [Paired, torch.Tensor]


def kept(work) -> int:
    """Bytes that are kept for the backward pass."""
    sizes = []

    def pack(tensor):
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        work()
    return sum(sizes)


@pytest.mark.parametrize("name, more", CHOICES, ids=lambda value: value if isinstance(value, str) else str(value))
def test_a_tail_without_gradient_keeps_nothing(name, more):
    encoder, (x, present), (u, there) = built(name, more), drawn(3), drawn(3, seed=1)
    alone = kept(lambda: encoder(x, present))
    for tail_grad, low, high in ((False, 0.95, 1.05), (True, 1.2, 3)):
        pairing = Pairing(tail_grad)
        for _ in range(2):
            with pairing.beside(encoder, u, there, 3):
                beside = kept(lambda: encoder(x, present))
        assert low * alone <= beside <= high * alone, (beside, alone)


def test_autocast_keeps_the_gradients():
    encoder, (x, present), (u, there) = built("resnet18", {}).float(), drawn(2), drawn(2, seed=1)
    head = Pooled(encoder.width, 2)
    for tail_grad in (False, True):
        encoder.zero_grad()
        with Pairing(tail_grad).beside(encoder, u.float(), there, 2), torch.autocast("cpu", torch.bfloat16):
            levels = encoder(x.float(), present)
            head(encoder.pool(levels, torch.tensor([203, 203]))).float().square().mean().backward()
        assert levels[0].dtype == torch.bfloat16
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_leads_one_by_one_have_their_tail_one_by_one():
    encoder, (x, present), (u, there) = built("resnet18", {}), drawn(2), drawn(4, seed=1)
    single, alone = paired.alone(x, present)
    others, theirs = paired.alone(u, there)
    plain = built("resnet18", {})
    expected = plain(torch.cat((single, others)), torch.cat((alone, theirs)))
    with Pairing().beside(encoder, u, there, 2):
        levels = encoder(single, alone)
    assert all(torch.allclose(a, b[:6], atol=1e-12) for a, b in zip(levels, expected))


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(paired, "world", lambda: 2)
    encoder, (u, there) = built("resnet18", {}), drawn(2)
    with pytest.raises(UsageError, match="without torchrun"), Pairing().beside(encoder, u, there, 2):
        pass


def test_a_norm_called_past_nn_is_refused():
    x = Paired(torch.randn(2, 3), torch.randn(2, 3), Run())
    with pytest.raises(UsageError, match="functional"):
        torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False)
