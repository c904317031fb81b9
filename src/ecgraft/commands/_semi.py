"""Putting a semi-supervised objective around the supervised one of a job, and unlabelled windows behind its batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from .. import plugs
from ..objectives import ADAPT, stage
from ..objectives.supervised import Supervised
from ..plugs import configure
from ..record import UsageError
from ..training import Examples, Sampler, Tail


def names() -> list[str]:
    """The objectives that learn from unlabelled records while a graft is trained."""
    return [name for name in plugs.names("objectives") if stage(plugs.find("objectives", name)) == ADAPT]


def check(options) -> None:
    """UsageError for settings of a job that ask for what cannot be, as far as that can be told without records."""
    if not options.semi:
        return
    plug = plugs.find("objectives", options.semi) if options.semi in names() or "." in options.semi else None
    if plug is None:
        raise UsageError(f"semi={options.semi}: no such objective; {plugs.nearest(options.semi, names())}")
    configure(plug.Config, options.semi_config, f"semi {options.semi}")
    if options.head.kind == "knn":
        raise UsageError("head.kind=knn learns nothing, so unlabelled records are of no use to it; leave semi out")


def around(
    objective: Supervised, sampler: Sampler, unlabelled: Callable[[], Examples], options, steps: int
) -> tuple[nn.Module, Tail]:
    """The objective with the one that `options` name around it, and batches with a tail.

    Raises UsageError where that one does not fit the task, the encoder or its adapter, before it asks for records.
    """
    plug = plugs.find("objectives", options.semi)
    config = configure(plug.Config, options.semi_config, f"semi {options.semi}")
    if getattr(config, "steps", None) == 0:
        config = replace(config, steps=steps)
    (task,) = objective.tasks.values()
    plug.check(config, task, objective.network)
    seed, device = sampler.seed, sampler.device
    tail = Tail(sampler, unlabelled(), options.tail, sampler.samples, seed=seed, device=device)
    return plug.build(config, objective), tail
