"""BYOL (Grill et al. 2020) on ECGs: one view of a record predicts what a slowly following target sees in another.

There are no negative pairs. Select no checkpoint by the loss: a collapsed network has the lowest.
"""

from __future__ import annotations

import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import nn

from .. import views
from ..signal.recipe import Recipe
from ._look import Seen, draw, look
from ._mlp import mlp
from ._spread import due, spread
from ._target import Bootstrap, Guard, Target, deviation, distance, joined

NEEDS: tuple[str, ...] = ()


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(Bootstrap):
    """As said there."""


class Byol(nn.Module):
    def __init__(self, config: Config, encoder: nn.Module, recipe: Recipe):
        super().__init__()
        self.config, self.encoder, self.recipe = config, encoder, recipe
        self.view, self.after = views.build(config.cropped(), recipe), views.build(config.after, recipe)
        self.project = mlp(encoder.width, config.hidden, config.outputs)
        self.predict = mlp(config.outputs, config.hidden, config.outputs)
        self.target = Target(config, self._followed())
        self.guard = Guard(config.patience)

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        return self.compare(look(self.encoder, draw(batch, self.view, self.after, self.recipe, 2)), batch)

    def compare(self, seen: list[Seen], batch: dict) -> dict[str, torch.Tensor]:
        """The distance of the first two views' predictions from the target's projections, summed over both ways."""
        asking, answering = zip(*self.config.ways())
        q = self.predict(self.project(torch.cat([seen[i].h for i in asking])))  # (W B, O)
        z = self._answer([seen[j] for j in answering])
        deviations = {f"{name}_deviation": self._deviation(side) for name, side in (("q", q), ("z", z))}
        if self.training:
            self.guard.watch(deviations["z_deviation"])
        loss = distance(q, z).mean() * len(asking)
        return {"loss": loss, **deviations} | (spread(z[: len(batch["x"])]) if due(batch) else {})

    def after_step(self, step: int) -> None:
        self.target.follow(self._followed(), step)
        self.guard.after_step()

    @torch.no_grad()
    def _answer(self, views: list[Seen]) -> torch.Tensor:  # (W B, O)
        x, present, length = joined(views)
        encoder = self.target["encoder"]
        return self.target["project"](encoder.pool(encoder(x, present), length))

    def _deviation(self, z: torch.Tensor) -> torch.Tensor:
        return deviation(z[:, None], z.new_ones(len(z), 1, dtype=torch.bool))

    def _followed(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "project": self.project}


def build(config: Config, encoder: nn.Module, recipe: Recipe) -> Byol:
    return Byol(config, encoder, recipe)
