"""What every benchmark does with its numbers: prints them and keeps them with the command that made them."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import torch

import ecgraft

RESULTS = Path(__file__).parent / "results"


def keep(name: str, **numbers) -> None:
    """Prints `numbers` and writes results/NAME.json with the command, versions and number of threads."""
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *_without("--runs", sys.argv[1:])])
    versions = {"ecgraft": ecgraft.__version__, "torch": torch.__version__, "python": platform.python_version()}
    result = {"command": command, **numbers, "threads": torch.get_num_threads(), "versions": versions}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def _without(option: str, words: list[str]) -> list[str]:
    """The command line without an option that changes no number: where stores and checkpoints lie."""
    at = words.index(option) if option in words else len(words)
    return words[:at] + words[at + 2 :]
