"""Gaussian noise as large as a share of each lead's own deviation, over the whole band, past any filter.

CE-SSL (Zhou et al. 2024) adds it to leads of mean 0 and SD 1: 0.05 in its weak augmentation, 0.5 in its strong one. The
view `noise` has sizes in mV and what a recipe's filter leaves of them.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from . import TimeMap, uniform, unmoved, valid


@dataclass(frozen=True)
class Config:
    size: Annotated[float, Field(ge=0, le=10)] = 0.05  # SD of the noise over that of the lead
    share: Annotated[float, Field(ge=0, le=1)] = 1.0  # of records that have it


def build(config: Config):
    def view(batch: dict, generator: torch.Generator) -> tuple[dict, TimeMap]:
        x, inside = batch["x"], valid(batch)
        hit = uniform(generator, (len(x), 1, 1)) < config.share
        noise = torch.randn(x.shape, generator=generator, device=generator.device)
        added = noise * (config.size * hit * _deviation(x, inside)) * inside
        return {**batch, "x": x + added.to(x.dtype)}, unmoved(batch)

    return view


def _deviation(x: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:  # (B, C, T), (B, C, T) -> (B, C, 1)
    """Standard deviation of each lead over its samples."""
    count = inside.sum(-1, keepdim=True).clamp(min=1)
    centred = (x - (x * inside).sum(-1, keepdim=True) / count) * inside
    return (centred.square().sum(-1, keepdim=True) / count).sqrt()
