"""The inner widths of residual modules: a setting of encoders, and an encoder without those it does not need.

An encoder with residual modules (nn.compact) may have `inner: tuple[int, ...] | None = None` in its Config: the inner
width of each, in the order of its modules; None: as the architecture has it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import repeat

import torch
from torch import nn

from ..nn import compact
from ..record import UsageError
from . import build


def inner_widths(inner: tuple[int, ...] | None, modules: int) -> Iterator[int | None]:
    """One for each residual module; None where nothing is said. ValueError for another number of them."""
    if inner is None:
        return repeat(None)
    if len(inner) != modules:
        raise ValueError(f"inner: {len(inner)} widths for {modules} residual modules")
    return iter(inner)


def narrowed(encoder: nn.Module) -> nn.Module:
    """An encoder without the inner channels that compute nothing; the same one where all are needed.

    Only what is zero is left out, so that it is the same function; its sums have fewer terms, so that the output is
    equal to 1e-5, not to the bit. Takes an encoder in eval mode without adapters; UsageError where its Config has no
    `inner`.
    """
    if "inner" not in {field.name for field in dataclasses.fields(encoder.config)}:
        raise UsageError(f"encoder {encoder.name}: no inner channels can be taken out of it; its Config has no `inner`")
    kept = compact.inner(encoder)
    widths = tuple(len(channels) for channels in kept.values())
    if widths == tuple(block.first.conv.out_channels for block in compact.residuals(encoder).values()):
        return encoder
    with torch.random.fork_rng():
        smaller = build(encoder.name, dataclasses.asdict(encoder.config) | {"inner": widths})
    smaller.load_state_dict(compact.cut(encoder.state_dict(), kept))
    return smaller.eval()
