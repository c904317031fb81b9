"""Only scale and shift of the norms learn (and the head): what adapters of the same size are measured against."""

from __future__ import annotations

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import nn

from . import _where


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """place: all, or last-N stages. norm: what BatchNorm's statistics are: frozen, or those of the batches."""

    place: _where.Where = "all"
    norm: _where.Statistics = "frozen"


def attach(encoder: nn.Module, config: Config) -> list[str]:
    layers = _where.inside(encoder, config.place)
    norms = {name: layer for name, layer in layers.items() if isinstance(layer, _where.NORMS)}
    free = _where.learn(_where.parameters(norms))
    return [*free, *(_where.move_statistics(encoder, layers) if config.norm == "batch" else [])]


def detach(encoder: nn.Module) -> None:
    """Nothing was added; the weights are put back by `adapters.detach`."""


def merge(encoder: nn.Module) -> None:
    """Nothing was added: the encoder with other norms is a plain one."""
