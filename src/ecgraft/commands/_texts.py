"""The embeddings of a store's reports: computed once for each different report and text encoder, kept beside the store.

cache/texts-*/   key.npy (K,) of the different reports, ascending; embedding.npy (K, E); done.npy (K,)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from ..nn import text
from ..nn.text import TextEncoder
from ..record import InputError
from ..store import Store
from ..store.layout import CACHE, LOCK, memory_map
from ..store.lock import Lock
from ..store.parallel import progress_bar
from ..store.table import digest
from ._features import open_table, write_array
from ._text_side import text_graft

BLOCK = 1024  # reports between two notes of what is done
MOST = 100_000  # reports that `Told` remembers


@dataclass(frozen=True)
class Texts:
    """What the reports of a store's records say.

    place      (N,) the row of `embedding` (K, E) that a record's report has, -1 for none
    key        (N,) int64, equal for equal reports; -1 for none
    identity   of the text encoder
    """

    place: np.ndarray
    key: np.ndarray
    embedding: np.ndarray
    identity: dict

    def batch(self, index: np.ndarray, start=None, samples=None) -> dict[str, np.ndarray]:
        """text (B, E) float32, text_known (B,), text_key (B,) of rows of the store; a report is that of all windows."""
        place = self.place[index]
        u = np.array(self.embedding[np.maximum(place, 0)], np.float32)
        u[place < 0] = 0
        return {"text": u, "text_known": place >= 0, "text_key": self.key[index]}

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """The mean embedding (E,) over records, those without a report left out."""
        place, count = np.unique(self.place[rows][self.place[rows] >= 0], return_counts=True)
        total = np.zeros(self.embedding.shape[1])
        for at in range(0, len(place), BLOCK):
            total += count[at : at + BLOCK] @ self.embedding[place[at : at + BLOCK]].astype(float)
        return (total / max(count.sum(), 1)).astype(np.float32)


class Told:
    """`told(reports) -> arrays` as those of `Texts.batch`, for ECGs that are in no store; it remembers what it read."""

    def __init__(self, encoder: TextEncoder):
        self.encoder, self.identity = encoder, encoder.identity
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, reports: list[str]) -> dict[str, np.ndarray]:
        reports = [report.strip() for report in reports]
        known = self._known if len(self._known) + len(reports) <= MOST else {}  # threads may share this
        new = [report for report in dict.fromkeys(reports) if report and report not in known]
        known.update(zip(new, self.encoder.embed(new) if new else ()))
        self._known = known
        nothing = np.zeros(self.identity["width"], np.float32)
        u = np.array([known.get(report, nothing) for report in reports], np.float32)
        return {
            "text": u.reshape(len(reports), len(nothing)),
            "text_known": np.array([bool(report) for report in reports], bool),
            "text_key": np.array([key_of(report) for report in reports], np.int64),
        }


class Reports:
    """What a pretraining reads of reports: those of the stores of its `sources`, and of simulated ECGs."""

    def __init__(self, sources):
        self.sources, self.encoder = sources, text.build(sources.options.text)
        self.told, pool = Told(self.encoder), sources.pool
        self.stored = [kept_texts(self.encoder, *each, sources.progress) for each in zip(pool.stores, pool.rows)]
        if not sources.options.simulated and not any((t.key[r] >= 0).any() for t, r in zip(self.stored, pool.rows)):
            names = ", ".join(str(store.path) for store in pool.stores)
            raise InputError(
                f"{names}: no record to learn from has a report; take a store with reports, or simulated=0.5"
            )

    def known(self) -> dict:
        return {"text_width": self.encoder.identity["width"]}

    def made(self, made, x: np.ndarray) -> dict[str, np.ndarray]:
        """Of simulated ECGs."""
        return self.told([made.text(i) for i in range(len(x))])

    def prepare(self, objective: nn.Module) -> None:
        """Gives the mean embedding to whoever of the objective's parts wants it."""
        for part in objective.modules():
            if hasattr(part, "fit_texts"):
                part.fit_texts(self._mean())

    def grafts(self, objective: nn.Module, model, card: dict) -> list:
        return [text_graft(objective, model, self.encoder.identity, card)]

    def _mean(self) -> np.ndarray:
        """Over the stores' reports, or those of simulated ECGs where there is none."""
        pairs = [(each, rows, (each.key[rows] >= 0).sum()) for each, rows in zip(self.stored, self.sources.pool.rows)]
        count = sum(n for _, _, n in pairs)
        if count:
            return sum(n / count * each.mean(rows) for each, rows, n in pairs).astype(np.float32)
        return self.sources.simulated.batch(0, BLOCK)["text"].numpy().mean(0)


def key_of(report: str) -> int:
    """63 bits of a report; -1 of none."""
    return digest(report.encode("utf-8", "replace")) >> 1 if report else -1


def kept_texts(encoder: TextEncoder, store: Store, rows: np.ndarray | None = None, progress: bool = False) -> Texts:
    """The embeddings of the reports of `rows` (default: all); only those are computed that were never asked for before.

    They lie in the store's cache folder, safe to delete, and go when the store changes; one process at a time adds to
    them. A record that is not among the rows may have an embedding of zeros.
    """
    rows = np.arange(len(store)) if rows is None else np.asarray(rows)
    key = np.fromiter((key_of(report) for report in reports(store)), np.int64, len(store))
    if not (key[rows] >= 0).any():
        return Texts(
            np.full(len(store), -1), key, np.zeros((1, encoder.identity["width"]), np.float32), encoder.identity
        )
    folder = store.path / CACHE / f"texts-{_short(encoder.identity)}"
    folder.mkdir(parents=True, exist_ok=True)
    with Lock(folder / LOCK, f"{folder}: another process reads these reports", patience=3600):
        keys = np.unique(key[key >= 0])
        table, done = open_table(folder, store, "embedding", (len(keys), int(encoder.identity["width"])))
        place = np.where(key >= 0, np.searchsorted(keys, key), -1)
        wanted, first = np.unique(place[rows], return_index=True)
        missing = (wanted >= 0) & ~done[wanted]
        _fill(encoder, store, folder, table, done, wanted[missing], rows[first[missing]], progress)
    return Texts(place, key, memory_map(folder / "embedding.npy", np.dtype("f4"), table.shape), encoder.identity)


def reports(store: Store) -> Iterable[str]:
    """Every record's report without the space around it; "" for none."""
    return (report.strip() for report in store.column("report"))


def _short(identity: dict) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def _fill(encoder, store: Store, folder: Path, table, done, places, owners, progress: bool) -> None:
    """Embeds the report of each record of `owners` into its place of the table."""
    column = store.column("report")
    with progress_bar("reading reports", len(places), 0, progress and len(places) > 0) as advance:
        for at in range(0, len(places), BLOCK):
            block = places[at : at + BLOCK]
            table[block] = encoder.embed([column[int(i)].strip() for i in owners[at : at + BLOCK]])
            table.flush()
            done[block] = True
            write_array(folder / "done.npy", done)
            advance(len(block))
