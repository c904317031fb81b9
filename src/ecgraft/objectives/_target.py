"""What objectives that bootstrap (BYOL, Grill et al. 2020) share: settings, target network, distances, guard."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn.ranks import total, world
from ..record import InputError, UsageError
from ._look import CROP, Seen

WINDOW = {"keep": [0.5, 1.0]}  # the crop that keeps the time scale
LOW = 0.005  # deviation of features at unit length below which they have collapsed; 0.044 is even over 512 coordinates


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Bootstrap:
    """hidden, outputs: of projector and predictor. symmetric: each view predicts the other, else the first the second.

    momentum   m of xi <- m xi + (1 - m) theta; ema: `cosine` lets it rise to 1 over `steps` steps
    patience   steps in a row at which features have collapsed that end the run, about an epoch
    crop       `window` keeps the time scale, so that the heart rate is not lost: a shorter window, padded with zeros
    views      over the signal in mV; after: over the normalised
    """

    hidden: int = Field(512, ge=1)
    outputs: int = Field(512, ge=1)
    momentum: float = Field(0.996, ge=0, le=1)
    ema: Literal["constant", "cosine"] = "constant"
    steps: int = Field(0, ge=0)
    symmetric: bool = True
    patience: int = Field(200, ge=1)
    crop: Literal["stretch", "window"] = "stretch"
    views: dict[str, dict | None] = Field(default_factory=lambda: {**CROP, "lead_loss": {}})
    after: dict[str, dict | None] = Field(default_factory=dict)

    def cropped(self) -> dict[str, dict | None]:
        """The views, with the crop that was asked for."""
        return self.views if self.crop == "stretch" else {**self.views, "crop": WINDOW}

    def ways(self) -> list[tuple[int, int]]:
        """Which view predicts which."""
        return [(0, 1), (1, 0)] if self.symmetric else [(0, 1)]


class Target(nn.ModuleDict):
    """Exact copies of online modules, which follow them. Their weights are buffers: without gradient, out of the
    optimizer's sight, and in every checkpoint. Their norms use the statistics of the batch, always, and keep none.
    """

    def __init__(self, config: Bootstrap, online: dict[str, nn.Module]):
        super().__init__({name: _still(copy.deepcopy(module)) for name, module in online.items()})
        if config.ema == "cosine" and config.steps == 0:
            raise UsageError("ema = cosine needs the number of steps: steps=10000, or ema=constant")
        self.config = config

    @torch.no_grad()
    def follow(self, online: dict[str, nn.Module], step: int) -> None:
        """xi <- m xi + (1 - m) theta over the parameters, after optimizer step `step`, 0 first."""
        m = momentum(self.config, step)
        for name, module in online.items():
            for path, theta in module.named_parameters(remove_duplicate=False):
                self[name].get_buffer(path).lerp_(theta, 1 - m)


def momentum(config: Bootstrap, step: int) -> float:
    """m_k = 1 - (1 - m) (cos(pi k / K) + 1) / 2 for `cosine`."""
    if config.ema == "constant":
        return config.momentum
    done = min(step / config.steps, 1.0)
    return 1 - (1 - config.momentum) * (math.cos(math.pi * done) + 1) / 2


def _still(module: nn.Module) -> nn.Module:
    """Parameters become buffers; running statistics of norms are dropped."""
    for layer in module.modules():
        for name, value in list(layer.named_parameters(recurse=False)):
            delattr(layer, name)
            layer.register_buffer(name, value.detach().clone())
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
            layer.track_running_stats = False
    return module


def joined(views: list[Seen]) -> tuple[Tensor, Tensor, Tensor]:
    """The signals, leads and lengths of several views in one batch, so that norms are over all of them together."""
    x = torch.cat([view.x for view in views])
    present, length = (torch.cat([view.batch[key] for view in views]) for key in ("present", "length"))
    return x, present, length


def unit(z: Tensor) -> Tensor:
    """Features (..., D) at unit length, in float32 at least."""
    return F.normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=-1)


def distance(q: Tensor, z: Tensor) -> Tensor:  # (..., D), (..., D) -> (...)
    """|q^ - z^|^2 = 2 - 2 q^ . z^ of what has unit length: 0 parallel, 2 orthogonal, 4 opposite."""
    return 2 - 2 * (unit(q) * unit(z)).sum(-1)


@torch.no_grad()
def deviation(z: Tensor, there: Tensor) -> Tensor:  # (B, C, D), (B, C) -> scalar
    """Standard deviation over the records of each coordinate at unit length, within each lead, averaged; over all
    processes. 1 / sqrt(D) where spread evenly, 0 where collapsed, NaN where no lead has two records.
    """
    weight = there[..., None].float()
    z, count = unit(z.detach()).float(), weight.sum(0)  # (C, 1)
    centred = (z - (z * weight).sum(0) / count.clamp(min=1)) * weight
    free = (count - 1).clamp(min=0).sum()
    return total(centred.square().sum((0, 1)).div(free).sqrt().mean()) / world()


class Guard(nn.Module):
    """Stops a run whose features have collapsed, which the loss does not show: it is lowest then.

    The target's projections are watched. A predictor may be as flat for a while without harm: it learns the mean first.
    """

    def __init__(self, patience: int):
        super().__init__()
        self.patience, self.seen, self.warned = patience, None, False
        self.register_buffer("low", torch.zeros((), dtype=torch.int64))  # steps in a row

    def watch(self, deviation: Tensor) -> None:
        """Notes the deviation of this batch."""
        self.seen = deviation

    def after_step(self) -> None:
        """Counts. Warns once when features are first low; raises InputError when they stayed so."""
        if self.seen is None:
            return
        self.low.copy_(torch.where(self.seen < LOW, self.low + 1, 0))
        low = int(self.low)
        if low and not self.warned:
            self.warned = True
            warnings.warn(f"the features of all records are nearly the same (deviation {self.seen:.4f})", stacklevel=2)
        if low > self.patience:
            raise InputError(
                f"the features collapsed: they have been the same for all records for {low} steps (deviation "
                f"{self.seen:.4f}, below {LOW}). Start again in a new folder with a lower learning rate, larger "
                "batches or a momentum nearer to 1; if the records are all alike or flat, look at those first"
            )
