"""Projectors and predictors for features of each lead (B, C, D), of which some leads are not there."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn.ranks import total
from ._mlp import mlp


class SharedHead(nn.Module):
    """One network for all leads; its norm is over all that are there."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.mlp = mlp(inputs, hidden, outputs)

    def forward(self, h: Tensor, there: Tensor) -> Tensor:  # (B, C, D), (B, C) -> (B, C, O), 0 where not there
        rows = self.mlp(h[there])
        out = rows.new_zeros(*there.shape, rows.shape[-1])
        out[there] = rows
        return out


class LeadHeads(nn.Module):
    """A network of the same shape for each lead, all computed together; each norm is over the records with its lead."""

    def __init__(self, leads: int, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.norm = LeadLinear(leads, inputs, hidden), LeadNorm(leads, hidden)
        self.second = LeadLinear(leads, hidden, outputs)

    def forward(self, h: Tensor, there: Tensor) -> Tensor:  # (B, C, D), (B, C) -> (B, C, O), 0 where not there
        y = F.relu(self.norm(self.first(h), there))
        return self.second(y).masked_fill(~there[..., None], 0)


class LeadLinear(nn.Module):
    """A linear layer for each lead, from the distribution of nn.Linear at the start."""

    def __init__(self, leads: int, inputs: int, outputs: int):
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(leads, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(leads * outputs).uniform_(-bound, bound))  # one-dimensional: no decay

    def forward(self, h: Tensor) -> Tensor:  # (B, C, D) -> (B, C, O)
        C = len(self.weight)
        return torch.baddbmm(self.bias.view(C, 1, -1), h.transpose(0, 1), self.weight).transpose(0, 1)


class LeadNorm(nn.BatchNorm1d):
    """BatchNorm of each lead over the records of all processes that have it. A lead of one record becomes its bias."""

    def __init__(self, leads: int, width: int):
        super().__init__(leads * width)
        self.leads = leads

    def forward(self, x: Tensor, there: Tensor) -> Tensor:  # (B, C, H), (B, C) -> (B, C, H)
        by_lead, wide = (self.leads, -1), x.to(torch.promote_types(x.dtype, torch.float32))
        if self.training or self.running_mean is None:
            mean, variance = self._statistics(wide, there[..., None].to(wide.dtype))
        else:
            mean, variance = self.running_mean.view(by_lead), self.running_var.view(by_lead)
        gain = self.weight.view(by_lead) / torch.sqrt(variance + self.eps)
        return ((wide - mean) * gain + self.bias.view(by_lead)).to(x.dtype)

    def _statistics(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:  # (B, C, H), (B, C, 1) -> 2 (C, H)
        count = total(weight.sum(0))  # (C, 1)
        n = count.clamp(min=1)
        mean = total((x * weight).sum(0)) / n
        variance = total(((x - mean) * weight).square().sum(0)) / n
        if self.track_running_stats and self.training:
            self._remember(mean.detach(), variance.detach() * n / (n - 1).clamp(min=1), count > 1)
        return mean, variance

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, known: Tensor) -> None:
        """Leads of fewer than two records leave their running statistics as they are."""
        self.num_batches_tracked += 1
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            old = running.view(self.leads, -1)
            old.copy_(torch.where(known, old.lerp(new, self.momentum), old))
