"""From an ECG to its report and back: how early the right one stands among those of all records of a part.

Any record that carries the same string is right. What is scored is the model's text side; no label is read.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ..metrics import bootstrap, retrieval
from ..metrics.bootstrap import Estimate
from ..model import Model
from ..record import InputError
from ..report import Page
from ..store import Store, splits
from . import _score, _unseen
from ._examples import Corpus
from ._features import kept_features
from ._text_side import TASK, open_side
from ._texts import kept_texts, reports

KIND = "retrieval"
WAYS = {"to report": "from an ECG to its report", "to ecg": "from a report to its ECG"}


def evaluate(model: Model, where: str, store: Store, folder: str, options) -> tuple:
    """(summary, page, headline); `options` is _by_words.Options."""
    side, corpus = open_side(model, where, folder), opened(store)
    rows, seen = _unseen.unseen(model, side.graft, options.home, corpus, options.part, options.leaks, options.progress)
    cache = store.prepared(side.graft.recipe, progress=options.progress)
    rows = rows[cache.usable[rows]]
    if len(rows) < 2:
        raise InputError(f"{store.path}: {len(rows)} records of this part have a report; there is nothing to find")
    told = kept_texts(side.encoder, store, rows, options.progress).batch(rows)
    v = side.of_ecgs(kept_features(model, side.graft.recipe, cache, rows, options.device))
    w, key = side.of_texts(told["text"]), told["text_key"]
    found, by_chance = measure(v, w, key, corpus.patients(rows), options.replicates, options.seed)
    summary = {
        "mode": KIND, "graft": side.graft.name, "records": len(rows), "leaks": seen,
        "patients": len(np.unique(corpus.patients(rows))), "different reports": len(np.unique(key)),
        "text encoder": side.encoder.identity, "chance": by_chance,
        "scores": {way: {name: _score.plain(e) for name, e in each.items()} for way, each in found.items()},
    }  # fmt: skip
    headline = ("recall@10, ECG to report", found["to report"]["recall@10"])
    return summary, page(store, found, summary, options, headline), headline


def opened(store: Store) -> Corpus:
    """The records with a report. Raises InputError where there is none."""
    known = np.fromiter((bool(text) for text in reports(store)), bool, len(store))
    if not known.any():
        raise InputError(f"{store.path}: no record has a report; take a database with reports, or ecgraft simulate")
    return Corpus(store, TASK, None, known, None, splits.split(store))


def measure(v: np.ndarray, w: np.ndarray, key: np.ndarray, patients: np.ndarray, replicates: int, seed: int) -> tuple:
    """Way -> name -> Estimate of ECGs v and their reports w (n, O), and way -> what chance gives.

    An ECG looks among the different reports, a report among all n ECGs. The candidates stay; the bootstrap draws the
    patients of the queries.
    """
    _, first, place, count = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    ways = {"to report": (v, w[first], key[first], np.ones(len(key))), "to ecg": (w, v, key, count[place])}
    found: dict[str, dict[str, Estimate]] = {}
    for way, (one, other, keys, _) in ways.items():
        rank = retrieval.ranks(one, other, key, keys)
        found[way] = bootstrap.estimate(partial(retrieval.scores, rank), patients, replicates, seed)
    return found, {way: retrieval.chance(right, len(keys)) for way, (_, _, keys, right) in ways.items()}


def page(store: Store, found: dict, summary: dict, options, headline: tuple) -> Page:
    made = Page(f"ECGs and reports: {store.path.name}", f"ecgraft evaluate, {options.part} part")
    facts = {"text encoder": summary["text encoder"], "store": store.fingerprint, "part": options.part}
    facts |= {"seed": options.seed, "replicates": options.replicates, "learnt from": _unseen.told(summary["leaks"])}
    made.facts(facts)
    made.highlight(*headline, note=f"{summary['records']} records")
    made.section(
        "Retrieval",
        f"{summary['records']} records of {summary['patients']} patients with {summary['different reports']} different "
        "reports. Each ECG looks for its report among these, and each report for its ECG, where any with the "
        "same report counts as found. Intervals: 95 %, bootstrap over the patients of the queries.",
    )
    by_chance = summary["chance"]
    for way, title in WAYS.items():
        rows = [[name, estimate, by_chance[way][name]] for name, estimate in found[way].items()]
        made.table([title, "score", "by chance"], rows)
    return made
