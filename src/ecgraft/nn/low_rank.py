"""A frozen matrix or convolution with a trained low-rank part beside it: y = W0 x + f B (A x) + b.

A (r, in) is `down`, B (out, r) is `up`; a convolution counts as a matrix (out, in / groups * kernel). In training the
part may be switched off for a pass (random deactivation, Zhou et al. 2024): f = delta, in inference f = 1 - p. The sum
W0 + BA is never formed in training. A layer becomes one, and plain again, by a change of its class, so that its other
tensors keep their names.
"""

from __future__ import annotations

import random
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary

from . import frozen

SD = 0.02  # of the entries of A at the start


class LowRankConv1d(nn.Conv1d):
    """`down` (r, in / groups * kernel) is convolved as W0 is, then `up` (out, r) mixes; both go by groups."""

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, D, N)
        x, padding = self._padded(x)
        how = (self.stride, padding, self.dilation, self.groups)
        if not self.part.used(self.training):
            return frozen.conv(x, self.weight, self.bias, *how)
        return _conv(x, self, how)

    def _padded(self, x: Tensor) -> tuple[Tensor, tuple | str]:
        if self.padding_mode == "zeros":
            return x, self.padding
        return F.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode), (0,)

    def product(self) -> Tensor:
        """B A in the shape of W0."""
        return (self.up @ self.down).view_as(self.weight)


def _conv(x: Tensor, layer: LowRankConv1d, how: tuple) -> Tensor:  # (B, C, T) -> (B, D, N)
    """W0 x + f B (A x) + b as two convolutions beside each other; `how`: stride, padding, dilation and groups.

    A pass of a training step that nothing is learnt from, such as that of unlabelled records, takes one with W0 + f BA.
    """
    if has_torch_function_unary(x):
        return handle_torch_function(_conv, (x,), x, layer, how)
    f, groups = layer.part.factor(layer.training), layer.groups
    if layer.training and not torch.is_grad_enabled():
        return F.conv1d(x, layer.weight + f * layer.product(), layer.bias, *how)
    y = frozen.conv(x, layer.weight, layer.bias, *how)
    down = layer.down.view(-1, *layer.weight.shape[1:]).repeat(groups, 1, 1)
    return y + f * F.conv1d(F.conv1d(x, down, None, *how), layer.up[..., None], groups=groups)


class LowRankLinear(nn.Linear):
    """`parts` matrices in one, such as query, key and value: each has its own A and B, all of them one draw."""

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        y = F.linear(x, self.weight, self.bias)
        if not self.part.used(self.training):
            return y
        low = F.linear(x, self.down).unflatten(-1, (self.part.parts, -1))  # (..., parts, r)
        up = self.up.unflatten(0, (self.part.parts, -1))  # (parts, out / parts, r)
        return y + self.part.factor(self.training) * torch.einsum("...pr,por->...po", low, up).flatten(-2)

    def product(self) -> Tensor:
        """B A in the shape of W0."""
        up, down = (each.unflatten(0, (self.part.parts, -1)) for each in (self.up, self.down))
        return (up @ down).flatten(0, 1)


LOW_RANK = {nn.Conv1d: LowRankConv1d, nn.Linear: LowRankLinear}
PLAIN = {low: plain for plain, low in LOW_RANK.items()}


class Part:
    """What a low-rank layer knows besides its tensors.

    p         probability that a training pass goes without the low-rank part
    inverted  whether training makes up for it (delta / (1 - p)), so that inference has factor 1
    """

    def __init__(self, number: int, rank: int, parts: int, p: float, inverted: bool):
        self.number, self.rank, self.parts, self.p, self.inverted = number, rank, parts, p, inverted
        self.on = True

    def draw(self, seed: int, step: int) -> None:
        """Decides on the next training pass: the same for the same seed, step and layer, wherever it is computed."""
        self.on = self.p == 0 or random.Random(f"{seed}/{step}/{self.number}").random() >= self.p

    def used(self, training: bool) -> bool:
        return self.on or not training

    def factor(self, training: bool) -> float:
        """f; 1 in training unless inverted."""
        if training:
            return 1 / (1 - self.p) if self.inverted else 1.0
        return 1.0 if self.inverted else 1 - self.p


def matrices(module: nn.Module, apart: dict[str, str]) -> dict[str, tuple[int, int, int]]:
    """(in, out, parts) of every layer that can have a low-rank part, by name; "none" in `apart` leaves one out."""
    found = {}
    for name, layer in module.named_modules():
        if type(layer) not in LOW_RANK and type(layer) not in PLAIN and type(layer) is not frozen.FrozenConv1d:
            continue
        word = said(apart, name)
        if word != "none":
            parts = 3 if word == "three" else 1
            found[name] = (layer.weight[0].numel(), len(layer.weight) // parts, parts)
    return found


def said(patterns: dict, name: str):
    """What the first pattern that fits a name stands for; None where none does."""
    return next((value for pattern, value in patterns.items() if fnmatchcase(name, pattern)), None)


def add(layer: nn.Module, part: Part) -> None:
    """Gives a plain layer its low-rank part, zero at first (B = 0); A is drawn from N(0, 0.02^2)."""
    weight = layer.weight
    layer.__class__ = LOW_RANK[type(layer)]
    layer.part = part
    rows = part.parts * part.rank
    layer.down = nn.Parameter(torch.randn(rows, weight[0].numel(), dtype=weight.dtype, device=weight.device) * SD)
    layer.up = nn.Parameter(torch.zeros(len(weight), part.rank, dtype=weight.dtype, device=weight.device))


def remove(layer: nn.Module) -> None:
    """Ends `add`; what was learnt is lost."""
    layer.__class__ = PLAIN[type(layer)]
    del layer.part, layer.down, layer.up


@torch.no_grad()
def fold(layer: nn.Module, sign: int = 1) -> None:
    """W0 <- W0 + f B A with the factor of inference; sign -1 takes it out again."""
    layer.weight += sign * layer.part.factor(False) * layer.product()


def seen(layer: nn.Module) -> Tensor:
    """dL/dB A in the shape of W0: what of the gradient with respect to W0 passes through A, dL/dW0 A^T A."""
    up, down = (each.unflatten(0, (layer.part.parts, -1)) for each in (layer.up.grad, layer.down))
    return (up @ down).flatten(0, 1).view_as(layer.weight)


def merge(module: nn.Module) -> None:
    """Folds and removes every low-rank part of `module`."""
    for layer in module.modules():
        if type(layer) in PLAIN:
            fold(layer)
            remove(layer)


def draw(module: nn.Module, seed: int, step: int) -> None:
    """What is left out of the next training pass."""
    for layer in module.modules():
        if type(layer) in PLAIN:
            layer.part.draw(seed, step)
