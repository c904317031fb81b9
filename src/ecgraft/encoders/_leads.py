"""An encoder for other leads than it was made for."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import Tensor, nn

from ..record import UsageError
from . import build


def for_leads(encoder: nn.Module, leads: tuple[str, ...]) -> nn.Module:
    """A copy of the encoder that reads these leads: of what it holds for each lead, theirs, by name.

    What belongs to a lead that it does not know is drawn anew, always the same. UsageError for an architecture that
    has other layers for so many leads.
    """
    if tuple(leads) == tuple(encoder.leads):
        return copy.deepcopy(encoder)
    other, values = _drawn(encoder, tuple(leads)), encoder.state_dict()
    if other.state_dict().keys() != values.keys():
        raise UsageError(
            f"encoder {encoder.name}: for {len(leads)} leads it has other layers than for its own {len(encoder.leads)}"
        )
    axes, counts = _axes(encoder, other), (len(leads), len(encoder.leads))
    places = [(i, leads.index(lead)) for i, lead in enumerate(encoder.leads) if lead in leads]
    for name, value in other.state_dict().items():
        if name in axes:
            _by_lead(value, values[name], axes[name], counts, places)
        else:
            value.copy_(values[name])
    return other.train(encoder.training)


def _drawn(encoder: nn.Module, leads: tuple[str, ...]) -> nn.Module:
    """The encoder untrained, for these leads."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(encoder.name, dataclasses.asdict(encoder.config) | {"leads": leads})


def _axes(encoder: nn.Module, other: nn.Module) -> dict[str, int]:
    """Tensor -> the axis along which leads stand in it; where that is, another number of leads shows."""
    if len(other.leads) == len(encoder.leads):
        other = _drawn(encoder, (*encoder.leads, "one more"))
    shapes = {name: value.shape for name, value in other.state_dict().items()}
    differ = {
        name: [k for k, (a, b) in enumerate(zip(value.shape, shapes[name])) if a != b]
        for name, value in encoder.state_dict().items()
        if name in shapes
    }
    return {name: axes[0] for name, axes in differ.items() if axes}


def _by_lead(new: Tensor, old: Tensor, axis: int, leads: tuple[int, int], places: list[tuple[int, int]]) -> None:
    """Copies what the leads at (place in old, place in new) have, which stand one after another along the axis."""
    new, old = (each.unflatten(axis, (count, -1)) for each, count in zip((new, old), leads))
    for there, here in places:
        new.select(axis, here).copy_(old.select(axis, there))
