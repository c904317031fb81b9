"""Semi-supervised BatchNorm of CE-SSL (Zhou et al. 2024): unlabelled records count in the statistics of norms alone.

    z = encoder(labelled beside tail): every BatchNorm in training mode has the moments of both
    loss = the supervised one of the labelled rows

No pseudo-labels, no consistency, no teacher. Heads see labelled rows only.
"""

from __future__ import annotations

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .. import views
from ..nn.network import Network
from ..nn.paired import Pairing, norms_in_training
from ..record import UsageError
from ..tasks import Task
from ._tail import WEAK, check_head, random_of, split, under

STAGE = "adapt"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """tail_grad  whether gradients pass through the tail's share of the statistics, as published; else the tail is
               computed without gradient and keeps no activations
    weak       views of the tail
    """

    tail_grad: bool = False
    weak: dict[str, dict | None] = Field(default_factory=lambda: dict(WEAK))


class SemiBatchNorm(nn.Module):
    def __init__(self, config: Config, supervised: nn.Module):
        super().__init__()
        self.supervised = supervised
        self.weak = views.build(config.weak, supervised.network.recipe)
        self.pairing = Pairing(config.tail_grad)

    @property
    def network(self) -> Network:
        return self.supervised.network

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        random = random_of(batch)
        labelled, tail = split(batch)
        labelled = self.supervised.seen(labelled, random)
        if tail is None or not self.training:
            return self.supervised.losses(self.network(labelled), labelled)
        tail = under(self.weak, tail, random)
        x = self.network.recipe.normalise_batch(tail["x"], tail["present"], tail["length"])
        with self.pairing.beside(self.network.encoder, x, tail["present"], len(labelled["x"])):
            logits = self.network(labelled)
        return self.supervised.losses(logits, labelled)


def check(config: Config, task: Task, network: Network) -> None:
    """UsageError where no norm would see the tail."""
    encoder = network.encoder
    check_head("semi_bn", network)
    views.build(config.weak, network.recipe)
    if not any(isinstance(layer, _BatchNorm) for layer in encoder.modules()):
        name = getattr(encoder, "name", type(encoder).__name__)
        raise UsageError(
            f"semi=semi_bn: encoder {name} has no BatchNorm, so unlabelled records would teach nothing; take "
            "semi=fixmatch or mean_teacher, or another encoder"
        )
    if not norms_in_training(encoder):
        adapter = getattr(getattr(encoder, "attached", None), "name", "none")
        raise UsageError(
            f"semi=semi_bn: adapter {adapter} keeps the statistics of every BatchNorm still, so unlabelled records "
            "would teach nothing; give adapter_config.norm=batch, or an adapter that has it"
        )


def build(config: Config, supervised: nn.Module) -> SemiBatchNorm:
    return SemiBatchNorm(config, supervised)
