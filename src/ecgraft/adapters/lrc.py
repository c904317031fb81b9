"""LRC-Adapter (Wang et al. 2025, TAC-ECG): a serial bottleneck of 1x1 convolutions after the norm of every ConvNorm
with a kernel longer than 1, in a frozen encoder: y' = y + W2 ReLU(W1 y), and the activation on y'.

W2 = 0 at the start, so that the encoder computes what it did, to the bit. 2 r C parameters a layer. Because of its ReLU
it cannot be merged. It mixes all channels of a layer, those of separate branches too.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn import ConvNorm
from . import _ranks, _where


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """rank    a number, ranks by layer name pattern ({"stages.0.*": 4, "*": 8}; 0: none there), or auto
    budget     most parameters of the adapters, below 1 a share of the encoder's; a number as `rank` is then
               not looked at
    place      all, or last-N: only in the last N stages, so that what lies below can be shared and computed once
    norm       frozen: BatchNorm as pretrained; batch: its statistics follow the task's batches; affine: and its scale
               and shift are learnt too. What moves is the task's own
    """

    rank: _ranks.Rank = 8
    budget: _ranks.Budget = None
    place: _where.Where = "all"
    norm: Literal["frozen", "batch", "affine"] = "frozen"
    allocation: _ranks.Allocation = Field(default_factory=lambda: _ranks.Allocation(high=8))


class Bottleneck(nn.Module):
    """y + W2 ReLU(W1 y)."""

    def __init__(self, width: int, rank: int):
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, width) * math.sqrt(2 / width))  # W1, He et al. 2015
        self.up = nn.Parameter(torch.zeros(width, rank))  # W2

    def forward(self, y: Tensor) -> Tensor:  # (B, C, N) -> (B, C, N)
        return y + F.conv1d(F.relu(F.conv1d(y, self.down[..., None]), inplace=True), self.up[..., None])


def places(encoder: nn.Module, config: Config) -> dict[str, _ranks.Place]:
    """The layers that can have an adapter."""
    layers = _where.inside(encoder, config.place)
    wide = {name: layer for name, layer in layers.items() if isinstance(layer, ConvNorm) and layer.kernel > 1}
    return {name: _ranks.Place(layer.conv.out_channels, layer.conv.out_channels) for name, layer in wide.items()}


def weights(encoder: nn.Module, config: Config) -> dict[str, nn.Module]:
    """By layer, whose weight says how important it is."""
    return {name: encoder.get_submodule(name).conv for name in places(encoder, config)}


def attach(encoder: nn.Module, config: Config) -> list[str]:
    layers = _where.inside(encoder, config.place)
    for name, rank in config.rank.items():
        layer = layers[name]
        layer.adapter = Bottleneck(layer.conv.out_channels, rank).to(layer.conv.weight)
    saved = [f"{name}.adapter.{key}" for name in config.rank for key in ("down", "up")]
    if config.norm == "frozen":
        return saved
    moved = _where.move_statistics(encoder, layers)
    if config.norm == "batch":
        return saved + moved
    norms = {name: layer for name, layer in layers.items() if isinstance(layer, _where.NORMS)}
    return saved + moved + _where.learn(_where.parameters(norms))


def detach(encoder: nn.Module) -> None:
    for layer in encoder.modules():
        if isinstance(layer, ConvNorm):
            layer.adapter = None
