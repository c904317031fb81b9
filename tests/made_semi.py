"""Toy problems with few labels: networks, batches with a tail, and objectives around the supervised one."""

from __future__ import annotations

import torch
from torch import nn

from ecgraft import adapters, encoders, plugs, views
from ecgraft.nn.network import HeadConfig, Network, build_head
from ecgraft.objectives import ADAPT, stage
from ecgraft.objectives.supervised import Config as Loss
from ecgraft.objectives.supervised import Supervised
from ecgraft.signal.recipe import Recipe
from ecgraft.tasks import Task

LEADS = ("I", "II", "V1")
NAMES = [name for name in plugs.names("objectives") if stage(plugs.find("objectives", name)) == ADAPT]
T, RATE = 160, 80.0
CODES = {"fast": ("own:fast",), "slow": ("own:slow",)}
TASKS = {
    "multilabel": Task("two", "multilabel", ("fast", "slow"), CODES),
    "multiclass": Task("one", "multiclass", ("fast", "slow"), CODES),
    "regression": Task("age", "regression", ("age",), value="age"),
    "waves": Task("waves", "waves", ("none", "P", "QRS")),
    "peaks": Task("qrs", "peaks", ("none", "QRS")),
    "beats": Task("beats", "beats", ("fast", "slow"), {"fast": ("N",), "slow": ("V",)}),
}
SMALL = {
    "resnet18": {"stem": 8, "widths": (8, 8, 12, 12)},
    "convtransformer": {"width": 16, "depth": 1, "heads": 2},
    "vgg": {"groups": ((4,), (6,))},
}


def batch_of(kind: str, number: int = 0, labelled: int = 6, tail: int = 6, seed: int = 5) -> dict:
    """Pulses in noise: of two kinds of records, fast and slow ones; waves and R peaks where the pulses are."""
    B = labelled + tail
    random = torch.Generator().manual_seed(number)
    fast = torch.rand(B, generator=random) < 0.5
    every = torch.where(fast, 16, 40)[:, None]
    shift = (torch.rand(B, generator=random) * 16).long()[:, None] + 4
    t = torch.arange(T)
    away = ((t - shift) % every).minimum((shift - t) % every)  # (B, T) samples from the nearest pulse
    pulse = torch.exp(-((away / 2.0) ** 2))
    x = pulse[:, None] * torch.tensor([1.0, 1.5, -0.7])[:, None] + 0.1 * torch.randn(B, 3, T, generator=random)
    batch = {
        "x": x,
        "present": torch.ones(B, 3, dtype=torch.bool),
        "length": torch.full((B,), T),
        "labelled": torch.arange(B) < labelled,
        "step": number,
        "seed": seed,
    }
    there = batch["labelled"][:, None]
    if kind in ("multilabel", "multiclass", "regression"):
        y = torch.stack((fast, ~fast), 1).float() if kind != "regression" else fast[:, None].float()
        batch |= {"y": y * there, "known": there.expand_as(y)}
    if kind == "waves":
        scored = there[..., None].expand_as(x)
        batch |= {"waves": ((away <= 3)[:, None] * 2 * scored).to(torch.uint8), "scored": scored}
    if kind in ("peaks", "beats"):
        peaks = (shift + every * torch.arange(4)).clamp(max=T - 1)
        classes = (~fast).long()[:, None].expand(B, 4)
        batch |= {"peaks": torch.where(there, peaks, -1), "beats": torch.where(there, classes, -1)}
    return batch


def network_of(kind: str, adapter: str = "full", values=None, encoder: str = "resnet18", head=None) -> Network:
    torch.manual_seed(0)
    made = encoders.build(encoder, {"leads": LEADS} | SMALL.get(encoder, {}))
    adapters.attach(made, adapter, values)
    head = build_head(TASKS[kind], made, HeadConfig(**{"width": 8} | (head or {})))
    return Network(made, {kind: head}, Recipe(leads=LEADS, rate=RATE, seconds=T / RATE, low=None, high=None))


def built(name: str, kind: str, network: Network | None = None, augment=None, **values) -> nn.Module:
    """The objective `name`, or "supervised"; `values` are its settings."""
    network = network or network_of(kind)
    steps = views.build(augment or {"gain": {}}, network.recipe)
    supervised = Supervised(network, {kind: TASKS[kind]}, Loss(smoothing=0.1), steps)
    if name == "supervised":
        return supervised
    plug = plugs.find("objectives", name)
    if name == "mean_teacher":
        values = {"steps": 20} | values
    config = plugs.configure(plug.Config, values, name)
    plug.check(config, TASKS[kind], network)
    return plug.build(config, supervised)


def only_labelled(batch: dict) -> dict:
    rows = int(batch["labelled"].sum())
    return {key: value[:rows] if torch.is_tensor(value) else value for key, value in batch.items()}
