"""Leads change places: the present leads of a record are shuffled, with their waves. What a lead shows is then wrong.

A weak augmentation of CE-SSL (Zhou et al. 2024); no electrodes can be put on so. For comparisons. What an earlier view
has cut stays noted in its old place: let this view come first.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from . import TimeMap, shuffle_within, uniform, unmoved


@dataclass(frozen=True)
class Config:
    share: Annotated[float, Field(ge=0, le=1)] = 0.5  # of records whose leads are shuffled


def build(config: Config):
    def view(batch: dict, generator: torch.Generator) -> tuple[dict, TimeMap]:
        B, C, T = batch["x"].shape
        hit = uniform(generator, (B, 1)) < config.share
        own = torch.arange(C, device=hit.device)
        source = torch.where(hit, shuffle_within(batch["present"], generator), own)[:, :, None].expand(B, C, T)
        moved = {key: batch[key].gather(1, source) for key in ("x", "waves", "scored") if key in batch}
        return {**batch, **moved}, unmoved(batch)

    return view
