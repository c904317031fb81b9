"""SimCLR (Chen et al. 2020) on ECGs: two views of a record attract, those of different records repel.

With the views of 3KG (Gopal et al. 2021), or with crop and time-out.
"""

from __future__ import annotations

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from .. import views
from ..nn.ranks import gather
from ..signal.recipe import Recipe
from ._contrast import contrast, own_view
from ._look import KG, Seen, draw, look
from ._mlp import mlp
from ._spread import due, spread

NEEDS: tuple[str, ...] = ()


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """tau: temperature. hidden, outputs: of the projector. views: over the signal in mV; after: over the normalised."""

    tau: float = Field(0.1, gt=0)
    hidden: int = Field(256, ge=1)
    outputs: int = Field(128, ge=1)
    views: dict[str, dict | None] = Field(default_factory=lambda: dict(KG))
    after: dict[str, dict | None] = Field(default_factory=lambda: {"mask": {"share": 0.5}})


class SimCLR(nn.Module):
    def __init__(self, config: Config, encoder: nn.Module, recipe: Recipe):
        super().__init__()
        self.config, self.encoder, self.recipe = config, encoder, recipe
        self.view, self.after = views.build(config.views, recipe), views.build(config.after, recipe)
        self.project = mlp(encoder.width, config.hidden, config.outputs)

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        return self.compare(look(self.encoder, draw(batch, self.view, self.after, self.recipe, 2)), batch)

    def compare(self, seen: list[Seen], batch: dict) -> dict[str, torch.Tensor]:
        """NT-Xent of the first two views."""
        z = self.project(torch.cat([seen[0].h, seen[1].h]))  # (2 B, O)
        one, two = (gather(part) for part in z.chunk(2))
        loss = contrast(torch.cat([one, two]), own_view(len(one), z.device), self.config.tau)
        return {"loss": loss} | (spread(seen[0].h, (one, two)) if due(batch) else {})


def build(config: Config, encoder: nn.Module, recipe: Recipe) -> SimCLR:
    return SimCLR(config, encoder, recipe)
