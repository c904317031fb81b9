"""The training loop against the same steps in a bare PyTorch loop: python benchmarks/loop.py

Both train the default encoder with a wave head on the same batches, in turn, several times; the ratio of the medians
is what the loop's progress, log, precision switch and bookkeeping cost. The bar: at most 5 % slower.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from pathlib import Path

import torch
from _result import keep

from ecgraft import simulator
from ecgraft.model import Model
from ecgraft.nn.network import HeadConfig, Network, build_head
from ecgraft.objectives.supervised import Config as Loss
from ecgraft.objectives.supervised import Supervised
from ecgraft.tasks.waves import TASK
from ecgraft.training import Config, fit
from ecgraft.training.optimizer import build_optimizer, rate_at


def bare(objective, batches, config: Config) -> None:
    optimizer = build_optimizer(objective.parameters(), config.rate, config.decay)
    objective.train()
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, config.steps, config.rate, config.warmup, config.schedule)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            loss = objective(batches(step))["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def seconds(function, *given, **named) -> float:
    start = time.perf_counter()
    function(*given, **named)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    model = Model.fresh("resnet18")
    head = build_head(TASK, model.encoder, HeadConfig())
    start = Supervised(Network(model.encoder, {"waves": head}, model.recipe), {"waves": TASK}, Loss())
    made = simulator.simulate(0, range(32), simulator.Config(rate=model.recipe.rate)).batch()
    config = Config(steps=given.steps, precision="fp32")
    ours, theirs = [], []
    bare(copy.deepcopy(start), lambda _: made, config)
    for _ in range(given.repeats):
        theirs.append(seconds(bare, copy.deepcopy(start), lambda _: made, config))
        with tempfile.TemporaryDirectory() as folder:
            fresh = copy.deepcopy(start)
            ours.append(seconds(fit, fresh, lambda _: made, config, folder=Path(folder)))
    ratios = [a / b for a, b in zip(ours, theirs)]
    keep("loop", bar="at most 1.05", ratio=round(statistics.median(ratios), 3), ratios=[round(r, 3) for r in ratios])


if __name__ == "__main__":
    main()
