"""Learning without Forgetting (Li and Hoiem 2016, arXiv:1606.09282): on the new records the heads of earlier tasks are
to answer as they did before.

What they answered is computed beside the training by a copy of the weights as they were. Binary cross-entropy to these
probabilities for answers that do not exclude each other, Kullback-Leibler divergence at a temperature for classes; each
less what it would be for equal answers, so that it begins at 0. Of several earlier tasks each has its turn.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from . import LAST, Past

START = LAST


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """weight: of the answers of each earlier task. temperature: of classes. bank: as in `sequential`."""

    weight: float = Field(1.0, ge=0)
    temperature: float = Field(2.0, gt=0)
    bank: Literal["private", "shared"] = "private"


class Recalling(nn.Module):
    def __init__(self, supervised: nn.Module, past: list[Past], config: Config):
        super().__init__()
        self.supervised, self.config = supervised, config
        self._past = past  # in a list: their weights are those of the network, or held

    @property
    def network(self) -> nn.Module:
        return self.supervised.network

    def forward(self, batch: dict) -> dict[str, Tensor]:
        if not (self.training and self._past):
            return self.supervised(batch)
        batch = self.supervised.seen(batch)
        out = self.supervised.losses(self.network(batch), batch)
        leads = self.network.recipe.leads
        old = self._past[batch["step"] % len(self._past)]
        recalled = self.config.weight * len(self._past) * distance(old, batch, leads, self.config.temperature)
        return out | {"loss": out["loss"] + recalled, "recalled": recalled}


def distance(old: Past, batch: dict, leads: tuple[str, ...], temperature: float) -> Tensor:
    """How far the answers of an earlier task have moved on a batch of these leads; 0 where they have not."""
    plain = {key: batch[key] for key in ("x", "present", "length")}
    plain |= _of_leads(old.network.recipe.leads, leads, batch["x"], batch["present"])
    with torch.no_grad():
        (before,) = old.before(plain).values()
    (now,) = old.network(plain).values()
    return answers_apart(now, before, old.task.kind, temperature)


def _of_leads(wanted: tuple[str, ...], leads: tuple[str, ...], x: Tensor, present: Tensor) -> dict[str, Tensor]:
    """x (B, C, T) and present (B, C) for other leads, by name; those that are not there are absent."""
    if wanted == leads:
        return {}
    there = [(leads.index(lead), at) for at, lead in enumerate(wanted) if lead in leads]
    y, known = x.new_zeros(len(x), len(wanted), x.shape[2]), present.new_zeros(len(x), len(wanted))
    for source, at in there:
        y[:, at], known[:, at] = x[:, source], present[:, source]
    return {"x": y, "present": known}


def answers_apart(now: Tensor, before: Tensor, kind: str, temperature: float) -> Tensor:
    """Mean over records (and samples) of the divergence between answers (B, K) or (B, C, K, T)."""
    if kind == "regression":
        return F.mse_loss(now, before)
    if kind == "multilabel":
        p = before.sigmoid()
        apart = F.binary_cross_entropy_with_logits(now, p, reduction="none")
        return (apart - F.binary_cross_entropy(p, p, reduction="none")).mean()
    axis = 1 if kind == "multiclass" else 2
    p, q = (F.log_softmax(each / temperature, axis) for each in (before, now))
    return temperature**2 * (p.exp() * (p - q)).sum(axis).mean()


def around(supervised: nn.Module, past: list[Past], config: Config) -> nn.Module:
    return Recalling(supervised, past, config)
