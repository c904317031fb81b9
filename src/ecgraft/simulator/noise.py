"""What a recording adds: baseline wander, muscle, electrode motion and mains, per electrode.

Noise is read at random places from long tables made once per rate, so a record costs copies instead of random numbers.
It is added to electrode potentials, not to leads: Einthoven's and Goldberger's identities hold in noise too.
"""

from __future__ import annotations

import functools
import math

import torch

from .config import Config
from .draw import Draw
from .plan import Plan

BLOCK = 64  # samples; tables are read from multiples of it
_SECONDS, _LONGEST = 700, 2**20  # length of each table, s and samples
KINDS = ("wander", "muscle", "motion", "50", "60", "smooth")
SOURCES = (("wander", 6), ("muscle", 9), ("motion", 2), ("50", 1))  # of a record; mixed to the electrodes by `gains`


@functools.lru_cache(maxsize=4)
def tables(rate: float, device: str) -> torch.Tensor:
    """(len(KINDS), n, BLOCK) float32: noises of unit variance, mains as a sine and its third harmonic."""
    n = math.ceil(min(_SECONDS * rate, _LONGEST) / BLOCK) * BLOCK
    maker = torch.Generator().manual_seed(20240229)
    f = torch.fft.rfftfreq(n, 1 / rate)

    def coloured(shape: torch.Tensor) -> torch.Tensor:
        """Gaussian noise with the amplitude spectrum `shape`."""
        white = torch.fft.rfft(torch.randn(n, generator=maker, dtype=torch.float64))
        return _unit(torch.fft.irfft(white * shape, n))

    wander = coloured((f > 0.04) / (1 + (f / 0.25) ** 2))
    muscle = coloured(f / (f + 15) / (1 + (f / 110) ** 4) ** 0.5) * torch.exp(0.5 * coloured(1.0 * (f < 0.6)))
    swings = coloured(((f > 0.3) & (f < 30)) / (0.7 + f) ** 1.4) * torch.exp(1.3 * coloured(1.0 * (f < 0.3)))
    smooth = coloured((f > 0) * torch.exp(-0.5 * (f / 0.7) ** 2))
    angle = 2 * math.pi * torch.arange(n, dtype=torch.float64) / rate
    hum = [torch.sin(hertz * angle) + 0.15 * torch.sin(3 * hertz * angle + 1) for hertz in (50, 60)]
    kinds = torch.stack([wander, _unit(muscle), _unit(swings), *hum, smooth])
    return kinds.float().reshape(len(KINDS), -1, BLOCK).to(device)


def _unit(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean()) / x.std()


def _read(draw: Draw, name: str, kinds: torch.Tensor, samples: int, rate: float) -> torch.Tensor:
    """(B, n, samples): stretches at random places of the tables `kinds` (B, n)."""
    table = tables(rate, str(draw.key.device))  # (K, blocks, BLOCK)
    blocks = math.ceil(samples / BLOCK)
    repeats = math.ceil((blocks + 1) / table.shape[1])  # above 1 for a record longer than the tables
    places = repeats * table.shape[1] - blocks
    first = (draw.uniform(f"noise/{name}", n=kinds.shape[1]) * places).long()
    block = (first[..., None] + torch.arange(blocks, device=first.device)) % table.shape[1]
    return table.flatten(0, 1)[kinds[..., None] * table.shape[1] + block].flatten(2)[..., :samples]


def smooth(draw: Draw, n: int, samples: int, rate: float) -> torch.Tensor:
    """(B, n, samples): noise below about 1 Hz, of unit variance."""
    kinds = torch.full((len(draw.key), n), KINDS.index("smooth"), device=draw.key.device)
    return _read(draw, "smooth", kinds, samples, rate)


def sources(draw: Draw, samples: int, rate: float) -> torch.Tensor:
    """(B, 18, samples): the noise sources of every record, in the order of SOURCES."""
    kinds = [KINDS.index(kind) for kind, n in SOURCES for _ in range(n)]
    kinds = torch.tensor(kinds, device=draw.key.device).repeat(len(draw.key), 1)
    kinds[:, -1] += draw.chance("mains/sixty", 0.35)  # mains of 60 Hz
    return _read(draw, "sources", kinds, samples, rate)


def gains(draw: Draw, plan: Plan, config: Config) -> torch.Tensor:
    """(B, 9, 18): how much of each source is at each electrode, mV.

    Sizes follow PTB-XL's training folds; `handheld` records follow CinC2017, with some as bad as its class "~".
    """
    B, hand = len(draw.key), plan.handheld
    bad = torch.where(hand & draw.chance("noise/bad", 0.2), draw.lognormal("noise/worse", 3, 0.5), 1.0)
    wander = draw.lognormal("wander", 0.037, 0.7) * bad * config.wander
    muscle = draw.lognormal("muscle", 0.0022, 0.7) * torch.where(hand, 1.7, 1.0) * bad * config.muscle
    moving = draw.chance("motion", torch.where(hand, 0.6, 0.12))
    motion = draw.lognormal("motion/size", 0.045, 0.8) * torch.where(hand, 1.7, 1.0) * moving * bad * config.motion
    mains = draw.lognormal("mains/size", 0.004, 0.8) * draw.chance("mains", 0.3) * config.mains
    each = draw.lognormal("noise/electrode", 1.0, 0.45, 9)
    parts = [
        draw.normal("wander/mix", 0, 6**-0.5, 54).reshape(B, 9, 6) * (wander[:, None] * each)[..., None],
        torch.diag_embed(muscle[:, None] * each),
        _one_electrode(draw, 2) * motion[:, None, None],
        (draw.normal("mains/mix", 0, 1, 9) * mains[:, None])[..., None],
    ]
    return torch.cat(parts, 2)


def _one_electrode(draw: Draw, n: int) -> torch.Tensor:
    """(B, 9, n): each of n sources at one electrode alone."""
    at = draw.choice("motion/at", [1] * 9, n)
    return torch.nn.functional.one_hot(at, 9).transpose(1, 2).double()
