"""Tasks that share the weights of an encoder: a toy encoder with its training, and small jobs on simulated ECGs."""

from __future__ import annotations

import torch
from torch import nn

from ecgraft import tasks
from ecgraft.commands._course import Course
from ecgraft.commands._examples import Corpus
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings, with_defaults
from ecgraft.model import Model, reference
from ecgraft.nn import shared
from ecgraft.store import Store

SMALL = {
    "convtransformer": {"width": 16, "depth": 1, "heads": 2, "rate": 250.0},
    "inception": {"width": 4, "depth": 1, "rate": 250.0},
    "multires": {"width": 8},
    "net1d": {"stem": 16, "widths": (16, 16, 32), "depths": (1, 1, 2), "rate": 250.0},
    "resnet18": {"stem": 8, "widths": (8, 8, 8, 8)},
    "vgg": {"groups": ((4,), (4,), (8,)), "rate": 250.0},
    "xresnet101": {"stem": (4, 4, 8), "width": 4, "depths": (1, 1, 1), "rate": 250.0},
}


class Toy(nn.Module):
    """A stem that reads two leads, a convolution and a matrix, whose weights tasks share."""

    leads = ("I", "II")

    def __init__(self, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.stages = nn.ModuleList([nn.Conv1d(2, 4, 5), nn.Conv1d(4, 6, 3)])
        self.last = nn.Linear(6, 3)

    def forward(self, x):  # (B, 2, T) -> (B, 3)
        for stage in self.stages:
            x = stage(x).relu()
        return self.last(x.mean(-1))


def train(encoder: nn.Module, optimizer, steps: int, seed: int = 0, after=lambda step: None) -> None:
    """Some steps towards random answers."""
    random = torch.Generator().manual_seed(seed)
    for step in range(steps):
        x, y = torch.randn(8, 2, 16, generator=random), torch.randn(8, 3, generator=random)
        (encoder(x) - y).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        for layer in shared.parts(encoder).values():
            shared.put_back(layer)
        after(step)


def free(encoder: nn.Module) -> list[nn.Parameter]:
    return [p for p in encoder.parameters() if p.requires_grad]


def drop_all(encoder: nn.Module, share: float, least: int = 0, give_back: bool = True) -> None:
    for layer in shared.parts(encoder).values():
        shared.drop(layer, share, least)
        if give_back:
            shared.give_back(layer)


def adamw(encoder: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(free(encoder), lr=1e-2, weight_decay=0.01)


def learnt(ledger: shared.Ledger, share: float, seed: int = 0, steps: int = 3, make=adamw, **how) -> tuple:
    """A task: train, drop, retrain. Its encoder, with plain layers again, and its tensors for the ledger."""
    encoder = Toy(seed)
    shared.claim(encoder, ledger, **how)
    train(encoder, make(encoder), steps, seed)
    drop_all(encoder, share)
    train(encoder, make(encoder), steps, seed + 100)
    tensors = shared.saved(encoder, ledger)
    shared.settle(encoder)
    return encoder, tensors


def job(store, task: str, name: str = "", steps: int = 4, seed: int = 0, device="cpu", **settings) -> Job:
    """A small job on all records of a store."""
    opened = Store(store)
    corpus = Corpus.open(opened, tasks.find(task, opened))
    how = {"rate": 5e-3, "average": 0.0, "keep": "last"} | settings.pop("training", {})
    given = {"batch": 8, "seconds": 2.0, "augment": {}, "rare": "note"} | settings
    options = with_defaults(Settings(**given, training=how), steps, seed)
    rows = corpus.rows("train"), corpus.rows("validation")
    return Job(None, corpus, *rows, options, name or task, None, device, progress=False)


def start(strategy: str, encoder: str = "resnet18", values: dict | None = None, blank: bool = True) -> Course:
    """A course of a strategy on a small encoder, without weights where tasks own them."""
    from ecgraft import continual, plugs

    without = blank and plugs.find("continual", strategy).START == continual.SHARED
    model = (Model.empty if without else Model.fresh)(encoder, SMALL[encoder])
    return Course(model, strategy, values)


def logits(network, leads: int = 12, samples: int = 500) -> torch.Tensor:
    """What a network of one task says of two ECGs, always the same."""
    x = torch.from_numpy(reference.signal(leads, 250.0, samples)).float() / 1000
    batch = {"x": x, "present": torch.ones(x.shape[:2], dtype=torch.bool), "length": torch.full((len(x),), samples)}
    with torch.inference_mode():
        ((_, said),) = network.eval()(batch).items()
    return said.clone()


def answers(course: Course) -> dict[str, torch.Tensor]:
    """Task -> what it says now."""
    return {name: logits(course.network(name), len(graft.recipe.leads)) for name, graft in course.grafts.items()}
