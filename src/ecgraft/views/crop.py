"""A random window, played faster or slower: crop, random resized crop, time warp are one map t' = (t - start) / speed.

Speed 0.5 to 1 at the same number of samples is BELL's random resized crop; 0.8 to 1.25 changes the heart rate a little.
`keep` 0.5 to 1 takes a shorter window instead and pads it with zeros, so that time keeps its scale.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from . import TimeMap, take, uniform

Speed = Annotated[float, Field(gt=0.1, lt=10)]
Share = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class Config:
    samples: Annotated[int, Field(ge=1)] | None = None  # of the window; None = as many as before
    speed: tuple[Speed, Speed] = (1.0, 1.0)  # old samples per new sample, drawn evenly between the two
    keep: tuple[Share, Share] = (1.0, 1.0)  # of what fills the window, drawn likewise; the rest is padding


def build(config: Config):
    def view(batch: dict, generator: torch.Generator) -> tuple[dict, TimeMap]:
        B, _, T = batch["x"].shape
        S = config.samples or T
        speed = uniform(generator, (B,), *config.speed)
        filled = torch.full_like(speed, S)  # (B,) new samples
        if config.keep != (1.0, 1.0):
            share = uniform(generator, (B,), *config.keep)
            filled = torch.round(share * (batch["length"] / speed).clamp(max=S)).clamp(min=1)
        places = (batch["length"] - (filled - 1) * speed).floor().clamp(min=1)
        start = (uniform(generator, (B,)) * places).floor()  # a whole sample, so that speed 1 copies exactly
        u = start[:, None] + torch.arange(S, device=speed.device) * speed[:, None]  # (B, S) old samples
        left = (((batch["length"] - 1 - start) / speed).floor() + 1).minimum(filled)
        time = TimeMap(1 / speed, -start / speed, S)
        return _moved(batch, u, left, time, between=config.speed != (1.0, 1.0)), time

    return view


def _moved(batch: dict, u: Tensor, length: Tensor, time: TimeMap, between: bool) -> dict:
    """The batch read at positions u (B, S): x on straight lines between its samples where u may lie `between` them,
    classes at the nearest, peaks through the map."""
    new = dict(batch)
    length = length.clamp(0, time.samples).to(batch["length"].dtype)
    inside = (torch.arange(time.samples, device=u.device) < length[:, None])[:, None]  # (B, 1, S)
    x = take(batch["x"], u.floor().long())
    if between:
        x = torch.lerp(x, take(batch["x"], u.ceil().long()), (u - u.floor())[:, None].to(x.dtype))
    new["x"] = x.masked_fill(~inside, 0)
    new["length"] = length
    for key in ("waves", "scored"):
        if key in batch:
            new[key] = take(batch[key], torch.round(u).long()).masked_fill(~inside, 0)
    if "peaks" in batch:
        new["peaks"] = time.points(batch["peaks"], length)
    return new
