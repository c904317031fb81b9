"""Delineation: boundaries of P, QRS and T waves found, missed and invented, their errors, and Dice per sample.

The rule. A reference boundary pairs with the nearest predicted boundary of the same kind, lead and side, one to one,
the closest pair first, within the tolerance (150 ms). Only annotated spans are scored (LUDB leaves outer beats out):
- a reference boundary in a span, edges included, is always counted: a hit if paired, wherever its pair is, else missed;
- an unpaired predicted boundary is false if it lies in a span, [start, stop);
- a prediction outside the spans, or paired with a reference outside, is neither;
- a predicted boundary is not false either if its wave overlaps a reference wave of which this side is not known.
Errors are predicted minus reference, of hits. A row with lead -1 stands for every scored lead; to score global (fused)
marks against each other, score lead -1 itself: `leads=(-1,)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..record import QRS, P, T
from ..signal.waves import classes
from .match import pairs
from .sums import macro, ratio

BOUNDARIES = ("P onset", "P offset", "QRS onset", "QRS offset", "T onset", "T offset")
CSE = (10.2, 12.7, 6.5, 11.6, np.nan, 30.6)  # ms, tolerated SD per boundary (CSE working party 1985); none for T onset
COUNTS = ("hits", "missed", "false", "error", "squared")  # squared and summed errors in ms


def count(reference, predicted, spans, rate: float, leads: Sequence[int], tolerance: float = 0.150) -> np.ndarray:
    """COUNTS per boundary, (6, 5), of one record: WAVE rows, SPAN rows (None: all is scored), the leads to score.

    Counts add up over records; weighted sums of them give bootstrap replicates.
    """
    truth, found = _on_leads(reference, leads), _on_leads(predicted, leads)
    spans = None if spans is None else _on_leads(spans, leads)
    stride = _latest(truth, found) + int(2 * tolerance * rate) + 2
    a, b = _Points(truth, stride), _Points(found, stride)
    i, j = pairs(a.key, b.key, tolerance * rate)
    scored = _inside(a, spans, closed=True)
    alone = np.ones(len(b.key), dtype=bool)
    alone[j] = False
    false = alone & _inside(b, spans, closed=False) & ~_sides_unknown(truth, found[b.row], b.side)
    error = (b.sample[j] - a.sample[i]) * (1000 / rate) * scored[i]
    paired = np.zeros(len(a.key), dtype=bool)
    paired[i] = True
    total = [
        np.bincount(a.boundary[scored & paired], minlength=6),
        np.bincount(a.boundary[scored & ~paired], minlength=6),
        np.bincount(b.boundary[false], minlength=6),
        np.bincount(a.boundary[i], weights=error, minlength=6),
        np.bincount(a.boundary[i], weights=error**2, minlength=6),
    ]
    return np.stack(total, axis=-1).astype(float)


def scores(counts) -> dict[str, np.ndarray]:
    """Sensitivity, precision, F1, mean and SD of the error (ms) per boundary; mean F1. Of counts (..., 6, 5)."""
    hits, missed, false, error, squared = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    mean = ratio(error, hits)
    f1 = ratio(2 * hits, 2 * hits + missed + false)
    return {
        "sensitivity": ratio(hits, hits + missed),
        "precision": ratio(hits, hits + false),
        "f1": f1,
        "mean": mean,
        "sd": np.sqrt(np.maximum(ratio(squared - hits * np.square(mean), hits - 1), 0)),
        "mean f1": macro(f1)[0],
    }


def overlap(reference, predicted, spans, leads: Sequence[int], samples: int) -> np.ndarray:
    """Samples in both and samples in either, added, per kind P, QRS, T (3, 2); summed over records they give `dice`."""
    truth, found = (classes(_on_leads(rows, leads), len(leads), samples) for rows in (reference, predicted))
    scored = np.ones(truth.shape, dtype=bool)
    if spans is not None:
        scored[:] = False
        for lead, start, stop in _on_leads(spans, leads).tolist():
            scored[lead, max(start, 0) : stop] = True
    a, b = truth[scored], found[scored]
    return np.array([[((a == k) & (b == k)).sum(), (a == k).sum() + (b == k).sum()] for k in (P, QRS, T)], dtype=float)


def dice(overlaps) -> np.ndarray:
    """2 |A and B| / (|A| + |B|) per kind (..., 3), of the sums of `overlap` (..., 3, 2)."""
    overlaps = np.asarray(overlaps, dtype=float)
    return ratio(2 * overlaps[..., 0], overlaps[..., 1])


def _on_leads(rows, leads: Sequence[int]) -> np.ndarray:
    """The rows of each scored lead, `lead` becoming its place in `leads`; a row of lead -1 goes to every one."""
    leads = np.asarray(leads)
    at, lead = np.nonzero((rows["lead"][:, None] == leads) | (rows["lead"][:, None] == -1))
    rows = rows[at]
    rows["lead"] = lead
    return rows


def _latest(*waves) -> int:
    """The last sample that any boundary lies on."""
    return max((int(rows[side].max()) for rows in waves for side in ("onset", "offset") if len(rows)), default=0)


class _Points:
    """Both sides of waves as points: boundary (index), side, lead, sample, row, by a key that parts the groups."""

    def __init__(self, rows, stride: int):
        sample = np.concatenate([rows["onset"], rows["offset"]]).astype(int)
        side = np.repeat((0, 1), len(rows))
        row = np.tile(np.arange(len(rows)), 2)
        boundary = 2 * (rows["kind"][row].astype(int) - 1) + side
        key = (rows["lead"][row].astype(int) * 6 + boundary) * stride + sample
        order = np.argsort(key, kind="stable")
        order = order[(sample[order] >= 0) & (rows["kind"][row[order]] > 0)]
        self.key, self.sample, self.side, self.row = key[order], sample[order], side[order], row[order]
        self.boundary, self.lead = boundary[order], rows["lead"][self.row]


def _inside(points: _Points, spans, closed: bool) -> np.ndarray:
    """Which points lie in a span of their lead; `closed`: `stop` itself belongs to it."""
    if spans is None:
        return np.ones(len(points.key), dtype=bool)
    lead, sample = points.lead[:, None], points.sample[:, None]
    return ((spans["lead"] == lead) & (sample >= spans["start"]) & (sample < spans["stop"] + closed)).any(axis=1)


def _sides_unknown(truth, found, side) -> np.ndarray:
    """Which predicted waves `found` (one per boundary) overlap a reference wave without that side."""
    unknown = np.zeros(len(found), dtype=bool)
    for s, name in enumerate(("onset", "offset")):
        half = truth[truth[name] < 0]
        marks = np.stack([half["onset"], half["peak"], half["offset"]])
        first, last = np.where(marks < 0, np.iinfo("i4").max, marks).min(axis=0), marks.max(axis=0)
        same = (found["lead"][:, None] == half["lead"]) & (found["kind"][:, None] == half["kind"])
        over = (found["onset"][:, None] <= last) & (found["offset"][:, None] >= first)
        unknown |= (side == s) & (same & over).any(axis=1)
    return unknown
