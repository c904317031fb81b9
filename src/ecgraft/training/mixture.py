"""Batches from several stores at once, with simulated ECGs among them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .batches import Examples, Turns, starts
from .simulated import Simulated

NAN = float("nan")
FILL = {  # what stands for what a record does not have, and for padding; 0 elsewhere
    **{"peaks": -1, "beat_class": -1, "text_key": -1},
    **{"beat_features": NAN, "record_features": NAN},
}


class Mixture:
    """`mixture(number) -> batch` of `size` windows, of which a share is simulated.

    Every stored record comes once an epoch, whatever its store; from each that is longer than a window a random one is
    taken. Of several processes number `rank` of `world` takes its own part of a batch that is `world` times as large.
    """

    def __init__(
        self, sources: list[Examples], size: int, samples: int, *, seed: int = 0, simulated: Simulated | None = None,
        share: float = 0.0, rank: int = 0, world: int = 1, device="cpu",
    ):  # fmt: skip
        self.sources, self.samples, self.seed, self.device = sources, samples, seed, device
        self.rank, self.world, self.simulated = rank, world, simulated
        self.made = round(size * share) if simulated else 0
        self.stored = size - self.made
        self.ends = np.cumsum([len(source) for source in sources])
        self.turns = Turns(int(self.ends[-1]) if len(self.ends) else 0, seed)

    def __call__(self, number: int) -> dict:
        parts, places = [], []
        if self.stored:
            which = self.turns(self._positions(number, self.stored))
            random = np.random.default_rng([self.seed, number, 1, self.rank])
            for source, first, last in zip(self.sources, [0, *self.ends], self.ends):
                mine = np.flatnonzero((which >= first) & (which < last))
                if len(mine):
                    inside = which[mine] - first
                    start = starts(source, inside, self.samples, random)
                    parts.append(source.batch(inside, start, self.samples))
                    places.append(mine)
        if self.made:
            first = int(self._positions(number, self.made)[0])
            parts.append(self.simulated.batch(first, self.made))
            places.append(self.stored + np.arange(self.made))
        batch = {name: value.to(self.device, non_blocking=True) for name, value in joined(parts, places).items()}
        return batch | {"step": number, "seed": self.seed if self.rank == 0 else f"{self.seed}.{self.rank}"}

    def _positions(self, number: int, count: int) -> np.ndarray:
        return (number * self.world + self.rank) * count + np.arange(count)


def joined(parts: list[dict], places: list[np.ndarray]) -> dict[str, Tensor]:
    """One batch of several, part i in the rows places[i]. What only some parts know is unknown in the others."""
    order = torch.from_numpy(np.argsort(np.concatenate(places)))
    names = dict.fromkeys(name for part in parts for name in part if name != "index")
    out = {}
    for name in names:
        like = next(part[name] for part in parts if name in part)
        shape = [max(part[name].shape[k] for part in parts if name in part) for k in range(1, like.ndim)]
        out[name] = torch.cat([_filled(part, name, like, shape) for part in parts])[order]
    return out


def _filled(part: dict, name: str, like: Tensor, shape: list[int]) -> Tensor:
    fill = FILL.get(name, 0)
    if name not in part:
        return torch.full((len(part["x"]), *shape), fill, dtype=like.dtype)
    value = part[name].to(like.dtype)
    missing = [wide - have for wide, have in zip(shape, value.shape[1:])]
    pad = [amount for have in reversed(missing) for amount in (0, have)]
    return F.pad(value, pad, value=fill) if any(missing) else value


class Ahead:
    """Batches made by threads while the training computes: the same ones, in the same order, only sooner."""

    def __init__(self, batches: Callable[[int], dict], ahead: int = 4, threads: int = 1):
        self.batches, self.ahead = batches, ahead
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="batches")
        self._coming: dict[int, Future] = {}

    def __call__(self, number: int) -> dict:
        for n in range(number, number + self.ahead):
            if n not in self._coming:
                self._coming[n] = self._pool.submit(self.batches, n)
        return self._coming.pop(number).result()

    def close(self) -> None:
        """Drops what was made too much."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._coming.clear()
