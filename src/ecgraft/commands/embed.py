"""ecgraft embed: the pooled features of every record of a store, for an analysis of the user's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np

from ..model import Model
from ..record import UsageError
from ..store import Store
from ._features import features
from ._say import say
from .adapt import pick_device


def embed(
    store: Annotated[Path, "store of records"],
    *,
    to: Annotated[Path, "file to write: .npz (id, patient, embedding) or .csv"],
    model: Annotated[str, "model folder or encoder file"] = "default",
    device: Annotated[str, "where to compute: auto, cpu, cuda or mps"] = "auto",
    progress: Annotated[bool, "show progress"] = True,
) -> np.ndarray:
    """Writes one row of features per record, in the store's order: the mean over the record's windows. (N, D)"""
    if to.suffix not in (".npz", ".csv"):
        raise UsageError(f"--to {to}: the ending says the format; use .npz or .csv")
    corpus, loaded = Store(store), Model.base(model)
    cache = corpus.prepared(loaded.recipe, progress=progress)
    embedding = features(loaded.encoder, loaded.recipe, cache, np.arange(len(corpus)), pick_device(device))
    ids, patients = (np.array([str(v or "") for v in corpus.column(name)]) for name in ("id", "patient"))
    to.parent.mkdir(parents=True, exist_ok=True)
    beside = to.with_name(to.name + ".part")
    with beside.open("wb") as file:
        if to.suffix == ".npz":
            np.savez(file, id=ids, patient=patients, embedding=embedding)
        else:
            file.write(_csv(ids, patients, embedding).encode())
    os.replace(beside, to)
    if progress:
        say(f"{len(ids)} records x {embedding.shape[1]} features: {to}")
    return embedding


def _csv(ids, patients, embedding: np.ndarray) -> str:
    import pandas as pd

    table = pd.DataFrame(embedding, columns=[f"f{k}" for k in range(embedding.shape[1])])
    return pd.concat([pd.DataFrame({"id": ids, "patient": patients}), table], axis=1).to_csv(index=False)
