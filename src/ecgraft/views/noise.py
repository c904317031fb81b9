"""Noise as it is left after the recipe's filter: white, muscle, baseline wander, mains, electrode motion, recorded.

Each kind has a largest size in mV (standard deviation; amplitude for mains); a record draws its own size evenly from 0
to it, or has none of the kind, and a lead half to one and a half of the record's. Independent between leads.
"""

from __future__ import annotations

from functools import lru_cache
from math import pi
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from ..datasets import nstdb
from ..signal.spectral import filter_resample, response
from . import TimeMap, uniform, unmoved, valid

Size = Annotated[float, Field(ge=0, le=10)]  # mV
BANDS = {"white": (None, None), "muscle": (20.0, 150.0), "wander": (0.05, 0.6), "motion": (0.8, 8.0)}  # Hz


@dataclass(frozen=True)
class Config:
    rate: Annotated[float, Field(gt=0)] = 250.0  # Hz, of the batch
    low: float | None = 0.5  # Hz, the recipe's filter: what it takes out of real noise is taken out here
    high: float | None = 40.0
    white: Size = 0.02
    muscle: Size = 0.05
    wander: Size = 0.2
    motion: Size = 0.1
    mains: Size = 0.05
    mains_hz: tuple[float, ...] = (50.0, 60.0)
    recorded: Size = 0.1
    share: Annotated[float, Field(ge=0, le=1)] = 0.5  # of records that have a kind
    nstdb: str = ""  # folder of NSTDB; "": nothing recorded is added


def build(config: Config, recorded: np.ndarray | None = None):
    """`recorded`: noise (K, N) at the config's rate, cut at random; each row is scaled to SD 1, then filtered.

    Where it is not given, it is that of the config's folder of NSTDB, if there is one.
    """
    if recorded is None and config.nstdb:
        recorded = recordings(config.nstdb, config.rate)
    if recorded is not None:
        rows = np.asarray(recorded, np.float32)
        rows = (rows - rows.mean(1, keepdims=True)) / np.maximum(rows.std(1, keepdims=True), 1e-9)
        recorded = torch.from_numpy(filter_resample(rows, config.rate, None, config.low, config.high))

    def view(batch: dict, generator: torch.Generator) -> tuple[dict, TimeMap]:
        shape = tuple(batch["x"].shape)
        noise = _coloured(config, shape, generator)
        if config.motion:
            noise = noise + _motion(config, shape, generator)
        if config.mains:
            noise = noise + _mains(config, shape, generator)
        if recorded is not None:
            noise = noise + _recorded(config, recorded, shape, generator)
        return {**batch, "x": batch["x"] + (noise * valid(batch)).to(batch["x"].dtype)}, unmoved(batch)

    return view


def recordings(folder: str, rate: float) -> np.ndarray:
    """The noises of NSTDB's folder, each lead a row, cut to the shortest: (K, N) mV at `rate` Hz."""
    rows = [row for _, signal, fs in nstdb.noise(folder) for row in filter_resample(signal, fs, rate)]
    return np.stack([row[: min(map(len, rows))] for row in rows])


def _size(largest: float, share: float, B: int, C: int, generator: torch.Generator) -> Tensor:
    """mV for each record and lead, (B, C, 1)."""
    record = uniform(generator, (B, 1, 1), 0, largest) * (uniform(generator, (B, 1, 1)) < share)
    return record * uniform(generator, (B, C, 1), 0.5, 1.5)


@lru_cache(maxsize=64)
def _spectrum(T: int, config: Config, kind: str, device: torch.device) -> Tensor:
    """Amplitudes (T // 2 + 1,) that give noise of SD 1 in the kind's band, then passed through the recipe's filter."""
    f = np.arange(T // 2 + 1) * (config.rate / T)
    band = response(f, *BANDS[kind])
    power = 2 * np.sum(band**2) - band[0] ** 2  # of both halves of the spectrum
    band *= np.sqrt(T / max(power, 1e-9)) * response(f, config.low, config.high)
    return torch.tensor(band, dtype=torch.float32, device=device)


@lru_cache(maxsize=16)
def _hum(config: Config, device: torch.device) -> Tensor:
    """Frequencies of mains hum, and what of each the recipe's filter lets through: (2, n)."""
    passed = response(np.array(config.mains_hz), config.low, config.high)
    return torch.tensor(np.stack([config.mains_hz, passed]), dtype=torch.float32, device=device)


def _coloured(config: Config, shape: tuple, generator: torch.Generator) -> Tensor:
    """White, muscle and wander in one go: independent Gaussian noises add up in their power."""
    B, C, T = shape
    power = 0.0
    for kind in ("white", "muscle", "wander"):
        size = _size(getattr(config, kind), config.share, B, C, generator)
        power = power + (size * _spectrum(T, config, kind, size.device)) ** 2  # (B, C, F)
    return _shaped(power.sqrt(), T, generator)


def _shaped(amplitude: Tensor, T: int, generator: torch.Generator) -> Tensor:
    """Gaussian noise with the spectrum `amplitude` (..., F): (..., T)."""
    white = torch.randn((*amplitude.shape[:-1], T), generator=generator, device=generator.device)
    return torch.fft.irfft(torch.fft.rfft(white) * amplitude, n=T)


def _motion(config: Config, shape: tuple, generator: torch.Generator) -> Tensor:
    """A burst of slow swings in each lead, a fifth of a second to two seconds long, where an electrode moved."""
    B, C, T = shape
    size = _size(config.motion, config.share, B, C, generator)
    t = torch.arange(T, device=generator.device) / config.rate
    centre = uniform(generator, (B, C, 1), 0, T / config.rate)
    width = uniform(generator, (B, C, 1), 0.1, 1.0)
    burst = torch.exp(-(((t - centre) / width) ** 2))
    amplitude = _spectrum(T, config, "motion", size.device).expand(B, C, -1)
    return size * burst * _shaped(amplitude, T, generator)


def _mains(config: Config, shape: tuple, generator: torch.Generator) -> Tensor:
    B, C, T = shape
    size = _size(config.mains, config.share, B, C, generator)
    choice = torch.randint(len(config.mains_hz), (B, 1, 1), generator=generator, device=generator.device)
    hertz, passed = _hum(config, generator.device)
    phase = uniform(generator, (B, C, 1), 0, 2 * pi)
    t = torch.arange(T, device=generator.device) / config.rate
    return size * passed[choice] * torch.sin(2 * pi * hertz[choice] * t + phase)


def _recorded(config: Config, rows: Tensor, shape: tuple, generator: torch.Generator) -> Tensor:
    """A piece of a random row for each lead of each record, going round at its end: (B, C, T)."""
    B, C, T = shape
    size = _size(config.recorded, config.share, B, C, generator)
    K, N = rows.shape
    start = torch.randint(K * N, (B, C, 1), generator=generator, device=generator.device)
    row, first = start // N, start % N
    return size * rows.to(generator.device)[row, (first + torch.arange(T, device=generator.device)) % N]
