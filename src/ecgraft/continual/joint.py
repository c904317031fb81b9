"""All tasks at once, batch after batch in turn: what could be had if no task came later than another."""

from __future__ import annotations

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from . import TOGETHER

START = TOGETHER


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """There is nothing to set."""


class InTurn(nn.Module):
    """Each batch says by "turn" which task it is of."""

    def __init__(self, parts: list[nn.Module]):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, batch: dict) -> dict[str, Tensor]:
        return {"loss": self.parts[batch["turn"]](batch)["loss"]}


def around(parts: list[nn.Module], config: Config) -> nn.Module:
    return InTurn(parts)
