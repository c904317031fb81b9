"""Mean Teacher (Tarvainen and Valpola 2017): the student is to answer as a mean of what it was, under other weak views.

    consistency = mean squared difference of the probabilities of student and teacher, over the unlabelled rows
    teacher <- alpha_t teacher + (1 - alpha_t) student after step t, alpha_t = min(1 - 1 / (t + 1), decay)
    loss = supervised + weight exp(-5 (1 - min(t / t_r, 1))^2) consistency, t_r = ramp * steps

The teacher infers: its norms have statistics, copied from the student, and nothing is dropped out.
"""

from __future__ import annotations

import copy

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from .. import views
from ..nn.network import Network
from ..record import UsageError
from ..tasks import Task
from . import _tail

STAGE = "adapt"
KINDS = ("multilabel", "multiclass", "regression", "waves", "peaks")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """weight    of the consistency after the ramp, whose length is a share of the `steps`
    decay     largest alpha
    weak      views; student and teacher draw their own
    together  whether labelled and unlabelled rows share a pass of the student, as is usual. With few labels the network
              then learns to bend the unlabelled rows so that the common statistics suit the labelled ones
              (LOG.md)
    """

    weight: float = Field(10.0, ge=0)
    decay: float = Field(0.999, ge=0, le=1)
    ramp: float = Field(0.2, ge=0, le=1)
    steps: int = Field(0, ge=0)
    together: bool = False
    weak: dict[str, dict | None] = Field(default_factory=lambda: dict(_tail.WEAK))


class Teacher(nn.Module):
    """A copy of a network that follows it, always in inference. What is free in the network is a buffer here: without
    gradient, and in every checkpoint. What is frozen is the network's own tensor.
    """

    def __init__(self, network: Network):
        super().__init__()
        shared = [p for p in network.parameters() if not p.requires_grad]
        attached = getattr(network.encoder, "attached", None)  # holds what the adapter has changed: not copied
        memo = {id(thing): thing for thing in [*shared, *([attached] if attached else [])]}
        self.copy = copy.deepcopy(network, memo)
        for layer in self.copy.modules():
            for name, value in list(layer.named_parameters(recurse=False)):
                if value.requires_grad:
                    delattr(layer, name)
                    layer.register_buffer(name, value.detach().clone())
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        return super().train(False)

    @torch.no_grad()
    def forward(self, batch: dict) -> dict[str, Tensor]:
        return self.copy(batch)

    @torch.no_grad()
    def follow(self, network: Network, alpha: float) -> None:
        """A step of the mean of what is free; buffers, such as statistics, as they are."""
        for path, value in network.named_parameters():
            if value.requires_grad:
                self.copy.get_buffer(path).lerp_(value, 1 - alpha)
        for path, value in network.named_buffers():
            self.copy.get_buffer(path).copy_(value)


class MeanTeacher(nn.Module):
    def __init__(self, config: Config, supervised: nn.Module):
        super().__init__()
        self.config, self.supervised = config, supervised
        self.name, self.task = _tail.only_task(supervised)
        self.weak = views.build(config.weak, supervised.network.recipe)
        self.teacher = Teacher(supervised.network)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))  # that are done

    @property
    def network(self) -> Network:
        return self.supervised.network

    def forward(self, batch: dict) -> dict[str, Tensor]:
        random = _tail.random_of(batch)
        labelled, tail = _tail.split(batch)
        labelled = self.supervised.seen(labelled, random)
        if tail is None or not self.training:
            return self.supervised.losses(self.network(labelled), labelled)
        one, other = _tail.under(self.weak, tail, random), _tail.under(self.weak, tail, random)
        logits, student = _tail.passes(self.network, self.name, labelled, one, self.config.together)
        losses = self.supervised.losses(logits, labelled)
        student = self._answers(student, one)
        teacher = self._answers(self.teacher(other)[self.name], other)
        away = _tail.mean_of((student - teacher).square().mean(1), _tail.there(self.task, one, other))
        weight = self.config.weight * ramp(self.step, self.config.ramp * self.config.steps)
        return losses | {"consistency": away, "loss": losses["loss"] + weight * away}

    def after_step(self, step: int) -> None:
        self.teacher.follow(self.network, alpha(step, self.config.decay))
        self.step.fill_(step + 1)

    def _answers(self, logits: Tensor, batch: dict) -> Tensor:  # -> (B, K, ...)
        """Probabilities, or the numbers of a regression."""
        logits = _tail.by_class(self.task, logits, batch)
        if self.task.kind == "regression":
            return logits
        return logits.sigmoid() if self.task.kind == "multilabel" else logits.softmax(1)


def alpha(step: int, decay: float) -> float:
    """How much of the teacher stays after step `step`, 0 first."""
    return min(1 - 1 / (step + 1), decay)


def ramp(step: Tensor, length: float) -> Tensor:
    """exp(-5 (1 - step / length)^2), 1 from `length` on."""
    done = (step / length).clamp(max=1) if length else torch.ones_like(step, dtype=torch.float32)
    return torch.exp(-5 * (1 - done) ** 2)


def check(config: Config, task: Task, network: Network) -> None:
    """UsageError for a task, a ramp or views that cannot be."""
    _tail.check_kind("mean_teacher", task, KINDS)
    _tail.check_head("mean_teacher", network)
    _tail.check_views("mean_teacher", task, network.recipe, {"weak": config.weak})
    if config.ramp and not config.steps:
        raise UsageError("semi=mean_teacher: the ramp is a share of the steps; give semi_config.steps, or ramp=0")


def build(config: Config, supervised: nn.Module) -> MeanTeacher:
    return MeanTeacher(config, supervised)
