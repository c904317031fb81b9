"""Labelled batches with a tail of unlabelled windows behind them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..record import InputError
from .batches import Examples, Sampler, Turns, starts

UNKNOWN = {"peaks": -1, "beats": -1, "beat_class": -1, "text_key": -1}  # of what has no label; 0 or False elsewhere
KNOWN = ("x", "present", "length", "index")  # what a batch has without labels; index: in the store of its own part


class Tail:
    """`tail(number)`: the batch that `labelled` has under this number, then round(share * its size) windows of the
    unlabelled examples, and `labelled` (B,), which tells them apart.

    Every unlabelled record comes once an epoch of its own; batch number k of a seed is always the same. Whatever the
    examples know besides their signals is left out.
    """

    def __init__(self, labelled: Sampler, unlabelled: Examples, share: float, samples: int, *, seed=0, device="cpu"):
        bare = {"y": None, "known": None, "waves": False, "beats": None, "peaks": False, "more": ()}
        self.labelled, self.unlabelled = labelled, replace(unlabelled, **bare)
        self.samples, self.seed, self.device = samples, seed, device
        self.size = round(share * labelled.size)
        if self.size and not len(unlabelled):
            raise InputError("there is no unlabelled record to learn from; give more of them, or no tail (tail=0)")
        self.turns = Turns(len(unlabelled), seed)

    def __call__(self, number: int) -> dict:
        batch = self.labelled(number)
        count, there = len(batch["x"]), torch.ones(len(batch["x"]), dtype=torch.bool, device=batch["x"].device)
        if not self.size:
            return batch | {"labelled": there}
        which = self.turns(number * self.size + np.arange(self.size))
        start = starts(self.unlabelled, which, self.samples, np.random.default_rng([self.seed, number, 2]))
        tail = self.unlabelled.batch(which, start, self.samples, self.device)
        rows = {name: value for name, value in batch.items() if torch.is_tensor(value) and len(value) == count}
        joint = {name: torch.cat((value, self._behind(name, value, tail))) for name, value in rows.items()}
        return batch | joint | {"labelled": torch.cat((there, ~there.new_ones(self.size)))}

    def _behind(self, name: str, value: torch.Tensor, tail: dict) -> torch.Tensor:
        """What the tail has under a name of the labelled batch."""
        if name in KNOWN:
            return tail[name]
        fill = UNKNOWN.get(name, float("nan") if name.endswith("_features") else 0)
        return value.new_full((self.size, *value.shape[1:]), fill)
