"""How fast files of each format are read and imported, beside the bare library that reads them.

    python benchmarks/import_speed.py

One simulated 12-lead ECG of 10 s at 500 Hz is written in each format by the encoders of the tests (made_NAME.py).
`read` is ecgraft.read; `library` is the named library, asked for an array of physical values and nothing else: no lead
names, units, statements or checks. Both take turns; milliseconds are the median, `ratio` is read / library. `import`
is `ecgraft import` of a folder of 2,000 links to it, with 2 processes, from start to end: detection, reading, quality
checks, the store and its account included. No library reads ECGs in XML; there it is a parser, which returns text.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _result import in_turns, keep

from ecgraft import formats, plugs, simulator
from ecgraft.record import LEADS

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
RATE, SECONDS, SEED = 500.0, 10.0, 0


def _wfdb(path: Path):
    import wfdb

    return wfdb.rdrecord(str(path.with_suffix(""))).p_signal


def _edf(path: Path):
    import edfio

    return [signal.data for signal in edfio.read_edf(path).signals]


def _dicom(path: Path):
    import pydicom

    return pydicom.dcmread(path).waveform_array(0)


def _hdf5(path: Path):
    import h5py

    with h5py.File(path) as file:
        found: list = []
        file.visititems(lambda _, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
        return max(found, key=np.size)


def _parquet(path: Path):
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path).to_pandas().to_numpy()


def _csv(path: Path):
    import pandas

    return pandas.read_csv(path).to_numpy()


def _mat(path: Path):
    import scipy.io

    return scipy.io.loadmat(path)


def _npy(path: Path):
    loaded = np.load(path)
    return {name: loaded[name] for name in loaded.files} if hasattr(loaded, "files") else loaded


def _wav(path: Path):
    import scipy.io.wavfile

    return scipy.io.wavfile.read(path)


def _numbers(path: Path):
    return np.fromfile(path, "<i2").astype(np.float32)


def _xml(path: Path):
    import xml.etree.ElementTree

    return xml.etree.ElementTree.parse(path)


LIBRARIES: dict[str, tuple[str, Callable]] = {
    "wfdb": ("wfdb", _wfdb),
    "edf": ("edfio", _edf),
    "dicom": ("pydicom", _dicom),
    "hdf5": ("h5py", _hdf5),
    "parquet": ("pyarrow", _parquet),
    "csv": ("pandas", _csv),
    "mat": ("scipy", _mat),
    "npy": ("numpy", _npy),
    "wav": ("scipy", _wav),
    "ishne": ("numpy.fromfile", _numbers),
    **{name: ("ElementTree", _xml) for name in ("aecg", "muse", "philips", "schiller", "cardiosoft")},
}


def ecg() -> np.ndarray:
    """(12, 5000) mV, in whole microvolts."""
    made = simulator.simulate(SEED, range(1), simulator.Config(rate=RATE, seconds=SECONDS))
    return np.round(made.record(0).signal.astype(float), 3)


def files(folder: Path) -> dict[str, Path]:
    """A file of each format."""
    x, found = ecg(), {}
    for name in plugs.names("formats"):
        (folder / name).mkdir()
        found[name] = importlib.import_module(f"made_{name}").save(folder / name / "ecg", x, RATE, LEADS)
    return found


def milliseconds(path: Path, name: str, repeats: int) -> dict:
    """Medians of ecgraft.read and of the bare library."""
    given = {"rate": RATE, "unit": "mV", "leads": "standard"}
    library, bare = LIBRARIES.get(name, ("none", None))
    runs = {"read": lambda: formats.read(path, **given)} | ({"library": lambda: bare(path)} if bare else {})
    seconds = in_turns(runs, repeats)
    found = {"read_ms": round(1000 * seconds["read"], 3), "library": library}
    if bare:
        found |= {"library_ms": round(1000 * seconds["library"], 3)}
        found |= {"ratio": round(seconds["read"] / seconds["library"], 2)}
    return found


def imported(path: Path, name: str, count: int, folder: Path) -> float:
    """Files per second of an import of copies."""
    source = folder / f"{name}-copies"
    module = plugs.find("formats", name)
    parts = module.parts(path) if hasattr(module, "parts") else []
    for i in range(count):
        place = source / f"{i:04d}"
        place.mkdir(parents=True)
        for file in (path, *parts):
            os.link(file, place / file.name)
    command = [sys.executable, "-m", "ecgraft", "import", str(source), "--to", str(folder / f"{name}-store")]
    command += ["--rate", f"{RATE:g}", "--unit", "mV", "--leads", "standard", "--workers", "2"]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    took = time.perf_counter() - start
    shutil.rmtree(source)
    shutil.rmtree(folder / f"{name}-store")
    return count / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=51)
    parser.add_argument("--count", type=int, default=2000, help="files in an import")
    options = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as place:
        for name, path in files(Path(place)).items():
            rows[name] = {"bytes": path.stat().st_size} | milliseconds(path, name, options.repeats)
            rows[name]["import_files_per_s"] = round(imported(path, name, options.count, Path(place)))
            print(name, rows[name], flush=True)
    keep("import_speed", record=f"12 x {RATE * SECONDS:g}", seed=SEED, repeats=options.repeats, formats=rows)


if __name__ == "__main__":
    main()
