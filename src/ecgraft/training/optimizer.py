"""AdamW with warm-up and decay. Norms, biases and other one-dimensional tensors are not decayed."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn


def build_optimizer(parameters: Iterable[nn.Parameter], rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW over the tensors that require a gradient; weight decay on matrices and kernels alone."""
    free = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in free if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in free if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=rate)


def rate_at(step: int, steps: int, peak: float, warmup: float, schedule: str) -> float:
    """The learning rate of a step: linear rise over the share `warmup` of all steps, then down to 0 at the end."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return peak * (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)  # 0 .. 1
    match schedule:
        case "cosine":
            return peak * 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return peak * (1 - done)
        case _:
            return peak
