"""Heads on features that were computed once: for an encoder that stays as it is, without augmentation.

Neighbours are only filled. A Pooled head learns: the features are standardised for the training and the head takes that
back into its weights afterwards, so what comes out is an ordinary head on ordinary features.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from ..nn.heads import Neighbours, Pooled
from ..record import UsageError

MOST = 10_000  # training records that vote; a graft's file grows with them
SHRINK = 0.1  # share of the mean variance that is added to that of every feature: with few records some are near 0


class Probe(nn.Module):
    """Stands for a network in `Supervised`: batch["x"] holds features (B, D)."""

    def __init__(self, name: str, head: Pooled, features: np.ndarray):
        super().__init__()
        self.name, self.head = name, head
        mean, variance = features.mean(0), features.var(0)
        sd = np.sqrt(variance + SHRINK * variance.mean() + 1e-12)
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer("sd", torch.from_numpy(sd.astype(np.float32)))
        with torch.no_grad():  # the same answers as before, from standardised features
            head.linear.bias += head.linear.weight @ self.mean
            head.linear.weight *= self.sd

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:  # (B, D) -> {name: (B, K)}
        return {self.name: self._answer(batch["x"])}

    @property
    def heads(self) -> dict:
        """As a network has them: from features as they are to logits."""
        return {self.name: self._answer}

    def _answer(self, h: torch.Tensor) -> torch.Tensor:
        return self.head((h - self.mean) / self.sd)

    @torch.no_grad()
    def start_at(self, y: np.ndarray, known: np.ndarray) -> None:
        """A new head begins at the odds of each class among the records with y and known (n, K): few steps then do."""
        yes, no = ((side * known).sum(0) + 0.5 for side in (y, 1 - y))
        self.head.linear.bias.copy_(torch.from_numpy(np.log(yes / no).astype(np.float32)))

    @torch.no_grad()
    def fold(self) -> None:
        """Makes the head one for features as they are."""
        self.head.linear.weight /= self.sd
        self.head.linear.bias -= self.head.linear.weight @ self.mean


@dataclass(frozen=True)
class FeatureExamples:
    """Features and targets behind the interface of training.Examples."""

    features: np.ndarray  # (n, D)
    y: np.ndarray  # (n, K)
    known: np.ndarray  # (n, K)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def index(self) -> np.ndarray:
        return np.arange(len(self))

    @property
    def cache(self) -> SimpleNamespace:
        return SimpleNamespace(length=np.ones(len(self), int))

    def batch(self, which: np.ndarray, start: np.ndarray, samples: int, device="cpu") -> dict:
        arrays = {"x": self.features[which], "y": self.y[which].astype(np.float32), "known": self.known[which]}
        return {name: torch.from_numpy(a).to(device) for name, a in arrays.items()}


def check(options) -> None:
    """UsageError for settings of a job that ask for neighbours in features that change."""
    if options.head.kind == "knn" and options.adapter != "linear":
        raise UsageError(
            "head.kind=knn looks for neighbours in the features of an encoder that stays as it is, and adapter "
            f"{options.adapter!r} changes it; take --adapter linear, or head.kind=linear"
        )


def voters(rows: np.ndarray, seed: int) -> np.ndarray:
    """The training rows that are kept as neighbours: all, or MOST of them by chance; ascending."""
    return rows if len(rows) <= MOST else np.sort(np.random.default_rng(seed).choice(rows, MOST, replace=False))


def told(records: int) -> str:
    """How many of the training records `voters` keeps."""
    return f"{records} training records" if records <= MOST else f"{MOST} of {records} training records, by chance"


def fill(head: Neighbours, features: np.ndarray, y: np.ndarray, known: np.ndarray) -> None:
    """Hands a head its records: features (n, D), y and known (n, K)."""
    head.fill(*map(torch.from_numpy, (features, y, known)))


@torch.no_grad()
def logits(head, features: np.ndarray, device="cpu") -> np.ndarray:
    """(n, D) -> (n, K)."""
    return head(torch.from_numpy(features).to(device)).cpu().numpy()
