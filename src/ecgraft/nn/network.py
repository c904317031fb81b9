"""An encoder with heads: from a batch in millivolt to the logits of each task. Training and serving run this code."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from ..record import UsageError
from ..signal.recipe import Recipe
from ..tasks import Task
from . import low_rank
from .decoders import Cascade, Segmentation
from .heads import Dense, Neighbours, Pooled, alone, ask, reads

DENSE = ("waves", "beats", "peaks")  # kinds of task that are answered per sample
VOTED = ("multiclass", "multilabel")  # kinds of task that neighbours can vote on


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class HeadConfig:
    """dropout: before the last layer of a head per record. cascade: width of a Cascade. width: channels of a Dense
    head. leads: of a head per sample; all in one pass, or each lead alone.

    kind  linear: weights that are learnt; knn: the vote of so many nearest neighbours among the training records,
          weighted by exp(cosine / temperature); decoder: those of ECG-CL, which read all levels
    """

    dropout: float = Field(0.0, ge=0, lt=1)
    width: int = Field(32, ge=1)
    leads: Literal["joint", "each"] = "joint"
    kind: Literal["linear", "knn", "decoder"] = "linear"
    neighbours: int = Field(20, ge=1)
    temperature: float = Field(0.07, gt=0)
    cascade: Annotated[int, Field(ge=1)] | Literal["lowest"] = 64


def build_head(task: Task, encoder: nn.Module, config: HeadConfig) -> nn.Module:
    """The head that answers a task on an encoder. UsageError for neighbours where there is no class to vote on, and for
    a decoder where there is one level alone."""
    outputs, decoder = max(1, len(task.labels)), config.kind == "decoder"
    if config.kind == "knn":
        if task.kind not in VOTED:
            raise UsageError(
                f"task {task.name!r}: head.kind=knn is a vote on classes, and a {task.kind} task has none to vote on; "
                "take head.kind=linear"
            )
        exclusive = task.kind == "multiclass"
        return Neighbours(encoder.width, outputs, config.neighbours, config.temperature, exclusive)
    if decoder and len(encoder.widths) < 2:
        raise UsageError("head.kind=decoder joins levels, and this encoder has only one; take head.kind=linear")
    levels, leads = (encoder.widths, encoder.strides), len(encoder.leads) if config.leads == "joint" else 1
    if task.kind in DENSE:
        return Segmentation(*levels, leads, outputs) if decoder else Dense(*levels, leads, outputs, config.width)
    if decoder:
        return Cascade(*levels, outputs, config.cascade, config.dropout)
    return Pooled(encoder.width, outputs, config.dropout)


class Network(nn.Module):
    """`forward(batch) -> {task: logits}`; a head per record gives (B, K), one per sample (B, C, K, T).

    One per sample that is of one lead, on an encoder of several, reads each lead alone, in its own slot.
    """

    def __init__(self, encoder: nn.Module, heads: dict[str, nn.Module], recipe: Recipe):
        super().__init__()
        self.encoder, self.heads, self.recipe = encoder, nn.ModuleDict(heads), recipe

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        present, length = batch["present"], batch["length"]
        self.draw(batch)
        x = self.recipe.normalise_batch(batch["x"], present, length)  # (B, C, T)
        together = [name for name, head in self.heads.items() if not self._alone(head)]
        out = self._answers(together, x, present, length)
        for name in self.heads:
            if name not in out:
                single, there = alone(x, present)
                logits = self._answers([name], single, there, length.repeat_interleave(x.shape[1]))[name]
                out[name] = logits.view(*x.shape[:2], *logits.shape[2:])
        return out

    def draw(self, batch: dict) -> None:
        """In training: decides what low-rank adapters leave out of this pass, from the batch's seed and step."""
        if self.training and "step" in batch:
            low_rank.draw(self.encoder, batch["seed"], batch["step"])

    def _answers(self, names: list[str], x, present, length) -> dict[str, torch.Tensor]:
        if not names:
            return {}
        levels = self.encoder(x, present)
        pooled = any(reads(self.heads[name]) == "pooled" for name in names)
        h = self.encoder.pool(levels, length) if pooled else None
        return {name: ask(self.heads[name], levels, h, length, x.shape[-1]) for name in names}

    def _alone(self, head: nn.Module) -> bool:
        return is_dense(head) and head.leads < len(self.encoder.leads)


def is_dense(head: nn.Module) -> bool:
    """Whether a head answers per sample."""
    return reads(head) == "samples"
