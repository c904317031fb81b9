"""The LRC-Adapter (TAC-ECG) against its oracles: counts, arithmetic by hand, what stays as it was, what is stored."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ecgraft import adapters, encoders
from ecgraft.adapters.lrc import Bottleneck
from ecgraft.model import Graft, Model
from ecgraft.nn import ConvNorm
from ecgraft.nn.network import HeadConfig, build_head
from ecgraft.record import LEADS, Record
from ecgraft.tasks import Task

SMALL = {"stem": (8, 8, 16), "width": 8, "depths": (1, 1, 1, 1)}
XRESNET50 = {"depths": (3, 4, 6, 3)}
CLASSES = 5


def _count(parameters) -> int:
    return sum(p.numel() for p in parameters if p.requires_grad)


def _encoder(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return encoders.build("xresnet101", SMALL)


def _signal(seed: int = 0, B: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(B, 12, 200, generator=torch.Generator().manual_seed(seed)), torch.ones(B, 12, dtype=torch.bool)


def _features(encoder: nn.Module) -> torch.Tensor:
    x, present = _signal(9)
    with torch.inference_mode():
        return encoder.pool(encoder(x, present), torch.full((4,), 200))


def _train(encoder: nn.Module, head: nn.Module, steps: int) -> None:
    whole = nn.ModuleList([encoder, head]).train()
    optimizer = torch.optim.Adam([p for p in whole.parameters() if p.requires_grad], lr=1e-2)
    for step in range(steps):
        x, present = _signal(step)
        loss = (head(encoder.pool(encoder(x, present), torch.full((4,), 200))) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    whole.eval()


@pytest.mark.parametrize(
    "adapter,values,config,inside,trained",
    [
        ("lrc", {}, {}, 35_840, 37_125),
        ("lrc", {}, XRESNET50, 18_432, 19_717),
        ("lrc", {"norm": "affine"}, {}, 35_840 + 26_112, 37_125 + 26_112),
        ("norm", {}, {}, 26_112, 27_397),
        ("bias", {}, {}, 26_112 // 2, 14_341),
        ("linear", {}, {}, 0, 1_285),
        ("rd_lora", {"rank": {"stages.0.*.conv": 4, "*.second.conv": 4}, "biases": False}, {}, 35_216, 36_501),
    ],
)
def test_counts(adapter, values, config, inside, trained):
    """Oracles 1 and 2, with a head of five classes. LoRA on the convolutions of three: 8,804 r."""
    encoder = encoders.build("xresnet101", config)
    adapters.attach(encoder, adapter, values)
    head = nn.Linear(encoder.width, CLASSES)
    assert _count(encoder.parameters()) == inside
    assert _count([*encoder.parameters(), *head.parameters()]) == trained
    assert 4 * 8_804 == 35_216


def test_one_adapter_for_each_convolution_of_three():
    encoder = encoders.build("xresnet101")
    adapters.attach(encoder, "lrc")
    there = [layer for layer in encoder.modules() if isinstance(layer, ConvNorm) and layer.adapter is not None]
    assert len(there) == 36 and {layer.kernel for layer in there} == {3}
    assert all(layer.adapter.down.shape == (8, layer.conv.out_channels) for layer in there)


def test_statistics_of_the_task_cost_as_much_as_scale_and_shift():
    encoder = encoders.build("xresnet101")
    saved = adapters.attach(encoder, "lrc", {"norm": "batch"})
    moved = {name: encoder.state_dict()[name] for name in saved if "running" in name}
    assert sum(value.numel() for value in moved.values()) == 26_112
    assert len(saved) - len(moved) - 2 * 36 == len(moved) // 2  # and the count of batches of each norm


def test_storage_of_four_tasks():
    """P_f + N A + sum of heads, over N P_f + sum of heads: 27.41 %; XResNet-50 27.59 %; 28.63 % where both sides have
    statistics of the tasks' own.
    """

    def share(whole: int, each: int, statistics: int = 0) -> float:
        heads = sum(257 * classes for classes in (9, 3, 5, 4)) + 4 * statistics
        return (whole + 4 * each + heads) / (4 * whole + heads)

    found = [share(1_527_424, 35_840), share(748_416, 18_432), share(1_527_424, 35_840, 26_112)]
    assert [round(100 * value, 2) for value in found] == [27.41, 27.59, 28.63]


@pytest.mark.parametrize("norm", ["frozen", "batch", "affine"])
def test_a_fresh_adapter_changes_no_bit(norm):
    """Oracle 3: in eval mode, and in train mode against the plain encoder in the mode that its norms are then in."""
    encoder, plain = _encoder(), _encoder()
    adapters.attach(encoder, "lrc", {"norm": norm})
    assert torch.equal(_features(encoder.eval()), _features(plain.eval()))
    assert torch.equal(_features(encoder.train()), _features(plain.eval() if norm == "frozen" else plain.train()))


def test_the_gradient_flows_through_w2_first():
    """Oracle 4."""
    encoder = _encoder()
    adapters.attach(encoder, "lrc")
    parts = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(parts.values(), lr=0.1)

    def step() -> dict[str, bool]:
        optimizer.zero_grad()
        encoder(*_signal())[-1].square().mean().backward()
        optimizer.step()
        return {name: bool(p.grad.any()) for name, p in parts.items()}

    assert step() == {name: name.endswith("up") for name in parts}
    assert all(step().values())


def test_by_hand():
    """Oracle 5: W1 y = (-1, 3), y' = (1, 4), and the activation leaves it."""
    layer = ConvNorm(2, 2, 3).eval()
    layer.norm = nn.Identity()
    nn.init.zeros_(layer.conv.weight)
    layer.conv.weight.data[:, :, 1] = torch.eye(2)
    layer.adapter = Bottleneck(2, 2)
    layer.adapter.down.data = torch.tensor([[1.0, 1], [1, -1]])
    layer.adapter.up.data = torch.tensor([[1.0, 0], [0, 2]])
    y = torch.tensor([1.0, -2]).view(1, 2, 1)
    assert layer.adapter(y).flatten().tolist() == [1, 4]
    assert layer(y).flatten().tolist() == [1, 4]
    assert layer(torch.cat((y, torch.zeros(1, 2, 1), -y), 2))[0].tolist() == [[1, 0, 0], [4, 0, 2]]


