"""RD-LoRA (CE-SSL) against its oracles: counts, deactivation, merging, two branches against the merged weight."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ecgraft import adapters, encoders
from ecgraft.adapters import rd_lora
from ecgraft.nn import low_rank
from ecgraft.nn.network import Network
from ecgraft.signal.recipe import Recipe

pytestmark = pytest.mark.slow

BASE, MEDIUM, LARGE = {}, {"width": 512, "depth": 12}, {"width": 768, "depth": 12}
SMALL = {"width": 16, "depth": 2, "heads": 2, "leads": ("I", "II")}


def _encoder(**values) -> nn.Module:
    """A small backbone of CE-SSL with the adapter in it."""
    torch.manual_seed(0)
    encoder = encoders.build("convtransformer", SMALL)
    adapters.attach(encoder, "rd_lora", values)
    return encoder


def _stir(encoder: nn.Module) -> nn.Module:
    """B away from zero."""
    generator = torch.Generator().manual_seed(4)
    for layer in encoder.modules():
        if type(layer) in low_rank.PLAIN:
            layer.up.data = torch.randn(layer.up.shape, generator=generator).to(layer.up)
    return encoder


def _features(encoder: nn.Module, dtype=torch.float32) -> torch.Tensor:
    x = torch.randn(2, 2, 300, generator=torch.Generator().manual_seed(9)).to(dtype)
    with torch.inference_mode():
        return encoder.pool(encoder(x, torch.ones(2, 2, dtype=torch.bool)), torch.full((2,), 300))


def _layer(layer: nn.Module, rank: int = 1, parts: int = 1, p: float = 0.2, inverted: bool = False) -> nn.Module:
    """With a low-rank part that is not zero."""
    layer.requires_grad_(False)
    low_rank.add(layer, low_rank.Part(0, rank, parts, p, inverted))
    nn.init.normal_(layer.down), nn.init.normal_(layer.up)
    return layer


def _scalar(weight: float, part: float, bias: float = 0.0, **how) -> nn.Module:
    layer = nn.Linear(1, 1, dtype=torch.float64)
    layer.weight.data.fill_(weight), layer.bias.data.fill_(bias)
    layer = _layer(layer, **how)
    layer.down.data.fill_(part), layer.up.data.fill_(1)
    return layer


# --- counts


@pytest.mark.parametrize(
    "config,classes,rank,trained",
    [
        (BASE, 18, 16, 795_026),
        (BASE, 18, 4, 222_194),
        (BASE, 18, 8, 413_138),
        (BASE, 19, 16, 795_283),
        pytest.param(MEDIUM, 18, 16, 2_134_930, marks=pytest.mark.slow),
        pytest.param(MEDIUM, 18, 4, 597_490, marks=pytest.mark.slow),
        pytest.param(LARGE, 18, 16, 3_201_426, marks=pytest.mark.slow),
        pytest.param(LARGE, 18, 4, 895_986, marks=pytest.mark.slow),
    ],
)
def test_trained_parameters(config, classes, rank, trained):
    """Oracle 1: r times the sum of in + out over the adapted matrices, all biases, and the last layer."""
    with torch.device("cpu" if config == BASE else "meta"):
        encoder = encoders.build("convtransformer", config)
        places = rd_lora.places(encoder, rd_lora.Config())
        adapters.attach(encoder, "rd_lora", {"rank": rank})
        head = nn.Linear(encoder.width, classes)
    width = encoder.width
    assert len(places) == {256: 34, 512: 46, 768: 46}[width]
    costs = [place.cost for place in places.values()]
    assert sum(costs) == {256: 47_736, 512: 128_120, 768: 192_120}[width]
    if width == 256:
        assert (min(costs), max(costs)) == (268, 2_560)
    free = [p for p in (*encoder.parameters(), *head.parameters()) if p.requires_grad]
    assert sum(p.numel() for p in free) == trained
    biases = {256: 31_250, 512: 85_010, 768: 127_506}[width] + (classes - 18) * (width + 1)
    assert trained == rank * sum(costs) + biases


def test_what_has_a_part_and_what_learns():
    """Convolutions with shortcuts, qkv of three parts, both matrices of the feed-forward network, the hidden layer."""
    encoder = _encoder(rank=4)
    layers = {name: layer for name, layer in encoder.named_modules() if type(layer) in low_rank.PLAIN}
    assert len(layers) == 9 + 2 * 3 + 1 and not any(name.endswith(".out") for name in layers)
    assert {layer.part.parts for name, layer in layers.items() if name.endswith("qkv")} == {3}
    assert {name: layer.part.p for name, layer in layers.items() if layer.part.p != 0.2} == {"hidden": 0.0}
    free = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert free == {name for name, _ in encoder.named_parameters() if name.endswith((".down", ".up", ".bias"))}
    downs = torch.cat([layer.down.flatten() for layer in layers.values()])
    assert downs.std().item() == pytest.approx(0.02, rel=0.05)
    assert not any(layer.up.any() for layer in layers.values())


# --- deactivation


def test_at_the_start_nothing_changes_whatever_is_drawn():
    """Oracle 2."""
    encoder, plain = _encoder(norm="frozen"), _encoder()
    adapters.detach(plain)
    expected = _features(plain.eval())
    assert torch.equal(_features(encoder.eval()), expected)
    encoder.train()
    for step in range(5):
        low_rank.draw(encoder, 0, step)
        assert torch.equal(_features(encoder), expected)


def test_inference_does_not_draw():
    """Oracle 3, first half: bit-identical, also after training passes, and with all parts at 1 - p."""
    encoder = _stir(_encoder(norm="frozen"))
    expected = _features(encoder.eval())
    for step in range(4):
        low_rank.draw(encoder.train(), 0, step)
        _features(encoder)
        assert torch.equal(_features(encoder.eval()), expected)


def test_a_network_draws_in_training_only_and_by_seed_and_step():
    encoder = _stir(_encoder(norm="frozen", p=0.5))
    network = Network(encoder, {}, Recipe(leads=("I", "II"), rate=500))
    parts = [layer.part for layer in encoder.modules() if type(layer) in low_rank.PLAIN]

    def drawn(seed: int, step: int) -> list[bool]:
        network.draw({"seed": seed, "step": step})
        return [part.on for part in parts]

    network.train()
    first = drawn(1, 7)
    assert drawn(1, 8) != first != drawn(2, 7) and drawn(1, 7) == first
    network.eval()
    assert drawn(1, 8) == first


def test_draws():
    """One delta a layer and pass: the same for the same seed, step and layer; p of them off; layers independent."""
    p, steps = 0.2, 4000
    parts = [low_rank.Part(number, 1, 1, p, False) for number in range(2)]
    off = torch.zeros(2, steps, dtype=torch.bool)
    for step in range(steps):
        for row, part in zip(off, parts):
            part.draw(3, step)
            row[step] = not part.on
    spread = 4 * (p * (1 - p) / steps) ** 0.5
    assert off.double().mean(1).tolist() == pytest.approx([p, p], abs=spread)
    assert (off[0] & off[1]).double().mean().item() == pytest.approx(p * p, abs=spread)
    assert (off[0, 1:] & off[0, :-1]).double().mean().item() == pytest.approx(p * p, abs=spread)
    twin = low_rank.Part(1, 8, 1, p, True)
    twin.draw(3, 5)
    assert twin.on == (not off[1, 5])


def test_linear_layers_are_right_in_expectation():
    """Oracle 5: two scalar layers, w = 1, BA = 1, p = 0.2: over the four sub-networks 3.24, as in inference."""
    layers = nn.Sequential(_scalar(1, 1), _scalar(1, 1))
    x, expected = torch.ones(1, 1, dtype=torch.float64), 0.0
    for on in product((True, False), repeat=2):
        chance = 1.0
        for layer, each in zip(layers.train(), on):
            layer.part.on = each
            chance *= 0.8 if each else 0.2
        expected += chance * layers(x).item()
    assert expected == pytest.approx(3.24, abs=1e-12)
    assert layers.eval()(x).item() == pytest.approx(3.24, abs=1e-12)


def test_behind_a_relu_they_are_not():
    """Oracle 5: ReLU(-1 + 2 delta) is 0.8 in expectation and 0.6 merged, by design."""
    layer, x = _scalar(0, 2, bias=-1), torch.ones(1, 1, dtype=torch.float64)
    found = {}
    for layer.part.on in (True, False):
        found[layer.part.on] = F.relu(layer.train()(x)).item()
    assert 0.8 * found[True] + 0.2 * found[False] == pytest.approx(0.8)
    assert F.relu(layer.eval()(x)).item() == pytest.approx(0.6)


def test_inverted_scaling_is_the_same_function():
    """Oracle 5: with B' = (1 - p) B the outputs are equal for the same delta in training, and in eval."""
    torch.manual_seed(0)
    one = _layer(nn.Linear(5, 6).double(), rank=2, parts=3)
    other = copy.deepcopy(one)
    other.part = low_rank.Part(0, 2, 3, 0.2, True)
    other.up.data *= 0.8
    x = torch.randn(4, 5, dtype=torch.float64)
    for training, on in product((True, False), repeat=2):
        one.part.on = other.part.on = on
        torch.testing.assert_close(one.train(training)(x), other.train(training)(x), rtol=1e-12, atol=1e-12)


