"""A random window, played faster or slower: crop, random resized crop, time warp are one map t' = (t - start) / speed.

Speed 0.5 to 1 at the same number of samples is BELL's random resized crop; 0.8 to 1.25 changes the heart rate a little.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from . import TimeMap, take, uniform

Speed = Annotated[float, Field(gt=0.1, lt=10)]


@dataclass(frozen=True)
class Config:
    samples: Annotated[int, Field(ge=1)] | None = None  # of the window; None = as many as before
    speed: tuple[Speed, Speed] = (1.0, 1.0)  # old samples per new sample, drawn evenly between the two


def build(config: Config):
    def view(batch: dict, generator: torch.Generator) -> tuple[dict, TimeMap]:
        B, _, T = batch["x"].shape
        S = config.samples or T
        speed = uniform(generator, (B,), *config.speed)
        room = (batch["length"] - (S - 1) * speed).clamp(min=1)
        start = (uniform(generator, (B,)) * room).floor()  # a whole sample, so that speed 1 copies exactly
        time = TimeMap(1 / speed, -start / speed, S)
        left = ((batch["length"] - 1 - start) / speed).floor() + 1
        return _moved(batch, start[:, None] + torch.arange(S, device=speed.device) * speed[:, None], left, time), time

    return view


def _moved(batch: dict, u: Tensor, length: Tensor, time: TimeMap) -> dict:
    """The batch read at positions u (B, S): x between its samples, classes at the nearest, peaks through the map."""
    new = dict(batch)
    length = length.clamp(0, time.samples).to(batch["length"].dtype)
    inside = (torch.arange(time.samples, device=u.device) < length[:, None])[:, None]  # (B, 1, S)
    below = take(batch["x"], u.floor().long())
    above = take(batch["x"], u.ceil().long())
    new["x"] = torch.where(inside, torch.lerp(below, above, (u - u.floor())[:, None].to(below.dtype)), 0)
    new["length"] = length
    for key in ("waves", "scored"):
        if key in batch:
            new[key] = take(batch[key], torch.round(u).long()).masked_fill(~inside, 0)
    if "peaks" in batch:
        new["peaks"] = time.points(batch["peaks"], length)
    return new
