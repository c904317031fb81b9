"""Pacemaker spikes: a millisecond or two before paced P waves and QRS."""

from __future__ import annotations

import torch

from .draw import Draw
from .plan import Plan
from .render import Track
from .rhythm import VENTRICULAR, Beats
from .shapes import Shape, direction


def add_spikes(draw: Draw, plan: Plan, beats: Beats, track: Track) -> None:
    """Spikes before every paced QRS, and before the P waves too in half of the paced records that have them."""
    ahead = draw.uniform("spike/ahead", 0.004, 0.018)[:, None]
    size = draw.lognormal("spike/size", 0.7, 0.9).clamp(0.05, 4)
    way = direction(draw.normal("spike/frontal", -70, 40), draw.normal("spike/back", 0, 35)) * size[:, None]
    ventricle = beats.there & (beats.origin == VENTRICULAR) & plan.has["PACE"][:, None]
    atrium = beats.p_there & (plan.has["PACE"] & draw.chance("spike/atrial", 0.5))[:, None]
    width = max(0.0008, 0.4 / track.rate)  # s, standard deviation
    for there, onset in ((ventricle, beats.onset), (atrium, beats.p_onset)):
        time = onset - ahead
        record, slot = (there & (time > -0.2) & (time < track.seconds + 0.2)).nonzero(as_tuple=True)
        one = torch.ones(len(record), 1, device=record.device)
        shape = Shape(0 * one, width * one, width * one, way[record, None].float(), 0 * one)
        at = time[record, slot]
        track.add(record, shape, at, torch.ones_like(at), at - 5 * width, at + 5 * width, (11 * width,))
