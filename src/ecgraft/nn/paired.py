"""A pass of labelled records through an encoder beside unlabelled ones, which count in the statistics of norms alone.

Semi-supervised BatchNorm of CE-SSL (Zhou et al. 2024): every BatchNorm in training mode takes the mean and variance of
both. The unlabelled part, the tail, is computed without gradient and keeps nothing for the backward pass, or with it
(`tail_grad`), and ends at the encoder's last BatchNorm, after which it is of no use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ..record import UsageError
from .heads import alone
from .ranks import world

OPERATORS = "add radd iadd sub rsub isub mul rmul imul truediv rtruediv itruediv floordiv pow matmul neg abs invert and"
OPERATORS += " or xor eq ne lt le gt ge getitem setitem"


def norms_in_training(encoder: nn.Module) -> int:
    """How many BatchNorms use the statistics of the batch in training: those that no adapter holds still."""
    before = encoder.training
    encoder.train()
    try:
        return _moving(encoder)
    finally:
        encoder.train(before)


def _moving(encoder: nn.Module) -> int:
    return sum(isinstance(layer, _BatchNorm) and layer.training for layer in encoder.modules())


class Pairing:
    """What stays from one pass to the next: `tail_grad`, and after how many norms a pass needs no tail any more."""

    def __init__(self, tail_grad: bool = False):
        self.tail_grad = tail_grad
        self.needed: dict[int, int] = {}  # BatchNorms in training mode -> their calls in a pass

    @contextmanager
    def beside(self, encoder: nn.Module, x: Tensor, present: Tensor, records: int) -> Iterator[None]:
        """Within it, a call of the encoder with `records` records, or with their leads one by one, has the tail x
        (B, C, T), present (B, C) beside it, normalised as the records are. The levels that come out are the records'.
        """
        if world() > 1:
            raise UsageError("a tail of unlabelled records works in a single process; start without torchrun")
        runs = []

        def enter(module, given):
            tail = (x, present) if len(given[0]) == records else alone(x, present)
            runs.append(Run(self.tail_grad, self.needed.get(_moving(module))))
            return tuple(Paired(one, other, runs[-1]) for one, other in zip(given, tail))

        def leave(module, given, levels):
            run = runs.pop()
            run.over = True
            self.needed[_moving(module)] = run.norms
            return _part(levels, "labelled")

        hooks = encoder.register_forward_pre_hook(enter), encoder.register_forward_hook(leave)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


class Run:
    """One pass. `norms` that pooled so far; `last` of them if it is known; `over` when the tail is of no more use."""

    def __init__(self, tail_grad: bool = False, last: int | None = None):
        self.tail_grad, self.last, self.norms, self.over = tail_grad, last, 0, False

    def do(self, function, args, kwargs):
        """Any function on the labelled part, then on the tail; from the end of the pass on, on the labelled alone.

        The labelled part comes first: autocast keeps the copies of weights that it makes, and those made without
        gradient would have none later.
        """
        done = function(*_part(args, "labelled"), **_part(kwargs, "labelled"))
        if self.over:
            return done
        with torch.set_grad_enabled(self.tail_grad and torch.is_grad_enabled()):
            return self._joined(done, function(*_part(args, "tail"), **_part(kwargs, "tail")))

    def norm(self, x, mean=None, variance=None, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
        """F.batch_norm; in training with the moments of both parts."""
        if not training:
            return self.do(F.batch_norm, (x, mean, variance, weight, bias, False, momentum, eps), {})
        self.norms += 1
        last = self.norms == self.last
        if self.tail_grad:
            joint = torch.cat((x.labelled, x.tail))
            joint = F.batch_norm(joint, mean, variance, weight, bias, True, momentum, eps)
            one, other = (
                part.clone() for part in joint.split([len(x.labelled), len(x.tail)])
            )  # they may change in place
        else:
            one, other = _pooled_norm(x, (mean, variance), weight, bias, momentum, eps, last)
        self.over = last
        return one if last else Paired(one, other, self)

    def _joined(self, one, other):
        """One answer of two: tensors in pairs, numbers that differ as `Rows`, else what the labelled part said."""
        if isinstance(one, Tensor):
            return Paired(one, other, self)
        if isinstance(one, tuple | list):
            return tuple(map(self._joined, one, other))
        return Rows(one, other) if isinstance(one, int) and one != other else one


class Rows(int):
    """The number of labelled records, with that of the tail, which go their own ways through `reshape(B * C, 1, T)`."""

    def __new__(cls, labelled: int, tail: int):
        self = super().__new__(cls, labelled)
        self.tail = tail
        return self

    def __mul__(self, factor):
        return Rows(int(self) * int(factor), self.tail * getattr(factor, "tail", factor))

    def __floordiv__(self, divisor):
        return Rows(int(self) // int(divisor), self.tail // getattr(divisor, "tail", divisor))

    __rmul__ = __mul__


class Paired:
    """A tensor of labelled records and one of the tail's. To torch, and to the code of an encoder, it is one tensor."""

    def __init__(self, labelled: Tensor, tail: Tensor, run: Run):
        self.labelled, self.tail, self.run = labelled, tail, run

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        run = _first((args, kwargs or {})).run
        if run.over:
            return run.do(function, args, kwargs or {})
        if function is F.batch_norm:
            return run.norm(*args, **(kwargs or {}))
        if function is torch.batch_norm:
            raise UsageError("beside a tail a norm must call torch.nn.functional.batch_norm, as nn.BatchNorm1d does")
        return run.do(function, args, kwargs or {})

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        what = getattr(Tensor, name)
        if callable(what):
            return lambda *args, **kwargs: Paired.__torch_function__(what, (), (self, *args), kwargs)
        one, other = getattr(self.labelled, name), getattr(self.tail, name)
        return self.run._joined(one, other) if isinstance(one, Tensor | tuple) and not self.run.over else one

    def __len__(self) -> int:
        return len(self.labelled)

    def __iter__(self):
        return iter(self.unbind(0))


