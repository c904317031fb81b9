"""Random numbers that depend on (seed, index, name) alone, so a record is the same in whatever batch it is made.

A counter-based generator: every number is a hash of the record's key, the crc32 of the draw's name and a position.
A new draw never shifts the others. The mixing function is `lowbias32` (C. Wellons, "Prospecting for hash functions").
"""

from __future__ import annotations

import math
import zlib

import torch

_WORD = 0xFFFFFFFF


def mix(h: torch.Tensor) -> torch.Tensor:
    """One round of lowbias32 on int64 tensors that hold 32-bit words."""
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & _WORD
    h = ((h ^ (h >> 15)) * 0x846CA68B) & _WORD
    return h ^ (h >> 16)


class Draw:
    """Draws for the records `index` (B,) of `seed`; float64, `(B,)` or, with `n`, `(B, n)`."""

    def __init__(self, seed: int, index: torch.Tensor, stream: str = ""):
        index = index.to(torch.int64)
        key = torch.full_like(index, zlib.crc32(stream.encode()))
        for word in (seed & _WORD, (seed >> 32) & _WORD, index & _WORD, (index >> 32) & _WORD):
            key = mix(key ^ word)
        self.key = key  # (B,)

    def bits(self, name: str, n: int | None = None) -> torch.Tensor:
        """Hashes of 32 bits, int64."""
        h = mix(self.key ^ zlib.crc32(name.encode()))
        if n is None:
            return mix(h)
        return mix(mix(h[:, None] ^ torch.arange(1, n + 1, device=h.device)) + h[:, None] & _WORD)

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0, n: int | None = None) -> torch.Tensor:
        """Uniform in the open interval (low, high)."""
        return low + (high - low) * ((self.bits(name, n) + 0.5) / 2**32)

    def normal(self, name: str, mean: float = 0.0, sd: float = 1.0, n: int | None = None) -> torch.Tensor:
        """Normal by Box and Muller, cut at 3 standard deviations."""
        radius = torch.sqrt(-2 * torch.log(self.uniform(name + "/r", n=n)))
        angle = self.uniform(name + "/a", 0, 2 * math.pi, n=n)
        return mean + sd * (radius * torch.cos(angle)).clamp(-3, 3)

    def lognormal(self, name: str, median: float, spread: float, n: int | None = None) -> torch.Tensor:
        """exp of a normal: `spread` is the standard deviation of the logarithm."""
        return median * torch.exp(self.normal(name, 0, spread, n))

    def chance(self, name: str, p, n: int | None = None) -> torch.Tensor:
        """True with probability p (a number, or a tensor that broadcasts)."""
        return self.uniform(name, n=n) < p

    def choice(self, name: str, weights, n: int | None = None) -> torch.Tensor:
        """Index into `weights` with probability in proportion to them, int64."""
        edges = torch.tensor(weights, dtype=torch.float64, device=self.key.device).cumsum(0)
        return torch.searchsorted(edges[:-1] / edges[-1], self.uniform(name, n=n).contiguous(), right=True)
