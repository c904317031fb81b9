"""Frozen layers that keep little for the backward pass, because nothing asks for gradients of their weights.

torch keeps the input of every convolution and norm, in case the weight wants a gradient. Below an adapter none does:
the gradient with respect to the input needs the weight alone (convolution) or the scale (norm with fixed statistics),
that with respect to a bias neither.
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
    if weight.requires_grad or isinstance(padding, str) or not _asked(x, bias):
        return F.conv1d(x, weight, bias, *how)
    return _Conv.apply(x, weight, bias, how)


def norm(x: Tensor, layer: nn.BatchNorm1d) -> Tensor:  # (B, D, N) -> (B, D, N)
    """BatchNorm with its running statistics, bit for bit, of a layer whose scale has no gradient; its shift may."""
    if has_torch_function_unary(x):
        return handle_torch_function(norm, (x,), x, layer)
    given = (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    if not _asked(x, layer.bias):
        return F.batch_norm(x, *given, False, 0.0, layer.eps)
    return _Norm.apply(x, *given, layer.eps)


def relu(x: Tensor) -> Tensor:
    """F.relu that keeps one byte a value for the backward pass: where it let through."""
    if has_torch_function_unary(x):
        return handle_torch_function(relu, (x,), x)
    return _Relu.apply(x) if _asked(x) else F.relu(x)


def _asked(*tensors: Tensor | None) -> bool:
    """Whether there is a gradient to be had of any of them."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


class FrozenConv1d(nn.Conv1d):
    """A convolution whose weight stays as it is."""

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, D, N)
        if self.padding_mode != "zeros":
            return super().forward(x)
        return conv(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class FrozenNorm1d(nn.BatchNorm1d):
    """A BatchNorm whose scale and statistics stay as they are."""

    def forward(self, x: Tensor) -> Tensor:  # (B, D, N) -> (B, D, N)
        return super().forward(x) if self.training else norm(x, self)


class LeanReLU(nn.ReLU):
    """A ReLU that keeps little; in place where nothing is to be kept."""

    def forward(self, x: Tensor) -> Tensor:
        return relu(x) if torch.is_grad_enabled() else super().forward(x)


PLAIN = {FrozenConv1d: nn.Conv1d, FrozenNorm1d: nn.BatchNorm1d, LeanReLU: nn.ReLU}


def freeze(module: nn.Module) -> None:
    """Every convolution and norm of `module` that learns at most its bias computes as above from now on.

    Where every convolution keeps its input, a plain ReLU keeps nothing more, and stays.
    """
    whole = _held(module)
    lean = not all(_keeps(layer) for layer in module.modules() if isinstance(layer, nn.Conv1d))
    for layer in module.modules():
        if type(layer) is nn.Conv1d and not _keeps(layer):
            layer.__class__ = FrozenConv1d
        elif type(layer) is nn.BatchNorm1d and (whole or _held(layer)) and _still(layer):
            layer.__class__ = FrozenNorm1d
        elif type(layer) is nn.ReLU and lean:
            layer.__class__ = LeanReLU


def thaw(module: nn.Module) -> None:
    """Ends `freeze`."""
    for layer in module.modules():
        layer.__class__ = PLAIN.get(type(layer), type(layer))


def _held(module: nn.Module) -> bool:
    """Whether it is in eval mode for good (`adapters.hold`)."""
    return "train" in module.__dict__


def _keeps(layer: nn.Conv1d) -> bool:
    """Whether its input is needed for a gradient: of the weight, or of a low-rank part."""
    return any(p.requires_grad for name, p in layer.named_parameters() if name != "bias")


def _still(layer: nn.BatchNorm1d) -> bool:
    return layer.affine and layer.track_running_stats and not layer.weight.requires_grad


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, how):
        ctx.save_for_backward(weight)
        ctx.shape, ctx.how = x.shape, how
        return F.conv1d(x, weight, bias, *how)

    @staticmethod
    def backward(ctx, grad):
        (weight,) = ctx.saved_tensors
        wanted, _, bias, _ = ctx.needs_input_grad  # under autocast `grad` has half the precision of the weight
        to_x = conv1d_input(ctx.shape, weight.to(grad.dtype), grad, *ctx.how) if wanted else None
        return to_x, None, grad.sum((0, 2)) if bias else None, None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mean, variance, weight, bias, eps):
        ctx.save_for_backward(weight * torch.rsqrt(variance + eps))
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx, grad):
        (scale,) = ctx.saved_tensors
        rest = range(2, grad.ndim)
        to_x = (grad * scale.view(1, -1, *(1 for _ in rest))).to(grad.dtype) if ctx.needs_input_grad[0] else None
        to_bias = grad.sum((0, *rest), dtype=scale.dtype) if ctx.needs_input_grad[4] else None
        return to_x, None, None, None, to_bias, None


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
