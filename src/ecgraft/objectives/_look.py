"""Views of a batch and what an encoder sees in them, for every objective that compares views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..signal.recipe import Recipe
from ..views import TimeMap, generator

CROP = {"crop": {"speed": [0.5, 1.0]}, "mask": {"share": [0.0, 0.5], "each": "record"}}  # stretched crop and time-out
KG = {"vcg": {}, "gain": {}, "noise": {"share": 0.2}, "lead_loss": {}}  # the heart's dipole turned, as in 3KG
STEP = 0.02  # s; the coarsest level of a map in which time matters


@dataclass
class Seen:
    """One view of a batch and its features.

    batch   the view in mV; what it holds of peaks and waves stands on the view's time axis
    x       (B, C, T) normalised, as the encoder read it
    time    from the batch's time axis to the view's, with what was cut
    """

    batch: dict
    x: Tensor
    levels: list[Tensor]  # [(B, D, N)], finest first
    h: Tensor  # (B, D)
    time: TimeMap


def draw(
    batch: dict, view: Callable, after: Callable, recipe: Recipe, count: int
) -> list[tuple[dict, Tensor, TimeMap]]:
    """`count` views of a batch, drawn from its seed and step: (in mV, normalised, time).

    `view` is laid over the signal in mV, `after` over the normalised one.
    """
    random = generator(batch["seed"], batch["step"], batch["x"].device)
    drawn = []
    with torch.autocast(batch["x"].device.type, enabled=False):  # products in bf16 would be off by up to 40 uV
        for _ in range(count):
            seen, time = view(batch, random)
            x = recipe.normalise_batch(seen["x"], seen["present"], seen["length"])
            last, masked = after({**seen, "x": x}, random)
            drawn.append(({**last, "x": seen["x"]}, last["x"], time.then(masked)))
    return drawn


def look(encoder: nn.Module, drawn: list[tuple[dict, Tensor, TimeMap]]) -> list[Seen]:
    """What the encoder sees in drawn views, in one pass, so that norms are over all of them together."""
    x = torch.cat([x for _, x, _ in drawn])
    present, length = (torch.cat([seen[key] for seen, _, _ in drawn]) for key in ("present", "length"))
    levels = encoder(x, present)
    pooled = encoder.pool(levels, length)
    each = zip(drawn, zip(*(level.chunk(len(drawn)) for level in levels)), pooled.chunk(len(drawn)))
    return [Seen(seen, x, list(levels), h, time) for (seen, x, time), levels, h in each]


def time_level(encoder: nn.Module) -> int:
    """The coarsest level whose steps are at most STEP long, or the finest one."""
    fine = [i for i, stride in enumerate(encoder.strides) if stride / encoder.rate <= STEP * (1 + 1e-9)]
    return max(fine, default=0)
