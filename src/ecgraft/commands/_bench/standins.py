"""Simulated ECGs with a database's leads, rate, length and label set, for where the database itself is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...plugs import configure
from ...record import LEADS, Record, UsageError
from ...simulator import Config, simulate
from ...store import Store, StoreWriter
from ...tasks._findings import FINDINGS

SIMULATED = "simulated"  # the database that is simulated by intent
COUNT = 1000  # ECGs where the protocol does not say
SEED = 1729  # other ECGs than those of seed 0, which the packaged model was trained on
BATCH = 64
NOISY = 25  # of so many records one is too noisy to be read, in a database that has such a class
NOISE = {"motion": 12.0, "muscle": 8.0, "wander": 5.0}  # factors of the noise of such a record

_TWELVE = {"leads": LEADS, "rate": 500.0, "seconds": 10.0}
SHAPES = {  # database -> leads, rate (Hz) and length (s) of its records; others: twelve leads, 10 s at 500 Hz
    "cinc2017": {"leads": ("I",), "rate": 300.0, "seconds": 30.0},
    "cpsc2019": {"leads": ("II",), "rate": 500.0, "seconds": 10.0},
    "cpsc2021": {"leads": ("I", "II"), "rate": 200.0, "seconds": 60.0},
    "mitdb": {"leads": ("II", "V1"), "rate": 360.0, "seconds": 60.0},
    "qtdb": {"leads": ("II", "V2"), "rate": 250.0, "seconds": 60.0},
    "code15": {"leads": LEADS, "rate": 400.0, "seconds": 10.2},
}
_OTHER = (
    *("sinus bradycardia", "sinus tachycardia", "atrial flutter", "supraventricular tachycardia", "paced rhythm"),
    *("atrial premature complex", "ventricular premature complex", "bigeminy", "AV block I", "AV block II"),
    *("AV block III", "right bundle branch block", "left bundle branch block", "pre-excitation"),
)
VOCABULARIES = {  # code of the database -> findings of the simulator, one of which makes it a "yes"
    "cpsc2018": {
        **{"1": ("normal ECG",), "2": ("atrial fibrillation",), "3": ("AV block I",)},
        **{"4": ("left bundle branch block",), "5": ("right bundle branch block",), "6": ("atrial premature complex",)},
        **{"7": ("ventricular premature complex",), "8": ("ST depression",), "9": ("ST elevation",)},
    },
    "code15": {
        **{"1dAVb": ("AV block I",), "RBBB": ("right bundle branch block",), "LBBB": ("left bundle branch block",)},
        **{"SB": ("sinus bradycardia",), "ST": ("sinus tachycardia",), "AF": ("atrial fibrillation",)},
    },
    "cpsc2021": {"AFf": ("atrial fibrillation",)},
    "ludb": {"Atrial fibrillation": ("atrial fibrillation",)},
}


def make(database: str, to: Path, options: dict, seed: int = SEED) -> Store:
    """The stand-in of a database, written where it is not there yet; `options`: count and simulator settings."""
    options = dict(options)
    count = options.pop("count", COUNT)
    if not isinstance(count, int) or count < 10:
        raise UsageError(f"standin of {database}: count {count!r}; it must be a whole number, at least 10")
    shape = SHAPES.get(database, _TWELVE)
    given = {"rate": shape["rate"], "seconds": shape["seconds"]} | options
    config = configure(Config, given, f"standin of {database}")
    noisy = configure(Config, given | NOISE, f"standin of {database}") if database == "cinc2017" else None
    plan = {"standin": [database, seed, count, repr(config)]}
    with StoreWriter(to, plan) as writer:
        for record in _records(database, shape["leads"], range(len(writer), count), seed, config, noisy):
            writer.add(record)
    return Store(to)


def _records(database: str, leads, numbers: range, seed: int, config: Config, noisy: Config | None) -> Iterator[Record]:
    for first in range(numbers.start, numbers.stop, BATCH):
        block = range(first, min(first + BATCH, numbers.stop))
        bad = [number for number in block if noisy is not None and number % NOISY == NOISY - 1]
        clean, spoilt = simulate(seed, block, config), simulate(seed, bad, noisy) if bad else None
        for i, number in enumerate(block):
            record = spoilt.record(bad.index(number)) if number in bad else clean.record(i)
            yield _as_of(database, record, leads, number in bad)


def _as_of(database: str, record: Record, leads, noisy: bool) -> Record:
    """The record with the database's leads and its own vocabulary of labels."""
    keep = [k for k, lead in enumerate(record.leads) if lead in leads] or [0]
    labels = record.labels | _labels(database, record.labels, noisy)
    return record.but(
        signal=record.signal[keep], leads=tuple(record.leads[k] for k in keep), labels=labels,
        source=SIMULATED if database == SIMULATED else f"stand-in for {database}",
    )  # fmt: skip


def _labels(database: str, labels: dict[str, int], noisy: bool) -> dict[str, int]:
    def has(findings: tuple[str, ...]) -> int:
        return int(any(labels.get(code) == 1 for name in findings for code in FINDINGS[name][0]))

    if database == "cinc2017":
        said = "~" if noisy else "A" if has(("atrial fibrillation",)) else "O" if has(_OTHER) else "N"
        return {f"cinc2017:{name}": int(name == said) for name in "NAO~"}
    return {f"{database}:{code}": has(names) for code, names in VOCABULARIES.get(database, {}).items()}
