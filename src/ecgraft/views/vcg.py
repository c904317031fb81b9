"""3KG: the heart's dipole turned and stretched, and the leads that would then be seen.

Gopal B et al. 3KG: contrastive learning of 12-lead electrocardiograms using physiologically-inspired augmentations.
ML4H 2021. V = K E from I, II, V1..V6 by the inverse Dower matrix K, D = pinv(K); the limb leads keep Einthoven's law.
A record without those eight leads stays as it is.
"""

from __future__ import annotations

from math import log, radians
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from ..record import LEADS, UsageError
from ..signal.leads import DIPOLE_LEADS, INVERSE_DOWER, dipole_vectors
from . import TimeMap, uniform, unmoved

Factor = Annotated[float, Field(gt=0, le=10)]


@dataclass(frozen=True)
class Config:
    leads: tuple[str, ...] = LEADS  # of the batch
    degrees: Annotated[float, Field(ge=0, le=180)] = 45.0  # largest of each Euler angle, either way
    scale: tuple[Factor, Factor] = (1.0, 1.5)  # of each axis
    even: Literal["linear", "log"] = "linear"  # scale drawn evenly, or its logarithm
    residual: Literal["keep", "drop"] = "keep"  # what the dipole does not explain


def build(config: Config):
    missing = [name for name in DIPOLE_LEADS if name not in config.leads]
    foreign = [name for name in config.leads if name not in LEADS]
    if missing or foreign:
        raise UsageError(f"view vcg: it needs the leads {', '.join(DIPOLE_LEADS)} and knows only the twelve")
    eight = [config.leads.index(name) for name in DIPOLE_LEADS]
    K = torch.tensor(INVERSE_DOWER, dtype=torch.float32)  # (3, 8)
    D = torch.tensor(dipole_vectors(config.leads), dtype=torch.float32)  # (C, 3)

    def view(batch: dict, generator: torch.Generator) -> tuple[dict, TimeMap]:
        x, present = batch["x"], batch["present"]
        turn = _scales(config, len(x), generator) @ rotation(_angles(config, len(x), generator))  # (B, 3, 3)
        if config.residual == "keep":
            turn = turn - torch.eye(3, device=x.device)
        change = (D.to(x.device) @ turn @ K.to(x.device)).to(x.dtype) @ x[:, eight]  # (B, C, T)
        seen = change + x if config.residual == "keep" else change
        turned = present[:, eight].all(1)[:, None] & present  # (B, C)
        return {**batch, "x": torch.where(turned[:, :, None], seen, x)}, unmoved(batch)

    return view


def rotation(angles: Tensor) -> Tensor:
    """Rotation matrices Rz Ry Rx of Euler angles (B, 3) in radians, about z, y and x: (B, 3, 3)."""
    (cz, cy, cx), (sz, sy, sx) = angles.cos().T, angles.sin().T
    rows = [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx]
    rows += [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx]
    rows += [-sy, cy * sx, cy * cx]
    return torch.stack(rows, -1).view(-1, 3, 3)


def _angles(config: Config, B: int, generator: torch.Generator) -> Tensor:
    return uniform(generator, (B, 3), -radians(config.degrees), radians(config.degrees))


def _scales(config: Config, B: int, generator: torch.Generator) -> Tensor:
    low, high = config.scale
    if config.even == "log":
        return torch.diag_embed(uniform(generator, (B, 3), log(low), log(high)).exp())
    return torch.diag_embed(uniform(generator, (B, 3), low, high))
