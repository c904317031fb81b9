"""Pacemaker spikes: a millisecond or two, at the electrodes' own strength, before paced P waves and QRS."""

from __future__ import annotations

import torch

from .draw import Draw
from .plan import Plan
from .render import Track
from .rhythm import Beats
from .shapes import Shape, direction


def add_spikes(track: Track, draw: Draw, plan: Plan, beats: Beats, seconds: float) -> None:
    """Ventricular spikes in PACE, atrial ones too in some."""
    lead_time = draw.uniform("spike/before", 0.004, 0.018)[:, None]
    size = draw.lognormal("spike/size", 0.9, 0.8).clamp(0.08, 4)
    way = direction(draw.normal("spike/frontal", -70, 40), draw.normal("spike/back", 0, 35)) * size[:, None]
    atrial = plan.has["PACE"] & draw.chance("spike/atrial", 0.5)
    for on, onset in ((beats.ok & plan.has["PACE"][:, None], beats.onset), (beats.p_drawn & atrial[:, None], beats.p_onset)):
        time = onset - lead_time
        record, slot = (on & (time > -0.5) & (time < seconds + 0.3)).nonzero(as_tuple=True)
        width = max(0.0008, 0.4 / track.rate)
        one = torch.ones(len(record), 1, device=record.device)
        shape = Shape(0 * one, width * one, width * one, way[record, None].float(), 0 * one)
        track.add(record, shape, time[record, slot], torch.ones_like(time[record, slot]), (-5 * width, 6 * width))
