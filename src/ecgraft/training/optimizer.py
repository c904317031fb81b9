"""AdamW with warm-up and decay. Norms, biases and other one-dimensional tensors are not decayed."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn


def build_optimizer(parameters: Iterable[nn.Parameter], rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW over the tensors that require a gradient; weight decay on matrices and kernels alone.

    A parameter with an attribute `rate` learns at that multiple of the learning rate.
    """
    free = [p for p in parameters if p.requires_grad]
    factors = sorted({getattr(p, "rate", 1.0) for p in free}, reverse=True)
    groups = [
        {
            "params": [p for p in free if (p.ndim > 1) == wide and getattr(p, "rate", 1.0) == factor],
            "weight_decay": decay if wide else 0.0,
            "factor": factor,
        }
        for factor in factors
        for wide in (True, False)
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=rate)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step, of each group at its own multiple."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


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
