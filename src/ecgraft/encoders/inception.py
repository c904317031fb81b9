"""InceptionTime (Fawaz et al. 2020) as a pyramid: stages of modules beside a shortcut, each after a pooling in time.

`strides=(1, 1), depth=3` is the published network, with one resolution throughout.
"""

from __future__ import annotations

from itertools import accumulate
from operator import mul

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn import ConvNorm, kaiming, masked_mean, steps
from ..record import LEADS
from . import features


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """width: of each branch and of the bottleneck; kernels: of the branches; depth: modules of a stage."""

    leads: tuple[str, ...] = LEADS
    rate: float = Field(100.0, gt=0)  # Hz
    width: int = Field(32, ge=1)
    kernels: tuple[int, ...] = (9, 19, 39)
    strides: tuple[int, ...] = (1, 2, 2)
    depth: int = Field(2, ge=1)


class Inception(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.config, self.leads, self.rate = config, config.leads, config.rate
        self.width = config.width * (len(config.kernels) + 1)
        inputs = [len(config.leads)] + [self.width] * (len(config.strides) - 1)
        self.stages = nn.ModuleList(Stage(n, config, stride) for n, stride in zip(inputs, config.strides))
        self.widths = [self.width] * len(config.strides)
        self.strides = list(accumulate(config.strides, mul))
        kaiming(self)

    def forward(self, x: Tensor, present: Tensor) -> list[Tensor]:  # (B, C, T), (B, C) -> [(B, D, N)]
        return features(self, x, present)

    def pool(self, levels: list[Tensor], length: Tensor) -> Tensor:  # (B,) -> (B, D)
        e = levels[-1]
        return masked_mean(e, steps(length, self.strides[-1], e.shape[-1]))


class Stage(nn.Module):
    """Pooling, then modules beside a shortcut."""

    def __init__(self, inputs: int, config: Config, stride: int):
        super().__init__()
        outputs = config.width * (len(config.kernels) + 1)
        self.pool = nn.MaxPool1d(stride, ceil_mode=True)
        widths = [inputs] + [outputs] * (config.depth - 1)
        self.body = nn.Sequential(*(Module(n, config.width, config.kernels) for n in widths))
        self.shortcut = ConvNorm(inputs, outputs, 1, activation=None)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, D, ceil(T / stride))
        x = self.pool(x)
        return F.relu(self.body(x) + self.shortcut(x))


class Module(nn.Module):
    """Convolutions of several lengths behind one bottleneck, beside a maximum of three samples; all concatenated."""

    def __init__(self, inputs: int, width: int, kernels: tuple[int, ...]):
        super().__init__()
        self.bottleneck = nn.Conv1d(inputs, width, 1, bias=False) if inputs > 1 else nn.Identity()
        narrow = width if inputs > 1 else inputs
        self.branches = nn.ModuleList(ConvNorm(narrow, width, kernel) for kernel in kernels)
        self.maximum = nn.Sequential(nn.MaxPool1d(3, 1, 1), ConvNorm(inputs, width, 1))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, D, T)
        narrow = self.bottleneck(x)
        return torch.cat([*(branch(narrow) for branch in self.branches), self.maximum(x)], dim=1)


def build(config: Config) -> Inception:
    return Inception(config)
