"""Encoders: a signal to a pyramid of features. One file per architecture.

An encoder has `leads`, `rate` (Hz), `stages`, `widths` and `strides` of the levels, finest first, `width` of the pooled
features, and `config`. A stage reads one tensor, records first, and gives one. Each gives one level, its output, unless
the encoder has a `levels(stage, y, present, samples)` of its own: a list of the levels made from output y of a stage
(its number), for a signal of so many samples; it may be empty.

    levels = encoder(x, present)        # (B, C, T), (B, C) -> [(B, widths[i], ceil(T / strides[i]))]
    h = encoder.pool(levels, length)    # (B,) samples -> (B, width)

Any T >= 1. Absent leads are zeroed whatever they hold; steps beyond `length` do not enter `pool`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .. import plugs
from ..record import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn


def build(name: str, values: dict | None = None) -> nn.Module:
    """The encoder `name` (a file name, or a dotted name of your own) with the settings `values` of its Config.

    Raises UsageError for a setting that is unknown, of another type, or that makes no network.
    """
    plug = plugs.find("encoders", name)
    config = plugs.configure(plug.Config, values, f"encoder {name}")
    try:
        encoder = plug.build(config)
    except ValueError as error:  # of torch: groups that do not divide, and the like
        raise UsageError(f"encoder {name}: {error}") from error
    encoder.name = name
    return encoder


def features(encoder: nn.Module, x: Tensor, present: Tensor) -> list[Tensor]:  # (B, C, T), (B, C) -> [(B, D, N)]
    """The levels: what comes out of the stages, run in order on the present leads."""
    return [level for _, own in walk(encoder, enter(encoder, x, present), present, x.shape[-1]) for level in own]


def enter(encoder: nn.Module, x: Tensor, present: Tensor) -> Tensor:  # (B, C, T), (B, C) -> what stage 0 reads
    """The signal with absent leads zero, in the form that the first stage reads (an encoder's own `enter`)."""
    y = silence(encoder, x, present)
    return encoder.enter(y) if hasattr(encoder, "enter") else y


def walk(
    encoder: nn.Module, y: Tensor, present: Tensor, samples: int, first: int = 0
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """(output, levels) of each stage from number `first` on, which reads y; `samples` of the signal."""
    for number, stage in enumerate(encoder.stages[first:], first):
        y = stage(y)
        yield y, levels_of(encoder, number, y, present, samples)


def levels_of(encoder: nn.Module, stage: int, y: Tensor, present: Tensor, samples: int) -> list[Tensor]:
    """The levels that are made from output y of the stage with this number."""
    return encoder.levels(stage, y, present, samples) if hasattr(encoder, "levels") else [y]


def silence(encoder: nn.Module, x: Tensor, present: Tensor) -> Tensor:  # (B, C, T), (B, C) -> (B, C, T)
    """The signal with absent leads set to zero. Raises InputError for another number of leads than the encoder has."""
    if x.ndim != 3 or x.shape[1] != len(encoder.leads) or x.shape[2] == 0:
        raise InputError(
            f"the encoder reads (records, {len(encoder.leads)} leads, samples); it was given {tuple(x.shape)}"
        )
    return x.masked_fill(~present[:, :, None], 0)
