"""A model of its own for every task: nothing is shared, nothing forgotten, K times the weights."""

from __future__ import annotations

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from . import BASE

START = BASE


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """The adapter with which each task changes the encoder: all of it."""

    adapter: str = "full"
    adapter_config: dict = Field(default_factory=dict)
