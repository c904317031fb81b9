"""Random numbers that depend on (seed, index, name) alone, so a record is the same in whatever batch it is made.

A counter-based generator: every number is a hash of the record's key, the crc32 of the draw's name and a position, so
a new draw never shifts the others. The mixing function is the finaliser of splitmix64 (Steele GL, Lea D, Flood CH. Fast
splittable pseudorandom number generators. OOPSLA 2014), with the arithmetic shifts of int64.
"""

from __future__ import annotations

import math
import zlib

import torch

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
_WORD = 0xFFFFFFFF


def mix(z: torch.Tensor) -> torch.Tensor:
    """A hash of each int64; products wrap."""
    z = (z ^ (z >> 30)).mul_(_FACTORS[0])
    z = (z ^ (z >> 27)).mul_(_FACTORS[1])
    return z ^ (z >> 31)


class Draw:
    """Draws for the records `index` (B,) of `seed`; float64, `(B,)` or, with `n`, `(B, n)`."""

    def __init__(self, seed: int, index: torch.Tensor, stream: str = ""):
        start = mix(torch.tensor([(seed ^ (zlib.crc32(stream.encode()) << 24)) % 2**63], device=index.device) * _GOLDEN)
        self.key = mix(start + index * _GOLDEN)  # (B,)

    def rows(self, which: torch.Tensor) -> Draw:
        """The draws of some of the records alone."""
        some = object.__new__(Draw)
        some.key = self.key[which]
        return some

    def bits(self, name: str, n: int | None = None) -> torch.Tensor:
        """Hashes of 64 bits, int64."""
        h = mix(self.key + zlib.crc32(name.encode()) * 0x100000001)
        if n is None:
            return h
        return mix(h[:, None] + torch.arange(1, n + 1, device=h.device) * _GOLDEN)

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0, n: int | None = None) -> torch.Tensor:
        """Uniform in the open interval (low, high), in steps of 2**-32."""
        return low + (high - low) / 2**32 * ((self.bits(name, n) & _WORD).double() + 0.5)

    def normal(self, name: str, mean: float = 0.0, sd: float = 1.0, n: int | None = None) -> torch.Tensor:
        """Normal by Box and Muller, cut at 3 standard deviations."""
        bits = self.bits(name, n)
        radius = ((bits & _WORD).double() + 0.5).mul_(2**-32).log_().mul_(-2).sqrt_()
        angle = (bits >> 32).double().mul_(2 * math.pi / 2**32).cos_()
        return radius.mul_(angle).clamp_(-3, 3).mul_(sd).add_(mean)

    def lognormal(self, name: str, median: float, spread: float, n: int | None = None) -> torch.Tensor:
        """exp of a normal: `spread` is the standard deviation of the logarithm."""
        return self.normal(name, 0, spread, n).exp_().mul_(median)

    def chance(self, name: str, p, n: int | None = None) -> torch.Tensor:
        """True with probability p (a number, or a tensor that broadcasts)."""
        return self.uniform(name, n=n) < p

    def choice(self, name: str, weights, n: int | None = None) -> torch.Tensor:
        """Index into `weights` with probability in proportion to them, int64."""
        edges = torch.tensor(weights, dtype=torch.float64, device=self.key.device).cumsum(0)
        return torch.searchsorted(edges[:-1] / edges[-1], self.uniform(name, n=n), right=True)
