"""One-shot rank allocation (Zhou et al. 2024, CE-SSL): which layers of an encoder get more ranks for a task.

At the pretrained weights, over one pass of the labelled records, a matrix W of the encoder is as important as
I = mean over batches and entries of (W * dL/dW)^2. Nothing is trained, and norms are put back to what they were.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import nn

from .. import adapters, plugs
from ..adapters._ranks import AUTO, GRID, Allocation, by_importance
from ..nn import low_rank
from ..objectives.supervised import Supervised
from ..record import UsageError
from ..training import Config as Training
from ..training import fit

HEAD_RATE = 5e-3  # of the head that the gradients come from, in its one pass


def wanted(options) -> bool:
    """Whether a job's ranks are to be found out."""
    return options.adapter_config.get("rank") == AUTO


def check(options) -> None:
    """UsageError for an adapter whose ranks cannot be found out."""
    plug = plugs.find("adapters", options.adapter)
    if not wanted(options):
        return
    if not hasattr(plug, "places"):
        raise UsageError(f"adapter {options.adapter!r} has no ranks; --rank is for lrc and rd_lora")
    config = plugs.configure(plug.Config, options.adapter_config, f"adapter {options.adapter}")
    if config.allocation.score == "sketch" and not hasattr(plug, "merge"):
        raise UsageError(f"allocation.score=sketch is of low-rank parts; adapter {options.adapter!r} has exact")


@dataclass
class Found:
    """What ranks there may be: `options` of a job by trial, with the `scores` of the trials where there are several."""

    options: list
    importance: dict[str, float]
    seconds: float
    scores: list[float] = field(default_factory=list)

    def best(self):
        """The options with the best score; the first of equal ones."""
        return self.options[max(range(len(self.options)), key=lambda k: self.scores[k]) if self.scores else 0]

    def card(self) -> dict:
        """For the graft: how the ranks came about."""
        shares = [options.adapter_config["allocation"]["share"] for options in self.options]
        tried = {"tried": dict(zip(map(str, shares), self.scores))} if self.scores else {}
        importance = {name: float(f"{value:.4g}") for name, value in self.importance.items()}
        return {"importance": importance, "seconds": round(self.seconds, 3), **tried}


def found(objective: Supervised, sampler, options, device) -> Found:
    """The ranks of a job for a network whose encoder is plain, by its `allocation` settings.

    The network is used up: its head may have been trained.
    """
    begun = time.perf_counter()
    plug = plugs.find("adapters", options.adapter)
    config = plugs.configure(plug.Config, options.adapter_config, f"adapter {options.adapter}")
    encoder, passes = objective.network.encoder, math.ceil(len(sampler.examples) / sampler.size)
    places = plug.places(encoder, config)
    whole = sum(p.numel() for p in encoder.parameters())
    if config.allocation.head == "probe":
        encoder.requires_grad_(False)
        adapters.hold(encoder)
        training = Training(steps=passes, rate=HEAD_RATE, schedule="constant", warmup=0, seed=options.training["seed"])
        fit(objective, sampler, training, device=device, progress=False)
        adapters.release(encoder)
    measure = _exact if config.allocation.score == "exact" else _sketched
    importance = measure(objective, [sampler(number) for number in range(passes)], plug, config, device)
    tried = []
    for share in _shares(config.allocation):
        allocation = replace(config.allocation, share=share)
        ranks = by_importance(places, importance, allocation, config.budget, whole)
        said = {"rank": ranks, "allocation": asdict(allocation)}
        tried.append(replace(options, adapter_config=options.adapter_config | said))
    return Found(tried, importance, time.perf_counter() - begun)


def _shares(config: Allocation) -> tuple:
    return GRID if config.share == "validation" and config.rule == "share" else (config.share,)


def _exact(objective: Supervised, batches: list[dict], plug, config, device) -> dict[str, float]:
    """The importance of each layer from the gradient with respect to its weight."""
    encoder = objective.network.encoder
    weights = {name: layer.weight for name, layer in plug.weights(encoder, config).items()}
    encoder.requires_grad_(False)
    for weight in weights.values():
        weight.requires_grad_(True)

    def read() -> dict[str, torch.Tensor]:
        return {name: (weight * weight.grad).square().mean() for name, weight in weights.items()}

    return _over(objective, batches, config, list(weights.values()), read, device)


def _sketched(objective: Supervised, batches: list[dict], plug, config, device) -> dict[str, float]:
    """The same with what low-rank parts see of the gradient: dL/dB A = dL/dW A^T A."""
    encoder = objective.network.encoder
    high = {name: min(config.allocation.high, place.most) for name, place in plug.places(encoder, config).items()}
    adapters.attach(encoder, "rd_lora", {"rank": high, "p": 0.0, "biases": False, "norm": config.norm})
    layers = {name: encoder.get_submodule(name) for name in high}

    def read() -> dict[str, torch.Tensor]:
        return {name: (layer.weight * low_rank.seen(layer)).square().mean() for name, layer in layers.items()}

    importance = _over(objective, batches, config, [layer.up for layer in layers.values()], read, device)
    adapters.detach(encoder)
    return importance


def _over(objective: Supervised, batches, config, free: list[torch.Tensor], read, device) -> dict[str, float]:
    """The mean over the batches of what `read` makes of the gradients; statistics of norms are as before afterwards."""
    objective.eval().to(device)
    norms = [layer for layer in objective.network.encoder.modules() if isinstance(layer, nn.BatchNorm1d)]
    before = copy.deepcopy([layer.state_dict() for layer in norms])
    for layer in norms:
        layer.training = config.norm != "frozen"
    total: dict[str, torch.Tensor] = {}
    for batch in batches:
        gradients = torch.autograd.grad(objective(batch)["loss"], free)
        for weight, gradient in zip(free, gradients):
            weight.grad = gradient
        for name, value in read().items():
            total[name] = total.get(name, 0) + value.detach()
    for layer, state in zip(norms, before):
        layer.training = False
        layer.load_state_dict(state)
    for weight in free:
        weight.grad = None
    return {name: float(value) / len(batches) for name, value in total.items()}
