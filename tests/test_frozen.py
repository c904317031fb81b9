"""Frozen layers against PyTorch's own: the same bits forward, the same gradients, fewer bytes kept for them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ecgraft import adapters, encoders
from ecgraft.nn import frozen

pytestmark = pytest.mark.slow

SHAPES = [  # kernel, stride, padding, dilation, groups
    (1, 1, 0, 1, 1),
    (3, 2, 1, 1, 1),
    (9, 4, 4, 1, 1),
    (3, 1, 4, 4, 2),
    (4, 3, 1, 2, 4),
]
SMALL = {"widths": (8, 8, 16, 16), "stem": 8, "leads": ("I", "II")}


def _held(module: nn.Module) -> nn.Module:
    """Frozen as an encoder is that carries an adapter, with statistics that are not trivial."""
    torch.manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.1, 4)
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    adapters.hold(module.requires_grad_(False))
    return module


def _both(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Frozen, and the same as torch has it."""
    plain = copy.deepcopy(module)
    frozen.freeze(module)
    assert type(module) is not type(plain)
    return module, plain


def _gradients(module: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """What comes out, and the gradients with respect to the input and all that is free."""
    x = x.clone().requires_grad_()
    y = module(x)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(3)).to(y)
    return y, torch.autograd.grad((y * weight).sum(), [x, *(p for p in module.parameters() if p.requires_grad)])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_convolution(shape, bias):
    kernel, stride, padding, dilation, groups = shape
    layer = _held(nn.Conv1d(4, 8, kernel, stride, padding, dilation, groups, bias))
    if bias:
        layer.bias.requires_grad_(True)
    lean, plain = _both(layer)
    x = torch.randn(2, 4, 30)
    (y, found), (expected, wanted) = _gradients(lean, x), _gradients(plain, x)
    assert torch.equal(y, expected) and torch.equal(lean(x), plain(x))
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b)
    lean.double()
    assert torch.autograd.gradcheck(lean, torch.randn(2, 4, 23, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("padding,mode", [("same", "zeros"), (2, "circular")])
def test_paddings_that_only_torch_knows(padding, mode):
    lean, plain = _both(_held(nn.Conv1d(4, 4, 3, padding=padding, padding_mode=mode)))
    x = torch.randn(2, 4, 11)
    (y, found), (expected, wanted) = _gradients(lean, x), _gradients(plain, x)
    assert torch.equal(y, expected) and torch.equal(found[0], wanted[0])


def test_a_bias_learns_from_an_input_without_gradient():
    for layer in (nn.Conv1d(4, 3, 3), nn.BatchNorm1d(4)):
        _held(layer).bias.requires_grad_(True)
        lean, plain = _both(layer)
        x = torch.randn(2, 4, 11)
        for module in (lean, plain):
            module(x).square().sum().backward()
        torch.testing.assert_close(lean.bias.grad, plain.bias.grad)


@pytest.mark.parametrize("size", [(5, 4), (5, 4, 7)])
@pytest.mark.parametrize("shift", [True, False])
def test_norm(size, shift):
    layer = _held(nn.BatchNorm1d(4))
    layer.bias.requires_grad_(shift)
    lean, plain = _both(layer)
    x = torch.randn(size)
    (y, found), (expected, wanted) = _gradients(lean, x), _gradients(plain, x)
    assert torch.equal(y, expected) and torch.equal(lean(x), plain(x))
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b)
    lean.double()
    assert torch.autograd.gradcheck(lean, torch.randn(size, dtype=torch.float64, requires_grad=True))


def test_relu():
    block = nn.Sequential(nn.Conv1d(2, 2, 1), nn.ReLU(inplace=True))
    frozen.freeze(_held(block))
    lean, plain = block[1], nn.ReLU()
    assert type(lean) is frozen.LeanReLU
    x = torch.tensor([[-1.0, 0.0, 2.0]])
    (y, found), (expected, wanted) = _gradients(lean, x), _gradients(plain, x)
    assert torch.equal(y, expected) and torch.equal(found[0], wanted[0])


def test_by_hand():
    """y = w x + b with w = 2 between a norm with gamma = 3, variance 4 and a ReLU: dy/dx is 3 / 2 * 2 where y > 0."""
    block = nn.Sequential(nn.Conv1d(1, 1, 1, bias=False), nn.BatchNorm1d(1), nn.ReLU())
    _held(block)
    block[0].weight.fill_(2)
    norm = block[1]
    norm.weight.fill_(3), norm.bias.fill_(0), norm.running_mean.fill_(0), norm.running_var.fill_(4 - norm.eps)
    frozen.freeze(block)
    x = torch.tensor([[[-1.0, 1.0]]], requires_grad=True)
    block(x).sum().backward()
    assert block(x).tolist() == [[[0, 3]]] and x.grad.tolist() == [[[0, 3]]]


def test_what_learns_is_left_as_it_is():
    """A weight, a scale, statistics that follow the batches; a ReLU where every convolution keeps its input anyway."""
    block = nn.Sequential(nn.Conv1d(2, 2, 1), nn.BatchNorm1d(2), nn.ReLU())
    kinds = [type(layer) for layer in block]
    frozen.freeze(block)
    assert [type(layer) for layer in block] == kinds
    frozen.freeze(block.requires_grad_(False).eval())  # not for good: a later train() moves the statistics
    assert [type(layer) for layer in block] == [frozen.FrozenConv1d, nn.BatchNorm1d, frozen.LeanReLU]
    frozen.thaw(block)
    block[1].weight.requires_grad_(True)
    adapters.hold(block)
    frozen.freeze(block)
    assert type(block[1]) is nn.BatchNorm1d


def test_thaw_and_copies():
    encoder = encoders.build("resnet18", SMALL)
    kinds = [type(layer) for layer in encoder.modules()]
    frozen.freeze(_held(encoder))
    changed = [type(layer) for layer in encoder.modules()]
    assert {frozen.FrozenConv1d, frozen.FrozenNorm1d, frozen.LeanReLU} <= set(changed)
    twin = copy.deepcopy(encoder)
    frozen.thaw(encoder)
    assert [type(layer) for layer in encoder.modules()] == kinds
    assert [type(layer) for layer in twin.modules()] == changed
    x, present = torch.randn(2, 2, 100), torch.ones(2, 2, dtype=torch.bool)
    assert torch.equal(twin(x.requires_grad_(), present)[-1], encoder(x, present)[-1])


CONFIGS = [
    ("lrc", {}),
    ("rd_lora", {"p": 0.0, "norm": "frozen"}),
    ("rd_lora", {"p": 0.0}),
    ("bias", {}),
    ("norm", {}),
    ("full", {}),
]


def _adapted(name: str, values: dict, config: dict, warm: bool = True) -> nn.Module:
    """An encoder with an adapter that is not at its start, in train mode."""
    torch.manual_seed(0)
    encoder = encoders.build("resnet18", config)
    adapters.attach(encoder, name, values)
    if warm:
        with torch.no_grad():
            for p in encoder.parameters():
                if p.requires_grad:
                    p += 0.1 * torch.randn_like(p)
    return encoder.train()


def _step(encoder: nn.Module, T: int = 300, half: bool = False) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Features and gradients of a step, as the loop takes it."""
    x = torch.randn(4, len(encoder.leads), T, generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        h = encoder.pool(encoder(x, torch.ones(x.shape[:2], dtype=torch.bool)), torch.full((4,), T))
    h.float().square().sum().backward()
    return h, {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name,values", CONFIGS)
def test_a_step_is_that_of_layers_that_are_not_frozen(name, values, half):
    """In single precision, and under autocast to bfloat16: the same bits forward, gradients of the same type."""
    found = {}
    for kind in ("lean", "plain"):
        encoder = _adapted(name, values, SMALL)
        if kind == "plain":
            frozen.thaw(encoder)
        found[kind] = _step(encoder, half=half)
    (h, gradients), (expected, wanted) = found["lean"], found["plain"]
    assert h.dtype == expected.dtype and torch.equal(h, expected)
    assert gradients.keys() == wanted.keys() and len(gradients) > 0
    for key, value in wanted.items():
        assert gradients[key].dtype == value.dtype == torch.float32
        assert (gradients[key] - value).norm() <= (0.03 if half else 1e-4) * value.norm(), key


def test_two_passes_under_one_autocast_both_teach_the_biases():
    """Autocast keeps its copies of weights; one that was made where no gradient is noted must not cut it off."""
    layer = _held(nn.Conv1d(3, 3, 1))
    layer.bias.requires_grad_(True)
    lean, plain = _both(layer)
    x = torch.randn(2, 3, 5)
    for module in (lean, plain):
        with torch.autocast("cpu", torch.bfloat16):
            y = module(module(x.clone().requires_grad_())) + module(x)
        y.float().sum().backward()
    torch.testing.assert_close(lean.bias.grad, plain.bias.grad, rtol=0.02, atol=0)


@pytest.mark.parametrize("layer", [nn.Conv1d(4, 4, 3), nn.BatchNorm1d(4)])
def test_half_precision_weights(layer):
    lean, plain = _both(_held(layer).bfloat16())
    x = torch.randn(2, 4, 11).bfloat16()
    (y, found), (expected, wanted) = _gradients(lean, x), _gradients(plain, x)
    assert y.dtype == torch.bfloat16 and torch.equal(y, expected)
    torch.testing.assert_close(found[0], wanted[0])


def _kept(encoder: nn.Module) -> int:
    """Bytes that a pass keeps for the backward pass, weights and statistics left out."""
    own = {t.untyped_storage().data_ptr() for t in [*encoder.parameters(), *encoder.buffers()]}
    storages: dict[int, tuple[int, torch.Tensor]] = {}  # the tensor is held, so that no address comes twice

    def pack(t: torch.Tensor) -> torch.Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = (storage.nbytes(), t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        _step(encoder, 1000)
    return sum(size for size, _ in storages.values())


@pytest.mark.parametrize(
    "name,values,share",  # seen: 0.54, 0.56, 0.28, 0.81, 1, 1
    [
        ("lrc", {}, 0.6),
        ("rd_lora", {"p": 0.0, "norm": "frozen"}, 0.62),
        ("bias", {}, 0.35),
        ("norm", {}, 0.9),
        ("rd_lora", {"p": 0.0}, 1.0),
        ("full", {}, 1.0),
    ],
)
def test_bytes_kept_for_the_backward_pass(name, values, share):
    lean, plain = _adapted(name, values, {}, warm=False), _adapted(name, values, {}, warm=False)
    frozen.thaw(plain)
    assert _kept(lean) <= share * _kept(plain)


def test_nothing_is_kept_below_the_last_stage():
    """With place=last-1 the stages below have nothing to learn, so that no gradient is computed for them."""
    encoder = _adapted("lrc", {"place": "last-1"}, {}, warm=False)
    whole = _adapted("lrc", {}, {}, warm=False)
    assert _kept(encoder) < 0.25 * _kept(whole)
    levels = encoder(torch.randn(1, 12, 300), torch.ones(1, 12, dtype=torch.bool))
    assert [level.requires_grad for level in levels] == [False] * 4 + [True]


def test_without_gradient_torch_itself_computes():
    x, weight = torch.randn(2, 3, 9), torch.randn(4, 3, 3)
    assert frozen.conv(x, weight).grad_fn is None
    free = weight.clone().requires_grad_()
    assert "Conv" in frozen.conv(x, free).grad_fn.name()
    torch.testing.assert_close(frozen.conv(x, free), F.conv1d(x, weight))
    with torch.no_grad():
        assert frozen.conv(x.requires_grad_(), weight).grad_fn is None
