"""HDF5 files through h5py, an optional dependency."""

from __future__ import annotations

from pathlib import Path

from ..formats import reading
from ..record import InputError


def opened(path):
    """The file, open for reading. Raises InputError where it is missing or not HDF5, or where h5py is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{path}: HDF5 files need h5py; install it with: pip install 'ecgraft[hdf5]'") from error
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    with reading(path, "an HDF5 file"):
        return h5py.File(path, "r")
