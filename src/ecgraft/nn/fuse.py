"""A faster copy of a network for inference."""

from __future__ import annotations

import copy

import torch
from torch import nn

from . import frozen, low_rank
from .conv import ConvNorm


def fuse(module: nn.Module) -> nn.Module:
    """A copy in eval mode with every BatchNorm of a ConvNorm folded into its convolution.

    Low-rank parts are folded in too. Equal to the original in eval mode to about 1e-6 relative.
    """
    module = copy.deepcopy(module).eval().requires_grad_(False)
    low_rank.merge(module)
    frozen.thaw(module)
    for layer in module.modules():
        if isinstance(layer, ConvNorm) and type(layer.norm) is nn.BatchNorm1d:
            _fold(layer)
    return module


def _fold(layer: ConvNorm) -> None:
    """W' = g W, b' = g (b - mean) + beta, with g = gamma / sqrt(variance + eps); computed in float64."""
    conv, norm = layer.conv, layer.norm
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)  # (D,)
    bias = 0 if conv.bias is None else conv.bias.double()
    bias = gain * (bias - norm.running_mean.double()) + norm.bias.double()
    weight = gain[:, None, None] * conv.weight.double()
    conv.bias = nn.Parameter(bias.to(conv.weight), requires_grad=False)
    conv.weight = nn.Parameter(weight.to(conv.weight), requires_grad=False)
    layer.norm = nn.Identity()
