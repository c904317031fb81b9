"""An encoder with heads: from a batch in millivolt to the logits of each task. Training and serving run this code."""

from __future__ import annotations

import torch
from torch import nn

from ..signal.recipe import Recipe


class Network(nn.Module):
    """`forward(batch) -> {task: logits}`; a Pooled head gives (B, K), a Dense one (B, C, K, T)."""

    def __init__(self, encoder: nn.Module, heads: dict[str, nn.Module], recipe: Recipe):
        super().__init__()
        self.encoder, self.heads, self.recipe = encoder, nn.ModuleDict(heads), recipe

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        levels, pooled = self.features(batch)
        samples = batch["x"].shape[-1]
        return {name: head(levels, pooled, samples).float() for name, head in self.heads.items()}

    def features(self, batch: dict) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The levels [(B, D_i, N_i)] and the pooled features (B, D) of a batch."""
        present, length = batch["present"], batch["length"]
        x = self.recipe.normalise_batch(batch["x"], present, length)  # (B, C, T)
        levels = self.encoder(x, present)
        return levels, self.encoder.pool(levels, length)
