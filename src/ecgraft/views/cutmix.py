"""CutMix (Yun et al. 2019) on leads x time: a rectangle of a record is replaced by the same one of another record.

    lambda ~ Beta(alpha, alpha); the rectangle has sqrt(1 - lambda) of the leads and of the record's time, anywhere
    y <- (1 - a) y + a y', with a the share of the record's samples that was replaced; known where both are

Replaced is where both records have samples, so leads and length stay as they are. Wave classes go with the signal. R
peaks cannot: those of the record stay, and `cut` says where its own signal is gone. What labels single beats or R peaks
has no use for this view. Labelled records meet labelled ones, unlabelled ones unlabelled ones.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy.special import betaincinv
from torch import Tensor

from . import TimeMap, shuffle_within, uniform, unmoved, valid

GRID = 2048  # steps of the table of quantiles


@dataclass(frozen=True)
class Config:
    alpha: Annotated[float, Field(gt=0, le=100)] = 0.75
    share: Annotated[float, Field(ge=0, le=1)] = 1.0  # of records that get a rectangle


def build(config: Config):
    quantiles = quantiles_of_beta(config.alpha)

    def view(batch: dict, generator: torch.Generator) -> tuple[dict, TimeMap]:
        B = len(batch["x"])
        other = shuffle_within(_groups(batch), generator)[0]  # (B,)
        inside = valid(batch)
        gone = 1 - between(quantiles, uniform(generator, (B,)))  # 1 - lambda
        gone = gone * (uniform(generator, (B,)) < config.share)
        rectangle = _rectangle(batch, gone.sqrt(), generator) & inside & inside[other]  # (B, C, T)
        new = dict(batch)
        for key in ("x", "waves", "scored"):
            if key in batch:
                new[key] = torch.where(rectangle, batch[key][other], batch[key])
        if "y" in batch:
            area = (rectangle.sum((1, 2)) / inside.sum((1, 2)).clamp(min=1))[:, None]  # (B, 1)
            new["y"] = torch.lerp(batch["y"], batch["y"][other], area.to(batch["y"].dtype))
            new["known"] = batch["known"] & (batch["known"][other] | (area == 0))
        return new, unmoved(batch, rectangle)

    return view


def _groups(batch: dict) -> Tensor:  # (1, B)
    """Which records may meet."""
    there = batch.get("labelled")
    return torch.ones(1, len(batch["x"]), dtype=torch.bool, device=batch["x"].device) if there is None else there[None]


def _rectangle(batch: dict, side: Tensor, generator: torch.Generator) -> Tensor:  # (B,) -> (B, C, T)
    """`side` (B,) of the leads and of the time before the record's end, at a random place."""
    _, C, T = batch["x"].shape
    leads = _piece(torch.full_like(side, C), side, C, generator)
    return leads[:, :, None] & _piece(batch["length"].to(side.dtype), side, T, generator)[:, None]


def _piece(whole: Tensor, side: Tensor, N: int, generator: torch.Generator) -> Tensor:  # (B,), (B,) -> (B, N)
    """A run of round(side * whole) of the first `whole` places of N."""
    wide = torch.round(side * whole)
    start = (uniform(generator, (len(side),)) * (whole - wide + 1)).floor()
    places = torch.arange(N, device=side.device)
    return (places >= start[:, None]) & (places < (start + wide)[:, None])


def quantiles_of_beta(alpha: float) -> Tensor:
    """The quantiles of Beta(alpha, alpha) at 0, 1 / GRID, 2 / GRID ... 1."""
    levels = torch.linspace(0, 1, GRID + 1, dtype=torch.float64)
    return torch.from_numpy(betaincinv(alpha, alpha, levels.numpy())).float()


def between(table: Tensor, u: Tensor) -> Tensor:
    """The table read at u in [0, 1], on straight lines: draws of a distribution, where it holds its quantiles."""
    table, at = table.to(u.device), u * (len(table) - 1)
    left = at.floor().long().clamp(max=len(table) - 2)
    return torch.lerp(table[left], table[left + 1], at - left)
