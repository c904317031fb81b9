"""Amplitude: a gain for the record, one for each lead, and now and then a lead upside down."""

from __future__ import annotations

from math import log
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from . import TimeMap, uniform, unmoved

Factor = Annotated[float, Field(ge=1, le=100)]


@dataclass(frozen=True)
class Config:
    record: Factor = 1.25  # largest gain of a record; log-uniform between it and its inverse
    lead: Factor = 1.1  # the same for each lead by itself
    flip: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of records with all leads upside down


def build(config: Config):
    def view(batch: dict, generator: torch.Generator) -> tuple[dict, TimeMap]:
        B, C, _ = batch["x"].shape
        record = uniform(generator, (B, 1), -log(config.record), log(config.record))
        lead = uniform(generator, (B, C), -log(config.lead), log(config.lead))
        sign = torch.where(uniform(generator, (B, 1)) < config.flip, -1.0, 1.0)
        gain = (torch.exp(record + lead) * sign).to(batch["x"].dtype)
        return {**batch, "x": batch["x"] * gain[:, :, None]}, unmoved(batch)

    return view
