"""P waves, and the continuous activity of fibrillating or fluttering atria."""

from __future__ import annotations

import math

import torch

from .draw import Draw
from .shapes import THRESHOLD, Shape, direction


def p_shape(patient: Draw) -> Shape:
    """(2 B) waves: the sinus P of each patient, then the P of an ectopic focus."""
    sinus = _p(patient, "p", right=(60, 13, -28, 13), left=(40, 16, 16, 15))
    focus = _p(patient, "p/ectopic", right=(20, 90, -10, 40), left=(40, 90, 20, 40))
    return Shape(*(torch.cat(pair).float() for pair in zip(sinus, focus))).fitted(THRESHOLD["P"])


def _p(patient: Draw, name: str, right: tuple, left: tuple) -> tuple[torch.Tensor, ...]:
    """The fields of a Shape of two lobes, right atrium first; mean and spread of their frontal and back angles."""
    gap = patient.uniform(f"{name}/gap", 0.1, 0.36)
    centre = torch.stack([0.5 - gap / 2, 0.5 + gap / 2], 1)
    sigma = patient.uniform(f"{name}/sigma", 0.11, 0.18, 4)
    size = 1.5 * patient.lognormal(f"{name}/size", 0.115, 0.38).clamp(0.03, 0.3)
    share = patient.uniform(f"{name}/share", 0.28, 0.6)
    ways = [
        direction(patient.normal(f"{name}/{side}/frontal", *way[:2]), patient.normal(f"{name}/{side}/back", *way[2:]))
        for side, way in (("right", right), ("left", left))
    ]
    vector = torch.stack([ways[0] * (size * share)[:, None], ways[1] * (size * (1 - share))[:, None]], 1)
    return centre, sigma[:, :2], sigma[:, 2:], vector, torch.zeros_like(centre)


def f_waves(draw: Draw, flutter: torch.Tensor, cycle: torch.Tensor, time: torch.Tensor, slow) -> torch.Tensor:
    """Dipole (B, 3, T) of atria that fibrillate, or flutter where `flutter` (B,), with waves of `cycle` s.

    time (T,) s; slow (B, 4, T) smooth noise of unit variance: it lets phase and size of two sources drift, so that
    f waves change in shape and direction. Flutter is a saw-tooth of fixed rate. Sizes go from 0.01 to 0.25 mV.
    """
    rate = torch.where(flutter, 1 / cycle, draw.normal("f/rate", 6.3, 0.9).clamp(4.2, 9))
    fine = draw.lognormal("f/size", 0.05, 0.7).clamp(0.01, 0.25)
    size = torch.where(flutter, draw.lognormal("F/size", 0.15, 0.4), fine)
    drift = torch.where(flutter, 0.04, draw.uniform("f/drift", 0.4, 1.0)).float()[:, None]
    second, third = (draw.uniform(f"f/{k}", *span).float()[:, None] for k, span in ((2, (0.2, 0.5)), (3, (0, 0.25))))
    out = 0
    for k, (frontal, back, share) in enumerate((((80, 25), (-50, 25), 1.0), ((20, 60), (20, 40), 0.7))):
        hertz = torch.where(flutter, rate, rate + 0.1 * k).float()[:, None]
        phase = (
            2 * math.pi * (hertz * time + draw.uniform(f"f/phase{k}").float()[:, None]) + 1.2 * drift * slow[:, 2 * k]
        )
        wave = torch.sin(phase) + second * torch.sin(2 * phase) + third * torch.sin(3 * phase)
        wave = wave * (share * size).float()[:, None] * (1 + 0.45 * drift * slow[:, 2 * k + 1])
        way = direction(draw.normal(f"f/frontal{k}", *frontal), draw.normal(f"f/back{k}", *back))
        out = out + way.float()[:, :, None] * wave[:, None]
    return out