def test_what_is_left_out_is_left_alone():
    """Oracle 6: with delta = 0 there is no gradient, and AdamW neither decays A and B nor moves their moments."""
    layer = _layer(nn.Linear(3, 2), rank=2)
    layer.bias.requires_grad_(True)
    optimizer = torch.optim.AdamW([layer.down, layer.up, layer.bias], lr=0.1, weight_decay=0.5)
    before = layer.down.clone(), layer.up.clone()
    for layer.part.on in (False, True):
        optimizer.zero_grad()
        layer(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        left = torch.equal(layer.down, before[0]) and torch.equal(layer.up, before[1])
        assert left == (not layer.part.on) == (layer.down.grad is None) == (layer.up.grad is None)
    zero = nn.Parameter(torch.ones(1))
    zero.grad = torch.zeros(1)  # what gradients of zero would do
    torch.optim.AdamW([zero], lr=0.1, weight_decay=0.5).step()
    assert zero.item() == pytest.approx(0.95)


# --- the algebra


@pytest.mark.parametrize("dtype,tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_merged_is_unmerged(dtype, tolerance):
    """Oracle 3, second half."""
    encoder = _stir(_encoder()).to(dtype).eval()
    expected = _features(encoder, dtype)
    adapters.merge(encoder)
    assert (_features(encoder.eval(), dtype) - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize("dtype,tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("layer,parts", [(nn.Conv1d(4, 6, 3, groups=2), 1), (nn.Linear(4, 6), 3)])
def test_what_is_folded_in_comes_out_again(layer, parts, dtype, tolerance):
    layer = _layer(copy.deepcopy(layer).to(dtype), rank=2, parts=parts)
    before = layer.weight.clone()
    low_rank.fold(layer)
    assert not torch.allclose(layer.weight, before)
    low_rank.fold(layer, sign=-1)
    assert (layer.weight - before).norm() <= tolerance * before.norm()


@pytest.mark.parametrize(
    "shape",
    [
        {"stride": 4, "padding": 4},
        {"dilation": 2, "padding": 3},
        {"groups": 2},
        {"padding": 2, "padding_mode": "circular"},
        {"stride": 2, "dilation": 3, "groups": 4, "padding": 1, "padding_mode": "reflect"},
        {"padding": "same"},
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_two_branches_are_the_merged_convolution(shape, training):
    """Oracle 4."""
    torch.manual_seed(0)
    layer = _layer(nn.Conv1d(4, 8, 3, **shape).double(), rank=3).train(training)
    whole = nn.Conv1d(4, 8, 3, **shape).double()
    whole.load_state_dict({name: layer.state_dict()[name] for name in ("weight", "bias")})
    whole.weight.data += (1.0 if training else 0.8) * (layer.up @ layer.down).view_as(whole.weight)
    x = torch.randn(2, 4, 37, dtype=torch.float64)
    assert (layer(x) - whole(x)).abs().max() <= 1e-10


def test_three_matrices_in_one_are_three():
    torch.manual_seed(0)
    layer, x = _layer(nn.Linear(5, 12), rank=2, parts=3).train(), torch.randn(7, 5)
    for part in range(3):
        rows, low = slice(4 * part, 4 * part + 4), slice(2 * part, 2 * part + 2)
        weight = layer.weight[rows] + layer.up[rows] @ layer.down[low]
        torch.testing.assert_close(layer(x)[:, rows], F.linear(x, weight, layer.bias[rows]))


def test_the_first_step_moves_b_alone():
    encoder = _encoder(p=0.0)
    x = torch.randn(2, 2, 300)
    encoder(x, torch.ones(2, 2, dtype=torch.bool))[-1].square().sum().backward()
    layers = [layer for name, layer in encoder.named_modules() if type(layer) in low_rank.PLAIN and name != "hidden"]
    assert all(not layer.down.grad.any() and layer.up.grad.any() for layer in layers)
