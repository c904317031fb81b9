"""Leads that are not there: a random part of the present leads becomes absent, at least one is kept."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from . import TimeMap, uniform, unmoved

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Config:
    share: Share = 0.5  # of records that keep a random number of leads, 1 to all
    single: Share = 0.0  # of records that keep exactly one; the rest stays whole


def build(config: Config):
    def view(batch: dict, generator: torch.Generator) -> tuple[dict, TimeMap]:
        present = batch["present"]
        B, C = present.shape
        have = present.sum(1)  # (B,)
        fate, amount = uniform(generator, (2, B))
        keep = torch.where(fate < config.single + config.share, (amount * have).floor().long() + 1, have)
        keep = torch.where(fate < config.single, 1, keep)
        order = uniform(generator, (B, C)).masked_fill(~present, 2.0)
        kept = present & (order.argsort(1).argsort(1) < keep[:, None])
        new = {**batch, "present": kept, "x": batch["x"].masked_fill(~kept[:, :, None], 0)}
        if "scored" in batch:
            new["scored"] = batch["scored"] & kept[:, :, None]
        return new, unmoved(batch)

    return view
