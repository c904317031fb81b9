"""Blank encoders: an architecture and a recipe without weights. All are zero, so the file has none of them.

Every weight belongs to the tasks, which `ecgraft extend --strategy isolate` adds. Features of it would be zeros.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from ..record import InputError, UsageError

LARGEST = 500_000_000  # bytes of weights; a file that claims more is refused before there is memory for it
CARD = {"pretraining": "none", "blank": True}


def zero(encoder: nn.Module) -> nn.Module:
    """The encoder itself, every tensor of its state zero."""
    with torch.no_grad():
        for tensor in encoder.state_dict().values():
            tensor.zero_()
    return encoder


def is_zero(encoder: nn.Module) -> bool:
    return not any(bool(tensor.any()) for tensor in encoder.state_dict().values())


def check(path: Path, expected: Iterable[Tensor], tensors: dict[str, Tensor]) -> None:
    """InputError where a blank encoder has weights all the same, or claims more than `LARGEST`.

    expected  the weights of its architecture, on the meta device
    """
    if tensors:
        raise InputError(f"{path}: damaged: it says that its encoder is blank, and has tensor {min(tensors)!r}")
    size = sum(tensor.numel() * tensor.element_size() for tensor in expected)
    if size > LARGEST:
        raise InputError(f"{path}: a blank encoder of {size:,} bytes; it may have {LARGEST:,}. Is it damaged?")


def refuse(place: str | Path) -> None:
    """Raises the UsageError for what needs weights, and was given the blank encoder of a model at `place`."""
    raise UsageError(
        f"the encoder of {place} has no weights of its own: tasks are added to it with ecgraft extend ... --strategy "
        "isolate; or name a model with --model"
    )
