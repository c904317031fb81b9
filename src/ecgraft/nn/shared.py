"""Weights that belong to tasks: who owns which, and layers that learn the part of one task alone.

Every weight of the convolutions and matrices of an encoder is free (owner 0) or owned by one task (1, 2 ...), which
alone may change it. A later task reads of the earlier ones' weights what its mask lets through (PackNet, Mallya and
Lazebnik 2018; Piggyback, Mallya et al. 2018; CPG, Hung et al. 2019; ECG-CL, Gao et al. 2023). A layer becomes one that
learns a part of its weights, and plain again, by a change of its class, so that its other tensors keep their names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..record import InputError

PICK, THRESHOLD = 0.01, 0.005  # a score at the start, and above which a weight is read (Piggyback)
PICK_RATE = 0.25  # of the learning rate, for the scores
MOST = 255  # tasks; an owner is one byte
READS, OWN = "shared.reads", "shared.own"  # tensors of a task's file


@dataclass
class Ledger:
    """Who owns which weight. A task's network is never read from anything else.

    owner   layer -> (weights,) uint8, 0 where it is free
    values  layer -> (weights,) float32, 0 where it is free
    shapes  layer -> shape of its weight
    tasks   how many have been entered
    """

    owner: dict[str, Tensor]
    values: dict[str, Tensor]
    shapes: dict[str, tuple[int, ...]]
    tasks: int = 0

    @classmethod
    def empty(cls, shapes: dict[str, tuple[int, ...]]) -> Ledger:
        """Nothing is owned."""
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        owner = {name: torch.zeros(size, dtype=torch.uint8) for name, size in sizes.items()}
        return cls(owner, {name: torch.zeros(size) for name, size in sizes.items()}, dict(shapes))

    def of_encoder(self, encoder: nn.Module) -> Ledger:
        """The encoder's own weights as those of a first task, which owns them all."""
        values = {name: encoder.get_submodule(name).weight.detach().flatten().clone() for name in self.owner}
        return Ledger({name: torch.ones_like(each) for name, each in self.owner.items()}, values, self.shapes, 1)

    @property
    def size(self) -> int:
        """Weights in all."""
        return sum(len(each) for each in self.owner.values())

    def owned(self, task: int) -> float:
        """The share of the weights that a task owns; 0 asks for the free ones."""
        return sum(int((each == task).sum()) for each in self.owner.values()) / max(1, self.size)

    def read(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Layer -> the weight that the next task computes with, by selection: what it does not read is 0.

        `tensors`: READS, one bit for each weight, layer after layer: of an owned one, whether the task reads it; of a
        free one, whether the task owns it from now on; and OWN, the values of the latter in the same order. InputError
        where they do not fit.
        """
        bits, own = self._taken_apart(tensors)
        return {
            name: _filled(torch.where(read, self.values[name], 0.0), read & (self.owner[name] == 0), own[name]).view(
                self.shapes[name]
            )
            for name, read in bits.items()
        }

    def enter(self, tensors: dict[str, Tensor]) -> None:
        """The next task takes what is its own."""
        bits, own = self._taken_apart(tensors)
        if self.tasks == MOST:
            raise InputError(f"{MOST} tasks share the weights of this encoder; there is no number for a further one")
        self.tasks += 1
        for name, read in bits.items():
            new = read & (self.owner[name] == 0)
            self.values[name] = _filled(self.values[name], new, own[name])
            self.owner[name] = torch.where(new, torch.tensor(self.tasks, dtype=torch.uint8), self.owner[name])

    def _taken_apart(self, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        sizes = [len(each) for each in self.owner.values()]
        packed, own = tensors.get(READS), tensors.get(OWN)
        if packed is None or own is None or packed.dtype != torch.uint8 or own.dtype != torch.float32:
            raise InputError(f"tensor {READS!r} or {OWN!r} is missing, or of another type")
        if own.ndim != 1:
            raise InputError(f"tensor {OWN!r} has shape {tuple(own.shape)}: not one value after another")
        if packed.shape != (-(-self.size // 8),):
            raise InputError(
                f"tensor {READS!r} has shape {tuple(packed.shape)}: not a bit for each of {self.size} weights"
            )
        flat = torch.from_numpy(np.unpackbits(packed.numpy(), count=self.size)).bool()
        bits = dict(zip(self.owner, flat.split(sizes)))
        counts = [int((read & (self.owner[name] == 0)).sum()) for name, read in bits.items()]
        if sum(counts) != len(own):
            raise InputError(f"tensor {OWN!r} has {len(own)} values for {sum(counts)} weights")
        return bits, dict(zip(self.owner, own.split(counts)))


def _filled(values: Tensor, where: Tensor, own: Tensor) -> Tensor:
    values = values.clone()
    values[where] = own
    return values


class _Pick(torch.autograd.Function):
    """The values whose scores are above the threshold, else 0; the gradient goes straight through: dL/dy times the
    value."""

    @staticmethod
    def forward(ctx, scores: Tensor, values: Tensor) -> Tensor:  # (m,), (m,)
        ctx.save_for_backward(values)
        return torch.where(scores > THRESHOLD, values, 0.0)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (values,) = ctx.saved_tensors
        return grad * values, None


pick = _Pick.apply


class _Part:
    """What layers that learn a part of their weights have in common.

    own      (n, 1) values of the task's own weights; two-dimensional, so that they decay as the kernel would
    own_at   (n,) where they stand in the flat weight
    kept     (n,) bool: not dropped
    scores   (m,) of the weights of earlier tasks: read where above the threshold; none where all are read
    old_at   (m,) where these stand
    old      (m,) their values
    """

    def effective(self) -> Tensor:
        """The weight that the task computes with."""
        old = pick(self.scores, self.old) if self.scores is not None else self.old
        flat = torch.zeros(self.weight.numel(), dtype=old.dtype, device=old.device)
        flat = flat.scatter(0, self.old_at, old).scatter(0, self.own_at, self.values())
        return flat.view(self.weight.shape)

    def values(self) -> Tensor:
        """(n,) the task's own weights, 0 where dropped."""
        own = self.own.flatten()
        return torch.where(self.kept, own if self.restored is None else own[self.own_at], 0.0)

    def reads(self) -> Tensor:
        """(weights,) bool: what the task reads of its own and of earlier tasks' weights."""
        there = torch.zeros(self.weight.numel(), dtype=torch.bool, device=self.own_at.device)
        there[self.old_at] = True if self.scores is None else self.scores > THRESHOLD
        there[self.own_at] = self.kept
        return there


class PartConv1d(_Part, nn.Conv1d):
    """A convolution that learns the part of its weights that its task owns."""

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, D, N)
        return self._conv_forward(x, self.effective(), self.bias)


