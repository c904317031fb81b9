"""Random windows from a store against wfdb, and the import of PTB-XL against a bare loop of wfdb.

    python benchmarks/store.py --data FOLDER        a folder that holds ptb-xl, or ptb-xl itself

Both in this process's warm page cache, in turns, medians compared. Where the folder has fewer records than asked for,
copies of them under new names, in a temporary folder, make up the rest: equal content, other files.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import shutil
import tempfile
from pathlib import Path

import numpy as np
import wfdb
from _result import in_turns, keep

from ecgraft.commands.ingest import ingest
from ecgraft.store import Store

TABLE = "ptbxl_database.csv"
BATCH, SAMPLES, WORKERS = 64, 5000, 2


def enlarged(source: Path, folder: Path, count: int) -> int:
    """A PTB-XL of `count` records at 500 Hz in `folder`; returns how many different ones there are."""
    with open(source / TABLE, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    (folder / "records").mkdir(parents=True)
    with open(folder / TABLE, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for k in range(count):
            row, copy = rows[k % len(rows)], k // len(rows)
            old = source / row["filename_hr"]
            name = f"c{copy}_{old.name}"
            shutil.copyfile(f"{old}.dat", folder / "records" / f"{name}.dat")
            (folder / "records" / f"{name}.hea").write_text(Path(f"{old}.hea").read_text().replace(old.name, name))
            patient = str(float(row["patient_id"]) + 1e6 * copy)
            writer.writerow(row | {"ecg_id": k + 1, "patient_id": patient, "filename_hr": f"records/{name}"})
    return min(count, len(rows))


def read(path: str) -> None:
    wfdb.rdrecord(path)


def imports(folder: Path, repeats: int) -> dict:
    """Seconds for `ecgraft import` and for nothing but wfdb.rdrecord, both on 2 processes."""
    paths = sorted(str(path.with_suffix("")) for path in (folder / "records").glob("*.hea"))
    store = folder / "store"

    def bare():
        with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
            pool.map(read, paths, chunksize=64)

    def whole():
        shutil.rmtree(store, ignore_errors=True)
        ingest(folder, to=store, workers=WORKERS, progress=False)

    seconds = in_turns({"wfdb": bare, "ecgraft": whole}, repeats)
    ratio = round(seconds["ecgraft"] / seconds["wfdb"], 3)
    return {"records": len(paths), "seconds": {k: round(v, 3) for k, v in seconds.items()}, "ratio": ratio, "bar": 1.3}


def windows(folder: Path, repeats: int, batches: int = 20) -> dict:
    """Windows a second of 12 x 10 s, batches of 64: one process each, the same windows, and equal numbers."""
    store, random = Store(folder / "store"), np.random.default_rng(0)
    index = random.integers(0, len(store), (batches, BATCH))
    start = random.integers(0, store.number("length")[index] - SAMPLES + 1)
    names = store.column("id")

    def mapped():
        for rows, starts in zip(index, start):
            store.windows(rows, starts, SAMPLES)

    def files(rows=index[0], starts=start[0]):
        both = zip(rows, starts)
        read = [
            wfdb.rdrecord(str(folder / "records" / names[i]), sampfrom=int(s), sampto=int(s) + SAMPLES) for i, s in both
        ]
        return np.stack([record.p_signal.T for record in read])  # (B, C, S)

    assert np.array_equal(store.windows(index[0], start[0], SAMPLES), files().astype(np.float32))
    seconds = in_turns({"wfdb": files, "ecgraft": mapped}, repeats)
    speed = {"wfdb": BATCH / seconds["wfdb"], "ecgraft": batches * BATCH / seconds["ecgraft"]}
    ratio = round(speed["ecgraft"] / speed["wfdb"], 1)
    return {"per second": {k: round(v) for k, v in speed.items()}, "ratio": ratio, "bar": 50}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--records", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    source = options.data if (options.data / TABLE).exists() else options.data / "ptb-xl"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "ptb-xl"
        different = enlarged(source, folder, options.records)
        found = {"import": imports(folder, options.repeats), "windows": windows(folder, options.repeats)}
    found["import"]["different records"] = different
    keep("store", **found)


if __name__ == "__main__":
    main()
