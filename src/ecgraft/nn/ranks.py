"""Several processes that train one network (torchrun), each on its share of the batch.

Gradients are averaged over the processes. What is gathered keeps its gradient, and norms see the whole batch, so that
two processes do what one does with both shares. In one process everything here gives back what it is given.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, 0 first."""
    return dist.get_rank() if world() > 1 else 0


def gather(x: Tensor) -> Tensor:
    """The rows of all processes (W B, ...), in the order of ranks; every process must have equally many."""
    return _Gather.apply(x) if world() > 1 else x


def total(x: Tensor) -> Tensor:
    """The sum over the processes, with gradients."""
    return _Total.apply(x) if world() > 1 else x


@torch.no_grad()
def average_gradients(parameters) -> None:
    """Each gradient becomes its mean over the processes; one without a gradient anywhere stays without."""
    if world() == 1:
        return
    free = [p for p in parameters if p.requires_grad]
    have = torch.tensor([p.grad is not None for p in free], dtype=torch.float32, device=free[0].device)
    dist.all_reduce(have)
    free = [p for p, processes in zip(free, have.tolist()) if processes]
    for p in free:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    flat = torch.cat([p.grad.flatten() for p in free]) / world()
    dist.all_reduce(flat)
    for p, grad in zip(free, flat.split([p.numel() for p in free])):
        p.grad.copy_(grad.view_as(p))


@torch.no_grad()
def same_everywhere(module: nn.Module) -> None:
    """Weights and buffers as process 0 has them."""
    if world() > 1:
        for value in [*module.parameters(), *module.buffers()]:
            dist.broadcast(value.data, 0)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(world())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)  # every process asks something of these rows
        return grad.chunk(world())[rank()]


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.contiguous().clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return _Total.forward(ctx, grad)


class SharedNorm(nn.BatchNorm1d):
    """BatchNorm with the mean and variance of all processes' batches. (torch's own SyncBatchNorm needs a GPU.)"""

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and world() > 1):
            return super().forward(x)
        axes = [0, 2] if x.ndim == 3 else [0]
        shape = [1, -1, 1] if x.ndim == 3 else [1, -1]
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        count = wide.new_full((1,), wide.numel() / wide.shape[1])
        sums = total(torch.cat([count, wide.sum(axes), (wide * wide).sum(axes)]))
        n, D = sums[0], x.shape[1]
        mean = sums[1 : D + 1] / n
        variance = (sums[D + 1 :] / n - mean * mean).clamp(min=0)
        self._remember(mean.detach(), variance.detach() * n.detach() / (n.detach() - 1))
        gain = self.weight / torch.sqrt(variance + self.eps)
        return ((wide - mean.view(shape)) * gain.view(shape) + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.track_running_stats:
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)


def share_norms(module: nn.Module, shared: bool = True) -> nn.Module:
    """Every BatchNorm1d of `module` sees all processes' batches from now on, or (False) again its own alone."""
    old, new = (nn.BatchNorm1d, SharedNorm) if shared else (SharedNorm, nn.BatchNorm1d)
    for layer in module.modules():
        if type(layer) is old:
            layer.__class__ = new
    return module
