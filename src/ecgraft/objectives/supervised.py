"""Learning from labels: the sum of the losses of one or more tasks, each over what is known of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from ..nn.network import Network
from ..signal.peaks import NEAR
from ..tasks import Task
from ..views import generator
from ._rows import of_present, take

NEEDS: tuple[str, ...] = ("labels", "waves")  # for pretraining


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """smoothing: share of a class target that is spread evenly; weights: factor of a task's loss by name, else 1."""

    smoothing: float = Field(0.0, ge=0, lt=1)
    weights: dict[str, float] = Field(default_factory=dict)


class Supervised(nn.Module):
    """`views(batch, generator) -> (batch, time map)` are laid over training batches, drawn from their seed and step."""

    def __init__(self, network: Network, tasks: dict[str, Task], config: Config, views: Callable | None = None):
        super().__init__()
        self.network, self.tasks, self.config, self.views = network, tasks, config, views

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        batch = self.seen(batch)
        return self.losses(self.network(batch), batch)

    def seen(self, batch: dict, random: torch.Generator | None = None) -> dict:
        """The batch as the network is to see it: in training under the views, drawn from `random` if it is given."""
        if not (self.training and self.views is not None):
            return batch
        random = random or generator(batch["seed"], batch["step"], batch["x"].device)
        with torch.autocast(batch["x"].device.type, enabled=False):
            return self.views(batch, random)[0]

    def losses(self, logits: dict[str, torch.Tensor], batch: dict) -> dict[str, torch.Tensor]:
        """`loss` and its parts by task, of the rows that are labelled."""
        batch = dict(batch)
        labelled = batch.pop("labelled", None)
        if labelled is not None and not labelled.all():
            logits = {name: value[labelled] for name, value in logits.items()}
            batch = take(batch, labelled)
        losses = {name: self._loss(task, logits[name], batch) for name, task in self.tasks.items()}
        total = sum(self.config.weights.get(name, 1.0) * loss for name, loss in losses.items())
        return {"loss": total, **losses}

    def _loss(self, task: Task, logits: torch.Tensor, batch: dict) -> torch.Tensor:
        if task.kind == "peaks":
            batch = batch | {"near": max(1, round(NEAR * self.network.recipe.rate))}
        return LOSSES[task.kind](logits, batch, self.config.smoothing)


def multilabel(logits: torch.Tensor, batch: dict, smoothing: float) -> torch.Tensor:
    """Mean binary cross-entropy over the known labels. logits (B, K)."""
    y = batch["y"] * (1 - smoothing) + smoothing / 2
    return _mean(F.binary_cross_entropy_with_logits(logits, y, reduction="none"), batch["known"])


def multiclass(logits: torch.Tensor, batch: dict, smoothing: float) -> torch.Tensor:
    """Mean cross-entropy over the records whose class is known. logits (B, K).

    A row of y that is not of one class (CutMix) holds the shares of several.
    """
    y = batch["y"]
    loss = F.cross_entropy(logits, y.argmax(1), reduction="none", label_smoothing=smoothing)
    shares = F.cross_entropy(logits, y, reduction="none", label_smoothing=smoothing)
    return _mean(torch.where((y > 0).sum(1) > 1, shares, loss), batch["known"].all(1))


def regression(logits: torch.Tensor, batch: dict, smoothing: float) -> torch.Tensor:
    """Mean Huber loss over the known values, which are in units of their spread. logits (B, K)."""
    return _mean(F.smooth_l1_loss(logits, batch["y"], reduction="none"), batch["known"])


def waves(logits: torch.Tensor, batch: dict, smoothing: float) -> torch.Tensor:
    """Mean cross-entropy over the samples that are annotated. logits (B, C, K, T)."""
    log = F.log_softmax(logits, dim=2)
    picked = log.gather(2, batch["waves"].long().unsqueeze(2)).squeeze(2)  # (B, C, T)
    loss = -(1 - smoothing) * picked - (smoothing * log.mean(2) if smoothing else 0)
    return _mean(loss, batch["scored"])


def beats(logits: torch.Tensor, batch: dict, smoothing: float) -> torch.Tensor:
    """Mean cross-entropy over the beats of known class, read at their R peaks. logits (B, C, K, T)."""
    at_peaks = read_at(logits, batch["present"], batch["peaks"])  # (B, P, K)
    known = (batch["peaks"] >= 0) & (batch["beats"] >= 0)
    target = batch["beats"].long().clamp(min=0)
    loss = F.cross_entropy(at_peaks.transpose(1, 2), target, reduction="none", label_smoothing=smoothing)
    return _mean(loss, known)


def peaks(logits: torch.Tensor, batch: dict, smoothing: float) -> torch.Tensor:
    """Mean cross-entropy over all valid samples: is it at most `near` samples from an R peak? logits (B, C, 2, T).

    The leads are asked together: the mean of the logits of those that are present.
    """
    B, _, _, T = logits.shape
    peaks, near = batch["peaks"].long(), batch["near"]
    there = (peaks >= 0).to(torch.int32)
    edges = torch.zeros(B, T + 1, dtype=torch.int32, device=logits.device)
    edges.scatter_add_(1, (peaks - near).clamp(0, T), there)
    edges.scatter_add_(1, (peaks + near + 1).clamp(0, T), -there)
    target = (edges.cumsum(1)[:, :T] > 0).long()
    loss = F.cross_entropy(of_present(logits, batch["present"]), target, reduction="none", label_smoothing=smoothing)
    return _mean(loss, torch.arange(T, device=logits.device) < batch["length"][:, None])


LOSSES = {
    "multilabel": multilabel,
    "multiclass": multiclass,
    "regression": regression,
    "waves": waves,
    "beats": beats,
    "peaks": peaks,
}


def read_at(logits: torch.Tensor, present: torch.Tensor, peaks: torch.Tensor) -> torch.Tensor:
    """Logits (B, C, K, T), averaged over the present leads, at the samples `peaks` (B, P) -> (B, P, K)."""
    K, T = logits.shape[2:]
    mean = of_present(logits, present)
    at = peaks.long().clamp(0, T - 1).unsqueeze(1).expand(-1, K, -1)  # (B, K, P)
    return mean.gather(2, at).transpose(1, 2)


def _mean(loss: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """The mean of the entries that are known; 0 (with a gradient of 0) where none is."""
    known = known.to(loss.dtype)
    return (loss * known).sum() / known.sum().clamp(min=1)
