"""PackNet (Mallya and Lazebnik 2018, arXiv:1711.05769): all weights of earlier tasks are read, and the smallest of a
task's own are dropped at once, between training and retraining.

Norms are each task's own here, where the published code keeps those of the first task.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from . import SHARED, _parts

START = SHARED


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """tasks, sparsity, stem, claim: as in `isolate`. shares, rates: of training and retraining."""

    tasks: _parts.Tasks | None = None
    sparsity: _parts.Share | list[_parts.Share] | None = None
    stem: Literal["private", "shared"] = "private"
    claim: Literal["auto", "noise", "base"] = "auto"
    isolation: _parts.Isolation = "exclude"
    min_per_channel: int = Field(0, ge=0)
    shares: _parts.Two = (0.67, 0.33)
    rates: tuple[float, float] = (1.0, 0.1)


def plan(config: Config, position: int) -> _parts.Plan:
    share = _parts.sparsity(position, config.tasks, config.sparsity)
    if not share:
        return _parts.Plan(True, False, (_parts.Phase("train", 1.0, config.rates[0]),))
    train, retrain = zip(config.shares, config.rates)
    return _parts.Plan(True, False, (_parts.Phase("train", *train), _parts.Phase("retrain", *retrain, share, share)))
