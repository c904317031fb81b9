"""Two processes (gloo) against one with the doubled batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from ecgraft import encoders, plugs
from ecgraft.nn import ranks
from ecgraft.nn.ranks import SharedNorm, share_norms
from ecgraft.signal.recipe import Recipe
from ecgraft.training import Config, fit

pytestmark = pytest.mark.slow

SMALL = {"stem": 8, "widths": [8, 8, 8, 16], "leads": ["I", "II"]}
BATCH, STEPS = 4, 6
PLAIN = {"views": {}, "after": {"mask": {"share": 0.0}}}
SETTINGS = {  # nothing is drawn, so that both sides see the same views
    "simclr": PLAIN,
    "byol": PLAIN,
    "bell": PLAIN | {"pairs": "all"},
    "beat_ssl": PLAIN | {"rhythm": "hard", "beat": "none"},
}


def record_batch(number: int, rows: slice) -> dict:
    """Rows of a batch that is twice as large as what a process takes."""
    draw = torch.Generator().manual_seed(number)
    x = torch.randn((2 * BATCH, 2, 300), generator=draw, dtype=torch.float64)
    N = len(x[rows])
    here = {"x": x[rows], "present": torch.ones(N, 2, dtype=torch.bool), "length": torch.full((N,), 300)}
    here |= {"peaks": torch.full((N, 1), -1), "record_features": torch.full((N, 3), torch.nan)}
    return here | {"beat_features": torch.full((N, 1, 3), torch.nan), "seed": 0, "step": number}


def trajectory(name: str) -> tuple[list[float], list]:
    """Losses at every step, and some weights and statistics at the end."""
    torch.manual_seed(ranks.rank())  # that the start is the same everywhere is the loop's work
    encoder = encoders.build("resnet18", SMALL)
    plug = plugs.find("objectives", name)
    objective = plug.build(plugs.configure(plug.Config, SETTINGS[name], name), encoder, Recipe(leads=("I", "II")))
    losses = []

    class Noted(torch.nn.Module):  # in double precision, so that only the order of sums differs
        def __init__(self):
            super().__init__()
            self.inner = objective.double()

        def forward(self, batch):
            out = self.inner(batch)
            losses.append(float(ranks.total(out["loss"].detach()) / ranks.world()))
            return {"loss": out["loss"]}

        def after_step(self, step):
            if hasattr(self.inner, "after_step"):
                self.inner.after_step(step)

    mine = slice(ranks.rank() * BATCH, (ranks.rank() + 1) * BATCH) if ranks.world() > 1 else slice(0, 2 * BATCH)
    fit(
        Noted(),
        lambda number: record_batch(number, mine),
        Config(steps=STEPS, rate=1e-3, precision="fp32"),
        progress=False,
    )
    norm = encoder.stages[0].norm
    assert type(norm) is torch.nn.BatchNorm1d
    return losses, [norm.running_mean.tolist(), norm.running_var.tolist(), norm.weight.tolist()]


def main(name: str) -> None:
    import gc

    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = trajectory(name)
    if dist.get_rank() == 0:
        print(json.dumps(found))
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("name", SETTINGS)
def test_two_processes_do_what_one_does_with_the_doubled_batch(name):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(
            [sys.executable, __file__, name], env=os.environ | world | {"RANK": str(rank)}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=120) for process in both]
    assert all(process.returncode == 0 for process in both), told
    losses, ends = json.loads(told[0][0].splitlines()[-1])
    expected, alone = trajectory(name)
    assert losses == pytest.approx(expected, rel=1e-6)
    for two, one in zip(ends, alone):
        assert two == pytest.approx(one, rel=1e-5)


def test_alone_nothing_is_gathered_and_norms_are_those_of_torch():
    x, norm = torch.randn(4, 3, 5), torch.nn.BatchNorm1d(3)
    assert ranks.gather(x) is x and ranks.total(x) is x
    expected = norm(x)
    norm.reset_running_stats()
    assert isinstance(share_norms(norm), SharedNorm)
    assert torch.equal(norm(x), expected)
    assert type(share_norms(norm, False)) is torch.nn.BatchNorm1d


if __name__ == "__main__":
    main(sys.argv[1])
