"""Where a training stands, as one file: weights, optimizer, kept weights, step and score."""

from __future__ import annotations

from pathlib import Path

import torch

from ..nn import files


def save(path: Path, groups: dict[str, dict[str, torch.Tensor]], state: dict) -> None:
    """Replaces the checkpoint; a run killed while writing leaves the one before."""
    files.save(path, {f"{group}/{name}": t for group, named in groups.items() for name, t in named.items()}, state)


def load(path: Path) -> tuple[dict[str, dict[str, torch.Tensor]], dict]:
    """The groups and the state of `save`."""
    tensors, state = files.load(path, "checkpoint (delete it to start again)")
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        group, name = key.split("/", 1)
        groups.setdefault(group, {})[name] = value
    return groups, state


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state by parameter number and name."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{key}": torch.as_tensor(value) for i, named in state.items() for key, value in named.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Puts back what `optimizer_tensors` took."""
    full = optimizer.state_dict()
    full["state"] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        full["state"].setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(full)
