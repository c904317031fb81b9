"""MATLAB files: by scipy (versions 4 and 5), and 7.3 by h5py as MATLAB lays it out: the oracle of the reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np

STEP = 1e-6  # mV
HEAD = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 ."


def mat(path, *, version: str = "5", packed: bool = False, **variables) -> Path:
    import scipy.io

    path = Path(path).with_suffix(".mat")
    scipy.io.savemat(path, variables, format=version, do_compression=packed)
    return path


def mat73(path, libver: str = "earliest", **variables) -> Path:
    """Matrices with their axes the other way round, text as numbers, lists as cells, dicts as structs."""
    import h5py

    path = Path(path).with_suffix(".mat")
    with h5py.File(path, "w", libver=(libver, "latest"), userblock_size=512) as file:
        for name, value in variables.items():
            _put(file, file, name, value)
    data = bytearray(path.read_bytes())
    data[:128] = HEAD.ljust(116) + bytes(8) + b"\0\2IM"
    path.write_bytes(data)
    return path


def _put(file, group, name: str, value) -> None:
    import h5py

    if isinstance(value, dict):
        inner = group.create_group(name)
        inner.attrs["MATLAB_class"] = np.bytes_("struct")
        for key, part in value.items():
            _put(file, inner, key, part)
        return
    if isinstance(value, str):
        kind, data = "char", np.array([[ord(letter)] for letter in value], np.uint16)
    elif isinstance(value, list):
        refs = file.require_group("#refs#")
        for text in value:
            _put(file, refs, text, text)
        kind, data = "cell", np.array([[refs[text].ref] for text in value], h5py.ref_dtype)
    else:
        data = np.atleast_2d(value).T
        kind = {"f8": "double", "f4": "single", "i2": "int16"}[data.dtype.str[1:]]
    more = {"compression": "gzip", "chunks": data.shape} if data.size > 100 else {}
    group.create_dataset(name, data=data, **more).attrs["MATLAB_class"] = np.bytes_(kind)


def save(path, signal, rate, leads, **more) -> Path:
    return mat(path, val=np.asarray(signal), **more)


def variants(folder) -> list[Path]:
    x, folder = np.random.default_rng(0).normal(size=(4, 3, 60)), Path(folder)
    said = {"fs": 250.0, "unit": "uV", "leads": ["I", "II", "V1"]}
    cells = np.array(said["leads"], object)
    return [
        mat(folder / "four", version="4", val=x[0, :1]),
        mat(folder / "struct", ECG={"data": x[0], "sex": "Male", "age": 40, "leads": cells}),
        mat(folder / "packed", packed=True, val=(100 * x[0, :1]).astype(np.int16)),
        mat(folder / "stack", val=x, leads=cells),
        mat73(folder / "new", val=x[0], **said),
        mat73(folder / "new_struct", ECG={"data": x[0].astype(np.float32), "age": 40.0, **said}),
        mat73(folder / "new_stack", "latest", x=x.transpose(0, 2, 1), **said),
    ]