def test_why_w2_starts_at_zero():
    """Oracle 6: with both drawn as He et al. do, the second moment of the features triples with every adapter."""
    torch.manual_seed(0)
    C, r, ratios = 64, 8, []  # E |y'|^2 = |y|^2 + E |W2 ReLU(W1 y)|^2, and the second term is twice the first
    y = torch.randn(1, C, 20)
    for _ in range(400):
        adapter = Bottleneck(C, r)
        adapter.up.data.normal_(0, math.sqrt(2 / r))
        ratios.append((adapter(y).square().sum() / y.square().sum()).item())
    assert sum(ratios) / len(ratios) == pytest.approx(3, abs=0.1)


def test_w1_is_drawn_as_he_et_al_do():
    torch.manual_seed(0)
    adapter = Bottleneck(512, 64)
    assert adapter.down.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.02) and not adapter.up.any()


def test_the_trunk_is_a_fixed_function():
    """Oracle 7, first half: ten steps leave every tensor and buffer of the encoder, to the bit."""
    encoder = _encoder()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    saved = adapters.attach(encoder, "lrc")
    _train(encoder, nn.Linear(encoder.width, 1), 10)
    after = encoder.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert set(after) - set(before) == set(saved)


def _graft(model: Model, name: str, seed: int, values: dict, steps: int = 10) -> Graft:
    """A graft of `CLASSES` classes after a few steps."""
    task = Task(name, "multilabel", tuple("abcde"), {label: (f"own:{label}",) for label in "abcde"})
    encoder = _encoder()
    encoder.load_state_dict(model.encoder.state_dict())
    torch.manual_seed(seed)
    adapters.attach(encoder, "lrc", values)
    head = build_head(task, encoder, HeadConfig())
    _train(encoder, head, steps)
    tensors = {f"encoder.{key}": value.clone() for key, value in adapters.saved(encoder).items()}
    tensors |= {f"head.{key}": value.clone() for key, value in head.state_dict().items()}
    return Graft(name, task, model.recipe, "lrc", {}, model.fingerprint, tensors, adapter_config=values)


