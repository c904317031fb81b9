"""Which layers get more ranks: importance by hand and against a plain loop, and what a job makes of it."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ecgraft import adapters, encoders, plugs, tasks
from ecgraft.commands import _allocation
from ecgraft.commands._settings import Settings, with_defaults
from ecgraft.nn.network import HeadConfig, Network, build_head
from ecgraft.objectives.supervised import Config, Supervised
from ecgraft.record import UsageError
from ecgraft.signal.recipe import Recipe

TINY = {"widths": (8, 8, 8, 16), "stem": 8, "leads": ("I", "II")}
TASK = tasks.find("rhythm3")


def _objective(seed: int = 0) -> Supervised:
    torch.manual_seed(seed)
    encoder = encoders.build("resnet18", TINY).eval()
    network = Network(encoder, {"a": build_head(TASK, encoder, HeadConfig())}, Recipe(leads=("I", "II"), rate=250.0))
    return Supervised(network, {"a": TASK}, Config())


def _batch(number: int, B: int = 4) -> dict:
    draw = torch.Generator().manual_seed(number)
    y = torch.eye(3)[torch.randint(0, 3, (B,), generator=draw)]
    batch = {"x": torch.randn(B, 2, 300, generator=draw), "present": torch.ones(B, 2, dtype=torch.bool)}
    batch |= {"length": torch.full((B,), 300), "y": y, "known": torch.ones(B, 3, dtype=torch.bool)}
    return batch | {"seed": 0, "step": number}


def _sampler(batches: int):
    def sampler(number: int) -> dict:
        return _batch(number % batches)

    sampler.examples, sampler.size = np.arange(4 * batches), 4
    return sampler


def _options(adapter: str = "rd_lora", **values) -> Settings:
    options = Settings(adapter=adapter, adapter_config={"rank": "auto", **values})
    return with_defaults(options, 10, 0)


def _plug(options: Settings):
    plug = plugs.find("adapters", options.adapter)
    return plug, plugs.configure(plug.Config, options.adapter_config, "test")


class _Product(nn.Module):
    """L = (W x)^2 / 2 with W = [1 2], x = (1, 1), as an objective whose encoder is one matrix."""

    def __init__(self):
        super().__init__()
        matrix = nn.Linear(2, 1, bias=False)
        matrix.weight.data = torch.tensor([[1.0, 2.0]])
        self.network = SimpleNamespace(encoder=nn.ModuleDict({"matrix": matrix}))
        self.inside = self.network.encoder

    def forward(self, batch: dict) -> dict:
        return {"loss": self.inside["matrix"](batch["x"]).square().sum() / 2}


def test_importance_by_hand():
    objective = _Product()
    plug = SimpleNamespace(weights=lambda encoder, config: {"matrix": encoder["matrix"]})
    config = SimpleNamespace(norm="frozen")
    found = _allocation._exact(objective, [{"x": torch.ones(2)}], plug, config, "cpu")
    assert found == {"matrix": 22.5}  # G = [3 3], mean of (3 6) squared


def test_sketch_with_a_square_orthonormal_matrix_is_exact():
    torch.manual_seed(0)
    layer = nn.Linear(4, 3, bias=False)
    from ecgraft.nn import low_rank

    low_rank.add(layer, low_rank.Part(0, 4, 1, 0.0, False))
    layer.down.data = torch.linalg.qr(torch.randn(4, 4))[0]
    layer.weight.requires_grad_(True)
    layer(torch.randn(5, 4)).square().sum().backward()
    torch.testing.assert_close(low_rank.seen(layer), layer.weight.grad)


@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_exact_scores_are_those_of_a_plain_loop(norm):
    options = _options(norm=norm)
    plug, config = _plug(options)
    objective = _objective()
    before = copy.deepcopy(objective.state_dict())
    found = _allocation._exact(objective, [_batch(0), _batch(1)], plug, config, "cpu")
    assert all(torch.equal(before[name], value) for name, value in objective.state_dict().items())
    other = _objective()
    other.train(norm == "batch")
    expected: dict[str, float] = {}
    for number in range(2):
        other.zero_grad()
        other.load_state_dict(before)
        other(_batch(number))["loss"].backward()
        for name, module in plug.weights(other.network.encoder, config).items():
            each = float((module.weight.detach() * module.weight.grad).square().mean())
            expected[name] = expected.get(name, 0) + each / 2
    assert found == pytest.approx(expected, rel=1e-4)


def test_sketched_scores_leave_the_encoder_plain():
    options = _options(allocation={"score": "sketch", "high": 4})
    plug, config = _plug(options)
    objective = _objective()
    before = copy.deepcopy(objective.state_dict())
    found = _allocation._sketched(objective, [_batch(0)], plug, config, "cpu")
    assert set(found) == set(plug.places(objective.network.encoder, config)) and min(found.values()) >= 0
    after = objective.state_dict()
    assert list(after) == list(before) and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("adapter", ["rd_lora", "lrc"])
@pytest.mark.parametrize("head", ["probe", "random"])
def test_ranks_are_high_where_it_matters(adapter, head):
    options = _options(adapter, allocation={"high": 4, "low": 1, "share": 0.25, "head": head})
    found = _allocation.found(_objective(), _sampler(2), options, "cpu")
    (ranked,) = found.options
    ranks = ranked.adapter_config["rank"]
    order = sorted(ranks, key=lambda name: -found.importance[name])
    high = -(-len(ranks) // 4)
    assert [ranks[name] for name in order] == [4] * high + [1] * (len(ranks) - high)
    assert found.best() is ranked and found.card()["seconds"] >= 0
    adapters.attach(_objective().network.encoder, adapter, ranked.adapter_config)


def test_a_budget_is_kept():
    options = _options(budget=2000, allocation={"high": 8, "low": 1, "rule": "budget"})
    found = _allocation.found(_objective(), _sampler(1), options, "cpu")
    plug, config = _plug(options)
    places = plug.places(_objective().network.encoder, config)
    ranks = found.options[0].adapter_config["rank"]
    assert sum(rank * places[name].cost for name, rank in ranks.items()) <= 2000
    assert set(ranks.values()) <= {1, 8}


def test_the_share_can_be_left_to_validation():
    options = _options(allocation={"high": 4, "share": "validation"})
    found = _allocation.found(_objective(), _sampler(1), options, "cpu")
    assert [each.adapter_config["allocation"]["share"] for each in found.options] == [0.2, 0.4, 0.6, 0.8]
    found.scores = [0.1, 0.7, 0.7, 0.2]
    assert found.best() is found.options[1]
    assert found.card()["tried"] == {"0.2": 0.1, "0.4": 0.7, "0.6": 0.7, "0.8": 0.2}


@pytest.mark.parametrize(
    ("adapter", "values", "message"),
    [
        ("linear", {"rank": "auto"}, "no ranks"),
        ("lrc", {"rank": "auto", "allocation": {"score": "sketch"}}, "sketch"),
        ("lrc", {"rank": "auto", "allocation": {"shaer": 1}}, "shaer"),
    ],
)
def test_what_cannot_be_is_said(adapter, values, message):
    with pytest.raises(UsageError, match=message):
        _allocation.check(replace(Settings(), adapter=adapter, adapter_config=values))
