"""What benchmarks share: times taken in turns, and results kept with the command that made them."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import ecgraft

WARM_UP = 2  # rounds that are not counted
RESULTS = Path(__file__).parent / "results"


def keep(name: str, **numbers) -> None:
    """Prints `numbers` and writes results/NAME.json with the command, versions and number of threads."""
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *_without("--runs", sys.argv[1:])])
    versions = {"ecgraft": ecgraft.__version__, "torch": torch.__version__, "python": platform.python_version()}
    result = {"command": command, **numbers, "threads": torch.get_num_threads(), "versions": versions}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def in_turns(runs: dict[str, Callable[[], object]], repeats: int, clock=time.perf_counter) -> dict[str, float]:
    """Median seconds of each; they take turns, so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + WARM_UP):
        for name, run in runs.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: statistics.median(each[WARM_UP:]) for name, each in seconds.items()}


def _without(option: str, words: list[str]) -> list[str]:
    """The command line without an option that changes no number: where stores and checkpoints lie."""
    at = words.index(option) if option in words else len(words)
    return words[:at] + words[at + 2 :]
