"""The contract of adapters: every file in adapters/ on every file in encoders/."""

from __future__ import annotations

import copy
from itertools import islice

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from ecgraft import adapters, encoders, plugs
from ecgraft.nn import fuse
from ecgraft.record import InputError, UsageError

pytestmark = pytest.mark.slow

NAMES = plugs.names("adapters")
SMALL = {  # sizes for speed; an encoder that is not here is taken as it is
    "convtransformer": {"width": 16, "depth": 1, "heads": 2},
    "inception": {"width": 8, "kernels": (3, 5, 9), "depth": 1},
    "multires": {"width": 16},
    "net1d": {"stem": 16, "widths": (16, 32), "depths": (1, 2)},
    "resnet18": {"widths": (8, 8, 16, 16), "stem": 8},
    "vgg": {"groups": ((8, 8), (16, 16))},
    "xresnet101": {"stem": (8, 8, 16), "width": 8, "depths": (1, 1, 1, 1)},
}
CASES = {name: (name, SMALL.get(name, {})) for name in plugs.names("encoders")}
CASES |= {"vgg-shared": ("vgg", SMALL["vgg"] | {"branches": "shared"})}
MERGE = [name for name in NAMES if hasattr(plugs.find("adapters", name), "merge")]
PLACED = [name for name in NAMES if "place" in plugs.find("adapters", name).Config.__dataclass_fields__]


def _built(case: str) -> nn.Module:
    """An encoder whose norms have statistics and gains that are not trivial."""
    torch.manual_seed(0)
    name, values = CASES[case]
    encoder = encoders.build(name, values | {"leads": ("I", "II")})
    for layer in encoder.modules():
        if isinstance(layer, _BatchNorm):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.8, 1.2)
            layer.weight.data.uniform_(0.8, 1.2)
    return encoder


@pytest.fixture(params=CASES)
def encoder(request) -> nn.Module:
    return _built(request.param)


@pytest.fixture
def resnet() -> nn.Module:
    return _built("resnet18")


