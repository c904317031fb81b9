"""What a step of semi-supervised adapting costs, method by method: python benchmarks/semi.py

Steps of 16 labelled and 16 unlabelled 12-lead windows of 10 s (made noise: what is in them does not matter), fp32, one
thread, five classes; on the packaged resnet18, and on the base network of CE-SSL (500 Hz, random weights). The methods
take turns, so that a busy machine slows all alike; time is the median of the processor's. Bars of CE-SSL against
FixMatch, both on one encoder: at most 0.55 of its time and 0.5 of its memory, goal 0.3 and 0.3. Memory: what forward
and backward hold at most beside the weights, gradients among it, and the optimizer's 8 bytes a trained parameter.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from _result import keep

from ecgraft import adapters, encoders, plugs, tasks
from ecgraft.model import Model
from ecgraft.nn.network import HeadConfig, Network, build_head
from ecgraft.objectives.supervised import Config as Loss
from ecgraft.objectives.supervised import Supervised
from ecgraft.signal.recipe import Recipe
from ecgraft.training.cost import step_cost
from ecgraft.training.optimizer import build_optimizer

LABELLED, SECONDS, WARM = 16, 10, 2
TASK = tasks.find("superclass")
LORA = {"rank": 4}
METHODS = {  # name -> adapter, its settings, semi, its settings, unlabelled windows for each labelled one
    "full, no unlabelled": ("full", {}, "", {}, 0),
    "lrc, no unlabelled": ("lrc", {}, "", {}, 0),
    "rd_lora, no unlabelled": ("rd_lora", LORA, "", {}, 0),
    "fixmatch": ("full", {}, "fixmatch", {}, 1),
    "fixmatch + lora": ("rd_lora", {**LORA, "p": 0.0}, "fixmatch", {}, 1),
    "mean_teacher": ("full", {}, "mean_teacher", {"steps": 100}, 1),
    "ce-ssl": ("rd_lora", LORA, "semi_bn", {}, 1),
    "ce-ssl, tail_grad": ("rd_lora", LORA, "semi_bn", {"tail_grad": True}, 1),
    "ce-ssl, a quarter of the tail": ("rd_lora", LORA, "semi_bn", {}, 0.25),
    "ce-ssl, place last-1": ("rd_lora", {**LORA, "place": "last-1"}, "semi_bn", {}, 1),
}
REFERENCE = "fixmatch"


def learner(encoder: torch.nn.Module, recipe: Recipe, method: tuple) -> torch.nn.Module:
    """The objective of a method, on a copy of the encoder."""
    adapter, config, semi, values, _ = method
    torch.manual_seed(0)
    own = copy.deepcopy(encoder)
    adapters.attach(own, adapter, config)
    network = Network(own, {"a": build_head(TASK, own, HeadConfig())}, recipe)
    objective = Supervised(network, {"a": TASK}, Loss())
    if not semi:
        return objective
    plug = plugs.find("objectives", semi)
    return plug.build(plugs.configure(plug.Config, values, semi), objective)


def batch(recipe: Recipe, share: float) -> dict:
    B = LABELLED + round(share * LABELLED)
    draw = torch.Generator().manual_seed(0)
    labelled = torch.arange(B) < LABELLED
    y = (torch.rand((B, len(TASK.labels)), generator=draw) > 0.5) * labelled[:, None]
    made = {"x": torch.randn(B, len(recipe.leads), recipe.samples, generator=draw), "y": y.float()}
    made |= {"present": torch.ones(B, len(recipe.leads), dtype=torch.bool), "length": torch.full((B,), recipe.samples)}
    return made | {"known": labelled[:, None].expand_as(y), "labelled": labelled, "seed": 0, "step": 0}


def measure(encoder: torch.nn.Module, recipe: Recipe, steps: int) -> dict[str, dict]:
    learners = {name: learner(encoder, recipe, method).train() for name, method in METHODS.items()}
    batches = {name: batch(recipe, method[-1]) for name, method in METHODS.items()}
    optimizers = {name: build_optimizer(made.parameters(), 1e-3, 0.01) for name, made in learners.items()}
    times: dict[str, list[float]] = {name: [] for name in METHODS}
    for step in range(WARM + steps):
        for name, made in learners.items():
            begun = time.process_time()
            made(batches[name] | {"step": step})["loss"].backward()
            optimizers[name].step()
            optimizers[name].zero_grad(set_to_none=True)
            if hasattr(made, "after_step"):
                made.after_step(step)
            times[name].append(time.process_time() - begun)
    rows = {}
    for name, made in learners.items():
        cost, trained = step_cost(made, batches[name]), sum(p.numel() for p in made.parameters() if p.requires_grad)
        held = cost.peak + 8 * trained
        rows[name] = {
            "trained parameters": trained,
            "step ms": round(statistics.median(times[name][WARM:]) * 1e3, 1),
            "kept MB": round(cost.saved / 1e6, 1),
            "memory MB": round(held / 1e6, 1),
        }
    for row in rows.values():
        reference = rows[REFERENCE]
        row |= {f"{key} / {REFERENCE}": round(row[key] / reference[key], 3) for key in ("step ms", "memory MB")}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    packaged = Model.load()
    base = encoders.build("convtransformer").eval()
    cases = {
        "resnet18": (packaged.encoder, Recipe.from_dict(packaged.recipe.to_dict() | {"seconds": SECONDS})),
        "convtransformer": (base, Recipe(leads=base.leads, rate=base.rate, seconds=SECONDS)),
    }
    found = {}
    for name, (encoder, recipe) in cases.items():
        found[name] = measure(encoder, recipe, asked.steps)
        for method, row in found[name].items():
            print(name, method, row, flush=True)
    keep("semi", labelled=LABELLED, seconds=SECONDS, steps=asked.steps, encoders=found)


if __name__ == "__main__":
    main()
