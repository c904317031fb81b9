"""What objectives share that learn from unlabelled records too: the rows of a batch, their views, and what is compared.

A batch holds its labelled rows first, then the tail, as `labelled` (B,) says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .. import views
from ..nn.heads import Neighbours
from ..nn.network import DENSE
from ..record import UsageError
from ..tasks import Task
from ..views import TimeMap, valid
from ._rows import of_present, take

WEAK = {"burst": {}, "noise": {}}  # noise has baseline wander among others
STRONG = {**WEAK, "hiss": {"size": 0.5}, "lead_loss": {}}
ALIKE = 16  # records on which views are tried


def split(batch: dict) -> tuple[dict, dict | None]:
    """The labelled rows, and the tail or None, both without `labelled`."""
    batch = dict(batch)
    labelled = batch.pop("labelled", None)
    count = len(batch["x"]) if labelled is None else int(labelled.sum())
    if count == len(batch["x"]):
        return batch, None
    return take(batch, slice(count)), take(batch, slice(count, None))


def joined(labelled: dict, tail: dict) -> dict:
    """The signals of both in one batch, for one pass."""
    if labelled["x"].shape[1:] != tail["x"].shape[1:]:
        raise UsageError(
            f"the views give labelled windows of {labelled['x'].shape[-1]} samples and unlabelled ones of "
            f"{tail['x'].shape[-1]}; let both keep the window (crop without samples)"
        )
    return labelled | {key: torch.cat((labelled[key], tail[key])) for key in ("x", "present", "length")}


def passes(network: nn.Module, name: str, labelled: dict, tail: dict, together: bool) -> tuple[dict, Tensor]:
    """The logits of the labelled rows by head, and those of head `name` for the tail.

    together: in one pass, so that norms in training see both and gradients of either pass through their statistics into
    the other. Else each in a pass of its own, and running statistics are those of the labelled.
    """
    if together:
        count, logits = len(labelled["x"]), network(joined(labelled, tail))
        return {key: value[:count] for key, value in logits.items()}, logits[name][count:]
    logits = network(labelled)
    with _still(network):
        return logits, network({**tail, "seed": labelled["seed"], "step": labelled["step"]})[name]


@contextmanager
def _still(network: nn.Module) -> Iterator[None]:
    """Running statistics do not move."""
    moving = [(layer, layer.momentum) for layer in network.modules() if isinstance(layer, _BatchNorm)]
    for layer, _ in moving:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in moving:
            layer.momentum = momentum


def under(view: Callable, batch: dict, random: torch.Generator) -> dict:
    """The batch under a view."""
    with torch.autocast(batch["x"].device.type, enabled=False):
        return view(batch, random)[0]


def random_of(batch: dict) -> torch.Generator:
    """The randomness of this step: the views of the labelled rows draw first, as without a tail."""
    return views.generator(batch["seed"], batch["step"], batch["x"].device)


def only_task(supervised: nn.Module) -> tuple[str, Task]:
    """The only task that is learnt."""
    if len(supervised.tasks) != 1:
        raise UsageError("unlabelled records help one task at a time")
    return next(iter(supervised.tasks.items()))


def check_kind(name: str, task: Task, kinds: tuple[str, ...]) -> None:
    """UsageError for a task whose answers cannot be compared without labels."""
    if task.kind not in kinds:
        raise UsageError(
            f"semi={name}: it learns tasks of the kinds {', '.join(kinds)}, not {task.kind} (task {task.name!r}); "
            "take semi=semi_bn, which asks nothing of unlabelled records but their statistics, or none"
        )


def check_head(name: str, network: nn.Module) -> None:
    """UsageError for a head that learns nothing by steps."""
    if any(isinstance(head, Neighbours) for head in network.heads.values()):
        raise UsageError(f"semi={name}: neighbours learn nothing by steps; take head.kind=linear, or leave semi out")


def check_views(name: str, task: Task, recipe, steps: dict[str, dict]) -> None:
    """UsageError for views that do not exist, or that move time where every sample has an answer. key -> views."""
    x = torch.ones(ALIKE, len(recipe.leads), recipe.samples)
    batch = {"x": x, "present": torch.ones(x.shape[:2], dtype=torch.bool), "length": torch.full((ALIKE,), x.shape[-1])}
    for key, names in steps.items():
        view = views.build(names, recipe)
        if task.kind in DENSE and moved(view(batch, views.generator(0, 0))[1], x.shape[-1]):
            raise UsageError(
                f"semi={name}: views in {key} move time, but task {task.name!r} has an answer for every sample, and "
                f"two views are compared sample by sample; leave crop and reverse out of semi_config.{key}"
            )


def moved(time: TimeMap, samples: int) -> bool:
    """Whether a sample is anywhere else than before."""
    return bool((time.a != 1).any() or (time.b != 0).any()) or time.samples != samples


def by_class(task: Task, logits: Tensor, batch: dict) -> Tensor:
    """Logits with the classes in dimension 1: (B, K), (B C, K, T) for waves, (B, K, T) for R peaks."""
    if task.kind == "waves":
        return logits.flatten(0, 1)
    return of_present(logits, batch["present"]) if task.kind == "peaks" else logits


def there(task: Task, *batches: dict) -> Tensor:
    """Which answers of `by_class` stand for something in every view: (B,), (B C, T) or (B, T) bool."""
    if task.kind not in DENSE:
        return torch.ones_like(batches[0]["length"], dtype=torch.bool)
    inside = torch.stack([valid(batch) for batch in batches]).all(0)  # (B, C, T)
    return inside.flatten(0, 1) if task.kind == "waves" else inside.any(1)


def mean_of(values: Tensor, which: Tensor) -> Tensor:
    """The mean of the values at `which`; 0 where there is none."""
    return (values * which).sum() / which.sum().clamp(min=1)
