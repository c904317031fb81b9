"""The network of ECGFounder (Li et al. 2025): a one-dimensional RegNet, grouped bottlenecks with a gate on channels.

The defaults are its published widths and depths (30.7 M parameters); `widths=(16, 32, 32, 80, 80, 256, 256)` with a
`stem` of 16 is a small one.
"""

from __future__ import annotations

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn import ConvNorm, masked_mean, steps
from ..record import LEADS
from . import features


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """widths, depths: of the stages; each halves the resolution, as does the stem. group: channels of a group."""

    leads: tuple[str, ...] = LEADS
    rate: float = Field(500.0, gt=0)  # Hz
    stem: int = Field(64, ge=1)
    widths: tuple[int, ...] = (64, 160, 160, 400, 400, 1024, 1024)
    depths: tuple[int, ...] = (2, 2, 2, 3, 3, 4, 4)
    kernel: int = Field(16, ge=1)
    group: int = Field(16, ge=1)


class Net1d(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.config, self.leads, self.rate = config, config.leads, config.rate
        stem = ConvNorm(len(config.leads), config.stem, config.kernel, 2, bias=True, activation="silu")
        self.stages = nn.ModuleList([stem])
        inputs = config.stem
        for i, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            blocks = [Block(width if j else inputs, width, config, halve=not j, bare=not i + j) for j in range(depth)]
            self.stages.append(nn.Sequential(*blocks))
            inputs = width
        self.widths = [config.stem, *config.widths]
        self.strides = [2 ** (i + 1) for i in range(len(self.widths))]
        self.width = inputs

    def forward(self, x: Tensor, present: Tensor) -> list[Tensor]:  # (B, C, T), (B, C) -> [(B, D, N)]
        return features(self, x, present)

    def pool(self, levels: list[Tensor], length: Tensor) -> Tensor:  # (B,) -> (B, D)
        e = levels[-1]
        return masked_mean(e, steps(length, self.strides[-1], e.shape[-1]))


class Block(nn.Module):
    """Norms before convolutions: [norm], 1x1, norm, grouped, norm, 1x1, gate; the shortcut is pooled and zero-padded.

    `bare`: without the first norm, because the stem has just applied one.
    """

    def __init__(self, inputs: int, outputs: int, config: Config, halve: bool, bare: bool):
        super().__init__()
        self.halve, self.missing = halve, outputs - inputs
        self.before = nn.Identity() if bare else nn.Sequential(nn.BatchNorm1d(inputs), nn.SiLU())
        self.narrow = ConvNorm(inputs, outputs, 1, bias=True, activation="silu")
        groups, stride = outputs // config.group, 2 if halve else 1
        self.grouped = ConvNorm(outputs, outputs, config.kernel, stride, groups=groups, bias=True, activation="silu")
        self.wide = nn.Conv1d(outputs, outputs, 1)
        self.gate = nn.Sequential(
            nn.Linear(outputs, outputs // 2), nn.SiLU(), nn.Linear(outputs // 2, outputs), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, D, ceil(T / 2) if halve else T)
        y = self.wide(self.grouped(self.narrow(self.before(x))))
        y = y * self.gate(y.mean(-1))[..., None]
        if self.halve:
            x = F.max_pool1d(F.pad(x, (0, x.shape[-1] % 2)), 2)
        return y + F.pad(x, (0, 0, self.missing // 2, self.missing - self.missing // 2))


def build(config: Config) -> Net1d:
    return Net1d(config)
