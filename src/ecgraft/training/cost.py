"""What a training step needs of memory: bytes that are kept for the backward pass, and the most that is allocated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class StepCost:
    """saved: bytes of activations kept for the backward pass, each storage once, without weights and buffers.
    peak: the most bytes that forward and backward held at once beyond what was there before them.
    """

    saved: int
    peak: int


def step_cost(objective: nn.Module, batch: dict) -> StepCost:
    """Forward and backward of one batch in training mode, twice; weights, statistics and gradients stay as they are.

    On a CPU the peak is the sum of what operations have left allocated; what else the process holds does not count.
    """
    buffers = {name: value.clone() for name, value in objective.named_buffers()}
    was_training = objective.training
    objective.train()
    try:
        return StepCost(_saved(objective, batch), _peak(objective, batch))
    finally:
        objective.train(was_training)
        objective.zero_grad(set_to_none=True)
        for name, value in objective.named_buffers():
            value.copy_(buffers[name])


def _saved(objective: nn.Module, batch: dict) -> int:
    own = {value.untyped_storage().data_ptr() for value in [*objective.parameters(), *objective.buffers()]}
    kept: dict[int, int] = {}
    held = []  # so that no storage is freed and its place used again while it is counted

    def note(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(storage)
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        loss = objective(batch)["loss"]
    del loss
    return sum(kept.values())


def _peak(objective: nn.Module, batch: dict) -> int:
    device = batch["x"].device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        objective(batch)["loss"].backward()
        return torch.cuda.max_memory_allocated(device) - before
    with _Watch([*objective.parameters(), *objective.buffers(), *filter(torch.is_tensor, batch.values())]) as watch:
        objective(batch)["loss"].backward()
    return watch.most


class _Watch(TorchDispatchMode):
    """Adds up what operations leave allocated, after each of them, beside what was `there`. What an operation needs
    inside of itself is not seen.
    """

    def __init__(self, there: list[torch.Tensor]):
        super().__init__()
        self.there = {StorageWeakRef(value.untyped_storage()).cdata for value in there}
        self.living: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if torch.is_tensor(value):
                storage = value.untyped_storage()
                reference = StorageWeakRef(storage)
                if reference.cdata not in self.there:
                    self.living.setdefault(reference.cdata, (reference, storage.nbytes()))
        self.living = {key: pair for key, pair in self.living.items() if not pair[0].expired()}
        self.most = max(self.most, sum(nbytes for _, nbytes in self.living.values()))
        return out
