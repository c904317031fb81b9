"""Heads: the features of an encoder to an answer, per record or per sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .conv import ConvNorm, upsample


class Pooled(nn.Module):
    """One answer per record: dropout and a linear layer on `encoder.pool(...)`."""

    def __init__(self, width: int, classes: int, dropout: float = 0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, classes)

    def forward(self, h: Tensor) -> Tensor:  # (B, D) -> (B, K)
        return self.linear(self.dropout(h))


class Features(nn.Module):
    """The pooled features themselves."""

    def forward(self, h: Tensor) -> Tensor:  # (B, D) -> (B, D)
        return h


class Dense(nn.Module):
    """One answer per lead and sample: a feature pyramid (Lin et al. 2017) over all levels, from coarse to fine.

    `leads` outputs a record: as many as the encoder has (joint), or 1 where the leads are folded into the batch, each
    alone in its slot (`alone`).
    """

    def __init__(self, widths: list[int], strides: list[int], leads: int, classes: int, width: int = 32):
        super().__init__()
        self.strides = tuple(strides)
        self.leads = leads
        self.classes = classes
        self.laterals = nn.ModuleList(nn.Conv1d(w, width, 1) for w in widths)
        self.smooth = nn.ModuleList(ConvNorm(width, width, 3) for _ in widths[:-1])
        self.out = nn.Conv1d(width, leads * classes, 1)

    def forward(self, levels: list[Tensor], samples: int) -> Tensor:  # [(B, D, N)], T -> (B, C, K, T)
        y = self.laterals[-1](levels[-1])
        for i in reversed(range(len(levels) - 1)):
            y = F.interpolate(y, scale_factor=self.strides[i + 1] // self.strides[i])  # holds each step
            y = self.smooth[i](self.laterals[i](levels[i]) + y[..., : levels[i].shape[-1]])
        y = upsample(self.out(y), self.strides[0], samples)
        return y.unflatten(1, (self.leads, self.classes))


def alone(x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:  # (B, C, T), (B, C) -> (BC, C, T), (BC, C)
    """Each lead as a record of its own, in its own slot, all other leads absent."""
    B, C, T = x.shape
    slot = torch.eye(C, dtype=torch.bool, device=x.device)  # (C, C)
    single = torch.where(slot[..., None], x[:, :, None], 0).reshape(B * C, C, T)
    return single, (slot & present[:, :, None]).reshape(B * C, C)
