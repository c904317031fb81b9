"""Piggyback (Mallya et al. 2018, arXiv:1801.06519): a task only chooses which of the weights that are there it reads.

On an encoder that was pretrained these are its weights; without one the first task learns them all, and owns them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from . import SHARED, _parts

START = SHARED
ROOT = "encoder"  # whose weights are read as those of a first task


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """stem: as in `isolate`."""

    stem: Literal["private", "shared"] = "private"


def plan(config: Config, position: int) -> _parts.Plan:
    """`position` is 1 where nothing is owned yet."""
    return _parts.Plan(position == 1, True, (_parts.Phase("train", 1.0),))
