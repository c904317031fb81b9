"""Simulated ECGs as a source of batches: made when they are needed, so that none comes twice and nothing is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from .. import simulator
from ..record import LEADS, UsageError
from ..signal.recipe import Recipe
from ..signal.spectral import filter_resample
from ..tasks import Task


class Simulated:
    """`simulated.batch(first, count)`: ECGs first, first + 1 ... of a seed, as the recipe's `prepare` would leave them.

    labels  a multilabel task whose labels are written in codes that the simulator knows: batches then carry y and known
    waves   whether batches carry wave classes per sample
    peaks   whether batches carry R peaks
    more    what else is told of made ECGs: `more(made, x (B, C, T) mV) -> arrays`, x as in the batch
    """

    def __init__(
        self, recipe: Recipe, seed: int, config: simulator.Config | None = None, *, labels: Task | None = None,
        waves: bool = False, peaks: bool = False, more: tuple[Callable, ...] = (),
    ):  # fmt: skip
        self.recipe, self.seed, self.waves, self.peaks, self.more = recipe, seed, waves, peaks, more
        self.config = replace(config or simulator.Config(), seconds=recipe.seconds, rate=recipe.rate)
        self.slots = [LEADS.index(lead) for lead in recipe.leads if lead in LEADS]
        if len(self.slots) < len(recipe.leads):
            raise UsageError(f"the simulator has the leads {', '.join(LEADS)}; the encoder reads others as well")
        self.means = None if labels is None else _means(labels)
        self._filter = recipe.rate, None, recipe.low, recipe.high, recipe.mains

    def batch(self, first: int, count: int, device="cpu") -> dict:
        """Tensors of `count` ECGs in mV; absent leads and padding are 0."""
        made = simulator.simulate(self.seed, range(first, first + count), self.config)
        B, _, T = made.x.shape
        x, present = made.x[:, self.slots], made.present[:, self.slots]
        present[~present.any(1)] = True  # flat lines, where the leads that are left are none of the encoder's
        flat = x.reshape(-1, T).numpy()
        x = filter_resample(flat, *self._filter).reshape(x.shape)
        batch = {"x": torch.from_numpy(x), "present": present, "length": torch.full((B,), T, dtype=torch.int32)}
        if self.means is not None:
            y = (made.y.float() @ self.means > 0).float()
            batch |= {"y": y, "known": torch.ones_like(y, dtype=torch.bool)}
        if self.waves:
            C = len(self.slots)
            batch["waves"], batch["scored"] = made.waves()[:, None].expand(B, C, T), present[:, :, None].expand(B, C, T)
        if self.peaks:
            batch["peaks"] = made.peaks
        for told in self.more:
            batch |= {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in told(made, x).items()}
        return {name: value.to(device) for name, value in batch.items()}


def _means(task: Task) -> torch.Tensor:
    """(findings of the simulator, labels of the task): which finding makes which label a yes."""
    each = [[bool(set(f.codes) & set(codes)) for codes in task.codes.values()] for f in simulator.FINDINGS]
    return torch.tensor(each).float()
