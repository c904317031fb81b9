"""A one-dimensional ResNet-18 (He et al. 2016), slim by default: the encoder for a laptop.

The stem and each of four stages of two basic blocks halve the resolution: at 250 Hz the levels stand at 125, 62.5,
31.3, 15.6 and 7.8 Hz. Dilation lets a step of the coarsest see 5.3 s, several beats, which rhythm needs. The widths
grow by less than a factor of two a stage: otherwise, in one dimension, the last stage takes half of the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from operator import mul
from typing import Annotated, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn import ConvNorm, kaiming, masked_max, masked_mean, steps
from ..record import LEADS
from . import features
from ._inner import inner_widths

Four = tuple[int, int, int, int]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """stem: its width. dilations: of the four convolutions of the last stage. pool: over the time of its output;
    `mean_max` puts both beside each other. inner: widths between the two convolutions of the eight blocks; None: as the
    stage.
    """

    leads: tuple[str, ...] = LEADS
    rate: float = Field(250.0, gt=0)  # Hz
    stem: int = Field(32, ge=1)
    stem_kernel: int = Field(7, ge=1)
    stem_stride: int = Field(2, ge=1)
    widths: Four = (32, 64, 96, 192)
    kernels: Four = (5, 5, 5, 3)
    strides: Four = (2, 2, 2, 2)
    dilations: Four = (1, 2, 4, 8)
    pool: Literal["mean", "mean_max"] = "mean_max"
    inner: tuple[Annotated[int, Field(ge=1)], ...] | None = None


class ResNet18(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.config, self.leads, self.rate = config, config.leads, config.rate
        stem = ConvNorm(len(config.leads), config.stem, config.stem_kernel, config.stem_stride)
        self.widths = [config.stem, *config.widths]
        dilations = [(1, 1, 1, 1)] * 3 + [config.dilations]
        shapes = zip(self.widths, config.widths, config.kernels, config.strides, dilations)
        inner = inner_widths(config.inner, 2 * len(config.widths))
        self.stages = nn.ModuleList([stem, *(stage(*shape, inner) for shape in shapes)])
        self.strides = list(accumulate((config.stem_stride, *config.strides), mul))
        self.width = self.widths[-1] * (2 if config.pool == "mean_max" else 1)
        kaiming(self)

    def forward(self, x: Tensor, present: Tensor) -> list[Tensor]:  # (B, C, T), (B, C) -> [(B, D, N)]
        return features(self, x, present)

    def pool(self, levels: list[Tensor], length: Tensor) -> Tensor:  # (B,) -> (B, D) or (B, 2 D)
        e = levels[-1]
        count = steps(length, self.strides[-1], e.shape[-1])
        mean = masked_mean(e, count)
        return mean if self.config.pool == "mean" else torch.cat((mean, masked_max(e, count)), 1)


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, dilations: tuple[int, int], inner: int | None = None
    ):
        super().__init__()
        self.first = ConvNorm(inputs, inner or outputs, kernel, stride, dilation=dilations[0])
        self.second = ConvNorm(inner or outputs, outputs, kernel, dilation=dilations[1], activation=None)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else ConvNorm(inputs, outputs, 1, stride, activation=None)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, D, ceil(T / stride))
        return F.relu(self.second(self.first(x)) + self.shortcut(x), inplace=True)


def stage(
    inputs: int, outputs: int, kernel: int, stride: int, dilations: Four, inner: Iterator[int | None]
) -> nn.Sequential:
    first = Block(inputs, outputs, kernel, stride, dilations[:2], next(inner))
    return nn.Sequential(first, Block(outputs, outputs, kernel, 1, dilations[2:], next(inner)))


def build(config: Config) -> ResNet18:
    return ResNet18(config)
