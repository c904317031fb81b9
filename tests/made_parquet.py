"""Parquet by pyarrow: tables with a row per sample, and with a row per record."""

from __future__ import annotations

from pathlib import Path

import numpy as np

STEP = 1e-6  # mV


def parquet(path, columns: dict, said: dict | None = None, **more) -> Path:
    import pyarrow
    import pyarrow.parquet

    path = Path(path).with_suffix(".parquet")
    table = pyarrow.table(columns)
    table = table.replace_schema_metadata(said) if said else table
    pyarrow.parquet.write_table(table, path, **more)
    return path


def save(path, signal, rate, leads, **more) -> Path:
    columns = {f"{lead} (mV)": np.asarray(row) for lead, row in zip(leads, signal)}
    return parquet(path, columns, {"fs": f"{rate:g}"}, **more)


def variants(folder) -> list[Path]:
    x, folder, made = np.random.default_rng(0).normal(size=(3, 2, 60)), Path(folder), []
    lists = {
        "signal": x.tolist(),
        "fs": [250] * 3,
        "leads": [["I", "II"]] * 3,
        "age": [50, None, 60],
        "sex": list("FMx"),
    }
    wide = {
        "I (uV)": [row.tolist() for row in x[:, 0]],
        "II (uV)": [row.tolist() for row in x[:, 1]],
        "id": list("abc"),
    }
    table = {
        "time": np.arange(60) / 250,
        "I": x[0, 0],
        "II": x[0, 1].astype("f4"),
        "n": np.arange(60),
        "note": ["a"] * 60,
    }
    for name, columns in {"lists": lists, "wide": wide, "table": table}.items():
        for packing in ("none", "snappy", "gzip", "zstd"):
            pages = {"data_page_version": "2.0" if packing in ("none", "gzip") else "1.0", "row_group_size": 2}
            pages["row_group_size"] = 40 if name == "table" else 2
            made.append(parquet(folder / f"{name}_{packing}", columns, {"units": "uV"}, compression=packing, **pages))
    return made
