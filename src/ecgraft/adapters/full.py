"""Full fine-tuning: the whole encoder is free and a graft holds all of it; what small adapters are measured against."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from . import hold, release


@dataclass(frozen=True)
class Config:
    norm: Literal["batch", "frozen"] = "batch"  # statistics of BatchNorm: of the batches, or those of the pretraining


def attach(encoder: nn.Module, config: Config) -> list[str]:
    encoder.requires_grad_(True)
    release(encoder)
    names = list(encoder.state_dict())
    if config.norm == "batch":
        return names
    norms = {name: layer for name, layer in encoder.named_modules() if isinstance(layer, _BatchNorm)}
    for layer in norms.values():
        hold(layer)
    still = {f"{name}.{buffer}" for name, layer in norms.items() for buffer, _ in layer.named_buffers()}
    return [name for name in names if name not in still]


def detach(encoder: nn.Module) -> None:
    """Nothing was added; the weights are put back by `adapters.detach`."""


def merge(encoder: nn.Module) -> None:
    """Nothing was added: the fine-tuned encoder is a plain one."""
