"""The decoders of ECG-CL (Gao et al. 2023): heads of one task that read all levels of an encoder."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .conv import ConvNorm, upsample
from .pool import masked_mean, steps


class Cascade(nn.Module):
    """One answer per record: the levels from fine to coarse, each joined to what came down from the finer ones.

    y_1 = x_1; y_k = ReLU(Conv3 y_{k-1}) + Conv1 x_k, of this `width`; the mean of the last over time; a linear layer.
    "lowest": each y_k has the width of its x_k, and there is no Conv1.
    """

    reads = "record"

    def __init__(
        self, widths: list[int], strides: list[int], classes: int, width: int | Literal["lowest"] = 64,
        dropout: float = 0.0,
    ):  # fmt: skip
        super().__init__()
        self.stride, lowest = strides[-1], width == "lowest"
        own = list(widths) if lowest else [widths[0]] + [width] * (len(widths) - 1)
        ratios = (b // a for a, b in pairwise(strides))
        self.downs = nn.ModuleList(nn.Conv1d(a, b, 3, ratio, 1) for (a, b), ratio in zip(pairwise(own), ratios))
        self.sides = nn.ModuleList(nn.Identity() if lowest else nn.Conv1d(w, width, 1) for w in widths[1:])
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(own[-1], classes)

    def forward(self, levels: list[Tensor], length: Tensor) -> Tensor:  # [(B, D, N)], (B,) -> (B, K)
        y = levels[0]
        for down, side, x in zip(self.downs, self.sides, levels[1:]):
            y = F.relu(down(y), inplace=True) + side(x)
        return self.linear(self.dropout(masked_mean(y, steps(length, self.stride, y.shape[-1]))))


class Segmentation(nn.Module):
    """One answer per lead and sample: all levels brought to the finest, mixed, and raised to the rate of the signal.

    `leads` as of `heads.Dense`.
    """

    reads = "samples"

    def __init__(self, widths: list[int], strides: list[int], leads: int, classes: int):
        super().__init__()
        self.factors = [stride // strides[0] for stride in strides]
        self.leads, self.classes = leads, classes
        half = max(1, sum(widths) // 2)
        self.join = ConvNorm(sum(widths), half, 3, bias=True)
        self.up = nn.ConvTranspose1d(half, half, strides[0], strides[0])
        self.out = nn.Conv1d(half, leads * classes, 1)

    def forward(self, levels: list[Tensor], samples: int) -> Tensor:  # [(B, D, N)], T -> (B, C, K, T)
        N = levels[0].shape[-1]
        y = self.join(torch.cat([upsample(x, factor, N) for x, factor in zip(levels, self.factors)], 1))
        y = self.out(F.relu(self.up(y), inplace=True)[..., :samples])
        return y.unflatten(1, (self.leads, self.classes))
