"""Convolution with a norm, and changes of time resolution.

Step n of a map of stride s stands at sample n s: a convolution that reaches over r + 1 samples pads r // 2 of them on
the left and the rest on the right, so that ceil(T / s) steps come out of T samples, for any T >= 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS = {
    None: nn.Identity,
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky": lambda: nn.LeakyReLU(0.01, inplace=True),
    "silu": nn.SiLU,
}


class ConvNorm(nn.Module):
    """Convolution, BatchNorm, activation: the unit in which adapters find their place, by type and `kernel`.

    `adapter`, where there is one, stands between norm and activation.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        activation: str | None = "relu",
    ):
        super().__init__()
        self.kernel = kernel
        reach = dilation * (kernel - 1)
        self.odd = reach % 2  # one sample more on the right than on the left
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, reach // 2, dilation, groups, bias)
        self.norm = nn.BatchNorm1d(outputs)
        self.adapter: nn.Module | None = None
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, D, ceil(T / stride))
        if self.odd:
            x = F.pad(x, (0, 1))
        y = self.norm(self.conv(x))
        return self.activation(y if self.adapter is None else self.adapter(y))


def kaiming(module: nn.Module) -> nn.Module:
    """Every convolution of `module` from the normal distribution of He et al. 2015 (fan in), its bias zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def upsample(x: Tensor, factor: int, length: int) -> Tensor:  # (B, D, N) -> (B, D, length)
    """Linear interpolation to steps `factor` times as dense, the old ones at multiples of `factor`.

    The last value is held where no further step follows. Written in place, at half the cost of F.interpolate.
    """
    if factor == 1:
        return x[..., :length]
    dense = x.new_empty(*x.shape, factor)  # (B, D, N, factor)
    dense[..., 0] = x
    dense[..., -1, 1:] = x[..., -1:]
    for i in range(1, factor):
        dense[..., :-1, i] = torch.lerp(x[..., :-1], x[..., 1:], i / factor)
    return dense.flatten(-2)[..., :length]