class PartLinear(_Part, nn.Linear):
    """A matrix that learns the part of its weights that its task owns."""

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        return F.linear(x, self.effective(), self.bias)


PARTS = {nn.Conv1d: PartConv1d, nn.Linear: PartLinear}
PLAIN = {part: plain for plain, part in PARTS.items()}
_ADDED = ("own", "own_at", "kept", "scores", "old_at", "old", "restored")


def layers(encoder: nn.Module, stem: str = "private") -> dict[str, nn.Module]:
    """The convolutions and matrices whose weights tasks share, by name.

    stem  private: without the convolutions that read the signal; shared: with them
    """
    own = stems(encoder) if stem == "private" else ()
    kinds = (*PARTS, *PLAIN)
    return {n: layer for n, layer in encoder.named_modules() if type(layer) in kinds and n not in own}


def stems(encoder: nn.Module) -> set[str]:
    """The convolutions of the first stage that read the signal: as many inputs as leads, or a lead at a time."""
    inputs = (len(encoder.leads), 1)
    return {name for name, layer in _first(encoder.stages[0], "stages.0").items() if layer.in_channels in inputs}


def _first(module: nn.Module, name: str) -> dict[str, nn.Module]:
    """Its convolutions, by name; where modules come one after another, those of the first that has any."""
    if isinstance(module, nn.Conv1d):
        return {name: module}
    found: dict[str, nn.Module] = {}
    for key, child in module.named_children():
        if not (found and isinstance(module, nn.Sequential)):
            found |= _first(child, f"{name}.{key}")
    return found


def shapes(encoder: nn.Module, stem: str = "private") -> dict[str, tuple[int, ...]]:
    """Layer -> shape of its weight, of `layers`."""
    return {name: tuple(layer.weight.shape) for name, layer in layers(encoder, stem).items()}


