"""FixMatch (Sohn et al. 2020): what the network is sure of under weak views is the target under strong ones.

Several labels, P = sigmoid(f(weak(u))) without gradient, t the threshold:

    L_u = mean over all B K entries of [P >= t or P <= 1 - t] BCE(f(strong(u)), [P >= 1/2])

One class: [max P >= t] CE(f(strong(u)), argmax P), mean over all unlabelled records; per sample the same over the
samples of leads that are there under both views. The weak pass is one of inference: it moves no statistics, drops
nothing out, and no record depends on its neighbours.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from .. import views
from ..nn.network import Network
from ..plugs import nearest
from ..record import UsageError
from ..tasks import Task
from . import _tail

STAGE = "adapt"
KINDS = ("multilabel", "multiclass", "waves", "peaks")

Threshold = Annotated[float, Field(ge=0.5, le=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """threshold  of being sure, and `thresholds` of single labels, by name
    weight     of L_u beside the supervised loss
    weak       views under which the network is asked; strong: those under which it learns
    together   whether labelled and strong rows share a pass, as is usual (mean_teacher.py says what that does)
    """

    threshold: Threshold = 0.95
    thresholds: dict[str, Threshold] = Field(default_factory=dict)
    weight: float = Field(1.0, ge=0)
    weak: dict[str, dict | None] = Field(default_factory=lambda: dict(_tail.WEAK))
    strong: dict[str, dict | None] = Field(default_factory=lambda: dict(_tail.STRONG))
    together: bool = False


class FixMatch(nn.Module):
    """Logged besides the losses: `used`, the share of entries that are sure, and `positives`, the share of positives
    among them; of classes, the share of those that are not of the class that is predicted most."""

    def __init__(self, config: Config, supervised: nn.Module):
        super().__init__()
        self.config, self.supervised = config, supervised
        self.name, self.task = _tail.only_task(supervised)
        recipe = supervised.network.recipe
        self.weak, self.strong = views.build(config.weak, recipe), views.build(config.strong, recipe)
        self.thresholds = [config.thresholds.get(label, config.threshold) for label in self.task.labels]

    @property
    def network(self) -> Network:
        return self.supervised.network

    def forward(self, batch: dict) -> dict[str, Tensor]:
        random = _tail.random_of(batch)
        labelled, tail = _tail.split(batch)
        labelled = self.supervised.seen(labelled, random)
        if tail is None or not self.training:
            return self.supervised.losses(self.network(labelled), labelled)
        weak, strong = _tail.under(self.weak, tail, random), _tail.under(self.strong, tail, random)
        asked = self._asked(weak)
        logits, said = _tail.passes(self.network, self.name, labelled, strong, self.config.together)
        losses = self.supervised.losses(logits, labelled)
        said = _tail.by_class(self.task, said, strong)
        rule = several if self.task.kind == "multilabel" else one
        found = rule(asked, said, _tail.there(self.task, weak, strong), self.thresholds)
        return losses | found | {"loss": losses["loss"] + self.config.weight * found["unlabelled"]}

    @torch.no_grad()
    def _asked(self, weak: dict) -> Tensor:
        """The logits of an inference pass, by class."""
        network, mode = self.network, self.network.training
        logits = network.eval()(weak)[self.name]
        network.train(mode)
        torch.clear_autocast_cache()  # of weights that were cast without gradient
        return _tail.by_class(self.task, logits, weak)


def several(asked: Tensor, said: Tensor, which: Tensor, thresholds: list[float]) -> dict[str, Tensor]:
    """Logits (B, K) under weak and strong views, thresholds (K,)."""
    P, t = asked.sigmoid(), asked.new_tensor(thresholds)
    sure, target = torch.maximum(P, 1 - P) >= t, (P >= 0.5).to(said.dtype)
    loss = F.binary_cross_entropy_with_logits(said, target, reduction="none")
    return {"unlabelled": (loss * sure).mean(), "used": sure.float().mean(), "positives": _tail.mean_of(target, sure)}


def one(asked: Tensor, said: Tensor, which: Tensor, thresholds: list[float]) -> dict[str, Tensor]:
    """Logits (B, K, ...) under weak and strong views; `which` (B, ...) entries there are."""
    P, target = asked.softmax(1).max(1)
    sure = (asked.new_tensor(thresholds)[target] <= P) & which
    loss = F.cross_entropy(said, target, reduction="none")
    most = torch.bincount(target[which], minlength=asked.shape[1]).argmax()
    return {
        "unlabelled": _tail.mean_of(loss * sure, which),
        "used": _tail.mean_of(sure.float(), which),
        "positives": _tail.mean_of((target != most).float(), sure),
    }


def check(config: Config, task: Task, network: Network) -> None:
    """UsageError for a task, thresholds or views that cannot be."""
    _tail.check_kind("fixmatch", task, KINDS)
    _tail.check_head("fixmatch", network)
    for label in config.thresholds:
        if label not in task.labels:
            hint = nearest(label, task.labels)
            raise UsageError(f"semi_config.thresholds: task {task.name!r} has no label {label!r}; {hint}")
    _tail.check_views("fixmatch", task, network.recipe, {"weak": config.weak, "strong": config.strong})


def build(config: Config, supervised: nn.Module) -> FixMatch:
    return FixMatch(config, supervised)
