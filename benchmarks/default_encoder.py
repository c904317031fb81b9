"""Trains the model that comes with ecgraft, on simulated ECGs alone: encoder, a graft for findings, one for waves.

    python benchmarks/default_encoder.py --to runs/default            # goes on when interrupted
    python benchmarks/default_encoder.py --to runs/default --install  # and puts it into the package

Every batch is simulated when it is needed, so no ECG comes twice and nothing is stored. What it scores on real ECGs,
none of which it has seen, is measured by benchmarks/sim_to_real.py.
"""

from __future__ import annotations

import argparse
import platform
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from ecgraft import __version__, simulator, views
from ecgraft.model import Graft, Model
from ecgraft.model.model import PACKAGED
from ecgraft.nn.network import HeadConfig, Network, build_head
from ecgraft.objectives.supervised import Config as Loss
from ecgraft.objectives.supervised import Supervised
from ecgraft.signal.recipe import Recipe
from ecgraft.signal.spectral import filter_resample
from ecgraft.tasks import findings, waves
from ecgraft.training import Config, fit

LABELS = findings.TASK
VIEWS = {
    "gain": {"record": 1.5, "lead": 1.1, "flip": 0.1},
    "noise": {"share": 0.3},
    "lead_loss": {"share": 0.25, "single": 0.35},
}


class Simulated:
    """Batch number k of a seed: ECGs k * size onwards, as the recipe's `prepare` would leave them."""

    def __init__(self, recipe: Recipe, size: int, seed: int):
        self.recipe, self.size, self.seed = recipe, size, seed
        self.config = simulator.Config(seconds=recipe.seconds, rate=recipe.rate)
        means = [[set(f.codes) & set(codes) != set() for codes in LABELS.codes.values()] for f in simulator.FINDINGS]
        self.means = torch.tensor(means).float()  # (findings of the simulator, labels of the task)

    def __call__(self, number: int) -> dict:
        made = simulator.simulate(self.seed, range(number * self.size, (number + 1) * self.size), self.config)
        B, C, T = made.x.shape
        x = filter_resample(made.x.reshape(B * C, T).numpy(), self.recipe.rate, None, self.recipe.low, self.recipe.high)
        y = made.y.float() @ self.means > 0  # (B, K)
        present = made.present[:, :, None].expand(B, C, T)
        return {
            "x": torch.from_numpy(x).view(B, C, T), "present": made.present, "length": torch.full((B,), T),
            "y": y.float(), "known": torch.ones_like(y),
            "waves": made.waves()[:, None].expand(B, C, T), "scored": present,
            "step": number, "seed": self.seed,
        }  # fmt: skip


def train(to: Path, config: Config, batch: int) -> Model:
    """Trains encoder and heads together; the checkpoint lies in `to`/training."""
    base = Model.fresh("resnet18", seed=config.seed)
    tasks = {"findings": LABELS, "waves": waves.TASK}
    heads = {name: build_head(task, base.encoder, HeadConfig()) for name, task in tasks.items()}
    network = Network(base.encoder, heads, base.recipe)
    objective = Supervised(network, tasks, Loss(weights={"findings": 2.0}), views.build(VIEWS))
    fit(objective, Simulated(base.recipe, batch, config.seed), config, folder=to / "training", title="simulated ECGs")
    records = config.steps * config.accumulate * batch
    card = {
        "command": "python benchmarks/default_encoder.py", "data": f"{records} simulated ECGs, seed {config.seed}",
        "settings": {"training": asdict(config), "batch": batch, "views": VIEWS},
        "versions": {"ecgraft": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }  # fmt: skip
    model = Model(network.encoder, base.recipe, card)
    for name, task in tasks.items():
        state = {f"head.{key}": value for key, value in heads[name].state_dict().items()}
        head = asdict(HeadConfig())
        model.add(Graft(name, task, base.recipe, "linear", head, model.fingerprint, state, card=card))
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=Path("runs/default"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--install", action="store_true", help="copy the model into the package")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = Config(steps=given.steps, rate=3e-3, average=0.999, seed=given.seed, checkpoint_every=120)
    model = train(given.to, config, given.batch)
    model.save(given.to / "model")
    if given.install:
        shutil.copytree(given.to / "model", PACKAGED, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
