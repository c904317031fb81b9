"""No change at all: the encoder is frozen and in eval mode, only the head learns (a linear probe)."""

from __future__ import annotations

from pydantic.dataclasses import dataclass
from torch import nn


@dataclass(frozen=True)
class Config:
    pass


def attach(encoder: nn.Module, config: Config) -> list[str]:
    return []


def detach(encoder: nn.Module) -> None:
    """Nothing was added."""


def merge(encoder: nn.Module) -> None:
    """Nothing was added."""
