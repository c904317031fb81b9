"""ECG-CL (Gao et al. 2023): train, compact, retrain; every task owns a part of the weights for good.

A task learns all weights that are free and which of the earlier tasks' weights it reads; then gives back those of its
own that are smallest, layer by layer, while it learns on; then learns on with what it has kept.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from . import SHARED, _parts

START = SHARED


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """tasks          how many there will be, K: task k gives (K - k) / (K - k + 1) of its weights back
    sparsity          share to give back, where `tasks` is not said: a number, one for each task, or search: the largest
                      with which the validation score stays within `tolerance`; 0.7, then 0.5 if nothing is said
    pick              learned: which weights of earlier tasks are read is learnt; all: all of them are
    granularity       what is given back: weights, layer by layer; filters: of the inner channels of residual modules
                      whole filters (nn.compact.drop), so that the network of one task can be made smaller
    gradual           drop more and more over the phase; else all at its first step that drops
    stem              private: the convolutions that read the signal are each task's own; shared: as all others
    claim             what free weights start from: noise, or base (the weights that the encoder was pretrained to);
                      auto: base where it was pretrained
    isolation         exclude: other weights are unknown to the optimiser; restore: they are put back after every step
    min_per_channel   own weights that an output channel keeps at least, but for filters that are given back whole
    shares            of the steps: train, compact, retrain; together 1
    rates             factors of the learning rate of these, each of which falls to 0 in the end. (The specification has
                      50, 10 and 20 epochs, the last at a tenth: too sudden at some hundred steps)
    """

    tasks: _parts.Tasks | None = None
    sparsity: Literal["search"] | _parts.Share | list[_parts.Share] | None = None
    tolerance: float = Field(0.01, ge=0)
    pick: Literal["learned", "all"] = "learned"
    granularity: Literal["weights", "filters"] = "weights"
    gradual: bool = True
    stem: Literal["private", "shared"] = "private"
    claim: Literal["auto", "noise", "base"] = "auto"
    isolation: _parts.Isolation = "exclude"
    min_per_channel: int = Field(0, ge=0)
    shares: _parts.Three = (0.5, 0.25, 0.25)
    rates: tuple[float, float, float] = (1.0, 1.0, 1.0)


def plan(config: Config, position: int) -> _parts.Plan:
    search = config.sparsity == "search" and config.tasks is None
    share = 0.0 if search else _parts.sparsity(position, config.tasks, config.sparsity)
    picked = config.pick == "learned"
    if not share and not search:
        return _parts.Plan(True, picked, (_parts.Phase("train", 1.0, config.rates[0]),))
    train, compact, retrain = zip(config.shares, config.rates)
    phases = (
        _parts.Phase("train", *train),
        _parts.Phase("compact", *compact, 0.0, share, config.gradual),
        _parts.Phase("retrain", *retrain, share, share),
    )
    return _parts.Plan(True, picked, phases, (0.1, 0.9) if search else None, config.tolerance)
