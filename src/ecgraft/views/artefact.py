"""Artefacts of worn electrodes, as they are left after the recipe's filter: steps that decay, swings, spikes, bursts of
muscle noise. Far larger than the ECG at times: what a detector of R peaks has to live with.

An artefact of a record is in all of its leads, in each with a factor of its own. Every kind has a smallest and a
largest size in mV, between which a record draws it evenly on a logarithmic scale, and a largest number in a record.
"""

from __future__ import annotations

from math import log
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from ..signal.spectral import response
from . import TimeMap, uniform, unmoved, valid

Size = tuple[Annotated[float, Field(gt=0, le=100)], Annotated[float, Field(gt=0, le=100)]]  # mV
Number = Annotated[int, Field(ge=0, le=50)]
DECAY = (0.05, 3.0)  # s, time constant of a step
SWING = (0.03, 0.3)  # s, standard deviation of a swing
BURST = (0.2, 3.0)  # s, how long muscle noise goes on
TRAIN = 3.0  # s; the spikes of a record lie in one such stretch


@dataclass(frozen=True)
class Config:
    rate: Annotated[float, Field(gt=0)] = 250.0  # Hz, of the batch
    low: float | None = 0.5  # Hz, the recipe's filter
    high: float | None = 40.0
    share: Annotated[float, Field(ge=0, le=1)] = 0.3  # of records that have a kind
    steps: Number = 4
    step: Size = (0.1, 4.0)
    swings: Number = 4
    swing: Size = (0.1, 4.0)
    spikes: Number = 8
    spike: Size = (0.3, 30.0)
    bursts: Number = 2
    burst: Size = (0.02, 0.5)


def build(config: Config):
    def view(batch: dict, generator: torch.Generator) -> tuple[dict, TimeMap]:
        B, C, T = batch["x"].shape
        t = torch.arange(T, device=generator.device) / config.rate
        common = sum(kind(config, (B, T), t, generator) for kind in (_steps, _swings, _spikes, _bursts))  # (B, T)
        factor = uniform(generator, (B, C, 1), 0.3, 1.5) * (1 - 2 * (uniform(generator, (B, C, 1)) < 0.5).float())
        noise = _filtered(common, config)[:, None] * factor
        return {**batch, "x": batch["x"] + (noise * valid(batch)).to(batch["x"].dtype)}, unmoved(batch)

    return view


def _filtered(x: Tensor, config: Config) -> Tensor:
    """x (B, T) through the recipe's filter, mirrored at its end so that it closes."""
    T = x.shape[1]
    f = np.arange(T + 1) * (config.rate / (2 * T))
    gain = torch.tensor(response(f, config.low, config.high), dtype=x.dtype, device=x.device)
    return torch.fft.irfft(torch.fft.rfft(torch.cat([x, x.flip(1)], 1)) * gain, n=2 * T)[:, :T]


def _drawn(low: float, high: float, shape: tuple, generator: torch.Generator) -> Tensor:
    """Log-uniform."""
    return torch.exp(uniform(generator, shape, log(low), log(high)))


def _sizes(config: Config, most: int, size: Size, B: int, generator: torch.Generator) -> Tensor:
    """Signed mV of `most` artefacts of each record, (B, most, 1); 0 for those that are not there."""
    number = (uniform(generator, (B, 1)) * (most + 1)).floor() * (uniform(generator, (B, 1)) < config.share)
    there = torch.arange(most, device=generator.device) < number
    sign = 1 - 2 * (uniform(generator, (B, most)) < 0.5).float()
    record = _drawn(*size, (B, 1), generator)
    return (record * uniform(generator, (B, most), 0.3, 1.0) * sign * there)[..., None]


def _places(shape: tuple, t: Tensor, generator: torch.Generator) -> Tensor:
    return uniform(generator, shape, 0.0, float(t[-1]))[..., None]


def _steps(config: Config, shape: tuple, t: Tensor, generator: torch.Generator) -> Tensor:
    """An electrode jumps, and its potential creeps back; in every third the other way round."""
    B = shape[0]
    size = _sizes(config, config.steps, config.step, B, generator)
    since = t - _places((B, config.steps), t, generator)
    turned = uniform(generator, (B, config.steps, 1)) < 1 / 3
    since = torch.where(turned, -since, since)
    decay = _drawn(*DECAY, (B, config.steps, 1), generator)
    return (size * torch.where(since >= 0, torch.exp(-since.clamp(min=0) / decay), 0)).sum(1)


def _swings(config: Config, shape: tuple, t: Tensor, generator: torch.Generator) -> Tensor:
    """Bumps, and pairs of a bump and its opposite."""
    B = shape[0]
    size = _sizes(config, config.swings, config.swing, B, generator)
    z = (t - _places((B, config.swings), t, generator)) / _drawn(*SWING, (B, config.swings, 1), generator)
    pair = uniform(generator, (B, config.swings, 1)) < 0.5
    bump = torch.exp(-0.5 * z * z)
    return (size * torch.where(pair, 1.65 * z, 1.0) * bump).sum(1)


def _spikes(config: Config, shape: tuple, t: Tensor, generator: torch.Generator) -> Tensor:
    """A loose contact: a train of spikes, one sample or a few long."""
    B, T = shape
    size = _sizes(config, config.spikes, config.spike, B, generator)[..., 0]
    first = uniform(generator, (B, 1), -TRAIN / 2, float(t[-1]))
    at = first + uniform(generator, (B, config.spikes), 0.0, TRAIN)
    index = (at * config.rate).long()
    inside = (index >= 0) & (index < T)
    x = torch.zeros(B, T + 2, device=t.device)
    x.scatter_add_(1, index.clamp(0, T - 1), size * inside)
    wide = uniform(generator, (B, 1)) < 0.5
    return torch.where(wide, x[:, :T] + torch.roll(x, 1, 1)[:, :T], x[:, :T])


def _bursts(config: Config, shape: tuple, t: Tensor, generator: torch.Generator) -> Tensor:
    B, T = shape
    size = _sizes(config, config.bursts, config.burst, B, generator).abs()
    z = (t - _places((B, config.bursts), t, generator)) / _drawn(*BURST, (B, config.bursts, 1), generator)
    envelope = (size * torch.exp(-((2 * z) ** 4))).sum(1)
    return envelope * torch.randn((B, T), generator=generator, device=t.device) * 1.7  # 40 Hz of 125 are left
