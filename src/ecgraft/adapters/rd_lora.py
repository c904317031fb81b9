"""RD-LoRA (Zhou et al. 2024, CE-SSL): a low-rank part beside every convolution and linear layer of a frozen encoder,
each left out of a training step with probability p; biases and the shift of norms are learnt too.

p = 0 is plain LoRA (Hu et al. 2022). B = 0 at the start. An encoder may say what is special about its matrices
(`low_rank`, by pattern): "none", "three" in one, "always" there. nn.low_rank has the algebra.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from ..nn import low_rank
from . import _ranks, _where


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """rank    a number, ranks by layer name pattern ({"*.conv": 8}; 0: none there), or auto
    budget     most parameters of the low-rank parts, below 1 a share of the encoder's; a number as
               `rank` is then not looked at
    p          probability of leaving a layer's part out of a training step
    scaling    expectation: inference has the factor 1 - p; inverted: training has 1 / (1 - p), as exports need it
    biases     whether biases and the shift of norms are learnt
    place      all, or last-N: only in the last N stages, so that what lies below can be shared and computed once
    norm       batch: BatchNorm's statistics follow the task's batches, as published; frozen: as pretrained
    """

    rank: _ranks.Rank = 16
    budget: _ranks.Budget = None
    p: float = Field(0.2, ge=0, lt=1)
    scaling: Literal["expectation", "inverted"] = "expectation"
    biases: bool = True
    place: _where.Where = "all"
    norm: _where.Statistics = "batch"
    allocation: _ranks.Allocation = _ranks.Allocation()


def places(encoder: nn.Module, config: Config) -> dict[str, _ranks.Place]:
    """The layers that can have a low-rank part."""
    there = _where.inside(encoder, config.place)
    every = low_rank.matrices(encoder, getattr(encoder, "low_rank", {}))
    return {name: _ranks.Place(*shape) for name, shape in every.items() if name in there}


def weights(encoder: nn.Module, config: Config) -> dict[str, nn.Module]:
    """By layer, whose weight says how important it is."""
    return {name: encoder.get_submodule(name) for name in places(encoder, config)}


def attach(encoder: nn.Module, config: Config) -> list[str]:
    layers, found = _where.inside(encoder, config.place), places(encoder, config)
    _where.hold_statistics(encoder)
    special = getattr(encoder, "low_rank", {})
    for number, (name, rank) in enumerate(config.rank.items()):
        p = 0.0 if low_rank.said(special, name) == "always" else config.p
        part = low_rank.Part(number, rank, found[name].parts, p, config.scaling == "inverted")
        low_rank.add(layers[name], part)
    saved = [f"{name}.{key}" for name in config.rank for key in ("down", "up")]
    if config.biases:
        saved += _where.learn(_where.biases(layers))
    return saved + (_where.move_statistics(encoder, layers) if config.norm == "batch" else [])


def detach(encoder: nn.Module) -> None:
    for layer in encoder.modules():
        if type(layer) in low_rank.PLAIN:
            low_rank.remove(layer)


def merge(encoder: nn.Module) -> None:
    low_rank.merge(encoder)
