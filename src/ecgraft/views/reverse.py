"""Time backwards: sample t of a record of n samples is now at n - 1 - t. A T wave then comes before its QRS complex.

A weak augmentation of CE-SSL (Zhou et al. 2024), which turns all records of a batch or none. No heart beats so: for
labels per record, and for comparisons.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from . import TimeMap, take, uniform


@dataclass(frozen=True)
class Config:
    share: Annotated[float, Field(ge=0, le=1)] = 0.5  # of the draws that turn time round
    each: Literal["record", "batch"] = "record"  # a draw for each record, or one for all


def build(config: Config):
    def view(batch: dict, generator: torch.Generator) -> tuple[dict, TimeMap]:
        B, _, T = batch["x"].shape
        draws = uniform(generator, (B if config.each == "record" else 1,)).expand(B)
        turned = draws < config.share  # (B,)
        one = torch.ones(B, device=draws.device)
        time = TimeMap(torch.where(turned, -one, one), torch.where(turned, batch["length"] - 1.0, 0 * one), T)
        source = time.sources().long()  # (B, T)
        new = dict(batch)
        for key in ("x", "waves", "scored"):
            if key in batch:
                new[key] = take(batch[key], source)
        if "peaks" in batch:
            new["peaks"] = time.points(batch["peaks"], batch["length"])
        return new, time

    return view
