"""Elastic weight consolidation (Kirkpatrick et al. 2017): what mattered to earlier tasks is held by springs.

loss + (lambda / 2) sum over earlier tasks of F (theta - theta*)^2 over the weights that tasks share; F is the mean of
the squared gradient of the loss of single training records, theta* the weights after that task.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from ..nn import shared
from . import LAST, Past

START = LAST


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """weight: lambda. records: of a task, that F is computed from. bank: as in `sequential`."""

    weight: float = Field(100.0, ge=0)
    records: int = Field(1000, ge=1)
    bank: Literal["private", "shared"] = "private"


class Consolidated(nn.Module):
    """`held`: of each earlier task name -> (F, theta*)."""

    def __init__(self, supervised: nn.Module, held: list[dict[str, tuple[Tensor, Tensor]]], weight: float):
        super().__init__()
        self.supervised, self.weight = supervised, weight
        self._held, self._encoder = held, supervised.network.encoder

    @property
    def network(self) -> nn.Module:
        return self.supervised.network

    def forward(self, batch: dict) -> dict[str, Tensor]:
        out = self.supervised(batch)
        if not self._held:
            return out
        springs = self.weight * self.penalty()
        return out | {"loss": out["loss"] + springs, "springs": springs}

    def penalty(self) -> Tensor:
        """(1 / 2) sum F (theta - theta*)^2."""
        now = dict(self._encoder.named_parameters())
        terms = [
            (f.to(now[name]) * (now[name] - was.to(now[name])) ** 2).sum()
            for each in self._held
            for name, (f, was) in each.items()
        ]
        return sum(terms) / 2


def around(supervised: nn.Module, past: list[Past], config: Config) -> nn.Module:
    return Consolidated(supervised, [task.kept for task in past], config.weight)


def remember(supervised: nn.Module, single: Callable[[int], dict], config: Config) -> dict[str, tuple[Tensor, Tensor]]:
    """Name -> (F, theta*) of the weights that tasks share. `single(i)`: a batch of one training record."""
    encoder = supervised.network.eval().encoder
    weights = {f"{name}.weight": layer.weight for name, layer in shared.layers(encoder).items()}
    free = {name: value.requires_grad for name, value in weights.items()}
    fisher = {name: torch.zeros_like(value) for name, value in weights.items()}
    for value in weights.values():
        value.requires_grad_(True)
    for i in range(config.records):
        gradients = torch.autograd.grad(supervised(single(i))["loss"], list(weights.values()))
        for total, gradient in zip(fisher.values(), gradients):
            total += gradient**2 / config.records
    for name, value in weights.items():
        value.requires_grad_(free[name])
    return {name: (fisher[name], value.detach().clone()) for name, value in weights.items()}
