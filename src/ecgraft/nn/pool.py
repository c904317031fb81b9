"""Means and maxima over the steps of a map that come from the record, not from padding."""

from __future__ import annotations

import torch
from torch import Tensor


def steps(length: Tensor, stride: int, limit: int) -> Tensor:  # (B,) samples -> (B,) steps
    """The steps of a map of `limit` steps that hold `length` samples: ceil(length / stride), at least 1."""
    return torch.div(length + stride - 1, stride, rounding_mode="floor").clamp(1, limit)


def masked_mean(x: Tensor, count: Tensor) -> Tensor:  # (B, D, N), (B,) -> (B, D)
    """Mean over the first `count` steps of each record, summed in float32."""
    total = x.masked_fill(_beyond(x, count), 0).sum(-1, dtype=torch.promote_types(x.dtype, torch.float32))
    return (total / count[:, None]).to(x.dtype)


def masked_max(x: Tensor, count: Tensor) -> Tensor:  # (B, D, N), (B,) -> (B, D)
    """Maximum over the first `count` steps of each record."""
    return x.masked_fill(_beyond(x, count), -torch.inf).amax(-1)


def _beyond(x: Tensor, count: Tensor) -> Tensor:  # (B, 1, N)
    return torch.arange(x.shape[-1], device=x.device) >= count[:, None, None]
