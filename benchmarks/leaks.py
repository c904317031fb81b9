"""The leak check: pairs in real databases, what it finds of changed copies, and 100,000 records against each other.

    python benchmarks/leaks.py --data FOLDER --runs FOLDER

Every pair of records with the same ECG within and across the databases of the folder (names, no signals); the share of
copies that are found after each of several changes; seconds and memory for all pairs of simulated 12-lead ECGs of 10 s
at 250 Hz, some of them copies. All runs on two processes.
"""

from __future__ import annotations

import resource
import shutil
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
from _corpora import arguments
from _result import keep
from scipy.signal import resample_poly

from ecgraft import datasets
from ecgraft.commands.ingest import ingest
from ecgraft.record import Record
from ecgraft.signal.spectral import filter_resample
from ecgraft.simulator import Config, simulate
from ecgraft.store import Store, StoreWriter
from ecgraft.store.leaks import across, find, patients
from ecgraft.store.match import candidates
from ecgraft.store.shapes import seen_in, shapes, sketch
from ecgraft.store.splits import split

WORKERS, BAR = 2, 300
RATE, BATCH = 250.0, 64
RANDOM = np.random.default_rng(0)


def named(stores: dict[str, Store], leaks) -> list[list]:
    """Rows of a table: the two records, kind, correlation, gain, offset and seconds."""
    names = list(stores)
    rows = []
    for leak in leaks:
        a, b = ((names[s], stores[names[s]].column("id")[row]) for s, row in (leak[0:2], leak[2:4]))
        numbers = (round(v, 4) for v in (leak.correlation, leak.gain, leak.offset, leak.seconds))
        rows.append(["/".join(a), "/".join(b), leak.kind, len(leak.leads), *numbers])
    return rows


def real(data: Path, runs: Path) -> dict:
    """Pairs within and across the databases of a folder; PTB-XL also against its own 100 Hz copies."""
    stores = {}
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        name = datasets.detect(folder)
        if name or folder.name == "wfdb":
            to = runs / "stores" / (name or folder.name)
            stores[name or folder.name] = Store(to) if to.exists() else ingest(folder, to=to, progress=False)
    leaks = find(list(stores.values()), workers=WORKERS)
    found = {"records": {name: len(store) for name, store in stores.items()}, "pairs": named(stores, leaks)}
    parts = [split(store) for store in stores.values()]
    found["between parts of the splits"] = [row[:2] for row in named(stores, across(leaks, parts))]
    found["patients in several parts"] = [one.patient for one in patients(list(stores.values()), parts)]
    if "ptb_xl" in stores:
        to = runs / "stores" / "ptb_xl_100"
        slow = Store(to) if to.exists() else ingest(data / "ptb-xl", to=to, rate=100.0, progress=False)
        fast = stores["ptb_xl"]
        patient = [[store.column("id")[i][:5] for i in range(len(store))] for store in (fast, slow)]
        leaks = [leak for leak in find([fast, slow], workers=WORKERS) if leak.store_a != leak.store_b]
        own = [leak for leak in leaks if patient[0][leak.row_a] == patient[1][leak.row_b]]
        found["ptb_xl at 500 and 100 Hz"] = {"records": len(fast), "found": len(own), "others": len(leaks) - len(own)}
        seen = seen_in(sketch(shapes(fast), np.arange(len(fast))), shapes(slow))
        found["ptb_xl at 500 and 100 Hz"]["known by sketch"] = len(seen)
    return found


def resampled(x: np.ndarray, *rates: float) -> np.ndarray:
    for old, new in pairwise(rates):
        x = resample_poly(x, int(new), int(old), axis=1)
    return x.astype(np.float32)


def rounded(x: np.ndarray, step: float = 0.005) -> np.ndarray:
    return (np.rint(x / step) * step).astype(np.float32)


def changed(record: Record) -> dict[str, Record]:
    """The copies that should be found."""
    x, fs, time_ = record.signal, record.rate, np.arange(record.signal.shape[1]) / record.rate
    begin = int(RANDOM.uniform(0.5, 3) * fs)
    wander = 0.3 * np.sin(2 * np.pi * 0.2 * time_ + 1) + 0.1 * np.sin(2 * np.pi * 0.35 * time_)
    lead = int(RANDOM.choice([0, 1, *range(max(2, len(x) - 6), len(x))])) % len(x)
    noise = 0.02 * RANDOM.standard_normal(x.shape).astype(np.float32)
    return {
        "gain -2.5": record.but(signal=x * -2.5),
        "rounded to 5 uV": record.but(signal=rounded(x)),
        "rounded to 20 uV": record.but(signal=rounded(x, 0.02)),
        "to 360 and 250 Hz": record.but(signal=resampled(x, fs, 360, 250), rate=250.0),
        "to 100 Hz, 5 uV": record.but(signal=rounded(resampled(x, fs, 100)), rate=100.0),
        "cropped by 0.5 to 3 s": record.but(signal=x[:, begin:]),
        "6 s of it": record.but(signal=x[:, begin : begin + int(6 * fs)]),
        "baseline wander 0.4 mV": record.but(signal=x + wander.astype(np.float32)),
        "0.5-40 Hz": record.but(signal=filter_resample(x, fs, None, 0.5, 40.0)),
        "noise 20 uV": record.but(signal=x + noise),
        "one lead, renamed": record.but(signal=x[[lead]], leads=("ECG",)),
    }