def _operator(name: str):
    def operator(self, *others):
        return Paired.__torch_function__(getattr(Tensor, name), (), (self, *others))

    return operator


for _name in OPERATORS.split():
    setattr(Paired, f"__{_name}__", _operator(f"__{_name}__"))


def _part(value, name: str):
    """The same arguments with "labelled" or "tail" in place of what is paired."""
    if isinstance(value, Paired):
        return getattr(value, name)
    if isinstance(value, Rows):
        return int(value) if name == "labelled" else value.tail
    if type(value) in (tuple, list):
        return type(value)(_part(each, name) for each in value)
    if isinstance(value, dict):
        return {key: _part(each, name) for key, each in value.items()}
    return value


def _first(value) -> Paired | None:
    """The first that is paired among arguments."""
    if isinstance(value, Paired):
        return value
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return next((found for found in map(_first, inside) if found is not None), None)


def _pooled_norm(x: Paired, running: tuple, weight, bias, momentum: float, eps: float, last: bool):
    """Both parts normalised with their common moments, the tail (None if it is the last) without gradient.

    The running statistics are moved by the pooled mean, and the pooled variance with n - 1 in place of n.
    """
    with torch.no_grad():
        (n, m, v), (k, o, w) = _moments(x.labelled), _moments(x.tail)
        count = n + k
        mean = (n * m + k * o) / count
        variance = (n * (v + (m - mean) ** 2) + k * (w + (o - mean) ** 2)) / count
        if running[0] is not None:
            running[0].lerp_(mean.to(running[0].dtype), momentum)
            running[1].lerp_((variance * count / max(count - 1, 1)).to(running[1].dtype), momentum)
        tail = None if last else F.batch_norm(x.tail, mean, variance, weight, bias, False, 0.0, eps)
    weight = torch.ones_like(mean) if weight is None else weight
    return _Norm.apply(x.labelled, weight, bias, mean, variance, count, eps), tail


def _moments(x: Tensor) -> tuple[int, Tensor, Tensor]:  # (B, D) or (B, D, N) -> number, (D,) mean, (D,) variance
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    axes = [0, *range(2, x.ndim)]
    mean = wide.mean(axes, keepdim=True)
    away = wide - mean
    return x.numel() // x.shape[1], mean.flatten(), away.mul_(away).mean(axes)  # torch.var_mean is 40 times as slow


class _Norm(torch.autograd.Function):
    """BatchNorm of x with moments that were taken over `count` values, those of x among them. Keeps x, as torch does.

    With s = sqrt(variance + eps) and u = (x - mean) / s: dx = weight / s (dy - (sum dy + u sum(dy u)) / count), where
    the sums go over x alone.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, mean, variance, count: int, eps: float):
        y, *more = torch.native_batch_norm(x, weight, bias, mean, variance, False, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, variance, *more)
        ctx.count, ctx.eps = count, eps
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight, mean, variance, *more = ctx.saved_tensors
        dx, dw, db = torch.ops.aten.native_batch_norm_backward(  # of fixed moments, as torch itself has it
            grad.contiguous(), x, weight, mean, variance, *more, False, ctx.eps, [True, True, True]
        )
        s = torch.rsqrt(variance + ctx.eps)
        slope = weight * s * s * dw / -ctx.count  # of the part that comes through the moments, a straight line in x
        offset = weight * s * db / -ctx.count - slope * mean
        shape = (1, -1, *[1] * (x.ndim - 2))
        dx += (x * slope.view(shape) + offset.view(shape)).to(dx.dtype)
        return dx, dw, db if ctx.needs_input_grad[2] else None, None, None, None, None
