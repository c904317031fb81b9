"""The main score with fewer leads: what a machine with six, two or one of them could expect."""

from __future__ import annotations

import numpy as np

from ..model import Graft
from ..record import LEADS
from ..report import Page
from ..signal.leads import derivable
from . import _page, _score
from ._examples import Corpus
from ._groups import Row, forest, measured
from ._say import say

MANY = 2000  # records from which on fewer leads are not tried unless asked for
SUBSETS = {
    "all twelve": LEADS,
    "limb leads": LEADS[:6],
    "I, II, V2": ("I", "II", "V2"),
    "I, II": ("I", "II"),
    "I": ("I",),
    "II": ("II",),
}


class OnlyLeads:
    """A prepared cache whose records have no other leads than those of the slots `kept` (C,) bool."""

    def __init__(self, cache, kept: np.ndarray):
        self.cache, self.kept = cache, kept
        self.recipe, self.rate, self.length, self.beats_of = cache.recipe, cache.rate, cache.length, cache.beats_of
        self.peaks, self.beats = cache.peaks, cache.beats

    def batch(self, index: np.ndarray, start: np.ndarray, samples: int) -> dict[str, np.ndarray]:
        batch = self.cache.batch(index, start, samples)
        x = np.where(self.kept[:, None], batch["x"], 0).astype(batch["x"].dtype)
        return batch | {"x": x, "present": batch["present"] & self.kept}

    def waves(self, index: np.ndarray, start: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
        classes, scored = self.cache.waves(index, start, samples)
        return classes * self.kept[:, None], scored & self.kept[:, None]

    def lead_slots(self, i: int) -> np.ndarray:
        slots = self.cache.lead_slots(i)
        return np.where((slots >= 0) & self.kept[slots], slots, -1)

    def present_slots(self, i: int) -> np.ndarray:
        slots = self.cache.present_slots(i)
        return slots[self.kept[slots]]


def wants_subsets(subsets: bool | None, graft: Graft, records: int) -> bool:
    """Whether fewer leads are tried: as asked, else where the recipe has twelve leads and the records are not many."""
    if subsets is None:
        return records <= MANY and set(LEADS) <= set(graft.recipe.leads)
    return subsets


def lead_subsets(
    graft: Graft, corpus: Corpus, found: _score.Answers, cache, answer, replicates=1000, seed=0, progress=True
) -> list[Row]:
    """A row for each of SUBSETS that records have. answer(rows, cache) -> Answers.

    Limb leads that follow from those kept are kept too, as predict derives them for a file that has only these.
    """
    rows, done = [], {}
    for name, leads in SUBSETS.items():
        slots = [graft.recipe.leads.index(lead) for lead in leads if lead in graft.recipe.leads]
        have = np.asarray(cache.present[found.rows][:, slots].all(1))
        if len(slots) < len(leads) or not have.any():
            continue
        kept = np.isin(graft.recipe.leads, (*leads, *derivable(leads, graft.recipe.leads)))
        if (kept.tobytes(), have.tobytes()) not in done:
            done[kept.tobytes(), have.tobytes()] = _with_leads(name, found, cache, answer, kept, have, progress)
        part = done[kept.tobytes(), have.tobytes()]
        rows.append(measured(name, graft, corpus, part, replicates, seed))
    return rows if len(done) > 1 else []


def _with_leads(name: str, found: _score.Answers, cache, answer, kept, have, progress: bool) -> _score.Answers:
    if not (cache.present[found.rows[have]] & ~kept).any():
        return found if have.all() else found.take(have)
    if progress:
        say(f"scoring with the leads {name} alone: {int(have.sum())} records")
    return answer(found.rows[have], OnlyLeads(cache, kept))


def add_leads(page: Page, graft: Graft, leads: list[Row]) -> None:
    """A section; none where there is nothing to show."""
    if not leads:
        return
    name = _page.main_name(graft.task)
    text = "The other leads are taken away. Limb leads that follow from those kept are derived, as for a file that has "
    page.section("Fewer leads", f"{text}only these.")
    page.table(["leads", "records", name], [[row.name, row.records, row.score] for row in leads])
    page.figures({name: forest(leads, name)})
