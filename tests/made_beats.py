"""Batches with beats and features of them, and a small Beat-SSL, for its tests."""

from __future__ import annotations

import numpy as np
import torch

from ecgraft import encoders, plugs
from ecgraft.objectives import beat_ssl
from ecgraft.signal.recipe import Recipe

R, F = 5, 4  # features of a record and of a beat
TINY = {"stem": 4, "widths": (4, 6, 8, 8)}
SMALL = {"hidden": 16, "beat_hidden": 16, "outputs": 8, "record_features": R, "beat_features": F}
RECIPE = Recipe(seconds=4.0)
SOFT_BEATS = {"beat": "soft", "positives": 1.5}


def corpus(seed=0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    beats = draw.normal(size=(800, F)) + 4 * (np.arange(800) % 3)[:, None]
    return draw.normal(size=(300, R)) * 10 + 50, beats


def made(B=6, T=1000, seed=0) -> dict:
    """A batch in mV with a beat every 190 samples, and features like those of the corpus."""
    random = torch.Generator().manual_seed(seed)
    peaks = torch.arange(5) * 190 + 80 + torch.randint(0, 30, (B, 5), generator=random)  # (B, P)
    bump = torch.exp(-(((torch.arange(T) - peaks[:, :, None]) / 4.0) ** 2)).sum(1)  # (B, T)
    x = bump[:, None] * torch.linspace(0.5, 2, 12)[:, None] + 0.02 * torch.randn((B, 12, T), generator=random)
    records, beats = corpus(seed + 1)
    return {
        "x": x,
        "present": torch.ones(B, 12, dtype=torch.bool),
        "length": torch.full((B,), T),
        "peaks": peaks.to(torch.int32),
        "record_features": torch.tensor(records[:B], dtype=torch.float32),
        "beat_features": torch.tensor(beats[: 5 * B], dtype=torch.float32).view(B, 5, F),
        "seed": 0,
        "step": 0,
    }


def built(fitted=True, encoder=None, seed=0, **values) -> beat_ssl.BeatSSL:
    torch.manual_seed(seed)
    encoder = encoder or encoders.build("resnet18", TINY)
    config = plugs.configure(beat_ssl.Config, SMALL | values, "objective beat_ssl")
    objective = beat_ssl.build(config, encoder, RECIPE)
    if fitted:
        objective.fit(*corpus(), batch=6)
    return objective


def backward(objective, batch) -> dict:
    out = objective(batch)
    out["loss"].backward()
    assert all(torch.isfinite(value).all() for value in out.values())
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)
    return out


def gradients(module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]
