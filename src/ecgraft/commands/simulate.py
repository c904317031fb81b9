"""ecgraft simulate: a store of simulated 12-lead ECGs with exact waves, labels and reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from ..plugs import configure
from ..record import UsageError
from ..simulator import Config
from ..simulator import simulate as simulated
from ..store import StoreWriter
from ..store.parallel import progress_bar

BATCH = 64  # the fastest


def simulate(
    *,
    to: Annotated[Path, "store to write; if it is there, the ECGs are added to it"],
    count: Annotated[int, "how many ECGs"] = 1000,
    first: Annotated[int, "number of the first: the same seed and number give the same ECG"] = 0,
    seed: Annotated[int, "seed of all that is drawn"] = 0,
    progress: Annotated[bool, "show progress"] = True,
    **settings: Annotated[Any, Config],
) -> int:
    """Writes ECGs of a moving heart dipole into a store. Interrupted, it goes on when the same command is repeated."""
    if count < 1 or first < 0:
        raise UsageError(f"simulate: count {count}, first {first}; at least one ECG, numbers from 0")
    config = configure(Config, settings, "simulate")
    plan = {"simulate": [seed, first, count, repr(config)]}
    with StoreWriter(to, plan) as writer, progress_bar("simulating", count, len(writer), progress) as advance:
        while len(writer) < count:
            begin = first + len(writer)
            batch = simulated(seed, range(begin, min(begin + BATCH, first + count)), config)
            for i in range(len(batch.index)):
                writer.add(batch.record(i))
            advance(len(batch.index))
    return count
