"""Encoders: a signal to a pyramid of features. One file per architecture.

An encoder has `leads`, `rate` (Hz), `stages` (level i is made from the output of stage i), `widths` and `strides` of
the levels, finest first, `width` of the pooled features, and `config`.

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
    return [level for _, level in walk(encoder, enter(encoder, x, present), present)]


def enter(encoder: nn.Module, x: Tensor, present: Tensor) -> Tensor:  # (B, C, T), (B, C) -> what stage 0 reads
    """The signal with absent leads zero, in the form that the first stage reads (an encoder's own `enter`)."""
    y = silence(encoder, x, present)
    return encoder.enter(y) if hasattr(encoder, "enter") else y


def walk(encoder: nn.Module, y: Tensor, present: Tensor, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """(output, level) of each stage from number `first` on, which reads y. They are the same tensor, unless the encoder
    makes its levels from the outputs (its own `level`)."""
    for stage in encoder.stages[first:]:
        y = stage(y)
        yield y, encoder.level(y, present) if hasattr(encoder, "level") else y


def silence(encoder: nn.Module, x: Tensor, present: Tensor) -> Tensor:  # (B, C, T), (B, C) -> (B, C, T)
    """The signal with absent leads set to zero. Raises InputError for another number of leads than the encoder has."""
    if x.ndim != 3 or x.shape[1] != len(encoder.leads) or x.shape[2] == 0:
        raise InputError(
            f"the encoder reads (records, {len(encoder.leads)} leads, samples); it was given {tuple(x.shape)}"
        )
    return x.masked_fill(~present[:, :, None], 0)
