"""What a graft or an encoder has learnt from, kept so that it is found again among records that are to test it.

A graft's file carries checksums and a sketch of shapes (no signal, no name, no patient). Keys of the patients, which
somebody with a list of numbers could turn back, stay in the model's own training folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..record import InputError
from ..store import Store
from ..store.shapes import NONE, PIECE, seen_in, sketch, some

SAMPLES, PATIENT, ALIKE = "same samples", "same patient", "alike"  # kinds of leak, the surest first
PERSONS = "persons.npy"
PRETRAINING = "pretraining"  # folder of the encoder's own training, beside those of the grafts
SHOWN = 5  # records in a message
BYTES = 250_000  # of a sketch, above which it gets coarser
KEYS = (2, 8)  # in a sketch for every 10 s: fewest and most; two tell a record


def tensors(store: Store, rows: np.ndarray, progress: bool = False) -> dict[str, torch.Tensor]:
    """What a file says of the records that were learnt from: "seen.samples" (n,), "seen.shapes" (m, 2 to 8)."""
    checksums = np.unique(np.asarray(store.number("checksum"))[rows])
    pieces = np.ceil(store.number("length")[rows] / store.number("rate")[rows] / PIECE).sum()
    keys = int(np.clip(BYTES // (8 * max(pieces, 1)), *KEYS))
    sketched = sketch(some(store, rows, progress), np.asarray(rows), keys)
    return _signed(checksums, sketched)


def joined(parts: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """What several files say, as one: for a graft whose head begins with that of another."""
    samples = np.unique(np.concatenate([_unsigned(part, "seen.samples") for part in parts]))
    sketches = [s for part in parts if len(s := _unsigned(part, "seen.shapes"))]
    width = max((s.shape[1] for s in sketches), default=KEYS[0])
    filled = [np.pad(s, ((0, 0), (0, width - s.shape[1])), constant_values=NONE) for s in sketches]
    return _signed(samples, np.unique(np.concatenate([np.empty((0, width), np.uint64), *filled]), axis=0))


def note_persons(folder: Path, parts: list[tuple[Store, np.ndarray]]) -> None:
    """Keeps the keys of the patients of (store, rows) beside the training; not for passing on."""
    folder.mkdir(parents=True, exist_ok=True)
    persons = [np.asarray(store.number("person"))[rows] for store, rows in parts]
    with (folder / (PERSONS + ".part")).open("wb") as file:
        np.save(file, np.unique(np.concatenate([np.zeros(0, np.uint64), *persons])))
    os.replace(folder / (PERSONS + ".part"), folder / PERSONS)


@dataclass(frozen=True)
class Leaks:
    """Records of a test that were learnt from, by kind: rows of the store."""

    kinds: dict[str, np.ndarray]

    @property
    def rows(self) -> np.ndarray:
        return np.unique(np.concatenate([*self.kinds.values(), np.zeros(0, np.int64)])).astype(np.int64)

    @property
    def sure(self) -> bool:
        """Whether there is more than a likeness."""
        return any(len(self.kinds.get(kind, ())) for kind in (SAMPLES, PATIENT))

    def describe(self, store: Store) -> str:
        counts = [f"{len(rows)} {kind}" for kind, rows in self.kinds.items() if len(rows)]
        names = [store.column("id")[int(i)] for i in self.rows[:SHOWN]]
        return f"{', '.join(counts)}: {', '.join(names)}{' ...' if len(self.rows) > SHOWN else ''}"


def find(
    parts: list[dict[str, torch.Tensor]], persons: list[Path], store: Store, rows: np.ndarray, progress=False
) -> Leaks:
    """Which of the rows were learnt from, by what files say ("seen.NAME" tensors) and by files of keys of patients."""
    kinds, left = {}, np.asarray(rows)
    samples = np.concatenate([_unsigned(part, "seen.samples") for part in parts] or [np.zeros(0, np.uint64)])
    kinds[SAMPLES] = left[np.isin(np.asarray(store.number("checksum"))[left], samples)]
    left = np.setdiff1d(left, kinds[SAMPLES])
    known = np.concatenate([np.zeros(0, np.uint64), *map(_persons, persons)])
    kinds[PATIENT] = left[np.isin(np.asarray(store.number("person"))[left], known)]
    left = np.setdiff1d(left, kinds[PATIENT])
    sketches = [s for part in parts if len(s := _unsigned(part, "seen.shapes"))]
    there = some(store, left, progress) if sketches else None
    alike = [seen_in(sketched, there) for sketched in sketches]
    kinds[ALIKE] = np.intersect1d(left, np.concatenate([*alike, left[:0]]))
    return Leaks(kinds)


def settle(found: Leaks, store: Store, rows: np.ndarray, rule: str) -> np.ndarray:
    """The rows that are left to score by a rule: refuse (InputError if any was learnt from for sure), drop or allow."""
    if rule == "refuse" and found.sure:
        raise InputError(
            f"{store.path}: {len(found.rows)} of {len(rows)} records were learnt from ({found.describe(store)}). "
            "Score others, leave these out with --leaks drop, or score them all the same with --leaks allow"
        )
    if rule != "drop":
        return rows
    left = np.setdiff1d(rows, found.rows)
    if not len(left):
        raise InputError(f"{store.path}: all {len(rows)} records were learnt from; take other records to test with")
    return left


def _signed(samples: np.ndarray, sketched: np.ndarray) -> dict[str, torch.Tensor]:
    pairs = {"seen.samples": samples, "seen.shapes": sketched}
    return {name: torch.from_numpy(values.view(np.int64).copy()) for name, values in pairs.items()}


def _unsigned(part: dict[str, torch.Tensor], name: str) -> np.ndarray:
    return part[name].numpy().view(np.uint64) if name in part else np.zeros(0, np.uint64)


def _persons(path: Path) -> np.ndarray:
    if not path.is_file():
        return np.zeros(0, np.uint64)
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); delete it to go on without this check") from error
    return found.astype(np.uint64)
