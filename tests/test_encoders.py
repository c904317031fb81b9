"""The contract of encoders, on every file in encoders/, and one oracle for each of them."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import asdict
from functools import cache

import pytest
import torch
from torch import nn

from ecgraft import encoders, plugs
from ecgraft.nn import ConvNorm, Dense, fuse
from ecgraft.record import InputError, UsageError

NAMES = plugs.names("encoders")
BELL = ("II", "III", "V1", "V2", "V3", "V4", "V5", "V6")


@cache
def _built(name: str) -> nn.Module:
    """An encoder in eval mode with the statistics of its norms not at their trivial start. Not to be changed."""
    torch.manual_seed(0)
    encoder = encoders.build(name).eval()
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.8, 1.2)
    return encoder


@pytest.fixture(params=NAMES)
def encoder(request) -> nn.Module:
    return _built(request.param)


def _signal(B: int, T: int, C: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(B, C, T, generator=torch.Generator().manual_seed(seed))
    return x, torch.ones(B, C, dtype=torch.bool)


@torch.inference_mode()
def _levels(encoder: nn.Module) -> list[int]:
    """How many levels each stage gives."""
    x, present = _signal(1, 64)
    entered = encoders.enter(encoder, x, present)
    return [len(own) for _, own in encoders.walk(encoder, entered, present, 64)]


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- contract


def test_default_is_there():
    assert {"resnet18", "xresnet101", "inception", "net1d", "convtransformer", "vgg", "multires"} <= set(NAMES)


def test_attributes(encoder):
    assert encoder.name in NAMES
    assert encoder.leads == encoder.config.leads and encoder.rate == encoder.config.rate
    assert sum(_levels(encoder)) == len(encoder.widths) == len(encoder.strides)
    assert all(b % a == 0 for a, b in zip(encoder.strides, encoder.strides[1:]))
    assert encoder.rate / encoder.strides[0] >= 50


@pytest.mark.parametrize("T", [1, 2, 63, 257, 1000])
@torch.inference_mode()
def test_lengths_of_levels(encoder, T):
    x, present = _signal(2, T)
    levels = encoder(x, present)
    expected = [(2, width, math.ceil(T / stride)) for width, stride in zip(encoder.widths, encoder.strides)]
    assert [tuple(level.shape) for level in levels] == expected
    assert encoder.pool(levels, torch.tensor([T, 1])).shape == (2, encoder.width)


@pytest.mark.parametrize("leads", [("II",), ("V1", "I", "aVF")])
@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_lead_subsets(name, leads):
    encoder = encoders.build(name, {"leads": leads}).eval()
    levels = encoder(*_signal(2, 300, len(leads)))
    assert encoder.leads == leads
    assert torch.isfinite(encoder.pool(levels, torch.tensor([300, 200]))).all()


def test_another_number_of_leads_is_refused(encoder):
    with pytest.raises(InputError, match=r"12 leads.*\(2, 8, 100\)"):
        encoder(*_signal(2, 100, 8))


@torch.inference_mode()
def test_absent_leads_do_not_matter(encoder):
    x, present = _signal(2, 400)
    present[0, 3:] = False
    other = x.masked_fill(~present[..., None], torch.nan)
    levels = encoder(x, present)
    for a, b in zip(levels, encoder(other, present)):
        assert torch.equal(a, b)
    assert not torch.equal(levels[-1][0], encoder(x, torch.ones_like(present))[-1][0])


@torch.inference_mode()
def test_records_are_independent(encoder):
    x, present = _signal(3, 500)
    changed = torch.cat((x[:1], _signal(2, 500, seed=1)[0]))
    levels = encoder(x, present)
    for level, other, single in zip(levels, encoder(changed, present), encoder(x[:1], present[:1])):
        assert torch.equal(level[0], other[0])
        assert (level[:1] - single).norm() < 1e-5 * single.norm()


@torch.inference_mode()
def test_pool_reads_no_padding(encoder):
    x, present = _signal(2, 640)
    length = torch.tensor([333, 640])
    levels = encoder(x, present)
    filled = [level.clone() for level in levels]
    for level, stride in zip(filled, encoder.strides):
        level[0, :, math.ceil(333 / stride) :] = torch.nan
    h = encoder.pool(levels, length)
    assert torch.equal(h, encoder.pool(filled, length))
    assert not torch.allclose(h[0], encoder.pool(levels, torch.tensor([640, 640]))[0])
    torch.testing.assert_close(h[1:], encoder.pool([level[1:] for level in levels], length[1:]))


@torch.inference_mode()
def test_padding_is_not_seen_from_afar(encoder):
    x, present = _signal(1, 800)
    short, long = encoder(x, present)[0], encoder(nn.functional.pad(x, (0, 500)), present)[0]
    near = short.shape[-1] // 2
    torch.testing.assert_close(short[..., :near], long[..., :near], rtol=1e-4, atol=1e-6 * float(long.abs().max()))


def test_gradient_reaches_every_parameter(encoder):
    encoder = copy.deepcopy(encoder)
    x, present = _signal(2, 700)
    levels = encoder(x, present)
    loss = encoder.pool(levels, torch.tensor([700, 500])).square().sum() + sum(v.square().sum() for v in levels)
    loss.backward()
    without = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@torch.inference_mode()
def test_levels_depend_on_their_stage_and_the_ones_before(encoder):
    encoder = copy.deepcopy(encoder)
    x, present = _signal(1, 300)
    before = encoder(x, present)
    for parameter in encoder.stages[-1].parameters():
        parameter.add_(0.1)
    changed = [not torch.equal(a, b) for a, b in zip(before, encoder(x, present), strict=True)]
    last = _levels(encoder)[-1]
    assert last and changed == [False] * (len(before) - last) + [True] * last


@torch.inference_mode()
def test_a_stage_reads_and_gives_one_tensor_records_first(encoder):
    """So that what it gives can be repeated, kept, and handed to the next stage by itself."""
    x, present = _signal(2, 203)
    y = encoders.enter(encoder, x, present)
    whole = [(out, own) for out, own in encoders.walk(encoder, y, present, 203)]
    levels = encoder(x, present)
    for number, (out, own) in enumerate(whole):
        assert len(out) % len(x) == 0
        twice = torch.cat((out, out)), torch.cat((present, present))
        for a, b in zip(encoders.levels_of(encoder, number, *twice, 203), own, strict=True):
            torch.testing.assert_close(a, torch.cat((b, b)), rtol=1e-4, atol=1e-5)
        above = encoders.walk(encoder, out.clone(), present, 203, number + 1)
        rest = [*own, *(level for _, some in above for level in some)]
        assert all(torch.equal(a, b) for a, b in zip(rest, levels[len(levels) - len(rest) :], strict=True))


@torch.inference_mode()
def test_repeats_and_seeds_give_the_same_bits(encoder):
    x, present = _signal(2, 300)
    assert all(torch.equal(a, b) for a, b in zip(encoder(x, present), encoder(x, present)))
    torch.manual_seed(5)
    first = encoders.build(encoder.name).state_dict()
    torch.manual_seed(5)
    second = encoders.build(encoder.name).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@torch.inference_mode()
def test_precisions(encoder):
    x, present = _signal(2, 500)
    length = torch.tensor([500, 400])
    single = encoder.pool(encoder(x, present), length)
    double = copy.deepcopy(encoder).double()
    exact = double.pool(double(x.double(), present), length)
    assert exact.dtype == torch.float64
    assert (single - exact).norm() < 1e-5 * exact.norm()
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder.pool(encoder(x, present), length)
    assert (half - exact).norm() < 0.05 * exact.norm()


@torch.inference_mode()
def test_fused_is_equal(encoder):
    x, present = _signal(2, 500)
    folded = fuse(encoder)
    assert not any(isinstance(layer.norm, nn.BatchNorm1d) for layer in folded.modules() if isinstance(layer, ConvNorm))
    for a, b in zip(encoder(x, present), folded(x, present)):
        assert (a - b).norm() <= 1e-5 * a.norm()


@torch.inference_mode()
def test_dense_head_fits(encoder):
    x, present = _signal(1, 501)
    head = Dense(encoder.widths, encoder.strides, leads=12, classes=4).eval()
    assert head(encoder(x, present), 501).shape == (1, 12, 4, 501)


def test_config_survives_json(encoder):
    values = json.loads(json.dumps(asdict(encoder.config)))
    again = encoders.build(encoder.name, values)
    assert again.config == encoder.config


def test_wrong_settings_are_named():
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        encoders.build("resnet")
    with pytest.raises(UsageError, match="did you mean 'widths'"):
        encoders.build("resnet18", {"width": 3})
    with pytest.raises(UsageError, match="convtransformer"):
        encoders.build("convtransformer", {"width": 100, "heads": 16})
    with pytest.raises(UsageError, match="net1d"):
        encoders.build("net1d", {"stem": 8, "widths": (50,), "depths": (1,)})


# --- oracles


def _conv_norm(inputs: int, outputs: int, kernel: int, bias: int = 0) -> int:
    return inputs * outputs * kernel + (2 + bias) * outputs


def test_resnet18_count():
    expected, inputs = _conv_norm(12, 32, 7), 32
    for width, kernel in zip((32, 64, 96, 192), (5, 5, 5, 3)):
        expected += _conv_norm(inputs, width, kernel) + 3 * _conv_norm(width, width, kernel)
        expected += _conv_norm(inputs, width, 1)
        inputs = width
    assert _count(encoders.build("resnet18")) == expected


def test_resnet18_sees_five_seconds():
    """Convolutions in a row see 1 + sum (k - 1) times their dilation and the strides before them."""
    seen, step = 1 + 6, 2
    for kernel, dilations in zip((5, 5, 5, 3), [(1, 1, 1, 1)] * 3 + [(1, 2, 4, 8)]):
        seen += (kernel - 1) * (step * dilations[0] + 2 * step * sum(dilations[1:]))
        step *= 2
    encoder = encoders.build("resnet18").double().eval()
    x, present = _signal(1, 2048)
    x = x.double().requires_grad_()
    encoder(x, present)[-1][0, :, 32].sum().backward()
    where = x.grad.abs().sum((0, 1)).nonzero()
    assert seen == 1327 and where.max() - where.min() + 1 == seen
    assert where.max() + where.min() == 2 * 32 * encoder.strides[-1]  # step n stands at sample n * stride


def test_resnet18_of_beat_ssl():
    values = {"rate": 500, "widths": (32, 64, 128, 256), "kernels": (3, 3, 3, 3), "strides": (1, 2, 2, 1)}
    encoder = encoders.build("resnet18", values | {"dilations": (1, 1, 1, 1), "pool": "mean"}).eval()
    levels = encoder(*_signal(1, 5000))
    assert encoder.strides[-1] == 8 and levels[-1].shape == (1, 256, 625) and encoder.width == 256
    torch.testing.assert_close(encoder.pool(levels, torch.tensor([5000])), levels[-1].mean(-1))


@torch.inference_mode()
def test_xresnet101_counts_and_shapes():
    """TAC-ECG, oracle 1 and the table of its section 2.2."""
    encoder = encoders.build("xresnet101")
    assert _count(encoder) == 1_527_424 and _count(nn.Linear(encoder.width, 5)) == 1_285
    assert sum(_count(m) for m in encoder.modules() if isinstance(m, nn.BatchNorm1d)) == 26_112
    assert sum(m.kernel == 3 for m in encoder.modules() if isinstance(m, ConvNorm)) == 36
    assert _count(encoders.build("xresnet101", {"depths": (3, 4, 6, 3)})) == 748_416
    levels = encoder.eval()(*_signal(1, 1000))
    assert [tuple(level.shape[1:]) for level in levels] == [(64, 500), (256, 250), (256, 125), (256, 63), (256, 32)]


def test_inception_count():
    """A module: bottleneck, three branches and the one behind the maximum, each with a norm; a shortcut per stage."""

    def module(inputs: int) -> int:
        return inputs * 32 + sum(_conv_norm(32, 32, kernel) for kernel in (9, 19, 39)) + _conv_norm(inputs, 32, 1)

    published = encoders.build("inception", {"strides": (1, 1), "depth": 3})
    assert _count(published) == module(12) + 5 * module(128) + _conv_norm(12, 128, 1) + _conv_norm(128, 128, 1)
    expected = module(12) + 5 * module(128) + _conv_norm(12, 128, 1) + 2 * _conv_norm(128, 128, 1)
    assert _count(encoders.build("inception")) == expected


def test_net1d_count():
    """ECGFounder's network, with norms: a block is norm, 1x1, 16 channels to a group, 1x1, and a gate of two layers."""

    def block(inputs: int, D: int) -> int:
        convolutions = _conv_norm(inputs, D, 1, 1) + _conv_norm(16, D, 16, 1) + D * D + D
        return 2 * inputs + convolutions + D * (D // 2) + D // 2 + (D // 2) * D + D

    expected, inputs = _conv_norm(12, 64, 16, 1) - 2 * 64, 64  # the first block has no norm before it
    for width, depth in zip((64, 160, 160, 400, 400, 1024, 1024), (2, 2, 2, 3, 3, 4, 4)):
        expected += block(inputs, width) + (depth - 1) * block(width, width)
        inputs = width
    assert _count(_built("net1d")) == expected == 30_665_136


def test_convtransformer_counts():
    """CE-SSL, oracle 1: with the head of 18 classes."""
    sizes = {(256, 8): 9_504_786, (512, 12): 50_493_458, (768, 12): 113_488_914}
    biases = {(256, 8): 31_250, (512, 12): 85_010, (768, 12): 127_506}
    for (width, depth), total in sizes.items():
        with torch.device("meta"):
            encoder = encoders.build("convtransformer", {"width": width, "depth": depth})
            head = nn.Linear(encoder.width, 18)
        assert _count(encoder) + _count(head) == total
        biased = sum(p.numel() for name, p in encoder.named_parameters() if name.endswith("bias"))
        assert biased + _count(head) == biases[width, depth]


@torch.inference_mode()
def test_convtransformer_attention():
    """6144 samples give 96 tokens; causal attention never looks ahead, full attention does."""
    x, present = _signal(1, 6144)
    later = x.clone()
    later[..., 4096:] = 0  # token 64; the convolutions see 420 samples ahead
    for attention, blind in (("causal", True), ("full", False)):
        torch.manual_seed(0)
        encoder = encoders.build("convtransformer", {"attention": attention, "depth": 2}).eval()
        tokens, changed = encoder(x, present)[-1], encoder(later, present)[-1]
        assert tokens.shape == (1, 256, 96)
        assert torch.equal(tokens[..., :57], changed[..., :57]) is blind


def test_convtransformer_positions():
    from ecgraft.encoders.convtransformer import positions

    table = positions(50, 8)
    assert table[0].tolist() == [0, 1] * 4
    assert table[7, 2].item() == pytest.approx(math.sin(7 / 10000 ** (2 / 8)), abs=1e-5)
    assert table[7, 7].item() == pytest.approx(math.cos(7 / 10000 ** (6 / 8)), abs=1e-5)


def test_vgg_counts():
    """BELL, oracle 1."""
    assert _count(encoders.build("vgg", {"leads": ("II",)})) == 78_216
    assert _count(encoders.build("vgg", {"leads": BELL})) == 625_728
    shared = {"leads": BELL, "branches": "shared"}
    assert _count(encoders.build("vgg", shared)) == 78_216 + 64
    assert _count(encoders.build("vgg", shared | {"lead_embedding": "none"})) == 78_216


@pytest.mark.parametrize("branches", ["separate", "shared"])
@torch.inference_mode()
def test_vgg_leads_never_meet(branches):
    encoder = encoders.build("vgg", {"leads": BELL, "branches": branches}).eval()
    x, present = _signal(1, 2048, 8)
    other = x.clone()
    other[0, 3] = 0
    a, b = (encoder(signal, present)[-1].unflatten(1, (8, 64)) for signal in (x, other))
    assert a.shape == (1, 8, 64, 64)
    assert [not torch.equal(a[0, i], b[0, i]) for i in range(8)] == [i == 3 for i in range(8)]


@torch.inference_mode()
def test_vgg_separate_zeroes_absent_leads():
    encoder = encoders.build("vgg", {"leads": BELL}).eval()
    x, present = _signal(1, 512, 8)
    h = encoder.pool(encoder(x, present), torch.tensor([512])).view(8, 64)
    present[0, 2:5] = False
    fewer = encoder.pool(encoder(x, present), torch.tensor([512])).view(8, 64)
    assert not fewer[2:5].any()
    torch.testing.assert_close(fewer[[0, 1, 5, 6, 7]], h[[0, 1, 5, 6, 7]])


@torch.inference_mode()
def test_vgg_shared():
    """BELL, oracle 10: at E = 0 leads may be permuted; absent ones leave the mean; E changes the features."""
    encoder = encoders.build("vgg", {"leads": BELL, "branches": "shared"}).eval()
    x, present = _signal(1, 512, 8)
    length = torch.tensor([512])
    order = torch.tensor([3, 1, 4, 0, 5, 7, 2, 6])
    by_lead = encoder(x, present)[-1].unflatten(1, (8, 64))
    torch.testing.assert_close(encoder(x[:, order], present)[-1].unflatten(1, (8, 64)), by_lead[:, order])
    present[0, 2:] = False
    mean = encoder.pool(encoder(x, present), length)
    torch.testing.assert_close(mean, by_lead[:, :2].mean((1, 3)))
    encoder.stages[0][1].table[0] = 1.0
    assert not torch.allclose(encoder.pool(encoder(x, present), length), mean)