def recall(store: Store, runs: Path, count: int) -> dict:
    """Of copies of `count` records of a store: the share that is found, and how many wrong pairs there are."""
    rows, found = np.sort(RANDOM.permutation(len(store))[:count]), {}
    copies: dict[str, list[Record]] = {}
    for i in rows.tolist():
        record = store.record(i)
        for name, copy in changed(record.but(signal=np.nan_to_num(record.signal))).items():
            copies.setdefault(name, []).append(copy.but(id=str(i)))
    mine = sketch(shapes(store, workers=WORKERS), np.arange(len(store)))
    own = {leak[1:4:2] for leak in find([store], workers=WORKERS)}
    for name, records in copies.items():
        folder = runs / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        with StoreWriter(folder) as writer:
            for record in records:
                writer.add(record)
        other = Store(folder)
        pairs = {(k.row_a, int(other.column("id")[k.row_b])) for k in find([store, other]) if k.store_a < k.store_b}
        known = len(seen_in(mine, shapes(other)))
        hits = sum((i, i) in pairs for i in rows.tolist())
        wrong = sum(a != b and (min(a, b), max(a, b)) not in own for a, b in pairs)
        found[name] = {"found": round(hits / count, 4), "by sketch": round(known / count, 4), "wrong pairs": wrong}
    shutil.rmtree(folder)
    return found


def simulated(folder: Path, count: int, copies: int) -> tuple[Store, dict[int, int]]:
    """A store whose last `copies` records are changed ones, and copy -> original."""
    origin = {count - copies + k: k * ((count - copies) // copies) for k in range(copies)}
    if not folder.exists():
        with StoreWriter(folder) as writer:
            for start in range(0, count - copies, BATCH):
                batch = simulate(7, range(start, min(start + BATCH, count - copies)), Config(rate=RATE))
                for i in range(len(batch.index)):
                    writer.add(batch.record(i))
            for row, first in origin.items():
                record = simulate(7, [first], Config(rate=RATE)).record(0)
                kinds = changed(record)
                writer.add(list(kinds.values())[row % len(kinds)].but(id=f"copy-{row}"))
    return Store(folder), origin


def rhythm(store: Store, row: int) -> list[str]:
    return [name for _, _, name in store.rhythms(row)]


def speed(runs: Path, count: int, copies: int) -> dict:
    """Seconds for the keys of a store, for the candidates and for comparing them, all pairs of its records."""
    store, origin = simulated(runs / "stores" / f"leaks_{count}", count, copies)
    shutil.rmtree(store.path / "cache", ignore_errors=True)
    times = [time.perf_counter()]
    keys = shapes(store, workers=WORKERS)
    times.append(time.perf_counter())
    number = len(candidates([keys], [len(store)]))
    times.append(time.perf_counter())
    leaks = find([store], workers=WORKERS)
    times.append(time.perf_counter())
    hashing, matching, both = np.diff(times)
    pairs = {(leak.row_a, leak.row_b): leak for leak in leaks}
    hits = {row for row, first in origin.items() if (first, row) in pairs}
    wrong = [leak for pair, leak in pairs.items() if origin.get(pair[1]) != pair[0]]
    half = np.arange(0, len(store) - copies, 2)
    false_alarms = np.setdiff1d(seen_in(sketch(keys, half), keys), half)
    false_alarms = [row for row in false_alarms.tolist() if row not in origin]
    memory = [resource.getrusage(who).ru_maxrss / 2**20 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "records": len(store), "keys": len(keys.key), "candidates": number, "copies": copies, "found": len(hits),
        "wrong pairs": len(wrong),
        "their correlations": sorted(round(k.correlation, 4) for k in wrong)[-9:],
        "their rhythms": dict(Counter(code for k in wrong for code in rhythm(store, k.row_a)).most_common(4)),
        "seconds": {"keys": hashing, "matching": matching, "comparing": both - matching, "all": hashing + both},
        "bar": BAR, "GiB of the process": round(memory[0], 2), "GiB of the largest worker": round(memory[1], 2),
        "sketch": {"records in it": len(half), "others": len(half), "false alarms": len(false_alarms)},
    }  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--copies", type=int, default=220)
    given = parser.parse_args()
    fast = speed(given.runs, given.records, given.copies)
    fast["seconds"] = {name: round(float(value), 1) for name, value in fast["seconds"].items()}
    found = {"speed": fast, "real": real(given.data, given.runs)}
    for name in ("ptb_xl", "cinc2017"):
        store = given.runs / "stores" / name
        if store.exists():
            found[f"changed copies of 150 records of {name}"] = recall(Store(store), given.runs, 150)
    keep("leaks", **found)


if __name__ == "__main__":
    main()
