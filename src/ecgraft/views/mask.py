"""Time-out: one circular segment of every lead is set to 0, the resting line of a high-passed ECG, and noted in `cut`.

3KG masks half of each lead; for its exact order call this view after `Recipe.normalise_batch`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from . import TimeMap, uniform, unmoved, valid

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Config:
    share: Share | tuple[Share, Share] = 0.5  # of the record's length that is masked; two: drawn evenly between them
    each: Literal["lead", "record"] = "lead"  # a segment of its own for each lead, or one for all


def build(config: Config):
    def view(batch: dict, generator: torch.Generator) -> tuple[dict, TimeMap]:
        B, C, T = batch["x"].shape
        length = batch["length"].view(B, 1, 1)
        start = (uniform(generator, (B, C if config.each == "lead" else 1, 1)) * length).floor()
        stop = start + torch.round(_share(config.share, start.shape, generator) * length)
        t = torch.arange(T, device=start.device)
        cut = (((t >= start) & (t < stop)) | (t < stop - length)) & valid(batch)  # past the end it goes on at 0
        new = {**batch, "x": batch["x"].masked_fill(cut, 0)}
        if "scored" in batch:
            new["scored"] = batch["scored"] & ~cut
        return new, unmoved(batch, cut)

    return view


def _share(share, shape: tuple, generator: torch.Generator) -> float | torch.Tensor:
    return uniform(generator, tuple(shape), *share) if isinstance(share, tuple) else share