def _signal(seed: int = 0, B: int = 4, T: int = 300, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(B, 2, T, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return x, torch.ones(B, 2, dtype=torch.bool)


def _state(encoder: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in encoder.state_dict().items()}


@torch.inference_mode()
def _features(encoder: nn.Module, dtype=torch.float32) -> torch.Tensor:
    x, present = _signal(9, dtype=dtype)
    return encoder.pool(encoder(x, present), torch.full((4,), 300))


def _train(encoder: nn.Module, steps: int = 2, dtype=torch.float32) -> None:
    """As the loop does: train mode for everything, all that is free and a head are stepped."""
    head = nn.Linear(encoder.width, 1, dtype=dtype)
    whole = nn.ModuleList([encoder, head]).train()
    free = [p for p in whole.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(free, lr=1e-2, weight_decay=0.1)
    for step in range(steps):
        x, present = _signal(step, dtype=dtype)
        h = encoder.pool(encoder(x, present), torch.full((4,), 300))
        optimizer.zero_grad()
        (head(h) - 1).square().mean().backward()
        optimizer.step()


def _near(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).norm() <= 1e-5 * b.norm())


@pytest.mark.parametrize("name", NAMES)
def test_starts_as_the_identity(encoder, name):
    before = _features(encoder.eval())
    adapters.attach(encoder, name)
    assert torch.equal(_features(encoder.eval()), before)
    x, present = _signal(9)
    h = encoder.pool(encoder(x.requires_grad_(), present), torch.full((4,), 300))  # and where gradients are kept
    assert h.requires_grad and torch.equal(h, before)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_saved_moves(encoder, name):
    before = _state(encoder)
    saved = adapters.attach(encoder, name)
    assert {n for n, p in encoder.named_parameters() if p.requires_grad} <= set(saved)
    _train(encoder)
    after = encoder.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before if n not in saved)
    assert not any(torch.equal(before[n], after[n]) for n in before if n in saved)  # nothing is saved for nothing


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_is_enough(encoder, name):
    fresh = copy.deepcopy(encoder)
    adapters.attach(encoder, name)
    _train(encoder)
    tensors = {key: value.clone() for key, value in adapters.saved(encoder).items()}
    adapters.attach(fresh, name)
    adapters.restore(fresh, tensors)
    assert all(torch.equal(tensors[key], value) for key, value in adapters.saved(fresh).items())
    assert torch.equal(_features(fresh.eval()), _features(encoder.eval()))


@pytest.mark.parametrize("name", NAMES)
def test_detach_restores_every_bit(encoder, name):
    next(encoder.parameters()).requires_grad_(False)
    before, features = _state(encoder), _features(encoder.eval())
    free = [p.requires_grad for p in encoder.parameters()]
    kinds = [type(module) for module in encoder.modules()]
    for training in (True, False):
        adapters.attach(encoder.train(training), name)
        _train(encoder)
        adapters.detach(encoder)
        after = encoder.state_dict()
        assert list(before) == list(after) and all(torch.equal(before[n], after[n]) for n in before)
        assert [p.requires_grad for p in encoder.parameters()] == free
        assert [type(module) for module in encoder.modules()] == kinds
        assert {m.training for m in encoder.modules()} == {training}
    assert torch.equal(_features(encoder), features)


@pytest.mark.parametrize("name", MERGE)
def test_merged_is_equal(encoder, name):
    names, kinds = list(encoder.state_dict()), [type(module) for module in encoder.modules()]
    adapters.attach(encoder, name)
    _train(encoder)
    expected = _features(encoder.eval())
    adapters.merge(encoder)
    assert list(encoder.state_dict()) == names and not hasattr(encoder, "attached")
    assert [type(module) for module in encoder.modules()] == kinds
    assert _near(_features(encoder.eval()), expected)


@pytest.mark.parametrize("name", NAMES)
def test_fused_is_equal(encoder, name):
    adapters.attach(encoder, name)
    _train(encoder)
    assert _near(_features(fuse(encoder)), _features(encoder.eval()))
    adapters.detach(encoder)  # which the copy has left alone


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_stands_alone(encoder, name):
    adapters.attach(encoder, name)
    twin = copy.deepcopy(encoder)
    before = _state(encoder)
    _train(twin)
    assert all(torch.equal(before[n], value) for n, value in encoder.state_dict().items())
    adapters.detach(twin)
    assert hasattr(encoder, "attached") and not hasattr(twin, "attached")


@pytest.mark.parametrize("name", NAMES)
def test_double_precision(encoder, name):
    encoder.double()
    before = _features(encoder.eval(), torch.float64)
    adapters.attach(encoder, name)
    assert {t.dtype for t in adapters.saved(encoder).values() if t.is_floating_point()} <= {torch.float64}
    assert torch.equal(_features(encoder.eval(), torch.float64), before)
    _train(encoder, dtype=torch.float64)
    assert torch.isfinite(_features(encoder.eval(), torch.float64)).all()


@pytest.mark.parametrize("name", NAMES)
def test_records_of_any_length_and_number(encoder, name):
    adapters.attach(encoder, name)
    _train(encoder)
    encoder.eval()
    for T in (1, 63, 301):
        x, present = _signal(B=3, T=T)
        with torch.inference_mode():
            levels, alone = encoder(x, present), encoder(x[:1], present[:1])
        shapes = [(3, width, -(-T // stride)) for width, stride in zip(encoder.widths, encoder.strides)]
        assert [tuple(level.shape) for level in levels] == shapes
        assert all(_near(level[:1], single) for level, single in zip(levels, alone))


@pytest.mark.parametrize("name", PLACED)
def test_last_stages_leave_the_others_alone(encoder, name):
    """In the last stage, or in as many of the last as it takes to have a layer there; what is too few is said."""
    x, present = _signal()
    before = [level.clone() for level in encoder.eval()(x, present)]
    for N in range(1, len(encoder.stages) + 1):
        try:
            saved = adapters.attach(encoder, name, {"place": f"last-{N}"})
            break
        except UsageError as error:
            assert "adapter_config.place" in str(error)
    first = len(encoder.stages) - N
    assert saved and not any(n.startswith(tuple(f"stages.{i}." for i in range(first))) for n in saved)
    _train(encoder)
    after = encoder.eval()(x, present)
    outputs = encoders.walk(encoder, encoders.enter(encoder, x, present), present, x.shape[-1])
    below = sum(len(own) for _, own in islice(outputs, first))  # levels
    assert all(torch.equal(a, b) for a, b in zip(before[:below], after[:below]))
    assert not torch.equal(before[-1], after[-1])


@pytest.mark.filterwarnings("ignore:.*batching rule")  # of attention, which is then computed task by task
@pytest.mark.parametrize("name", PLACED)
@torch.no_grad()
def test_tasks_in_one_pass(encoder, name):
    """The adapters of three tasks, stacked, over one frozen encoder, are three passes."""
    adapters.attach(encoder.eval(), name)
    own = {key: value for key, value in adapters.saved(encoder).items() if value.is_floating_point()}
    tasks = [{key: value + 0.1 * torch.rand_like(value) for key, value in own.items()} for _ in range(3)]
    x, present = _signal()

    def run(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        return functional_call(encoder, tensors, (x, present))[-1]

    together = vmap(run)({key: torch.stack([task[key] for task in tasks]) for key in own})
    for output, task in zip(together, tasks):
        adapters.restore(encoder, adapters.saved(encoder) | task)
        assert _near(output, encoder(x, present)[-1])


def test_linear_has_nothing_to_train(resnet):
    assert adapters.attach(resnet, "linear") == []
    assert not any(p.requires_grad for p in resnet.parameters())
    nn.ModuleList([resnet]).train()
    assert not any(module.training for module in resnet.modules())


def test_full_is_the_whole_encoder_but_for_frozen_statistics(resnet):
    assert adapters.attach(resnet, "full") == list(resnet.state_dict())
    adapters.detach(resnet)
    before = _state(resnet)
    saved = adapters.attach(resnet, "full", {"norm": "frozen"})
    assert not any("running" in n or "batches" in n for n in saved)
    _train(resnet)
    moved = {n for n, value in resnet.state_dict().items() if not torch.equal(before[n], value)}
    assert moved == set(saved) == {n for n, _ in resnet.named_parameters()}
    adapters.detach(resnet)
    assert all(m.training for m in resnet.train().modules() if isinstance(m, _BatchNorm))


@pytest.mark.parametrize("name", PLACED)
def test_norms_that_follow_the_batches_are_the_tasks_own(resnet, name):
    before = _state(resnet)
    saved = adapters.attach(resnet, name, {"norm": "batch"})
    _train(resnet)
    statistics = {n for n in before if n.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert statistics <= set(saved)
    after = resnet.state_dict()
    assert not any(torch.equal(before[n], after[n]) for n in statistics)
    adapters.detach(resnet)
    assert all(torch.equal(before[n], value) for n, value in resnet.state_dict().items())


def test_wrong_use_is_named(resnet):
    with pytest.raises(UsageError, match="no adapter"):
        adapters.detach(resnet)
    with pytest.raises(UsageError, match="did you mean 'linear'"):
        adapters.attach(resnet, "linaer")
    with pytest.raises(UsageError, match="norm"):
        adapters.attach(resnet, "full", {"norm": "off"})
    with pytest.raises(UsageError, match=r'"last-1" for the last stage'):
        adapters.attach(resnet, "norm", {"place": "first-1"})
    adapters.attach(resnet, "linear")
    with pytest.raises(UsageError, match=r"'linear'.*detach"):
        adapters.attach(resnet, "full")


@pytest.mark.parametrize("name", PLACED)
def test_what_is_refused_leaves_the_encoder_as_it_was(resnet, name):
    with pytest.raises(UsageError, match=r"last-6.*'resnet18' has 5 stages"):
        adapters.attach(resnet, name, {"place": "last-6"})
    assert all(p.requires_grad for p in resnet.parameters())
    assert all(module.training for module in resnet.train().modules())
    adapters.attach(resnet, name)


def test_foreign_tensors_are_refused(resnet):
    adapters.attach(resnet, "full")
    tensors = dict(adapters.saved(resnet))
    name = "stages.0.conv.weight"
    with pytest.raises(InputError, match=r"stages.0.conv.weight.*\(3,\)"):
        adapters.restore(resnet, tensors | {name: torch.zeros(3)})
    with pytest.raises(InputError, match="'more' does not belong"):
        adapters.restore(resnet, tensors | {"more": torch.zeros(3)})
    del tensors[name]
    with pytest.raises(InputError, match=r"stages\.0\.conv\.weight' is missing"):
        adapters.restore(resnet, tensors)
