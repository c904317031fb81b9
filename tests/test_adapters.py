"""The contract of adapters, on every file in adapters/."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ecgraft import adapters, encoders, plugs
from ecgraft.record import InputError, UsageError

NAMES = plugs.names("adapters")
SMALL = {"widths": (8, 8, 16, 16), "stem": 8, "leads": ("I", "II")}


@pytest.fixture
def encoder() -> nn.Module:
    torch.manual_seed(0)
    return encoders.build("resnet18", SMALL)


def _signal(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(4, 2, 300, generator=torch.Generator().manual_seed(seed))
    return x, torch.ones(4, 2, dtype=torch.bool)


def _state(encoder: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in encoder.state_dict().items()}


def _features(encoder: nn.Module) -> torch.Tensor:
    x, present = _signal(9)
    with torch.inference_mode():
        return encoder.pool(encoder(x, present), torch.full((4,), 300))


def _train(encoder: nn.Module, steps: int = 3) -> None:
    """As the loop does: train mode for everything, all that is free and a head are stepped."""
    head = nn.Linear(encoder.width, 1)
    whole = nn.ModuleList([encoder, head]).train()
    free = [p for p in whole.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(free, lr=1e-2, weight_decay=0.1)
    for step in range(steps):
        x, present = _signal(step)
        h = encoder.pool(encoder(x, present), torch.full((4,), 300))
        optimizer.zero_grad()
        (head(h) - 1).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_starts_as_the_identity(encoder, name):
    before = _features(encoder.eval())
    adapters.attach(encoder, name)
    assert torch.equal(_features(encoder.eval()), before)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_saved_moves(encoder, name):
    before = _state(encoder)
    saved = adapters.attach(encoder, name)
    assert {n for n, p in encoder.named_parameters() if p.requires_grad} <= set(saved)
    _train(encoder)
    after = encoder.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before if n not in saved)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_is_enough(encoder, name):
    fresh = copy.deepcopy(encoder)
    adapters.attach(encoder, name)
    _train(encoder)
    tensors = {key: value.clone() for key, value in adapters.saved(encoder).items()}
    adapters.attach(fresh, name)
    adapters.restore(fresh, tensors)
    assert torch.equal(_features(fresh.eval()), _features(encoder.eval()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_detach_restores_every_bit(encoder, name, training):
    encoder.train(training)
    next(encoder.parameters()).requires_grad_(False)
    before, features = _state(encoder), _features(encoder.eval())
    encoder.train(training)
    free = [p.requires_grad for p in encoder.parameters()]
    adapters.attach(encoder, name)
    _train(encoder)
    adapters.detach(encoder)
    after = encoder.state_dict()
    assert list(before) == list(after) and all(torch.equal(before[n], after[n]) for n in before)
    assert [p.requires_grad for p in encoder.parameters()] == free
    assert {m.training for m in encoder.modules()} == {training}
    assert torch.equal(_features(encoder.eval()), features)
    adapters.attach(encoder, name)  # and again


@pytest.mark.parametrize("name", [n for n in NAMES if hasattr(plugs.find("adapters", n), "merge")])
def test_merged_is_equal(encoder, name):
    names = list(encoder.state_dict())
    adapters.attach(encoder, name)
    _train(encoder)
    expected = _features(encoder.eval())
    adapters.merge(encoder)
    assert list(encoder.state_dict()) == names and not hasattr(encoder, "attached")
    torch.testing.assert_close(_features(encoder.eval()), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_stands_alone(encoder, name):
    adapters.attach(encoder, name)
    twin = copy.deepcopy(encoder)
    before = _state(encoder)
    _train(twin)
    assert all(torch.equal(before[n], value) for n, value in encoder.state_dict().items())
    adapters.detach(twin)
    assert hasattr(encoder, "attached") and not hasattr(twin, "attached")


def test_linear_has_nothing_to_train(encoder):
    assert adapters.attach(encoder, "linear") == []
    assert not any(p.requires_grad for p in encoder.parameters())
    nn.ModuleList([encoder]).train()
    assert not any(module.training for module in encoder.modules())


def test_full_is_the_whole_encoder(encoder):
    assert adapters.attach(encoder, "full") == list(encoder.state_dict())
    before = _state(encoder)
    _train(encoder)
    assert not any(torch.equal(before[n], value) for n, value in encoder.state_dict().items())


def test_full_with_frozen_statistics(encoder):
    before = _state(encoder)
    saved = adapters.attach(encoder, "full", {"norm": "frozen"})
    assert not any("running" in n or "batches" in n for n in saved)
    _train(encoder)
    moved = {n for n, value in encoder.state_dict().items() if not torch.equal(before[n], value)}
    assert moved == set(saved) == {n for n, _ in encoder.named_parameters()}
    adapters.detach(encoder)
    assert all(m.training for m in encoder.train().modules() if isinstance(m, _BatchNorm))


def test_wrong_use_is_named(encoder):
    with pytest.raises(UsageError, match="no adapter"):
        adapters.detach(encoder)
    with pytest.raises(UsageError, match="did you mean 'linear'"):
        adapters.attach(encoder, "linaer")
    with pytest.raises(UsageError, match="norm"):
        adapters.attach(encoder, "full", {"norm": "off"})
    adapters.attach(encoder, "linear")
    with pytest.raises(UsageError, match=r"'linear'.*detach"):
        adapters.attach(encoder, "full")


def test_foreign_tensors_are_refused(encoder):
    adapters.attach(encoder, "full")
    tensors = dict(adapters.saved(encoder))
    name = "stages.0.conv.weight"
    with pytest.raises(InputError, match=r"stages.0.conv.weight.*\(3,\)"):
        adapters.restore(encoder, tensors | {name: torch.zeros(3)})
    with pytest.raises(InputError, match="'more' does not belong"):
        adapters.restore(encoder, tensors | {"more": torch.zeros(3)})
    del tensors[name]
    with pytest.raises(InputError, match=r"stages\.0\.conv\.weight' is missing"):
        adapters.restore(encoder, tensors)
