"""The same layer of several grafts as one layer for the batch of them all: rows (G B, ...), those of graft 0 first.

What the grafts have in common is computed with the weights that they share; what is a graft's own is stacked (G, ...).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..adapters.lrc import Bottleneck
from ..nn import ConvNorm
from ..nn.fuse import affine


def units(module: nn.Module) -> dict[str, nn.Module]:
    """What changes as a whole, by name: each ConvNorm, and every other module that holds tensors itself."""
    found: dict[str, nn.Module] = {}
    inside = None
    for name, layer in module.named_modules():
        if inside is not None and name.startswith(inside):
            continue
        if isinstance(layer, ConvNorm):
            inside = f"{name}."
        if isinstance(layer, ConvNorm) or any(True for _ in (*layer.parameters(False), *layer.buffers(False))):
            found[name] = layer
    return found


def signature(layer: nn.Module, plain: nn.Module) -> tuple | None:
    """What layers of two grafts must have alike to be stacked: names, shapes, and what is as in the `plain` encoder.

    None for a layer that only its own graft can run.
    """
    if not _known(layer):
        return None
    before = plain.state_dict()
    return tuple((k, v.shape, k in before and torch.equal(v, before[k])) for k, v in layer.state_dict().items())


def stack(layers: list[nn.Module], entry: bool = False) -> nn.Module:
    """One layer for the graft-wise batch, of layers with one signature. `entry`: of a ConvNorm, which is handed the B
    rows that all grafts still share, so that a convolution that is common to them runs once."""
    kind = _STACKED[type(layers[0])]
    return kind(layers, entry=True) if entry else kind(layers)


def _known(layer: nn.Module) -> bool:
    match layer:
        case ConvNorm():
            there = type(layer) is ConvNorm and type(layer.adapter) in (type(None), Bottleneck)
            return there and _known(layer.conv) and type(layer.norm) is nn.BatchNorm1d and _known(layer.norm)
        case nn.Conv1d():
            return type(layer) is nn.Conv1d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        case nn.BatchNorm1d():
            return type(layer) is nn.BatchNorm1d and layer.affine and layer.track_running_stats
        case nn.LayerNorm():
            return type(layer) is nn.LayerNorm and layer.bias is not None and len(layer.normalized_shape) == 1
        case _:
            return type(layer) is nn.Linear


class _Conv(nn.Module):
    """A convolution whose weight is common, with a gain and shift for each graft, or whose weight is each one's own."""

    def __init__(self, layers: list[nn.Conv1d], norms: list[nn.BatchNorm1d] | None = None, entry: bool = False):
        super().__init__()
        first, self.grafts, self.entry = layers[0], len(layers), entry
        self.how = {"stride": first.stride, "padding": first.padding, "dilation": first.dilation}
        self.groups, gain = first.groups, None
        gains, shifts = zip(*(_gain(layer, norm) for layer, norm in zip(layers, norms or [None] * len(layers))))
        if _alike([layer.weight for layer in layers]) and not _alike(gains):
            weight, gain = first.weight.detach(), torch.stack(gains).to(first.weight)[:, None, :, None]
        else:
            weight = _joined([gain[:, None, None] * layer.weight.double() for gain, layer in zip(gains, layers)])
        self.register_buffer("weight", weight.to(first.weight))  # (D, C, k) or (G, D, C, k)
        self.register_buffer("gain", gain)  # (G, 1, D, 1)
        self.register_buffer("shift", torch.stack(shifts).to(first.weight)[:, None, :, None])

    def forward(self, x: Tensor) -> Tensor:  # (G B, C, T) -> (G B, D, N)
        G, own = self.grafts, self.weight.ndim == 4
        if self.entry and own:
            x = x.repeat(G, 1, 1)
        if own:
            return self._own(x.unflatten(0, (G, -1)))
        y = F.conv1d(x, self.weight, None, groups=self.groups, **self.how)
        by_graft = (y.repeat(G, 1, 1) if self.entry else y).unflatten(0, (G, -1))  # (G, B, D, N)
        if self.gain is not None:
            by_graft.mul_(self.gain)
        return by_graft.add_(self.shift).flatten(0, 1)

    def _own(self, x: Tensor) -> Tensor:  # (G, B, C, T) -> (G B, D, N)
        x = x.transpose(0, 1).flatten(1, 2)  # (B, G C, T), of one record no copy
        groups = self.grafts * self.groups
        y = F.conv1d(x, self.weight.flatten(0, 1), self.shift.flatten(), groups=groups, **self.how)  # (B, G D, N)
        return y.unflatten(1, (self.grafts, -1)).transpose(0, 1).flatten(0, 1)


