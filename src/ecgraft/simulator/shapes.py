"""Waves as a few Gaussian lobes of the dipole, and the exact definition of where a wave begins and ends.

A lobe is vector * exp(-(q + k q^2) / 2), q = ((t - centre) / sigma)^2, with its own sigma left and right of the centre;
k > 0 makes it flat-topped. A wave is a sum of lobes. Its ONSET is the first and its OFFSET the last time at which the
length of its own dipole vector is above a fixed share of its greatest length (THRESHOLD); its PEAK is where the length
is greatest. Shapes are scaled in time so that a wave lasts exactly from 0 to 1; a beat then sets onset and duration.

The thresholds were chosen so that a wave's width at half its height, as a share of its duration, is in single leads
about what it is between the boundaries that cardiologists set in LUDB: they go out to where nothing more can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

THRESHOLD = {"P": 0.10, "QRS": 0.008, "T": 0.025}
_GRID = torch.linspace(-1.0, 2.0, 385)


@dataclass
class Shape:
    """S waves of J lobes; time runs from 0 (onset) to 1 (offset) once `fitted`."""

    centre: torch.Tensor  # (S, J)
    left: torch.Tensor  # (S, J) sigma before the centre
    right: torch.Tensor  # (S, J) sigma behind it
    vector: torch.Tensor  # (S, J, 3) mV
    flat: torch.Tensor  # (S, J) k
    peak: torch.Tensor | None = None  # (S,) time of the greatest length, set by `fitted`

    def at(self, time: torch.Tensor) -> torch.Tensor:
        """The dipole (S, 3, W) at times (S, W) or (W,)."""
        z = time.unsqueeze(-2) - self.centre[:, :, None]  # (S, J, W)
        z = z * torch.where(z < 0, 1 / self.left[:, :, None], 1 / self.right[:, :, None])
        q = z * z
        lobes = torch.exp(-0.5 * q * (1 + self.flat[:, :, None] * q))
        return torch.bmm(self.vector.transpose(1, 2), lobes)

    def area(self) -> torch.Tensor:
        """(S, 3): the integral of each wave, in mV times its duration (as if no lobe were flat-topped)."""
        weight = (self.left + self.right) * (torch.pi / 2) ** 0.5
        return (self.vector * weight[..., None]).sum(1)

    def take(self, rows: torch.Tensor) -> Shape:
        """The waves `rows`."""
        parts = (self.centre, self.left, self.right, self.vector, self.flat)
        return Shape(*(part[rows] for part in parts), None if self.peak is None else self.peak[rows])

    def fitted(self, threshold: float) -> Shape:
        """The same waves with onset at 0 and offset at 1."""
        grid = _GRID.to(self.centre)
        x, y, z = self.at(grid).unbind(1)
        length = (x * x + y * y + z * z).sqrt_()  # (S, G)
        top, where = length.max(1)
        level = threshold * top
        above = length > level[:, None]
        onset = _crossing(length, above.float().argmax(1), -1, level, grid)
        offset = _crossing(length, len(grid) - 1 - above.flip(1).float().argmax(1), 1, level, grid)
        span = (offset - onset)[:, None]
        centre, peak = (self.centre - onset[:, None]) / span, (grid[where] - onset) / span[:, 0]
        return Shape(centre, self.left / span, self.right / span, self.vector, self.flat, peak)


def _crossing(length: torch.Tensor, inside: torch.Tensor, step: int, level: torch.Tensor, grid) -> torch.Tensor:
    """Where `length` crosses `level` between grid point `inside` and its neighbour at `step`, linearly."""
    outside = (inside + step).clamp(0, len(grid) - 1)
    a, b = (length.gather(1, point[:, None])[:, 0] for point in (inside, outside))
    share = ((a - level) / (a - b).clamp(min=1e-9)).clamp(0, 1)
    return grid[inside] + share * (grid[outside] - grid[inside])


def direction(frontal: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """Unit vectors from degrees: `frontal` 0 left, 90 to the feet; `back` 90 to the back. (...) -> (..., 3)."""
    frontal, back = torch.deg2rad(frontal), torch.deg2rad(back)
    return torch.stack([frontal.cos() * back.cos(), frontal.sin() * back.cos(), back.sin()], -1)
