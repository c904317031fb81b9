"""Stores of public databases for the benchmarks, imported once."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ecgraft import tasks
from ecgraft.commands._examples import Corpus
from ecgraft.commands.ingest import ingest
from ecgraft.store import Store


def arguments(doc: str) -> argparse.ArgumentParser:
    """The options that every benchmark on real ECGs has."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the folders of the databases")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for stores and checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def corpus(given: argparse.Namespace, dataset: str, task: str) -> Corpus:
    """A database under --data as a corpus for a task."""
    folder = given.runs / "stores" / dataset
    if not folder.exists():
        ingest(given.data / dataset.replace("ptb_xl", "ptb-xl"), to=folder, dataset=dataset)
    return Corpus.open(Store(folder), tasks.find(task))


def rounded(estimate, digits: int = 4) -> list:
    """[value, low, high] of an Estimate."""
    return [np.round(part, digits).tolist() for part in estimate]
