"""The same ECG, or the same patient, twice: within stores, across them, and on two sides of their splits; as tables."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import numpy as np

from ..record import UsageError
from ..store import Store, leaks, splits

QUICK = 20_000  # records in all that are looked through without being asked
SHOWN = 20  # pairs that are printed
COLUMNS = (
    *("kind", "store a", "record a", "part a", "store b", "record b", "part b", "leads", "correlation"),
    *("gain", "offset s", "seconds", "two sides"),
)


def wanted(stores: list[Store], asked: bool | None) -> bool:
    """Whether to look: as asked, else where it is quick or there are several stores to compare."""
    return bool(stores) and (asked if asked is not None else len(stores) > 1 or len(stores[0]) <= QUICK)


def check(to: Path, stores: list[Store], asked: bool | None) -> None:
    """UsageError for a file of pairs that could not be written in the end."""
    if to.suffix != ".csv":
        raise UsageError(f"--to {to}: pairs are written as .csv")
    if not stores or asked is False:
        raise UsageError(f"--to {to}: there are no pairs to write; give stores, and not --no-doubles")


def pairs(stores: list[Store], progress: bool) -> list[dict]:
    """A row for each pair, those on two sides of a split first; b = gain x a."""
    parts, found, rows = [splits.split(store) for store in stores], leaks.find(stores, progress), []
    apart = set(leaks.across(found, _sides(stores)))
    for leak in found:
        row = {"kind": leak.kind}
        for letter, store, i in (("a", leak.store_a, leak.row_a), ("b", leak.store_b, leak.row_b)):
            row |= {f"store {letter}": stores[store].path.name, f"record {letter}": stores[store].column("id")[i]}
            row[f"part {letter}"] = str(parts[store][i])
        numbers = {"correlation": leak.correlation, "gain": leak.gain, "offset s": leak.offset, "seconds": leak.seconds}
        row |= {"leads": " ".join(one if one == two else f"{one}={two}" for one, two in leak.leads)}
        rows.append(
            row
            | {name: round(float(v), 4) for name, v in numbers.items()}
            | {"two sides": "yes" if leak in apart else ""}
        )
    return sorted(rows, key=lambda row: row["two sides"] == "")


def _sides(stores: list[Store]) -> list[np.ndarray]:
    """On which side of a test each record stands: train and validation are one."""
    return [np.where(splits.split(store) == "test", "test", "learnt from") for store in stores]


def shared_patients(stores: list[Store]) -> list[dict]:
    """Patients with records in the test part and in another one, over all stores."""
    return [
        {"patient": one.patient, "records": ", ".join(stores[s].column("id")[row] for s, row in one.records[:4])}
        for one in leaks.patients(stores, _sides(stores))
    ]


def summary(rows: list[dict], patients: list[dict]) -> dict[str, str]:
    """What to say before the pairs are shown."""
    count = Counter(row["kind"] for row in rows)
    across = sum(row["two sides"] == "yes" for row in rows)
    return {
        "pairs": ", ".join(f"{n} {kind}" for kind, n in count.most_common()) or "none",
        "of them between test and other parts": str(across),
        "patients in test and other parts": str(len(patients)),
    }


def short(row: dict) -> dict:
    """A pair in few columns, for a terminal."""
    leads = row["leads"].split()
    out = {"kind": row["kind"]}
    out |= {side: f"{row[f'store {side}']}/{row[f'record {side}']} ({row[f'part {side}']})" for side in "ab"}
    out["leads"] = row["leads"] if len(leads) < 3 else str(len(leads))
    return out | {name: row[name] for name in ("correlation", "gain", "offset s", "seconds", "two sides")}


def write(to: Path, rows: list[dict]) -> None:
    """All pairs as CSV."""
    to.parent.mkdir(parents=True, exist_ok=True)
    beside = to.with_name(to.name + ".part")
    with beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(beside, to)
