"""What pretraining costs beside its encoder: python benchmarks/pretraining.py --data FOLDER

A step of an objective (forward, backward and `after_step`, without the optimizer) on one batch of simulated ECGs is set
against its parts, which take turns with it:

    views   drawing what the encoder is shown, out of the batch in mV, normalised
    online  the encoder alone, forward and backward: exactly those tensors, in as many calls, that the objective gave
            its encoder in that step, pooled, with a gradient of ones
    target  the same for what was encoded without gradients, by the target of BYOL and BELL: forward alone
    own     the rest: projectors, heads, losses, beats and leads cut out, and the moving average

Seconds are those of the processor, so that a busy machine does not count. The bar: own at most a quarter of what the
encoders take. Further: for how much of a step the training waits for its batch (bar: 5 %), with the batches made ahead
by one thread, of stored and of simulated ECGs; and what two processes that train together bring. These are by the
clock, so they are only as good as the machine is idle.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from _corpora import arguments, corpus
from _result import WARM_UP, in_turns, keep
from torch import nn

from ecgraft.commands import _objective, _sources
from ecgraft.commands._pool import Pool, long_enough, open_pool
from ecgraft.commands._ranks import together
from ecgraft.commands.pretrain import Plan, Settings, _built
from ecgraft.objectives._look import draw
from ecgraft.training import Ahead, Config, Mixture, fit
from ecgraft.training.loop import _bf16
from ecgraft.views import generator

OBJECTIVES = ("simclr", "byol", "bell", "beat_ssl", "cetp", "joint", "supervised")
RUNS = [(name, "resnet18") for name in OBJECTIVES] + [("bell", "vgg")]
WAITING = ("cetp", "simclr", "beat_ssl")  # the first has the shortest step, the last asks most of a batch
PARTS = ("step", "views", "online", "target")


def built(name: str, encoder: str, batch: int, pool: Pool | None = None, caches=(), simulated: float = 1.0):
    """(plan, recipe, sources, objective), as ecgraft pretrain makes them."""
    plan = Plan(name, encoder, options=Settings(batch=batch, simulated=simulated))
    base = plan.start()
    wanted = _objective.needs(name, {})
    sources = _sources.Sources(pool or Pool([], []), list(caches), base.recipe, plan.options, wanted, 0, False)
    return plan, base.recipe, sources, _built(plan, base, sources)


def mixed(plan: Plan, recipe, sources) -> Mixture:
    options = plan.options
    return Mixture(
        sources.examples, options.batch, recipe.samples, simulated=sources.simulated, share=options.simulated
    )


@dataclass
class Call:
    """What an encoder was asked."""

    encoder: nn.Module
    x: torch.Tensor
    present: torch.Tensor
    online: bool

    def run(self, wide: bool) -> None:
        with torch.set_grad_enabled(self.online), halves(not wide):
            length = torch.full((len(self.x),), self.x.shape[-1])
            h = self.encoder.pool(self.encoder(self.x, self.present), length)
        if self.online:
            h.sum().backward()


def halves(on: bool) -> torch.autocast:
    """bf16 as in `fit`."""
    return torch.autocast("cpu", torch.bfloat16, enabled=on)


def alone(asked: list[Call], wide: bool) -> None:
    """The encoder without the objective."""
    for call in asked:
        call.encoder.zero_grad(set_to_none=True)
        call.run(wide)


def calls(objective: nn.Module, step: Callable[[], None]) -> list[Call]:
    """What a step asks of the encoder and of copies of it."""
    kind, found = type(encoder_of(objective)), []

    def note(module, given):
        found.append(Call(module, *(tensor.detach() for tensor in given), torch.is_grad_enabled()))

    hooks = [m.register_forward_pre_hook(note) for m in objective.modules() if type(m) is kind]
    step()
    for hook in hooks:
        hook.remove()
    return found


def encoder_of(objective: nn.Module) -> nn.Module:
    return objective.network.encoder if hasattr(objective, "network") else objective.encoder


def drawing(objective: nn.Module, recipe, batch: dict, count: int) -> Callable[[], object]:
    """Draws what the objective draws of a batch."""
    if not hasattr(objective, "network"):
        return lambda: draw(batch, objective.view, objective.after, recipe, count)

    def once():
        seen, _ = objective.views(batch, generator(batch["seed"], batch["step"]))
        return recipe.normalise_batch(seen["x"], seen["present"], seen["length"])

    return once


def cost(name: str, encoder: str, size: int, repeats: int, precision: str) -> dict:
    """Seconds of a step and its parts, and shares of them."""
    wide = precision == "fp32"
    plan, recipe, sources, objective = built(name, encoder, size)
    batch = mixed(plan, recipe, sources)(0)
    objective.train()

    def step():
        objective.zero_grad(set_to_none=True)
        with halves(not wide):
            loss = objective(batch)["loss"]
        loss.backward()
        if hasattr(objective, "after_step"):
            objective.after_step(0)

    asked = calls(objective, step)
    sides = {"online": [c for c in asked if c.online], "target": [c for c in asked if not c.online]}
    drawn = drawing(objective, recipe, batch, 1 if name == "cetp" else 2)

    def views():
        with halves(not wide):
            drawn()

    runs = {"step": step, "views": views}
    runs |= {side: lambda each=each: alone(each, wide) for side, each in sides.items()}
    s = of_processor(runs, repeats)
    own, encoders = s["step"] - s["views"] - s["online"] - s["target"], s["online"] + s["target"]
    shares = {"own to encoders": own / encoders, "views to encoders": s["views"] / encoders}
    shares |= {"own and target to online": (own + s["target"]) / s["online"]}
    found = {
        "records that the encoders read": {side: sum(len(c.x) for c in each) for side, each in sides.items()},
        "seconds": {part: round(s[part], 4) for part in PARTS} | {"own": round(own, 4)},
        **{what: round(share, 3) for what, share in shares.items()},
    }
    print(name, encoder, precision, found, flush=True)
    return found


def of_processor(runs: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Median seconds of the processor of each; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}

    def timed(name: str) -> None:
        start = time.process_time()
        runs[name]()
        seconds[name].append(time.process_time() - start)

    in_turns({name: lambda name=name: timed(name) for name in runs}, repeats)
    return {name: statistics.median(each[WARM_UP:]) for name, each in seconds.items()}


def waiting(name: str, store: Path, simulated: float, given: argparse.Namespace) -> dict:
    """What share of a step waited for its batch; how fast the batches come when nobody trains."""
    pool, caches = long_enough(open_pool([store]), Plan(name).start().recipe)
    plan, recipe, sources, objective = built(name, "resnet18", given.batch, pool, caches, simulated)
    mixture = mixed(plan, recipe, sources)
    begun = time.perf_counter()
    for number in range(given.steps):
        mixture(number)
    alone = given.steps * given.batch / (time.perf_counter() - begun)
    ahead = Ahead(mixture, 4)
    result = fit(objective, ahead, Config(steps=given.steps), progress=False)
    ahead.close()
    found = {
        "waited": round(result.waited, 4), "step s": round(result.seconds, 4),
        "records/s": round(given.batch / result.seconds, 1), "records/s of the mixture alone": round(alone, 1),
    }  # fmt: skip
    print(name, simulated, found, flush=True)
    return found


def work(steps: int, size: int) -> None:
    """One of the processes: prints the median seconds of its steps on a batch that is there already."""
    with together(torch.device("cpu")):
        plan, recipe, sources, objective = built("simclr", "resnet18", size)
        batch = mixed(plan, recipe, sources)(0)
        result = fit(objective, lambda number: batch | {"step": number}, Config(steps=steps), progress=False)
        print(json.dumps(result.seconds))


def several(count: int, given: argparse.Namespace, joined: bool) -> float:
    """Seconds of a step of the slowest of so many processes; `joined` ones train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} if joined else {}
    command = [sys.executable, __file__, "--work", str(given.steps), str(given.batch)]
    started = [
        subprocess.Popen(
            command, env=os.environ | {"OMP_NUM_THREADS": "1"} | world | {"RANK": str(rank)}, stdout=subprocess.PIPE
        )
        for rank in range(count)
    ]
    told = [process.communicate()[0] for process in started]
    return max(json.loads(said.splitlines()[-1]) for said in told)


