"""Frozen layers that keep little for the backward pass, because nothing asks for gradients of their weights.

torch keeps the input of every convolution and norm, in case the weight wants a gradient. Below an adapter none does: the
gradient with respect to the input needs the weight alone (convolution) or the scale (norm with fixed statistics).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv1d_input
from torch.overrides import handle_torch_function, has_torch_function_unary


def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0, dilation=1, groups: int = 1
) -> Tensor:  # (B, C, T) -> (B, D, N)
    """F.conv1d, bit for bit, of a weight without gradient; a bias may have one."""
    if has_torch_function_unary(x):
        return handle_torch_function(conv, (x,), x, weight, bias, stride, padding, dilation, groups)
    how = (stride, padding, dilation, groups)
    if weight.requires_grad or not (torch.is_grad_enabled() and x.requires_grad):
        return F.conv1d(x, weight, bias, *how)
    return _Conv.apply(x, weight, bias, how)


def norm(x: Tensor, layer: nn.BatchNorm1d) -> Tensor:  # (B, D, N) -> (B, D, N)
    """BatchNorm with its running statistics, bit for bit, of a layer whose weights have no gradient."""
    if has_torch_function_unary(x):
        return handle_torch_function(norm, (x,), x, layer)
    given = (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return F.batch_norm(x, *given, False, 0.0, layer.eps)
    return _Norm.apply(x, *given, layer.eps)


class FrozenConv1d(nn.Conv1d):
    """A convolution whose weight stays as it is."""

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, D, N)
        if self.padding_mode != "zeros":
            return super().forward(x)
        return conv(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class FrozenNorm1d(nn.BatchNorm1d):
    """A BatchNorm whose weights and statistics stay as they are."""

    def forward(self, x: Tensor) -> Tensor:  # (B, D, N) -> (B, D, N)
        return super().forward(x) if self.training else norm(x, self)


class LeanReLU(nn.ReLU):
    """A ReLU that keeps one byte a value for the backward pass: where it let through."""

    def forward(self, x: Tensor) -> Tensor:
        if has_torch_function_unary(x) or not (torch.is_grad_enabled() and x.requires_grad):
            return super().forward(x)
        return _Relu.apply(x)


PLAIN = {FrozenConv1d: nn.Conv1d, FrozenNorm1d: nn.BatchNorm1d, LeanReLU: nn.ReLU}


def freeze(module: nn.Module) -> None:
    """Every convolution and norm of `module` that has nothing to learn computes as above from now on."""
    for layer in module.modules():
        if type(layer) is nn.Conv1d and not layer.weight.requires_grad:
            layer.__class__ = FrozenConv1d
        elif type(layer) is nn.BatchNorm1d and _still(layer):
            layer.__class__ = FrozenNorm1d
        elif type(layer) is nn.ReLU:
            layer.__class__ = LeanReLU


def thaw(module: nn.Module) -> None:
    """Ends `freeze`."""
    for layer in module.modules():
        layer.__class__ = PLAIN.get(type(layer), type(layer))


def _still(layer: nn.BatchNorm1d) -> bool:
    held = "train" in layer.__dict__ or not layer.training
    return held and layer.affine and layer.track_running_stats and not any(p.requires_grad for p in layer.parameters())


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, how):
        ctx.save_for_backward(weight)
        ctx.shape, ctx.how = x.shape, how
        return F.conv1d(x, weight, bias, *how)

    @staticmethod
    def backward(ctx, grad):
        (weight,) = ctx.saved_tensors
        to_bias = grad.sum((0, 2)) if ctx.needs_input_grad[2] else None
        return conv1d_input(ctx.shape, weight.to(grad.dtype), grad, *ctx.how), None, to_bias, None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mean, variance, weight, bias, eps):
        ctx.save_for_backward(weight * torch.rsqrt(variance + eps))
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx, grad):
        (scale,) = ctx.saved_tensors
        shape = (1, -1, *[1] * (grad.ndim - 2))
        return grad * scale.view(shape).to(grad.dtype), None, None, None, None, None


class _Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x.relu()
        ctx.save_for_backward(y > 0)
        return y

    @staticmethod
    def backward(ctx, grad):
        (open_,) = ctx.saved_tensors
        return grad * open_
