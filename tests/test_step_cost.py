"""Bytes that a step keeps, by hand."""

from __future__ import annotations

import torch
from torch import nn

from ecgraft.training.cost import step_cost


class Squares(nn.Module):
    """loss = sum of (W x)^2: x is kept for W's gradient, and W x for the square's."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1000, 500, bias=False)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, batch: dict) -> dict:
        self.seen += 1
        return {"loss": self.linear(batch["x"] + 1).pow(2).sum()}


def test_what_is_kept_and_the_peak():
    objective = Squares().eval()
    cost = step_cost(objective, {"x": torch.zeros(64, 1000)})
    assert cost.saved == 4 * (64 * 1000 + 64 * 500)
    least = 4 * (64 * 1000 + 64 * 500 + 1000 * 500)  # x + 1, W x, and the gradient of W at the end
    assert least <= cost.peak <= 2 * least
    assert objective.seen == 0 and not objective.training and objective.linear.weight.grad is None


def test_a_frozen_layer_keeps_less():
    objective = Squares()
    before = step_cost(objective, {"x": torch.zeros(64, 1000)})
    objective.linear.requires_grad_(False)
    scale = nn.Parameter(torch.ones(1))
    objective.forward = lambda batch: {"loss": (objective.linear(batch["x"]) * scale).sum()}
    objective.register_parameter("scale", scale)
    assert step_cost(objective, {"x": torch.zeros(64, 1000)}).saved < before.saved
