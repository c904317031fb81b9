"""Where in an encoder an adapter works: in all of it or in the last stages, so that what lies below can be shared."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..record import UsageError
from . import hold, release

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
Statistics = Literal["frozen", "batch"]  # of BatchNorm: those of the pretraining, or of the batches


def _check(place: str) -> str:
    if place != "all" and not re.fullmatch(r"last-[1-9]\d*", place):
        raise ValueError('give "all", or "last-1" for the last stage, "last-2" for the last two ...')
    return place


Where = Annotated[str, AfterValidator(_check)]


def inside(encoder: nn.Module, place: str) -> dict[str, nn.Module]:
    """The encoder's modules in which the adapter may work, by name; what is in no stage (a pool's) always may."""
    first = 0
    if place != "all":
        first = len(encoder.stages) - int(place.removeprefix("last-"))
        if first < 0:
            raise UsageError(f"place={place}: encoder {encoder.name!r} has {len(encoder.stages)} stages")
    below = tuple(f"stages.{i}." for i in range(first))
    return {name: layer for name, layer in encoder.named_modules() if name and not f"{name}.".startswith(below)}


def parameters(layers: dict[str, nn.Module]) -> dict[str, nn.Parameter]:
    """The parameters that the layers hold themselves, by name."""
    return {
        f"{name}.{key}": value for name, layer in layers.items() for key, value in layer.named_parameters(recurse=False)
    }


def learn(found: dict[str, nn.Parameter]) -> list[str]:
    """Frees parameters; gives their names."""
    for parameter in found.values():
        parameter.requires_grad_(True)
    return list(found)


def biases(layers: dict[str, nn.Module]) -> dict[str, nn.Parameter]:
    """The biases of the layers, the shifts of norms among them, by name."""
    return {name: value for name, value in parameters(layers).items() if name.endswith(".bias")}


def move_statistics(encoder: nn.Module, layers: dict[str, nn.Module]) -> list[str]:
    """Lets the BatchNorms among `layers` follow the batches in training; names of what then moves. Others are held."""
    release(encoder)
    moving = {name: layer for name, layer in layers.items() if isinstance(layer, _BatchNorm)}
    for name, layer in encoder.named_modules():
        if isinstance(layer, _BatchNorm):
            release(layer) if name in moving else hold(layer)
    return [f"{name}.{key}" for name, layer in moving.items() for key, _ in layer.named_buffers(recurse=False)]


def hold_statistics(encoder: nn.Module) -> None:
    """Train mode may come through to the encoder, but not to its BatchNorms."""
    move_statistics(encoder, {})