@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_tasks_do_not_touch_each_other(norm):
    """Oracle 7, second half: what task 1 answers is the same bit for bit when others are trained and loaded."""
    model = Model(_encoder(), Model.fresh("xresnet101", SMALL).recipe)
    x, present = _signal(5)
    batch = {"x": x, "present": present, "length": torch.full((4,), 200)}

    def answer(name: str) -> torch.Tensor:
        with torch.inference_mode():
            return model.network(name)(batch)[name]

    model.add(_graft(model, "first", 1, {"norm": norm}))
    before, fingerprint = answer("first"), model.fingerprint
    model.add(_graft(model, "second", 2, {"norm": norm}))
    assert not torch.equal(answer("second"), before)
    assert torch.equal(answer("first"), before)
    model._fingerprint = None
    assert model.fingerprint == fingerprint


@pytest.mark.parametrize("norm", ["batch", "affine"])
def test_a_task_with_norms_of_its_own_is_unloaded_and_loaded_again(norm):
    """Oracle 8."""
    encoder = _encoder()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    saved = adapters.attach(encoder, "lrc", {"norm": norm})
    _train(encoder, nn.Linear(encoder.width, 1), 10)
    moved = {name for name, value in before.items() if not torch.equal(value, encoder.state_dict()[name])}
    kinds = ("running_mean", "running_var", "num_batches_tracked", *(("weight", "bias") if norm == "affine" else ()))
    assert moved == {name for name in before if ".norm." in name and name.endswith(kinds)} <= set(saved)
    expected, tensors = _features(encoder), {name: value.clone() for name, value in adapters.saved(encoder).items()}
    adapters.detach(encoder)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    adapters.attach(encoder.eval(), "lrc", {"norm": norm})
    adapters.restore(encoder, tensors)
    assert torch.equal(_features(encoder), expected)


def test_bytes_of_a_file(tmp_path):
    """Oracle 14: four bytes a parameter of adapter and head, and the header."""
    model = Model.fresh("xresnet101")
    encoder = model.encoder
    task = Task("five", "multilabel", tuple("abcde"), {label: (f"own:{label}",) for label in "abcde"})
    adapters.attach(encoder, "lrc")
    tensors = {f"encoder.{key}": value for key, value in adapters.saved(encoder).items()}
    tensors |= {f"head.{key}": value for key, value in build_head(task, encoder, HeadConfig()).state_dict().items()}
    path = tmp_path / "five.safetensors"
    Graft("five", task, model.recipe, "lrc", {}, "0" * 16, tensors).save(path)
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    assert path.stat().st_size == pytest.approx(4 * 37_125 + header, rel=0.01)
    assert header < 0.1 * path.stat().st_size


def test_a_record_is_answered(tmp_path):
    """The whole way once: a graft as a file on a model, and a record of another rate."""
    model = Model(_encoder(), Model.fresh("xresnet101", SMALL).recipe)
    model.add(_graft(model, "first", 1, {}, steps=1))
    model.save(tmp_path / "m")
    record = Record(torch.randn(12, 1000).numpy(), 250.0, LEADS, id="r")
    one, two = (each.predict(record)["first"].probability for each in (model, Model.load(tmp_path / "m")))
    assert one == two
