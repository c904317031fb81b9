"""A faster copy of a network for inference."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from . import frozen, low_rank, shared
from .conv import ConvNorm


def fuse(module: nn.Module) -> nn.Module:
    """A copy in eval mode with every BatchNorm of a ConvNorm folded into its convolution.

    Low-rank parts are folded in too. Equal to the original in eval mode to about 1e-6 relative.
    """
    module = plain(copy.deepcopy(module))
    for layer in module.modules():
        if isinstance(layer, ConvNorm) and type(layer.norm) is nn.BatchNorm1d:
            _fold(layer)
    return module


def plain(module: nn.Module) -> nn.Module:
    """The module itself in eval mode, free of gradients, each layer a plain one with the weights that it computes
    with."""
    module.eval().requires_grad_(False)
    low_rank.merge(module)
    shared.settle(module)
    frozen.thaw(module)
    for layer in module.modules():
        layer.__dict__.pop("attached", None)  # there is nothing left that an adapter could be detached from
    return module


def affine(norm: nn.BatchNorm1d, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:  # (D,), (D,)
    """What a BatchNorm does to y + bias in eval mode: gain y + shift, in float64.

    gain = gamma / sqrt(variance + eps), shift = gain (bias - mean) + beta.
    """
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = 0 if bias is None else bias.double()
    return gain, gain * (bias - norm.running_mean.double()) + norm.bias.double()


def _fold(layer: ConvNorm) -> None:
    """W' = gain W, b' = shift; computed in float64."""
    conv = layer.conv
    gain, bias = affine(layer.norm, conv.bias)
    weight = gain[:, None, None] * conv.weight.double()
    conv.bias = nn.Parameter(bias.to(conv.weight), requires_grad=False)
    conv.weight = nn.Parameter(weight.to(conv.weight), requires_grad=False)
    layer.norm = nn.Identity()
