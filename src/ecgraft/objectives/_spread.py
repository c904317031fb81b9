"""Whether features are spread out or have collapsed."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

EVERY = 50  # steps between two looks at the singular values
NARROW = 1.5  # effective rank below which all features point in one direction


@torch.no_grad()
def spread(z: Tensor, pairs: tuple[Tensor, Tensor] | None = None) -> dict[str, Tensor]:
    """What tells a collapse, of features z (B, D).

    deviation   standard deviation over the batch of each coordinate of z at unit length, averaged: 1 / sqrt(D) where
                spread evenly over the sphere, 0 where collapsed
    rank        effective rank: exponential of the entropy of the normalised singular values (Roy & Vetterli 2007)
    uniformity  log of the mean of exp(-2 |z_i - z_j|^2) over pairs; alignment: mean |a_i - b_i|^2 of `pairs`
                (Wang & Isola 2020)

    Warns where the rank is below NARROW.
    """
    z = F.normalize(z.detach().float(), dim=-1)
    found = {"deviation": z.std(0, unbiased=False).mean(), "rank": effective_rank(z)}
    if len(z) > 1:
        if found["rank"] < NARROW:
            warnings.warn(
                f"features collapse: effective rank {float(found['rank']):.2f} of {len(z)} records", stacklevel=2
            )
        found["uniformity"] = torch.pdist(z).square().mul(-2).exp().mean().log()
    if pairs is not None:
        a, b = (F.normalize(side.detach().float(), dim=-1) for side in pairs)
        found["alignment"] = (a - b).square().sum(-1).mean()
    return found


@torch.no_grad()
def effective_rank(z: Tensor) -> Tensor:
    """1 to min(B, D); of features (B, D) as they are, not centred."""
    p = torch.linalg.svdvals(z.float())
    p = p / p.sum().clamp(min=1e-12)
    return torch.special.entr(p).sum().exp()


def due(batch: dict) -> bool:
    """Whether this is a step at which the spread is looked at: one that is logged, too."""
    return (batch.get("step", 0) + 1) % EVERY == 0
