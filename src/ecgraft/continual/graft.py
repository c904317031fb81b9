"""A frozen encoder and a small adapter for every task: the cheap way to forget nothing.

Where the encoder was not pretrained, the first task learns it whole, and later tasks stand on what it has learnt.
"""

from __future__ import annotations

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from . import BASE

START = BASE


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """The adapter, by name, and its settings; `linear`: the head alone learns."""

    adapter: str = "lrc"
    adapter_config: dict = Field(default_factory=dict)
