"""Leads that are not there: a random part of the present leads becomes absent, at least one is kept."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from ..record import LEADS, UsageError
from . import TimeMap, uniform, unmoved

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Config:
    share: Share = 0.5  # of records that keep a random number of leads, 1 to all
    single: Share = 0.0  # of records that keep exactly one; the rest stays whole
    unnamed: Share = 0.0  # of records with one lead left: it stands in the place of leads without a name
    leads: tuple[str, ...] = LEADS  # of the batch
    slot: str = "II"  # that place


def build(config: Config):
    if config.unnamed and config.slot not in config.leads:
        raise UsageError(
            f"view lead_loss: unnamed needs lead {config.slot}, which is none of {', '.join(config.leads)}"
        )

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
        if config.unnamed:
            moved = (kept.sum(1) == 1) & (uniform(generator, (B,)) < config.unnamed)
            new = _moved(new, moved, config.leads.index(config.slot))
        return new, unmoved(batch)

    return view


def _moved(batch: dict, moved: torch.Tensor, slot: int) -> dict:
    """In the records `moved` (B,), which have one lead, that lead changes places with what stands in `slot`."""
    B, C = batch["present"].shape
    source = torch.arange(C, device=moved.device).repeat(B, 1)  # (B, C)
    lead = batch["present"].int().argmax(1)
    rows = moved.nonzero()[:, 0]
    source[rows, slot], source[rows, lead[rows]] = lead[rows], slot
    there = {key: batch[key] for key in ("x", "waves", "scored") if key in batch}
    swapped = {key: value.gather(1, source[:, :, None].expand(value.shape)) for key, value in there.items()}
    return {**batch, **swapped, "present": batch["present"].gather(1, source)}