def two_processes(given: argparse.Namespace) -> dict:
    """Records a second of two processes against twice those of one, each with its own core and its own batch."""
    seconds = {
        "one": lambda: several(1, given, False),
        "two, each for itself": lambda: several(2, given, False),
        "two together": lambda: several(2, given, True),
    }
    found: dict[str, list[float]] = {name: [] for name in seconds}
    for _ in range(given.rounds):
        for name, run in seconds.items():
            found[name].append(run())
    s = {name: statistics.median(each) for name, each in found.items()}
    return {
        "objective": "simclr", "cores": os.cpu_count(),
        "busy": f"{os.getloadavg()[0]:.1f} processes wanted a core at the end",
        "step s": {name: round(value, 4) for name, value in s.items()},
        "efficiency": round(s["one"] / s["two together"], 3),
        "efficiency of two that do not talk": round(s["one"] / s["two, each for itself"], 3),
        "what talking leaves": round(s["two, each for itself"] / s["two together"], 3),
    }  # fmt: skip


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        return work(*map(int, sys.argv[2:]))
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=15, help="rounds of what takes turns")
    parser.add_argument("--steps", type=int, default=40, help="of a training that is timed by the clock")
    parser.add_argument("--rounds", type=int, default=3, help="of one and two processes, in turns")
    given = parser.parse_args()
    torch.set_num_threads(1)
    kinds = ["bf16"] * _bf16("auto", torch.device("cpu")) + ["fp32"]  # what `fit` takes here comes first
    costs = {
        kind: {f"{name}, {encoder}": cost(name, encoder, given.batch, given.repeats, kind) for name, encoder in RUNS}
        for kind in kinds
    }
    store = corpus(given, "ptb_xl", "superclass").store.path
    loads = {
        name: {
            what: waiting(name, store, share, given)
            for what, share in (("25 % simulated", 0.25), ("stored alone", 0.0))
        }
        for name in WAITING
    }
    keep(
        "pretraining_cost", bar="own at most 0.25 of the encoders; waited at most 0.05", batch=given.batch, costs=costs,
        waiting=loads, two_processes=two_processes(given),
    )  # fmt: skip


if __name__ == "__main__":
    main()
