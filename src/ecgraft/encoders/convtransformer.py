"""The backbone of CE-SSL (Zhou et al. 2024): three convolutional blocks of stride 4, then a transformer on the tokens.

base: width 256, depth 8; medium: 512, 12; large: 768, 12.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn import ConvNorm, masked_max, steps
from ..record import LEADS
from . import features


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """attention: `causal` is for the published weights only."""

    leads: tuple[str, ...] = LEADS
    rate: float = Field(500.0, gt=0)  # Hz
    width: int = Field(256, ge=2)
    depth: int = Field(8, ge=1)
    heads: int = Field(16, ge=1)
    attention: Literal["causal", "full"] = "full"


class ConvTransformer(nn.Module):
    low_rank: ClassVar = {"*.out": "none", "*.qkv": "three", "hidden": "always"}  # (adapters.rd_lora)

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.leads, self.rate = config, config.leads, config.rate
        blocks = [Block(len(config.leads), config.width), *(Block(config.width, config.width) for _ in range(2))]
        self.stages = nn.ModuleList([*blocks, Transformer(config)])
        self.hidden = nn.Linear(config.width, config.width)
        self.widths = [config.width] * 4
        self.strides = [4, 16, 64, 64]
        self.width = config.width

    def forward(self, x: Tensor, present: Tensor) -> list[Tensor]:  # (B, C, T), (B, C) -> [(B, D, N)]
        return features(self, x, present)

    def pool(self, levels: list[Tensor], length: Tensor) -> Tensor:  # (B,) -> (B, D)
        e = levels[-1]
        return self.hidden(masked_max(e, steps(length, self.strides[-1], e.shape[-1])))


class Block(nn.Module):
    """Two convolutions, the first of stride 4, beside an averaging shortcut; no activation after the sum."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 9, 4, bias=True, activation="leaky")
        self.second = ConvNorm(outputs, outputs, 9, bias=True, activation="leaky")
        self.shortcut = nn.Sequential(nn.AvgPool1d(4, ceil_mode=True), nn.Conv1d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, D, ceil(T / 4))
        return self.second(self.first(x)) + self.shortcut(x)


class Transformer(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))

    def forward(self, x: Tensor) -> Tensor:  # (B, D, N) -> (B, D, N)
        x = x.transpose(1, 2) + positions(x.shape[2], x.shape[1]).to(x)
        for layer in self.layers:
            x = layer(x)
        return x.transpose(1, 2)


class Layer(nn.Module):
    """Self-attention and a feed-forward network, each behind its own norm and beside a shortcut."""

    def __init__(self, config: Config):
        super().__init__()
        d = config.width
        self.heads, self.causal = config.heads, config.attention == "causal"
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.feed = nn.Sequential(nn.Linear(d, 4 * d), nn.LeakyReLU(0.01), nn.Linear(4 * d, d))

    def forward(self, x: Tensor) -> Tensor:  # (B, N, D) -> (B, N, D)
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))  # (B, N, 3, heads, D / heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)  # (B, heads, N, D / heads)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.feed(self.norm2(x))


def positions(N: int, D: int) -> Tensor:  # (N, D)
    """Sines in the even columns, cosines in the odd ones, of wavelengths 2 pi to 20000 pi (Vaswani et al. 2017)."""
    rate = torch.exp(torch.arange(0, D, 2) * (-math.log(10000) / D))
    angle = torch.arange(N)[:, None] * rate  # (N, D / 2)
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1)[:, :D]


def build(config: Config) -> ConvTransformer:
    if config.width % config.heads:
        raise ValueError(f"width {config.width} is no multiple of heads {config.heads}")
    return ConvTransformer(config)
