"""Batches to batches on the device: augmentation and contrastive views.

A view is `build(config) -> view`, and `view(batch, generator) -> (batch, TimeMap)`. It takes a batch in mV, before
`Recipe.normalise_batch`, leaves the one it was given as it is, and draws from `generator` alone, on its device.
Keys of a batch that a view does not know go through untouched. Absent leads and padding stay 0.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import plugs
from ..record import LEADS
from ..signal.leads import DIPOLE_LEADS
from ..signal.recipe import Recipe


@dataclass(frozen=True)
class TimeMap:
    """Where time went: sample t of record i is now at a[i] t + b[i] on an axis of `samples` samples.

    `cut` marks, on the new axis, what was taken away; None for nothing.
    """

    a: Tensor  # (B,)
    b: Tensor  # (B,)
    samples: int
    cut: Tensor | None = None  # (B, C, samples) bool

    def points(self, t: Tensor, length: Tensor) -> Tensor:
        """Sample indices t (B, P) on the new axis, to the nearest sample; -1 where unknown or outside [0, length)."""
        moved = torch.round(t * self.a[:, None] + self.b[:, None]).to(t.dtype)
        inside = (t >= 0) & (moved >= 0) & (moved < length[:, None])
        return torch.where(inside, moved, -1)

    def sources(self) -> Tensor:
        """Where each new sample was, in old samples: (B, samples)."""
        t = torch.arange(self.samples, device=self.a.device)
        return (t - self.b[:, None]) / self.a[:, None]

    def then(self, later: TimeMap) -> TimeMap:
        """This map and then a later one."""
        cut = later.cut
        if self.cut is not None:
            carried = take(self.cut, torch.round(later.sources()).long())
            cut = carried if cut is None else cut | carried
        return TimeMap(self.a * later.a, self.b * later.a + later.b, later.samples, cut)

    def seen(self, peaks: Tensor, present: Tensor) -> Tensor:
        """In how many leads a peak (new axis, -1 = none) is there and not cut away: (B, P)."""
        shown = present[:, :, None].expand(-1, -1, peaks.shape[1])  # (B, C, P)
        if self.cut is not None:
            shown = shown & ~take(self.cut, peaks.long())
        return shown.sum(1) * (peaks >= 0)


def unmoved(batch: dict, cut: Tensor | None = None) -> TimeMap:
    """The map of a view that leaves time alone."""
    x = batch["x"]
    one = torch.ones(x.shape[0], device=x.device)
    return TimeMap(one, torch.zeros_like(one), x.shape[-1], cut)


def take(x: Tensor, index: Tensor) -> Tensor:
    """x (B, C, T) at sample indices (B, S), the same for all leads; 0 outside: (B, C, S)."""
    C, T = x.shape[1:]
    inside = (index >= 0) & (index < T)
    out = x.gather(2, index.clamp(0, T - 1)[:, None].expand(-1, C, -1))
    return out.masked_fill(~inside[:, None], 0)


def valid(batch: dict) -> Tensor:
    """Samples of present leads before the end of the record, (B, C, T) bool."""
    steps = torch.arange(batch["x"].shape[-1], device=batch["x"].device)
    return (steps < batch["length"][:, None])[:, None] & batch["present"][:, :, None]


def uniform(generator: torch.Generator, shape: tuple, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform draws on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def shuffle_within(group: Tensor, generator: torch.Generator) -> Tensor:
    """Shuffles the true and the false places of each row among themselves: group (R, N) bool -> sources (R, N)."""
    places = torch.argsort(group.int(), dim=1, stable=True)
    drawn = torch.argsort(group * 2.0 + uniform(generator, tuple(group.shape)), dim=1)
    return torch.empty_like(places).scatter_(1, places, drawn)


def generator(seed: int | str, step: int, device: str | torch.device = "cpu") -> torch.Generator:
    """The source of randomness of one training step: the same for the same seed and step, so that a resumed run draws
    what the whole one would have. Numbers differ between kinds of device."""
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def compose(views):
    """One view that does all of them in order."""
    views = list(views)

    def view(batch: dict, generator: torch.Generator) -> tuple[dict, TimeMap]:
        time = unmoved(batch)
        for each in views:
            batch, moved = each(batch, generator)
            time = time.then(moved)
        return batch, time

    return view


def build(steps: dict[str, dict | None], recipe: Recipe | None = None):
    """A view from names and configs in order: {"crop": {"samples": 2500}, "noise": None}. Unknown ones: UsageError.

    recipe  what leads, rate and filter are taken from where a config does not say them; a dipole view is left out where
            the recipe lacks its leads
    """

    def one(name, values):
        plug = plugs.find("views", name)
        config = plugs.configure(plug.Config, _of(recipe, plug.Config) | (values or {}), f"view {name}")
        return plug.build(config)

    there = {name: values for name, values in steps.items() if name != "vcg" or _has_dipole(recipe)}
    return compose(one(name, values) for name, values in there.items())


def _of(recipe: Recipe | None, config: type) -> dict:
    """What a view's config can take from a recipe: noise passes through the filter that real records passed."""
    names = ("leads", "rate", "low", "high", "slot") if recipe else ()
    return {name: getattr(recipe, name) for name in names if name in config.__dataclass_fields__}


def _has_dipole(recipe: Recipe | None) -> bool:
    return recipe is None or (set(DIPOLE_LEADS) <= set(recipe.leads) <= set(LEADS))
