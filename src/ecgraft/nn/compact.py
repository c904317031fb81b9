"""Residual modules whose inner channels are dropped whole by a task, and taken out of a network that is done.

A residual module has two convolutions, `first` and `second`; what the first gives, its inner channels, the second alone
reads. So a module computes the same without an inner channel that is nothing, or that nothing reads, while its own
width, to which others are added, stays.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from . import shared
from .conv import ConvNorm


def residuals(module: nn.Module) -> dict[str, nn.Module]:
    """The residual modules by name, in order: those with attributes `first` and `second` that are ConvNorms."""
    return {name: each for name, each in module.named_modules() if _is_residual(each)}


def _is_residual(module: nn.Module) -> bool:
    pair = [getattr(module, name, None) for name in ("first", "second")]
    if not all(isinstance(each, ConvNorm) for each in pair):
        return False
    first, second = (each.conv for each in pair)
    return first.out_channels == second.in_channels and first.groups == second.groups == 1


@torch.no_grad()
def drop(module: nn.Module, share: float, least: int = 0, filters: bool = False) -> None:
    """`shared.drop` of every layer that learns a part of its weights.

    filters  the first convolution of residual modules drops whole filters (`drop_filters`); its second one first what
             reads those, then its smallest single weights, until floor(share n) of its n own are dropped
    """
    layers = list(shared.parts(module).values())
    for block in residuals(module).values() if filters else ():
        first, second = block.first.conv, block.second.conv
        if first in layers:
            layers.remove(first)
            gone = drop_filters(first, share)
            if second in layers:
                reads = second.own_at % second.weight[0].numel() // second.kernel_size[0]
                second.kept[gone[reads]] = False
    for layer in layers:
        shared.drop(layer, share, least)


def drop_filters(layer: nn.Module, share: float) -> Tensor:  # (D,) bool
    """Drops floor(share n) of the n filters in which the task has weights of its own; which have been dropped by now.

    The smallest first, by the L1 norm of the task's own weights in the filter; of equal ones that which stands first.
    What was dropped stays so. What a filter reads of earlier tasks' weights it goes on to read.
    """
    filters = layer.own_at // layer.weight[0].numel()
    norm = torch.zeros(len(layer.weight), device=filters.device).index_add(0, filters, layer.values().detach().abs())
    own, alive = torch.zeros_like(norm, dtype=torch.bool), torch.zeros_like(norm, dtype=torch.bool)
    own[filters], alive[filters[layer.kept]] = True, True
    norm[~alive] = -1
    among = torch.nonzero(own).flatten()
    order = torch.argsort(norm[among], stable=True)[: math.floor(share * len(among) + 1e-9)]
    gone = own & ~alive
    gone[among[order]] = True
    layer.kept &= ~gone[filters]
    return gone


@torch.no_grad()
def inner(encoder: nn.Module) -> dict[str, Tensor]:
    """Residual module -> (K,) inner channels that are needed, one at least. The encoder: in eval mode, no adapters.

    Not needed is one that the second convolution reads nowhere, or whose filter is all zero, if it is 0 behind the
    activation: another constant is none at the ends of the signal, where the second one reads zeros instead.
    """
    return {name: _needed(block.first, block.second) for name, block in residuals(encoder).items()}


def _needed(first: ConvNorm, second: ConvNorm) -> Tensor:
    weight, bias = first.conv.weight, first.conv.bias
    nothing = torch.zeros(len(weight), dtype=weight.dtype) if bias is None else bias.detach().clone()
    constant = first.activation(first.norm(nothing[None, :, None])).flatten()  # (D,) of a filter of zeros
    silent = ~weight.flatten(1).any(1) & (constant == 0)
    needed = second.conv.weight.any(0).any(-1) & ~silent
    if first.adapter is not None:
        needed[:] = True
    if not needed.any():
        needed[0] = True
    return torch.nonzero(needed).flatten()


def cut(state: dict[str, Tensor], kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of an encoder whose residual modules have these inner channels alone."""
    state = dict(state)
    for name, channels in kept.items():
        own = [key for key, value in state.items() if key.startswith(f"{name}.first.") and value.ndim]
        state |= {key: state[key][channels] for key in own}
        state[f"{name}.second.conv.weight"] = state[f"{name}.second.conv.weight"][:, channels]
    return state
