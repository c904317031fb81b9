"""Rows of a batch, and the leads of a record together."""

from __future__ import annotations

import torch
from torch import Tensor


def take(batch: dict, which: slice | Tensor) -> dict:
    """Some rows of everything in a batch that has a row for each record."""
    B = len(batch["x"])

    def of(value):
        if isinstance(value, Tensor) and value.ndim and len(value) == B:
            return value[which]
        if isinstance(value, list) and len(value) == B:
            return value[which] if isinstance(which, slice) else [each for each, kept in zip(value, which) if kept]
        return value

    return {key: of(value) for key, value in batch.items()}


def of_present(logits: Tensor, present: Tensor) -> Tensor:
    """Logits (B, C, K, T) averaged over the leads that are present, (B, K, T)."""
    weight = present / present.sum(1, keepdim=True).clamp(min=1)  # (B, C)
    return torch.einsum("bckt,bc->bkt", logits, weight.to(logits.dtype))
