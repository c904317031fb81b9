"""Small ECG files, whole ones and broken ones."""

from __future__ import annotations

import numpy as np
import wfdb

from ecgraft.record import LEADS


def ecg(seed: int, leads: int = 2, seconds: float = 3.0, rate: float = 250.0) -> np.ndarray:
    """Spikes once a second over a little noise, (C, T) mV."""
    time, random = np.arange(round(seconds * rate)) / rate, np.random.default_rng(seed)
    spikes = np.exp(-(((time % 1.0 - 0.5) / 0.03) ** 2))
    return (np.linspace(0.6, 1.2, leads)[:, None] * spikes + 0.03 * random.standard_normal((leads, len(time)))).round(3)


def save(path, signal, **changes):
    """An NPZ that says everything."""
    said = {"signal": signal, "rate": 250.0, "unit": "mV", "leads": list(LEADS[: len(signal)])} | changes
    np.savez(path, **said)
    return path


def save_wfdb(folder, name: str, **header: str):
    """A WFDB record of I and II; `header` replaces words in its header."""
    folder.mkdir(exist_ok=True)
    signal = ecg(0).T
    words = {"fs": 250, "units": ["mV"] * 2, "sig_name": ["I", "II"], "fmt": ["16"] * 2, "write_dir": str(folder)}
    wfdb.wrsamp(name, p_signal=signal, **words)
    path = folder / f"{name}.hea"
    for old, new in header.items():
        path.write_text(path.read_text().replace(old.replace("_", " "), new))
    return path


def broken(folder) -> dict:
    """One file of each kind of damage -> what must be said of it."""
    folder.mkdir()
    whole = save(folder / "whole.npz", ecg(0)).read_bytes()
    np.save(folder / "half.npy", ecg(0))
    (folder / "half.npy").write_bytes((folder / "half.npy").read_bytes()[:1000])
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "foreign.npz").write_bytes(b"%PDF-1.4 not an ECG" + bytes(500))
    (folder / "words.csv").write_text("dear colleague,\nplease find\n" * 9)
    np.savez(folder / "objects.npz", signal=np.array([{"a": 1}], dtype=object))
    save(folder / "nan.npz", np.full((2, 750), np.nan))
    save(folder / "rate0.npz", ecg(0), rate=0.0)
    save(folder / "unit.npz", ecg(0), unit="furlong")
    np.save(folder / "silent.npy", ecg(0, leads=12))
    save_wfdb(folder, "short")
    (folder / "short.dat").write_bytes((folder / "short.dat").read_bytes()[:400])
    save_wfdb(folder, "alone")
    (folder / "alone.dat").unlink()
    save_wfdb(folder, "mmhg", **{"/mV": "/mmHg"})
    save_wfdb(folder, "stopped", **{"_2_250": " 2 0"})
    return {
        "half.npy": ["is it complete"],
        "cut.npz": ["cut short; get the file again"],
        "foreign.npz": ["not a format that ecgraft reads"],
        "words.csv": ["not a format that ecgraft reads", "an ECG in CSV has a row per sample"],
        "objects.npz": ["never read; save plain numbers"],
        "nan.npz": ["not a single sample"],
        "rate0.npz": ["rate 0.0 Hz; it must be above 0"],
        "unit.npz": ["unknown unit 'furlong'", "--unit mV"],
        "silent.npy": ["sampling rate", "--rate 500", "--unit mV", "12 leads", "--leads standard"],
        "short.hea": ["short.dat: cut short, 100 of 750 samples; get the file again"],
        "alone.hea": ["its signal file alone.dat is missing"],
        "mmhg.hea": ["lead I: unknown unit 'mmHg'", "--unit mV"],
        "stopped.hea": ["rate 0.0 Hz; it must be above 0"],
    }
