"""Batches from a prepared store. Batch number k of a seed is always the same, so that a run can be resumed exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..store import PreparedCache
from ..tasks import Task


@dataclass(frozen=True)
class Examples:
    """Records of a prepared cache and what is known about them.

    y      (n, K) targets: 0/1 for classes, numbers for regression; None where the task is per sample
    known  (n, K) whether a target is known
    waves  whether batches carry wave classes per sample
    beats  the task whose classes the batches' R peaks carry
    peaks  whether batches carry R peaks
    more   what else is kept beside the store for each record: `more.batch(index, start, samples) -> arrays`
    """

    cache: PreparedCache
    index: np.ndarray  # (n,) rows of the store
    y: np.ndarray | None = None
    known: np.ndarray | None = None
    waves: bool = False
    beats: Task | None = None
    peaks: bool = False
    more: tuple = ()

    def __len__(self) -> int:
        return len(self.index)

    def take(self, which: np.ndarray) -> Examples:
        """Some of the examples."""
        y, known = (None, None) if self.y is None else (self.y[which], self.known[which])
        return replace(self, index=self.index[which], y=y, known=known)

    def batch(self, which: np.ndarray, start: np.ndarray, samples: int, device="cpu") -> dict:
        """The batch of examples `which` (B,), each from sample `start` (B,) on."""
        index = self.index[which]
        arrays = self.cache.batch(index, start, samples)
        if self.y is not None:
            arrays |= {"y": self.y[which].astype(np.float32), "known": self.known[which]}
        if self.waves:
            arrays["waves"], arrays["scored"] = self.cache.waves(index, start, samples)
        if self.peaks:
            arrays["peaks"] = self.cache.peaks(index, start, samples)
        if self.beats is not None:
            arrays["peaks"], arrays["beats"] = self.cache.beats(index, start, samples, self.beats)
        for kept in self.more:
            arrays |= kept.batch(index, start, samples)
        return as_batch(arrays | {"index": index}, device)


def as_batch(arrays: dict[str, np.ndarray], device="cpu") -> dict:
    """Tensors on the device; the signal from 16-bit microvolt to float millivolt."""
    batch = {name: _on(torch.from_numpy(np.ascontiguousarray(a)), device) for name, a in arrays.items()}
    if batch["x"].dtype == torch.int16:
        batch["x"] = batch["x"].float().mul_(1e-3)
    return batch


def _on(array: torch.Tensor, device) -> torch.Tensor:
    """On the device; a GPU fetches it by itself, so that nothing waits for what it is still computing."""
    if torch.device(device).type == "cuda":
        return array.pin_memory().to(device, non_blocking=True)
    return array.to(device)


def starts(examples: Examples, which: np.ndarray, samples: int, random: np.random.Generator) -> np.ndarray:
    """A random place for a window in each of the examples `which` that is longer than it: (B,)."""
    length = np.asarray(examples.cache.length)[examples.index[which]]
    return (random.random(len(which)) * (np.maximum(length - samples, 0) + 1)).astype(np.int64)


class Turns:
    """n things in the shuffles of epoch after epoch laid end to end: every one comes once an epoch."""

    def __init__(self, n: int, seed: int):
        self.n, self.seed = n, seed
        self._epoch: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """What stands at these positions, (B,)."""
        return np.array([self._shuffle(p // self.n)[p % self.n] for p in positions], dtype=np.int64)

    def _shuffle(self, epoch: int) -> np.ndarray:
        known, order = self._epoch
        if known != epoch:
            order = np.random.default_rng([self.seed, epoch, 0]).permutation(self.n)
            self._epoch = (epoch, order)
        return order


class Sampler:
    """Random windows of random examples: `sampler(number) -> batch`.

    Every example comes once an epoch; with `balance` b > 0 they are drawn instead with weights (1 / size of their
    rarest class) ** b. Records longer than the window are read from a random place.
    """

    def __init__(self, examples: Examples, batch: int, samples: int, *, seed=0, balance=0.0, device="cpu"):
        self.examples, self.samples, self.seed, self.device = examples, samples, seed, device
        self.size = min(batch, len(examples)) if balance == 0 else batch
        self.weights = _weights(examples, balance) if balance else None
        self.turns = Turns(len(examples), seed)

    def __call__(self, number: int) -> dict:
        random = np.random.default_rng([self.seed, number, 1])
        if self.weights is None:
            which = self.turns(number * self.size + np.arange(self.size))
        else:
            which = random.choice(len(self.examples), self.size, p=self.weights)
        start = starts(self.examples, which, self.samples, random)
        batch = self.examples.batch(which, start, self.samples, self.device)
        return batch | {"step": number, "seed": self.seed}


def _weights(examples: Examples, balance: float) -> np.ndarray:
    """(n,) chances of the examples, for class targets."""
    positive = (examples.y > 0) & examples.known  # (n, K)
    size = np.where(positive, positive.sum(0, keepdims=True), np.inf).min(1)  # of each record's rarest class
    size[~np.isfinite(size)] = max(1, int((~positive.any(1)).sum()))  # records of no class are a class
    weights = (1.0 / size) ** balance
    return weights / weights.sum()
