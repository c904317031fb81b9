"""What the strategies with weights that belong to tasks have in common: the phases of a task, and what is dropped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field
from torch import nn

from ..nn import compact, shared
from ..record import UsageError

Share = Annotated[float, Field(ge=0, lt=1)]
FIRST, LATER = 0.7, 0.5  # shares that a task gives back where nothing is said
EVERY = 10  # steps between two droppings
LEAST_FREE = 0.05  # share of the weights without which no further task is learnt
MOST_TASKS = math.ceil(1 / LEAST_FREE) - 1  # with one more the last finds less: what is given back is rounded down


def _check_tasks(count: int) -> int:
    if count > MOST_TASKS:
        raise ValueError(
            f"at most {MOST_TASKS}: each task would own 1/{count} of the weights, rounded down, and none is learnt "
            f"with less than {LEAST_FREE:.0%}; take --strategy piggyback for further ones, which need none"
        )
    return count


def _check_shares(shares: tuple) -> tuple:
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"shares of the steps, each above 0 and 1 together, not {sum(shares):g}")
    return shares


Tasks = Annotated[int, Field(ge=1), AfterValidator(_check_tasks)]  # how many the weights are divided for
Two = Annotated[tuple[float, float], AfterValidator(_check_shares)]  # of the steps, by phase
Three = Annotated[tuple[float, float, float], AfterValidator(_check_shares)]


@dataclass(frozen=True)
class Phase:
    """One run of the training loop.

    share  of the steps of the task
    rate   factor of the learning rate
    start, end  share of the task's weights that is dropped before and after it; raised in steps if `gradual`
    """

    name: str
    share: float
    rate: float = 1.0
    start: float = 0.0
    end: float = 0.0
    gradual: bool = True


@dataclass(frozen=True)
class Plan:
    """How a task learns.

    owns      whether it learns weights of its own; else it only reads those of others
    picked    whether which of them are read is learnt
    phases    in order
    search    (step, most) of the share that is dropped, raised as long as validation allows
    tolerance of the validation score, below what it was before anything was dropped
    """

    owns: bool
    picked: bool
    phases: tuple[Phase, ...]
    search: tuple[float, float] | None = None
    tolerance: float = 0.0


def sparsity(position: int, tasks: int | None, given: float | list[float] | None) -> float:
    """The share of its weights that the task at a position (from 1) gives back.

    tasks  declared number K: (K - k) / (K - k + 1), so that each of the K tasks ends with 1 / K of the weights
    given  one share for all, or one for each position; else 0.7 for the first task and 0.5 for later ones
    """
    if tasks is not None:
        if position > tasks:
            raise UsageError(
                f"this is task {position}, but the model was divided for {tasks}; take --strategy piggyback (needs no "
                "free weights), or begin a new model with more tasks"
            )
        return (tasks - position) / (tasks - position + 1)
    if isinstance(given, list):
        return given[min(position, len(given)) - 1]
    return given if given is not None else FIRST if position == 1 else LATER


def cubic(p: float, end: float, start: float = 0.0) -> float:
    """The dropped share when p of the phase is done: end - (end - start) (1 - p)^3 (Zhu and Gupta 2017)."""
    return end + (start - end) * (1 - p) ** 3


class Parting(nn.Module):
    """A supervised objective around layers that learn a part of their weights; drops some of them on the way."""

    def __init__(self, supervised: nn.Module, phase: Phase, steps: int, least: int = 0, filters: bool = False):
        super().__init__()
        self.supervised, self.phase, self.steps, self.least, self.filters = supervised, phase, steps, least, filters

    @property
    def network(self) -> nn.Module:
        return self.supervised.network

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        return self.supervised(batch)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        done = step + 1
        for layer in shared.parts(self.network).values():
            shared.put_back(layer)
        if self.phase.end > self.phase.start and (done % EVERY == 0 or done == self.steps):
            share = cubic(done / self.steps, self.phase.end, self.phase.start) if self.phase.gradual else self.phase.end
            compact.drop(self.network, share, self.least, self.filters)


Isolation = Literal["exclude", "restore"]
