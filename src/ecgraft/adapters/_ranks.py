"""How many ranks each layer gets: a number, patterns of names, a budget of parameters, or by importance.

The rules by importance are those of Zhou et al. 2024, and one that goes by a budget.

`Rank` is the part of an adapter's settings that says so; `resolve` makes of it a rank by layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass as plain
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ..nn.low_rank import said
from ..plugs import nearest
from ..record import UsageError

AUTO = "auto"
Rank = int | dict[str, int] | Literal["auto"]
Budget = Annotated[float, Field(gt=0, allow_inf_nan=False)] | None


@plain(frozen=True)
class Place:
    """A layer that can have ranks: the matrix that they stand beside, and how many of it lie in one layer."""

    inputs: int
    outputs: int
    parts: int = 1

    @property
    def cost(self) -> int:
        """Parameters of one rank."""
        return self.parts * (self.inputs + self.outputs)

    @property
    def most(self) -> int:
        """More ranks than it has outputs are refused. (Than inputs: the published ranks of CE-SSL have them.)"""
        return self.outputs


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Allocation:
    """For rank = auto: every layer gets `high` or `low` ranks (low 0: half of high), by its importance.

    rule   share: the share of the layers with the highest importance get `high`; budget: layers are raised in the order
           of importance per parameter as long as the adapter's `budget` holds
    share  "validation": the best of GRID on the validation part, at the price of as many trainings
    score  exact: of the gradient with respect to the weights; sketch: of what the low-rank part would see of it
    head   probe: that the gradients come from has learnt on the frozen features; random: it is new
    """

    high: int = Field(16, ge=1)
    low: int = Field(0, ge=0)
    rule: Literal["share", "budget"] = "share"
    share: Annotated[float, Field(ge=0, le=1)] | Literal["validation"] = 0.5
    score: Literal["exact", "sketch"] = "exact"
    head: Literal["probe", "random"] = "probe"


GRID = (0.2, 0.4, 0.6, 0.8)  # shares that are tried


def resolve(adapter: str, places: dict[str, Place], rank: Rank, budget: float | None, whole: int) -> dict[str, int]:
    """The rank of each layer that gets one. `budget`: parameters, or below 1 a share of the encoder's `whole`.

    A number holds for all layers; one that is too small for it gets as many as it can have. A pattern (the first that
    fits a layer's name counts, 0 and no pattern leave it alone) is taken by its word. With a budget a number is
    not looked at: the rank is the largest that fits in. Raises UsageError for ranks that no layer can have.
    """
    if rank == AUTO:
        raise UsageError(
            f"adapter {adapter}: rank=auto is found out from labelled records (ecgraft adapt); give a number"
        )
    if isinstance(rank, dict):
        ranks = _by_pattern(adapter, places, rank)
        if budget is not None and spent(places, ranks) > parameters(budget, whole):
            raise UsageError(
                f"adapter {adapter}: ranks {rank} take {spent(places, ranks):,} parameters, more than the budget of "
                f"{parameters(budget, whole):,}; lower the ranks or raise adapter_config.budget"
            )
        return ranks
    if not places:
        raise UsageError(f"adapter {adapter} finds no layer to work in; widen adapter_config.place (last-2 ... all)")
    widest = max(places, key=lambda name: places[name].most)
    largest = places[widest].most
    if budget is not None:
        return _all(places, _fitting(adapter, places, parameters(budget, whole), largest))
    if not 1 <= rank <= largest:
        raise UsageError(
            f"adapter {adapter}: rank {rank}; its {len(places)} layers can have 1 to {largest}, the most in {widest!r} "
            f"(adapter_config.rank={min(8, largest)})"
        )
    return _all(places, rank)


def by_importance(
    places: dict[str, Place], importance: dict[str, float], chosen: Allocation, budget: float | None, whole: int
) -> dict[str, int]:
    """The rank of each layer by the rule of `chosen`; ties go to the layer that comes first.

    Raises UsageError where not even the low ranks fit into the budget, or where the rule needs one and there is none.
    """
    low = chosen.low or max(1, chosen.high // 2)
    if low > chosen.high:
        raise UsageError(f"allocation: low {low} is more than high {chosen.high}; lower allocation.low")
    ranks, high = _all(places, low), _all(places, chosen.high)
    if chosen.rule == "share":
        order = sorted(places, key=lambda name: -importance[name])  # sorted is stable
        top = order[: math.ceil(round(chosen.share * len(places), 9))]
        return ranks | {name: high[name] for name in top}
    if budget is None:
        raise UsageError("rule=budget raises ranks as long as a budget holds; give adapter_config.budget (0.02: 2 %)")
    most = parameters(budget, whole)
    if spent(places, ranks) > most:
        raise UsageError(
            f"rank {low} in every layer takes {spent(places, ranks):,} parameters, more than the budget of {most:,}; "
            "lower allocation.low or raise adapter_config.budget"
        )
    price = {name: (high[name] - ranks[name]) * places[name].cost for name in places}
    for name in sorted(places, key=lambda name: -importance[name] / max(price[name], 1)):
        if spent(places, ranks) + price[name] <= most:
            ranks[name] = high[name]
    return ranks


def spent(places: dict[str, Place], ranks: dict[str, int]) -> int:
    """Parameters of these ranks."""
    return sum(rank * places[name].cost for name, rank in ranks.items())


def parameters(budget: float, whole: int) -> int:
    """A budget as a number of parameters."""
    return int(budget * whole) if budget < 1 else int(budget)


def _all(places: dict[str, Place], rank: int) -> dict[str, int]:
    return {name: min(rank, place.most) for name, place in places.items()}


def _fitting(adapter: str, places: dict[str, Place], most: int, rank: int) -> int:
    fitting = [r for r in range(1, rank + 1) if spent(places, _all(places, r)) <= most]
    if not fitting:
        raise UsageError(
            f"adapter {adapter}: a budget of {most:,} parameters; rank 1 in its {len(places)} layers takes "
            f"{spent(places, _all(places, 1)):,} already. Raise adapter_config.budget, or place=last-1"
        )
    return fitting[-1]


def _by_pattern(adapter: str, places: dict[str, Place], patterns: dict[str, int]) -> dict[str, int]:
    ranks = {name: rank for name in places if (rank := said(patterns, name))}
    for name, rank in ranks.items():
        if not 1 <= rank <= places[name].most:
            raise UsageError(
                f"adapter {adapter}: layer {name!r} cannot have rank {rank} (adapter_config.rank); 1 to "
                f"{places[name].most}, or 0 for none"
            )
    unused = [pattern for pattern in patterns if not any(said({pattern: 1}, name) for name in places)]
    if unused:
        raise UsageError(f"adapter {adapter}: rank {unused[0]!r} fits no layer; {nearest(unused[0], places)}")
    return ranks
