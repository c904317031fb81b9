"""P waves, and the continuous activity of fibrillating or fluttering atria."""

from __future__ import annotations

import math

import torch

from .draw import Draw
from .shapes import THRESHOLD, Shape, direction


def p_shape(patient: Draw) -> Shape:
    """(2 B) waves: the sinus P of each patient, then the P of an ectopic focus. Right atrium first, left behind it."""
    sinus = _p(patient, "p", frontal=(60, 13), tilt=(-28, 13), left=(40, 16), back=(16, 15))
    focus = _p(patient, "p/ectopic", frontal=(20, 90), tilt=(-10, 40), left=(40, 90), back=(20, 40))
    parts = [torch.cat(pair) for pair in zip(sinus, focus)]
    return Shape(*(part.float() for part in parts)).fitted(THRESHOLD["P"])


def _p(draw: Draw, name: str, frontal, tilt, left, back):
    B = len(draw.key)
    gap = draw.uniform(f"{name}/gap", 0.1, 0.36)
    centre = torch.stack([0.5 - gap / 2, 0.5 + gap / 2], 1)
    sigma = draw.uniform(f"{name}/sigma", 0.11, 0.18, 4)
    size = draw.lognormal(f"{name}/size", 0.115, 0.38).clamp(0.03, 0.3)
    balance = draw.uniform(f"{name}/balance", 0.28, 0.6)
    right = direction(draw.normal(f"{name}/ra", *frontal), draw.normal(f"{name}/ra_back", *tilt))
    other = direction(draw.normal(f"{name}/la", *left), draw.normal(f"{name}/la_back", *back))
    vector = torch.stack([right * (size * balance)[:, None], other * (size * (1 - balance))[:, None]], 1) * 1.5
    return centre, sigma[:, :2], sigma[:, 2:], vector, torch.zeros(B, 2, dtype=torch.float64, device=centre.device)


def f_waves(draw: Draw, flutter: torch.Tensor, time: torch.Tensor, slow: torch.Tensor) -> torch.Tensor:
    """Dipole (B, 3, T) of atria that fibrillate, or flutter where `flutter` (B,).

    time (T,) s; slow (B, 4, T) smooth noise of unit variance: it lets phase and size of two sources drift, so that
    f waves change in shape and direction. Flutter is a saw-tooth of fixed rate. Sizes go from 0.01 to 0.2 mV.
    """
    rate = torch.where(flutter, 1 / flutter_cycle(draw), draw.normal("f/rate", 6.3, 0.9).clamp(4.2, 9))
    size = torch.where(
        flutter, draw.lognormal("F/size", 0.15, 0.4), draw.lognormal("f/size", 0.05, 0.6).clamp(0.012, 0.2)
    )
    drift = torch.where(flutter, 0.04, draw.uniform("f/drift", 0.4, 1.0)).float()[:, None]
    second, third = draw.uniform("f/second", 0.2, 0.5), draw.uniform("f/third", 0, 0.25)
    ways = (((80, 25), (-50, 25), 1.0), ((20, 60), (20, 40), 0.7))
    out = 0
    for source, (frontal, back, share) in enumerate(ways):
        hertz = torch.where(flutter | (source == 0), rate, rate + 0.1)
        phase = 2 * math.pi * hertz.float()[:, None] * time + draw.uniform(f"f/phase{source}", 0, 6.283).float()[:, None]
        phase = phase + 1.2 * drift * slow[:, 2 * source]
        wave = torch.sin(phase) + second.float()[:, None] * torch.sin(2 * phase) + third.float()[:, None] * torch.sin(3 * phase)
        wave = wave * (share * size).float()[:, None] * (1 + 0.45 * drift * slow[:, 2 * source + 1])
        way = direction(draw.normal(f"f/frontal{source}", *frontal), draw.normal(f"f/back{source}", *back))
        out = out + way.float()[:, :, None] * wave[:, None]
    return out


def flutter_cycle(draw: Draw) -> torch.Tensor:
    """Seconds of a flutter wave, (B,): 220 to 350 a minute."""
    return draw.normal("cycle", 0.215, 0.02).clamp(0.17, 0.27)
