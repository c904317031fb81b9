"""A weighted sum of objectives over the same views and one pass of the encoder. Its parts are handed to it."""

from __future__ import annotations

import torch
from pydantic import ConfigDict, Field, field_validator
from pydantic.dataclasses import dataclass
from torch import nn

from .. import views
from ..record import UsageError
from ..signal.recipe import Recipe
from ._look import KG, draw, look

NEEDS: tuple[str, ...] = ()  # and what its parts need


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """parts: objective -> its settings, "weight" among them (1 where it is not given); views, after: as in SimCLR."""

    parts: dict[str, dict] = Field(default_factory=lambda: {"beat_ssl": {}, "bell": {"weight": 0.5}})
    views: dict[str, dict | None] = Field(default_factory=lambda: dict(KG))
    after: dict[str, dict | None] = Field(default_factory=lambda: {"mask": {"share": 0.5}})

    @field_validator("parts")
    @classmethod
    def _weighed(cls, parts):
        for name, values in parts.items():
            weight = values.get("weight", 1.0)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
                raise ValueError(f"{name}.weight is {weight!r}; it must be a number, at least 0")
        return parts


class Joint(nn.Module):
    """`parts` compare views of the encoder that they share; each entry of their results is logged under their names."""

    def __init__(self, config: Config, encoder: nn.Module, recipe: Recipe, parts: dict[str, nn.Module]):
        super().__init__()
        if len(parts) < 1 or any(part.encoder is not encoder for part in parts.values()):
            raise UsageError("objective joint: give it parts (parts.simclr.weight=1) that stand on its own encoder")
        self.encoder, self.parts, self.recipe = encoder, nn.ModuleDict(parts), recipe
        self.weights = {name: float(config.parts[name].get("weight", 1.0)) for name in parts}
        self.view, self.after = views.build(config.views, recipe), views.build(config.after, recipe)

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        return self.compare(look(self.encoder, draw(batch, self.view, self.after, self.recipe, 2)), batch)

    def compare(self, seen: list, batch: dict) -> dict[str, torch.Tensor]:
        """The weighted sum of what the parts make of the views."""
        found = {name: part.compare(seen, batch) for name, part in self.parts.items()}
        told = {f"{name} {key}": value for name, out in found.items() for key, value in out.items()}
        return {"loss": sum(self.weights[name] * out["loss"] for name, out in found.items())} | told

    def fit(self, record_features, beat_features, batch: int) -> None:
        """Hands what is known of the corpus to the parts that want it."""
        for part in self.parts.values():
            if hasattr(part, "fit"):
                part.fit(record_features, beat_features, batch)

    def after_step(self, step: int) -> None:
        for part in self.parts.values():
            if hasattr(part, "after_step"):
                part.after_step(step)


def build(config: Config, encoder: nn.Module, recipe: Recipe, parts: dict[str, nn.Module] | None = None) -> Joint:
    return Joint(config, encoder, recipe, parts or {})
