"""The branches of BELL (Liu et al. 2024): a slim VGG-16 for each lead (78,216 parameters), or one for all leads.

A lead never meets another one: channels [i D, (i + 1) D) of a level belong to lead i. Branches that are `joint` are the
comparator, one network that reads all leads at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from ..nn import ConvNorm, masked_mean, steps
from ..record import LEADS, UsageError
from . import features


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """groups: widths of the convolutions before each halving. lead_embedding: for `shared` branches only.

    branches   one for each lead, one for every lead alone, or one for all leads together
    """

    leads: tuple[str, ...] = LEADS
    rate: float = Field(204.8, gt=0)  # Hz: 2048 samples in 10 s
    groups: tuple[tuple[int, ...], ...] = ((8, 8), (16, 16), (32, 32, 32), (64, 64, 64), (64, 64, 64))
    branches: Literal["separate", "shared", "joint"] = "separate"
    lead_embedding: Literal["stem", "none"] = "stem"


class Vgg(nn.Module):
    """Absent leads: zero maps. Shared branches: the maps of the C' present leads are scaled by C / C', as in inverted
    dropout, so that the plain mean over leads in `pool` is the mean over the present ones.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.leads, self.rate = config, config.leads, config.rate
        self.branches, self.shared = config.branches, config.branches == "shared"
        C, joint = len(config.leads), config.branches == "joint"
        branches = C if config.branches == "separate" else 1
        inputs, stages = C if joint else 1, []
        for group in config.groups:
            layers: list[nn.Module] = []
            for width in group:
                layers.append(ConvNorm(branches * inputs, branches * width, 3, groups=branches, bias=True))
                inputs = width
            stages.append(nn.Sequential(*layers, nn.MaxPool1d(2, ceil_mode=True)))
        if self.shared and config.lead_embedding == "stem":
            stages[0].insert(1, LeadEmbedding(C, config.groups[0][0]))
        self.stages = nn.ModuleList(stages)
        self.widths = [group[-1] * (1 if joint else C) for group in config.groups]
        self.strides = [2 ** (i + 1) for i in range(len(config.groups))]
        self.width = C * inputs if config.branches == "separate" else inputs

    def forward(self, x: Tensor, present: Tensor) -> list[Tensor]:  # (B, C, T), (B, C) -> [(B, C D, N)]
        return features(self, x, present)

    def enter(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B C, 1, T) if shared
        return x.reshape(-1, 1, x.shape[-1]) if self.shared else x

    def levels(self, stage: int, y: Tensor, present: Tensor, samples: int) -> list[Tensor]:
        if self.branches == "joint":
            return [y]
        by_lead = y.reshape(*present.shape, -1, y.shape[-1])  # (B, C D, N) or (B C, D, N) -> (B, C, D, N)
        return [(by_lead * self._weight(present)[:, :, None, None].to(y.dtype)).flatten(1, 2)]

    def pool(self, levels: list[Tensor], length: Tensor) -> Tensor:  # (B,) -> (B, C D), or (B, D) if shared
        e = levels[-1]
        h = masked_mean(e, steps(length, self.strides[-1], e.shape[-1]))
        return h.unflatten(1, (len(self.leads), -1)).mean(1) if self.shared else h

    def by_lead(self, levels: list[Tensor], length: Tensor, present: Tensor) -> Tensor:  # (B,), (B, C) -> (B, C, D)
        """The features of each lead by itself, 0 of an absent one; of separate and shared branches."""
        e = levels[-1]
        h = masked_mean(e, steps(length, self.strides[-1], e.shape[-1])).unflatten(1, (len(self.leads), -1))
        return h / self._weight(present).clamp(min=1)[..., None].to(h.dtype) if self.shared else h

    def for_leads(self, leads: tuple[str, ...]) -> Vgg:
        """The same network for another list of leads; its embedding goes by name, an unknown lead gets the mean row.

        Raises UsageError unless the branches are shared.
        """
        if not self.shared:
            raise UsageError(
                f"encoder vgg: only shared branches read leads they were not made for, not {self.branches}"
            )
        other = Vgg(replace(self.config, leads=tuple(leads)))
        values = self.state_dict()
        for name in [name for name in values if name.endswith(".table")]:
            rows = dict(zip(self.leads, values[name]))
            values[name] = torch.stack([rows.get(lead, values[name].mean(0)) for lead in leads])
        other.load_state_dict(values)
        other.name = getattr(self, "name", "vgg")
        return other.train(self.training)

    def _weight(self, present: Tensor) -> Tensor:  # (B, C)
        if not self.shared:
            return present
        return present / present.sum(1, keepdim=True).clamp(min=1) * present.shape[1]


class LeadEmbedding(nn.Module):
    """A learned vector for each lead, zero at first. (A norm that sees one lead alone would remove it.)"""

    def __init__(self, leads: int, width: int):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(leads, width))

    def forward(self, x: Tensor) -> Tensor:  # (B C, D, T) -> (B C, D, T)
        by_lead = x.unflatten(0, (-1, len(self.table)))
        return (by_lead + self.table[..., None]).flatten(0, 1)


def build(config: Config) -> Vgg:
    return Vgg(config)
