"""Layers and heads against arithmetic by hand and against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ecgraft.nn import ConvNorm, Dense, Pooled, alone, fuse, kaiming, masked_max, masked_mean, steps, upsample


def _stirred(module: nn.Module) -> nn.Module:
    """Norms with statistics and gains that are not trivial, as after training."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.1, 4)
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return module.eval()


@pytest.mark.parametrize("T", [1, 2, 9, 10, 11])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("kernel,stride", [(1, 2), (3, 1), (3, 2), (9, 4), (16, 1), (16, 2)])
def test_conv_norm_gives_ceil_steps(kernel, stride, dilation, T):
    assert ConvNorm(2, 3, kernel, stride, dilation=dilation)(torch.randn(2, 2, T)).shape == (2, 3, -(-T // stride))


def test_conv_norm_by_hand():
    """y[n] = relu(gamma (sum_j w[j] x[n s - left + j] - mean) / sd + beta), left = (k - 1) // 2."""
    layer = ConvNorm(1, 1, 4, 2).eval()
    layer.conv.weight.data = torch.tensor([[[1.0, 10, 100, 1000]]])
    layer.norm.running_mean.fill_(3)
    layer.norm.running_var.fill_(4 - layer.norm.eps)
    layer.norm.bias.data.fill_(-200)
    x = torch.tensor([[[1.0, 2, 3, 4, 5]]])
    sums = torch.tensor([3210.0, 5432, 54])
    torch.testing.assert_close(layer(x), ((sums - 3) / 2 - 200).clamp(min=0)[None, None])


@pytest.mark.parametrize("activation,function", [("relu", F.relu), ("silu", F.silu), (None, lambda y: y)])
def test_conv_norm_is_the_three_layers(activation, function):
    layer = _stirred(ConvNorm(4, 6, 5, groups=2, bias=True, activation=activation))
    x = torch.randn(2, 4, 30)
    expected = function(layer.norm(F.conv1d(x, layer.conv.weight, layer.conv.bias, padding=2, groups=2)))
    torch.testing.assert_close(layer(x), expected)
    assert layer.kernel == 5


def test_kaiming():
    layer = kaiming(nn.Conv1d(64, 256, 9))
    assert layer.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert not layer.bias.any()


@torch.inference_mode()
def test_fuse_is_equal_and_leaves_the_original():
    torch.manual_seed(0)
    layers = [ConvNorm(12, 32, 7, 2), ConvNorm(32, 32, 16, groups=4, bias=True, activation="leaky"), ConvNorm(32, 8, 1)]
    network = _stirred(nn.Sequential(*layers))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.randn(4, 12, 101)
    folded = fuse(network)
    assert (folded(x) - network(x)).norm() <= 1e-5 * network(x).norm()
    assert not any(isinstance(layer, nn.BatchNorm1d) for layer in folded.modules())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_fuse_leaves_a_norm_that_was_replaced():
    layer = _stirred(ConvNorm(2, 2, 3))
    layer.norm = nn.Sequential(layer.norm, nn.Conv1d(2, 2, 1))
    x = torch.randn(1, 2, 10)
    assert torch.equal(fuse(layer)(x), layer(x))


@pytest.mark.parametrize("factor,length", [(1, 5), (2, 10), (2, 9), (3, 14), (4, 17)])
def test_upsample_is_exact_on_ramps(factor, length):
    ramp = torch.arange(5, dtype=torch.float64).expand(2, 3, 5)
    expected = (torch.arange(length) / factor).clamp(max=4).double()  # the last value is held
    torch.testing.assert_close(upsample(ramp, factor, length), expected.expand(2, 3, length))


def test_upsample_is_interpolation_with_gradient():
    x = torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True)
    padded = torch.cat((x, x[..., -1:]), -1)
    expected = F.interpolate(padded, size=22, mode="linear", align_corners=True)[..., :21]
    torch.testing.assert_close(upsample(x, 3, 21), expected)
    assert torch.autograd.gradcheck(lambda v: upsample(v, 3, 20), x)


def test_masked_pooling_by_hand():
    x = torch.tensor([[[1.0, 2, 9, torch.nan]], [[4.0, -8, 1, 3]]])
    count = steps(torch.tensor([33, 64]), 32, 4)
    assert count.tolist() == [2, 2]
    assert steps(torch.tensor([0, 1, 1000]), 32, 4).tolist() == [1, 1, 4]
    assert masked_mean(x, count).tolist() == [[1.5], [-2.0]]
    assert masked_max(x, count).tolist() == [[2.0], [4.0]]


def test_mean_of_half_precision_is_summed_in_single():
    x = torch.full((1, 1, 5000), 1.0, dtype=torch.bfloat16)
    assert masked_mean(x, torch.tensor([5000])).item() == 1.0  # a sum in bfloat16 stops at 256


def test_pooled_is_linear():
    head = Pooled(3, 2).eval()
    h = torch.randn(5, 3)
    torch.testing.assert_close(head(h), h @ head.linear.weight.T + head.linear.bias)


@pytest.mark.parametrize("T", [1, 7, 100, 101])
def test_dense_shapes_for_any_length(T):
    strides, widths = [2, 4, 4, 12], [8, 6, 4, 2]
    levels = [torch.randn(2, width, -(-T // stride)) for width, stride in zip(widths, strides)]
    assert Dense(widths, strides, leads=3, classes=4)(levels, T).shape == (2, 3, 4, T)


def test_dense_order_is_lead_then_class():
    head = Dense([4, 4], [1, 2], leads=3, classes=2).eval()
    nn.init.zeros_(head.out.weight)
    head.out.bias.data = torch.arange(6.0)
    y = head([torch.randn(1, 4, 9), torch.randn(1, 4, 5)], 9)
    assert y[0, :, :, 4].tolist() == [[0, 1], [2, 3], [4, 5]]


def test_dense_answers_where_the_signal_is():
    """A step at sample n s of any level reaches the outputs about it, at every stride."""
    torch.manual_seed(0)
    strides = [2, 4, 8, 16]
    head = Dense([3] * 4, strides, leads=1, classes=2).eval()
    for i, stride in enumerate(strides):
        levels = [torch.zeros(1, 3, 640 // s) for s in strides]
        base = head(levels, 640)
        levels[i][:, :, 320 // stride] = 1
        moved = (head(levels, 640) - base).abs().sum((0, 1, 2)).nonzero()
        assert moved.min() > 320 - 3 * stride - 8 and moved.max() < 320 + 3 * stride + 8


def test_alone_by_hand():
    x = torch.arange(1.0, 7).view(1, 3, 2)
    single, present = alone(x, torch.tensor([[True, False, True]]))
    assert single.tolist() == [[[1, 2], [0, 0], [0, 0]], [[0, 0], [3, 4], [0, 0]], [[0, 0], [0, 0], [5, 6]]]
    assert present.tolist() == [[True, False, False], [False] * 3, [False, False, True]]
