"""The slim one-dimensional XResNet-101 of TAC-ECG (Wang et al. 2025), for 100 Hz: 1,527,424 parameters with 12 leads.

`depths=(3, 4, 6, 3)` is its XResNet-50.
"""

from __future__ import annotations

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn import ConvNorm, kaiming, masked_mean, steps
from ..record import LEADS
from . import features

EXPANSION = 4


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """stem: widths of its three convolutions. width: of the bottlenecks, a quarter of what comes out of them."""

    leads: tuple[str, ...] = LEADS
    rate: float = Field(100.0, gt=0)  # Hz
    stem: tuple[int, int, int] = (32, 32, 64)
    width: int = Field(64, ge=1)
    depths: tuple[int, ...] = (3, 4, 23, 3)


class XResNet(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.config, self.leads, self.rate = config, config.leads, config.rate
        self.stages = nn.ModuleList([stem(len(config.leads), config.stem)])
        inputs, outputs = config.stem[-1], EXPANSION * config.width
        for i, depth in enumerate(config.depths):
            blocks = [
                Bottleneck(outputs if j else inputs, config.width, outputs, stride=2 if i and not j else 1)
                for j in range(depth)
            ]
            halve = [] if i else [nn.MaxPool1d(3, 2, 1)]
            self.stages.append(nn.Sequential(*halve, *blocks))
            inputs = outputs
        self.widths = [config.stem[-1]] + [outputs] * len(config.depths)
        self.strides = [2 ** (i + 1) for i in range(len(self.widths))]
        self.width = outputs
        kaiming(self)

    def forward(self, x: Tensor, present: Tensor) -> list[Tensor]:  # (B, C, T), (B, C) -> [(B, D, N)]
        return features(self, x, present)

    def pool(self, levels: list[Tensor], length: Tensor) -> Tensor:  # (B,) -> (B, D)
        e = levels[-1]
        return masked_mean(e, steps(length, self.strides[-1], e.shape[-1]))


class Bottleneck(nn.Module):
    """1x1 to a narrow width, a convolution of three, 1x1 to a wide one, beside a shortcut that averages to stride."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int):
        super().__init__()
        self.first = ConvNorm(inputs, width, 1)
        self.second = ConvNorm(width, width, 3, stride)
        self.third = ConvNorm(width, outputs, 1, activation=None)
        average = [nn.AvgPool1d(stride, ceil_mode=True)] if stride > 1 else []
        project = [ConvNorm(inputs, outputs, 1, activation=None)] if inputs != outputs else []
        self.shortcut = nn.Sequential(*average, *project)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, D, ceil(T / stride))
        return F.relu(self.third(self.second(self.first(x))) + self.shortcut(x), inplace=True)


def stem(inputs: int, widths: tuple[int, int, int]) -> nn.Sequential:
    a, b, c = widths
    return nn.Sequential(ConvNorm(inputs, a, 3, 2), ConvNorm(a, b, 3), ConvNorm(b, c, 3))


def build(config: Config) -> XResNet:
    return XResNet(config)