def claim(encoder: nn.Module, ledger: Ledger, *, free: bool = True, picked: bool = True, restore: bool = False) -> None:
    """Makes the layers in the ledger learn as the next task: all free weights are its own, as they now stand in the
    encoder; those of earlier tasks are read.

    free     False: it owns nothing
    picked   which of the earlier tasks' weights are read is learnt too
    restore  the whole weight is handed to the optimiser, and what is not the task's own is put back after each step
             (`put_back`): to prove that this comes to the same
    """
    for name, owner in ledger.owner.items():
        layer, where = encoder.get_submodule(name), ledger.values[name].device
        own_at = torch.nonzero(owner == 0).flatten() if free else torch.zeros(0, dtype=torch.long, device=where)
        old_at, values = torch.nonzero(owner > 0).flatten(), ledger.values[name]
        weight = torch.where(owner == 0, layer.weight.detach().flatten(), values)
        layer.__class__ = PARTS[PLAIN.get(type(layer), type(layer))]
        layer.weight.requires_grad_(False)
        layer.own = nn.Parameter((weight if restore else weight[own_at])[:, None].clone())
        layer.scores = nn.Parameter(torch.full((len(old_at),), PICK)) if picked and len(old_at) else None
        if layer.scores is not None:
            layer.scores.rate = PICK_RATE
        for key, value in {"own_at": own_at, "old_at": old_at, "old": values[old_at]}.items():
            layer.register_buffer(key, value)
        layer.register_buffer("kept", torch.ones(len(own_at), dtype=torch.bool))
        layer.register_buffer("restored", weight.clone() if restore else None)


def parts(module: nn.Module) -> dict[str, nn.Module]:
    """The layers that learn a part of their weights, by name."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, _Part)}


def drop(layer: nn.Module, share: float, least: int = 0) -> None:
    """Drops floor(share n) of the layer's n own weights, the smallest first, of equal ones that which stands first.

    What was dropped stays so. least: of the own weights of an output channel, so many of the largest stay.
    """
    size = layer.values().abs()
    size[~layer.kept] = -1
    if least:
        size[_largest(layer, size, least)] = torch.inf
    order = torch.argsort(size, stable=True)[: math.floor(share * len(size) + 1e-9)]
    layer.kept[order] = layer.kept[order] & torch.isinf(size[order])


def _largest(layer: nn.Module, size: Tensor, least: int) -> Tensor:
    """(n,) bool: among the `least` largest own weights of their output channel."""
    channel = layer.own_at // layer.weight[0].numel()
    order = torch.argsort(size, descending=True, stable=True)
    order = order[torch.argsort(channel[order], stable=True)]
    begins = torch.searchsorted(channel[order].contiguous(), channel[order].contiguous())
    among = torch.zeros_like(layer.kept)
    among[order] = torch.arange(len(order), device=order.device) - begins < least
    return among


def give_back(layer: nn.Module) -> None:
    """What was dropped is the task's own no more; which weights of earlier tasks are read is settled."""
    kept, read = layer.kept, layer.reads()
    if layer.restored is None:
        layer.own = nn.Parameter(layer.own.detach()[kept].clone())
    layer.own_at, layer.kept = layer.own_at[kept], kept[kept]
    chosen = read[layer.old_at]
    layer.old_at, layer.old, layer.scores = layer.old_at[chosen], layer.old[chosen], None


@torch.no_grad()
def put_back(layer: nn.Module) -> None:
    """All but the task's own weights as they were, after a step of an optimiser that was handed all of them."""
    if layer.restored is None:
        return
    own = layer.own.flatten()[layer.own_at].clone()
    layer.own.copy_(layer.restored[:, None])
    layer.own.view(-1)[layer.own_at] = own


def empty_channels(layer: nn.Module) -> int:
    """How many output channels read nothing at all."""
    return int((~layer.reads().view(len(layer.weight), -1).any(1)).sum())


def saved(encoder: nn.Module, ledger: Ledger) -> dict[str, Tensor]:
    """READS and OWN of the task that has learnt, as `Ledger.enter` takes them."""
    found = [encoder.get_submodule(name) for name in ledger.owner]
    bits = torch.cat([layer.reads() for layer in found]).cpu().numpy()
    own = torch.cat([layer.values()[layer.kept].detach() for layer in found])
    return {READS: torch.from_numpy(np.packbits(bits)), OWN: own.cpu().float()}


@torch.no_grad()
def settle(encoder: nn.Module) -> None:
    """Plain layers again, with the weights that the task computes with."""
    for layer in parts(encoder).values():
        weight = layer.effective().detach().clone()
        for key in _ADDED:
            layer._parameters.pop(key, None)
            layer._buffers.pop(key, None)
            layer.__dict__.pop(key, None)
        layer.__class__ = PLAIN[type(layer)]
        layer.weight = nn.Parameter(weight, requires_grad=False)
