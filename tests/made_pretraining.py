"""A twelve-lead store and one of single leads without labels or reports, and small options to pretrain on them."""

from __future__ import annotations

import numpy as np

import ecgraft
from ecgraft.record import LEADS, Record
from ecgraft.store import Store, StoreWriter

ENCODER = {"stem": 8, "widths": [8, 8, 8, 16]}
QUICK = {"encoder": "resnet18", "encoder_config": ENCODER, "seconds": 2.0, "batch": 8, "steps": 3, "progress": False}
OBJECTIVES = ("simclr", "byol", "bell", "beat_ssl", "cetp", "joint", "supervised")


def stores(top):
    """`twelve` has 40 ECGs at 250 Hz with labels, waves and reports, `single` 30 of lead I at 200 Hz with nothing."""
    ecgraft.simulate(to=top / "twelve", count=40, seed=5, seconds=4.0, rate=250.0, progress=False)
    ecgraft.simulate(to=top / "source", count=30, seed=6, seconds=5.0, rate=200.0, lead_loss=0, progress=False)
    bare = {"report": None, "labels": {}, "complete": frozenset(), "waves": None, "scored": None, "beats": None}
    return top / "twelve", written(top / "single", [each.but(**bare) for each in some_leads(top / "source", ["I"])])


def some_leads(store, leads) -> list[Record]:
    """The records of a store with these leads alone."""
    found = []
    for record in records(store):
        rows = [record.leads.index(lead) for lead in leads]
        found.append(record.but(signal=record.signal[rows], leads=tuple(leads), waves=None, scored=None))
    return found


def records(store) -> list[Record]:
    opened = Store(store)
    return [opened.record(i) for i in range(len(opened))]


def written(path, made):
    with StoreWriter(path) as writer:
        for record in made:
            writer.add(record)
    return path


def flat(path, count: int = 30, seconds: float = 4.0):
    """A store in which no heart beats."""
    shape = (2, round(seconds * 250))
    return written(path, [Record(np.zeros(shape, np.float32), 250.0, LEADS[:2], id=f"f{i}") for i in range(count)])


def pretrain(*paths, to, objective="simclr", **given):
    return ecgraft.pretrain(list(paths), to=to, objective=objective, **(QUICK | given))