class _ConvNorm(nn.Module):
    """ConvNorms with the norm folded in; of the grafts' own are norms, bottlenecks, or all of it."""

    def __init__(self, layers: list[ConvNorm], entry: bool = False):
        super().__init__()
        self.odd, self.activation = layers[0].odd, layers[0].activation
        self.conv = _Conv([layer.conv for layer in layers], [layer.norm for layer in layers], entry)
        self.adapter = None if layers[0].adapter is None else _Bottleneck([layer.adapter for layer in layers])

    def forward(self, x: Tensor) -> Tensor:  # (G B, C, T) -> (G B, D, N)
        y = self.conv(F.pad(x, (0, 1)) if self.odd else x)
        return self.activation(y if self.adapter is None else self.adapter(y))


class _Bottleneck(nn.Module):
    """LRC's y + W2 ReLU(W1 y), written into y."""

    def __init__(self, layers: list[Bottleneck]):
        super().__init__()
        self.register_buffer("down", torch.stack([layer.down for layer in layers]))  # (G, r, D)
        self.register_buffer("up", torch.stack([layer.up for layer in layers]))  # (G, D, r)

    def forward(self, y: Tensor) -> Tensor:  # (G B, D, N) -> (G B, D, N)
        each = len(y) // len(self.down)
        down, up = (w if each == 1 else w.repeat_interleave(each, 0) for w in (self.down, self.up))
        return y.baddbmm_(up, torch.bmm(down, y).relu_())


class _Linear(nn.Module):
    def __init__(self, layers: list[nn.Linear]):
        super().__init__()
        zero = layers[0].weight.new_zeros(layers[0].out_features)
        self.register_buffer("weight", _joined([layer.weight.detach() for layer in layers]))  # (O, I) or (G, O, I)
        self.register_buffer("bias", torch.stack([zero if layer.bias is None else layer.bias for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:  # (G B, ..., I) -> (G B, ..., O)
        by_graft = x.reshape(len(self.bias), -1, x.shape[-1])  # (G, B ..., I); bias (G, O)
        if self.weight.ndim == 2:
            y = F.linear(by_graft, self.weight).add_(self.bias[:, None])
        else:
            y = torch.baddbmm(self.bias[:, None], by_graft, self.weight.transpose(1, 2))
        return y.view(*x.shape[:-1], -1)


class _LayerNorm(nn.Module):
    def __init__(self, layers: list[nn.LayerNorm]):
        super().__init__()
        self.shape, self.eps = layers[0].normalized_shape, layers[0].eps
        for key in ("weight", "bias"):
            self.register_buffer(key, torch.stack([getattr(layer, key) for layer in layers])[:, None])  # (G, 1, D)

    def forward(self, x: Tensor) -> Tensor:  # (G B, ..., D) -> (G B, ..., D)
        y = F.layer_norm(x, self.shape, eps=self.eps)
        by_graft = y.reshape(len(self.weight), -1, x.shape[-1])  # (G, B ..., D)
        return by_graft.mul_(self.weight).add_(self.bias).view(x.shape)


class _BatchNorm(nn.Module):
    """A BatchNorm that stands alone, not behind its convolution."""

    def __init__(self, layers: list[nn.BatchNorm1d]):
        super().__init__()
        gains, shifts = zip(*(affine(layer) for layer in layers))
        self.register_buffer("gain", torch.stack(gains).to(layers[0].weight)[:, None])  # (G, 1, D)
        self.register_buffer("shift", torch.stack(shifts).to(layers[0].weight)[:, None])

    def forward(self, x: Tensor) -> Tensor:  # (G B, D, N) or (G B, D), as it came
        more = [1] * (x.ndim - 2)
        gain, shift = (each.view(*each.shape, *more) for each in (self.gain, self.shift))  # (G, 1, D, ...)
        return (x.unflatten(0, (len(gain), -1)) * gain).add_(shift).flatten(0, 1)


_STACKED = {
    ConvNorm: _ConvNorm,
    nn.Conv1d: _Conv,
    nn.Linear: _Linear,
    nn.LayerNorm: _LayerNorm,
    nn.BatchNorm1d: _BatchNorm,
}


def _gain(conv: nn.Conv1d, norm: nn.BatchNorm1d | None) -> tuple[Tensor, Tensor]:  # (D,), (D,)
    """What stands behind the convolution without its bias: gain y + shift, in float64."""
    if norm is not None:
        return affine(norm, conv.bias)
    one = torch.ones(conv.out_channels, dtype=torch.float64, device=conv.weight.device)
    return one, torch.zeros_like(one) if conv.bias is None else conv.bias.double()


def _joined(tensors: list[Tensor]) -> Tensor:
    """One for all where they are alike, else stacked."""
    return tensors[0] if _alike(tensors) else torch.stack(tensors)


def _alike(tensors) -> bool:
    return all(torch.equal(tensors[0], other) for other in tensors[1:])
