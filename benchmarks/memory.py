"""Anonymous memory of training over a large store against a small one: python benchmarks/memory.py

Makes stores of 1,000 and of 100,000 simulated records (about 12 GB; --keep leaves them), trains the default encoder for
500 steps on each in a process of its own, and compares the largest RssAnon (Linux). The bar: at most 5 % more.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from _result import keep

SIZES = (1_000, 100_000)


def anonymous() -> int:
    """Resident anonymous memory of this process, KiB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")))


def train(store: Path, steps: int) -> int:
    """The largest RssAnon over `steps` training steps, KiB."""
    import numpy as np
    import torch

    from ecgraft import tasks
    from ecgraft.commands._examples import Corpus
    from ecgraft.commands._job import Job
    from ecgraft.commands._settings import Settings
    from ecgraft.model import Model
    from ecgraft.store import Store
    from ecgraft.training import Sampler

    torch.set_num_threads(1)
    corpus = Corpus.open(Store(store), tasks.find("waves"))
    settings = Settings(batch=8, augment={}, training={"steps": steps, "precision": "fp32"})
    job = Job(
        Model.fresh("resnet18"), corpus, corpus.rows("train"), np.zeros(0, int), settings, "waves", progress=False
    )
    peak = 0
    drawn = Sampler.__call__

    def watched(sampler, number):
        nonlocal peak
        peak = max(peak, anonymous())
        return drawn(sampler, number)

    Sampler.__call__ = watched
    job.run()
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/memory"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--large", type=int, default=SIZES[1])
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        print(json.dumps(train(given.train, given.steps)))
        return
    from ecgraft.commands.simulate import simulate

    peaks = {}
    for count in (SIZES[0], given.large):
        store = given.runs / str(count)
        simulate(to=store, count=count, seed=3)
        command = [sys.executable, __file__, "--train", str(store), "--steps", str(given.steps)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # builds the prepared cache
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[count] = int(done.stdout.splitlines()[-1])
    small, large = peaks[SIZES[0]], peaks[given.large]
    mebibytes = {count: peak // 1024 for count, peak in peaks.items()}
    keep("memory", bar="at most 1.05", ratio=round(large / small, 3), rss_anon_mib=mebibytes, steps=given.steps)
    if not given.keep:
        shutil.rmtree(given.runs)


if __name__ == "__main__":
    main()
