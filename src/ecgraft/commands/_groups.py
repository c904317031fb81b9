"""The main score in subgroups of the records: by sex, age, site, device and source."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from ..metrics.bootstrap import Estimate
from ..model import Graft
from ..report import Page, plots
from . import _page, _score
from ._examples import Corpus

FEWEST = 5  # records with and without a finding that a score in a subgroup needs
GROUPS = 8  # at most in a table, the largest
AGES = {"under 40": (-np.inf, 40), "40 to 64": (40, 65), "65 to 79": (65, 80), "80 and over": (80, np.inf)}
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Row:
    """One group of records, or one set of leads. `positives`: label -> records with it; score None: too few records."""

    name: str
    records: int
    patients: int
    positives: dict[str, int]
    scored: tuple[str, ...]  # the labels that the score is made of
    score: Estimate | None

    def plain(self) -> dict:
        """For JSON."""
        out = {"records": self.records, "patients": self.patients, "positives": self.positives}
        if self.scored:
            out["scored labels"] = list(self.scored)
        return out | ({"score": _score.plain(self.score)} if self.score else {"score": None, "note": "too few"})


def subgroups(graft: Graft, corpus: Corpus, found: _score.Answers, replicates=1000, seed=0) -> dict[str, list[Row]]:
    """A table for each property of the records that takes more than one value."""
    tables = {}
    for title, names in groupings(corpus, found.rows).items():
        groups = [name for name, _ in Counter(names.tolist()).most_common(GROUPS)]
        order = [*AGES, UNKNOWN] if title == "age" else sorted(groups, key=lambda name: (name == UNKNOWN, name))
        parts = [(name, found.take(names == name)) for name in order if name in groups]
        if len(parts) > 1:
            tables[title] = [_in_group(name, graft, corpus, part, replicates, seed) for name, part in parts]
    return tables


def groupings(corpus: Corpus, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Property -> the group of each record, as text."""
    store = corpus.store
    age, extra = store.number("age")[rows], [store.extra(int(i)) for i in rows]
    bands = [next((name for name, (a, b) in AGES.items() if a <= years < b), UNKNOWN) for years in age]
    sex = [{"F": "female", "M": "male"}.get(store.table.category("sex", int(i)), UNKNOWN) for i in rows]
    groups = {"sex": sex, "age": bands}
    extra = [{key.lower(): text for key, text in each.items()} for each in extra]
    groups |= {name: [e.get(name) or UNKNOWN for e in extra] for name in ("site", "device")}
    groups["source"] = [store.table.category("source", int(i)) or UNKNOWN for i in rows]
    return {title: np.array(names, object) for title, names in groups.items()}


def _in_group(name: str, graft: Graft, corpus: Corpus, found: _score.Answers, replicates: int, seed: int) -> Row:
    """The score of a group; of labels that it has too few records with or without, it says nothing."""
    sized, enough = with_enough(corpus, found.rows)
    counted = measured(name, graft, sized, found, replicates, seed, enough)
    return replace(counted, positives=_count(corpus, found.rows))


def with_enough(corpus: Corpus, rows: np.ndarray) -> tuple[Corpus, bool]:
    """The corpus without the labels that too few of the rows have, or have not; whether anything is left to score."""
    if corpus.task.kind not in ("multilabel", "multiclass"):
        return corpus, len(rows) >= FEWEST
    y, known = corpus.y[rows] == 1, corpus.known_each[rows]
    yes, no = (y & known).sum(0), (~y & known).sum(0)
    if corpus.task.kind == "multiclass":
        return corpus, int((yes >= FEWEST).sum()) > 1
    good = (yes >= FEWEST) & (no >= FEWEST)
    return replace(corpus, known_each=corpus.known_each & good), bool(good.any())


def measured(name: str, graft: Graft, corpus: Corpus, found: _score.Answers, replicates, seed, enough=True) -> Row:
    """The headline of some answers with its interval; no score where there are not `enough` records for one."""
    positives, scored, rows = _count(corpus, found.rows), (), found.rows
    if positives:
        scored = tuple(label for label, yes in zip(corpus.task.labels, corpus.known_each[rows].any(0)) if yes)
    given = (graft.calibration, graft.thresholds, replicates, seed)
    score = _score.estimate(corpus, found, *given) if enough else None
    return Row(name, len(rows), len(np.unique(corpus.patients(rows))), positives, scored, score)


def _count(corpus: Corpus, rows: np.ndarray) -> dict[str, int]:
    """In how many of the rows each label holds; {} for tasks without labels."""
    if corpus.task.kind not in ("multilabel", "multiclass"):
        return {}
    count = ((corpus.y[rows] == 1) & corpus.known_each[rows]).sum(0)
    return {label: int(n) for label, n in zip(corpus.task.labels, count)}


def add_subgroups(page: Page, graft: Graft, tables: dict[str, list[Row]]) -> None:
    """A section; none where there is nothing to show."""
    name = _page.main_name(graft.task)
    if tables:
        page.section("Subgroups", f"The {name} in groups of the same records. Intervals: 95 %, over their patients.")
        for title, rows in tables.items():
            page.table([title, "records", "patients", "labels that hold", "labels scored", name], _cells(rows))
        page.figures({title: forest(rows, name) for title, rows in tables.items() if any(row.score for row in rows)})
        page.text(f"{_rule(graft.task.kind)} Of each property at most the {GROUPS} largest groups are shown.")


def _rule(kind: str) -> str:
    """What `with_enough` asks for, in words."""
    asked = {
        "multilabel": f"a label counts in a group that has at least {FEWEST} records with it and {FEWEST} without",
        "multiclass": f"a group is scored that has at least {FEWEST} records of two classes each",
    }
    return f"Too few: {asked.get(kind, f'a group is scored that has at least {FEWEST} records')}."


def forest(rows: list[Row], name: str):
    """A dot with its interval for each row that has a score."""
    scored = [row for row in rows if row.score]
    columns = (np.array(part, float) for part in zip(*(row.score for row in scored)))
    return plots.intervals([row.name for row in scored], Estimate(*columns), name)


def _cells(rows: list[Row]) -> list[list]:
    return [
        [row.name, row.records, row.patients, _positives(row), _scored(row), row.score or "too few"] for row in rows
    ]


def _positives(row: Row):
    if not row.positives:
        return None
    many = len(row.positives) > 5
    return sum(row.positives.values()) if many else ", ".join(f"{k} {n}" for k, n in row.positives.items())


def _scored(row: Row):
    return f"{len(row.scored)} of {len(row.positives)}" if row.positives else None
