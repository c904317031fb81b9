"""An encoder of NPY by the format's description in NumPy (NEP 1), and of NPZ: the oracle of the reader."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np

STEP = 1e-6  # mV
CODES = {"<f4": "f", "<f8": "d", ">f8": "d", "<i2": "h", ">i2": "h", "<f2": "e"}


def npy(values, dtype: str = "<f8", fortran: bool = False) -> bytes:
    """An array of numbers, one after the other as they stand in the file."""
    array = np.asarray(values)
    head = f"{{'descr': '{dtype}', 'fortran_order': {fortran}, 'shape': {array.shape}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    flat = array.flatten("F" if fortran else "C").tolist()
    flat = [int(v) for v in flat] if dtype[1] == "i" else flat
    return (
        b"\x93NUMPY\1\0"
        + struct.pack("<H", len(head))
        + head.encode()
        + struct.pack(f"{dtype[0]}{len(flat)}{CODES[dtype]}", *flat)
    )


def npz(path, packed: bool = True, **arrays) -> Path:
    path = Path(path).with_suffix(".npz")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, value in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, np.asarray(value), allow_pickle=False)
            archive.writestr(f"{name}.npy", value if isinstance(value, bytes) else data.getvalue())
    return path


def save(path, signal, rate, leads, **more) -> Path:
    path = Path(path).with_suffix(".npy")
    path.write_bytes(npy(signal, **more))
    return path


def variants(folder) -> list[Path]:
    x, folder, made = np.random.default_rng(0).normal(size=(4, 3, 70)), Path(folder), []
    for i, (dtype, fortran) in enumerate(
        [("<f8", False), ("<f4", True), (">f8", False), ("<i2", True), ("<f2", False)]
    ):
        made.append(save(folder / f"one{i}", 1000 * x[0, :1], 0, (), dtype=dtype, fortran=fortran))
    made.append(save(folder / "stack", x[:, :1], 0, ()))
    made.append(save(folder / "turned", x[:, :1].transpose(0, 2, 1), 0, (), fortran=True))
    said = {"fs": 250, "unit": "uV", "leads": ["I", "II", "V1"]}
    made.append(npz(folder / "said", signal=x[0], age=50, sex="F", **said))
    made.append(npz(folder / "plain", packed=False, ecg=x.transpose(0, 2, 1), age=[1, 2, 3, 4], **said))
    made.append(npz(folder / "packed", ecg=x.astype(np.float16), other=np.arange(5), patient_id=list("abcd"), **said))
    return made
