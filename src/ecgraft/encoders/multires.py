"""The backbone of ECG-CL (Gao et al. 2023): branches of several resolutions beside each other.

A stage splits its lowest branch in two, works on each branch, and merges them all. With 12 leads 301,760 parameters.
Between the stages the branches travel as one flat tensor, one after another (`pack`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn import ConvNorm, kaiming, masked_mean, steps
from ..record import LEADS, InputError
from . import features
from ._inner import inner_widths

STRIDES = (2, 4, 8, 16)  # of the branches, finest first


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """width: C, of the stem. kernel: of the stem and of the blocks.

    widths  of the branches of the last stage; halve: C/2, C/4, C/8, C/8, the filters are shared out; hrnet: C, 2 C,
            4 C, 8 C
    inner   widths between the two convolutions of the blocks, stage by stage, branch by branch, two on each; None: as
            the branch
    """

    leads: tuple[str, ...] = LEADS
    rate: float = Field(250.0, gt=0)  # Hz
    width: int = Field(64, ge=1)
    kernel: int = Field(7, ge=1)
    widths: Literal["halve", "hrnet"] = "halve"
    inner: tuple[Annotated[int, Field(ge=1)], ...] | None = None


class MultiRes(nn.Module):
    """The stem and four stages, the last of which gives all levels: its branches.

    The stages read a multiple of 16 samples; `enter` pads with zeros, and the levels are cut to the signal's length.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.leads, self.rate = config, config.leads, config.rate
        after = branches(config)
        stem = ConvNorm(len(config.leads), config.width, config.kernel, STRIDES[0])
        pairs, inner = zip([after[0], *after], after), inner_widths(config.inner, 2 * sum(map(len, after)))
        self.stages = nn.ModuleList([stem, *(Stage(before, now, config.kernel, inner) for before, now in pairs)])
        self.widths, self.strides, self.width = after[-1], list(STRIDES), sum(after[-1])
        kaiming(self)

    def forward(self, x: Tensor, present: Tensor) -> list[Tensor]:  # (B, C, T), (B, C) -> [(B, D, N)]
        return features(self, x, present)

    def enter(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, C, T'), T' a multiple of 16
        missing = -x.shape[-1] % STRIDES[-1]
        return F.pad(x, (0, missing)) if missing else x

    def levels(self, stage: int, y: Tensor, present: Tensor, samples: int) -> list[Tensor]:  # (B, M) -> [(B, D, N)]
        if stage < len(self.stages) - 1:
            return []
        return [x[..., : -(-samples // stride)] for x, stride in zip(unpack(y, self.widths), STRIDES)]

    def pool(self, levels: list[Tensor], length: Tensor) -> Tensor:  # (B,) -> (B, sum of D)
        means = (masked_mean(e, steps(length, s, e.shape[-1])) for e, s in zip(levels, STRIDES))
        return torch.cat(list(means), 1)


def branches(config: Config) -> list[list[int]]:
    """The widths of the branches of each stage. Raises ValueError where they cannot be halved."""
    C, halve = config.width, config.widths == "halve"
    if halve and C % 8:
        raise ValueError(f"width {C} is halved three times; take a multiple of 8, or widths=hrnet")
    widths = [[C]]
    for _ in STRIDES[1:]:
        *above, lowest = widths[-1]
        widths.append([*above, lowest // 2, lowest // 2] if halve else [*above, lowest, 2 * lowest])
    return widths


def pack(xs: list[Tensor]) -> Tensor:  # [(B, D, N)] -> (B, M)
    """Branches as one tensor, one after another."""
    flat = [x.flatten(1) for x in xs]
    return flat[0] if len(flat) == 1 else torch.cat(flat, 1)


def unpack(y: Tensor, widths: list[int]) -> list[Tensor]:  # (B, M) -> [(B, D, N)]
    """The branches of a tensor: views of it. Raises InputError for samples that are no multiple of 16."""
    shares = [D * STRIDES[-1] // stride for D, stride in zip(widths, STRIDES)]  # for a step of the lowest resolution
    N, rest = divmod(y.shape[1], sum(shares))
    if rest:
        samples = y.shape[1] * STRIDES[-1] // sum(shares)
        raise InputError(
            f"the stages of multires read a multiple of {STRIDES[-1]} samples, not {samples}: pad the signal, as the "
            "encoder itself does"
        )
    parts = y.split([N * share for share in shares], 1)
    return [part.unflatten(1, (D, -1)) for part, D in zip(parts, widths)]


class Stage(nn.Module):
    """`before`, `after`: the widths of the branches that it reads, those that it gives. `inner`: of its blocks."""

    def __init__(self, before: list[int], after: list[int], kernel: int, inner: Iterator[int | None]):
        super().__init__()
        self.before, self.keep, self.down, self.merge = before, None, None, None
        if len(after) > len(before):
            self.keep = nn.Conv1d(before[-1], after[-2], 1, bias=False)
            self.down = nn.Conv1d(before[-1], after[-1], 3, 2, 1, bias=False)
            self.merge = Merge(after)
        self.blocks = nn.ModuleList(nn.Sequential(*(Block(D, kernel, next(inner)) for _ in range(2))) for D in after)

    def forward(self, y: Tensor) -> Tensor:  # (B, M) or (B, D, N) -> (B, M)
        xs = unpack(y.flatten(1), self.before)
        if self.merge is not None:
            xs = [*xs[:-1], self.keep(xs[-1]), self.down(xs[-1])]
        xs = [block(x) for block, x in zip(self.blocks, xs)]
        return pack(xs if self.merge is None else self.merge(xs))


class Block(nn.Module):
    """ReLU of x and two convolutions of it."""

    def __init__(self, width: int, kernel: int, inner: int | None = None):
        super().__init__()
        self.first = ConvNorm(width, inner or width, kernel)
        self.second = ConvNorm(inner or width, width, kernel, activation=None)

    def forward(self, x: Tensor) -> Tensor:  # (B, D, N) -> (B, D, N)
        return F.relu(self.second(self.first(x)) + x, inplace=True)


class Merge(nn.Module):
    """Each branch plus all others, brought to its resolution. ways[j][i]: from branch i to branch j."""

    def __init__(self, widths: list[int]):
        super().__init__()
        self.ways = nn.ModuleList(
            nn.ModuleList(_way(i, j, D, to) for i, D in enumerate(widths)) for j, to in enumerate(widths)
        )

    def forward(self, xs: list[Tensor]) -> list[Tensor]:  # [(B, D, N)] -> [(B, D, N)]
        merged = []
        for j, ways in enumerate(self.ways):
            first, *others = (i for i in range(len(xs)) if i != j)
            y = ways[first](xs[first]) + xs[j]
            for i in others:
                y += ways[i](xs[i])
            merged.append(F.relu(y, inplace=True))
        return merged


def _way(i: int, j: int, inputs: int, outputs: int) -> nn.Module:
    """What brings branch i to branch j."""
    if i == j:
        return nn.Identity()
    if i > j:
        return Up(inputs, outputs, 2 ** (i - j))
    stride = 2 ** (j - i)
    return ConvNorm(inputs, outputs, 2 * stride - 1, stride, activation=None)


class Up(nn.Module):
    """A transposed convolution with kernel = stride = factor, and a norm.

    Its taps do not overlap, so it is a 1x1 convolution to `factor` times the channels, which are dealt out over time:
    channel d f + k is step k of the new channel d. A plain convolution is what adapters and pruning know.
    """

    def __init__(self, inputs: int, outputs: int, factor: int):
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv1d(inputs, outputs * factor, 1, bias=False)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:  # (B, D, N) -> (B, D', f N)
        y = self.conv(x).unflatten(1, (-1, self.factor))  # (B, D', f, N)
        return self.norm(y.transpose(2, 3).flatten(2))


def build(config: Config) -> MultiRes:
    return MultiRes(config)
