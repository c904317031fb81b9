"""Bursts of silence: a piece of each lead, each elsewhere and of a length of its own, is set to 0 and noted in `cut`.

A weak augmentation of CE-SSL (Zhou et al. 2024), where a burst may take the whole lead (`longest` 1).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from . import TimeMap, uniform, unmoved, valid

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Config:
    longest: Share = 0.25  # of the record's length; a burst draws its own evenly between 0 and it
    share: Share = 0.5  # of records that have bursts, one in every lead


def build(config: Config):
    def view(batch: dict, generator: torch.Generator) -> tuple[dict, TimeMap]:
        B, C, T = batch["x"].shape
        length = batch["length"].view(B, 1, 1)
        hit = uniform(generator, (B, 1, 1)) < config.share
        lasts = torch.round(uniform(generator, (B, C, 1), 0, config.longest) * length) * hit
        start = (uniform(generator, (B, C, 1)) * (length - lasts + 1)).floor()
        t = torch.arange(T, device=start.device)
        cut = (t >= start) & (t < start + lasts) & valid(batch)
        new = {**batch, "x": batch["x"].masked_fill(cut, 0)}
        if "scored" in batch:
            new["scored"] = batch["scored"] & ~cut
        return new, unmoved(batch, cut)

    return view
