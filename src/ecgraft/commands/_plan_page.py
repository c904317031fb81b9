"""The HTML page of a plan: learning curves, the table of what to expect, and how it was found out."""

from __future__ import annotations

import numpy as np

from ..metrics.bootstrap import Estimate
from ..report import Page
from ..report.curves import learning

HOW = (
    "Every split holds out a third of the labelled records, by patient, and fits each adapter to 10, 20, 40 ... of "
    "the others, as ecgraft adapt would with so many labels but for a shorter time; the test part is not looked at. A "
    "curve a - b n^-c goes through the mean scores. An interval is for one graft from so many labels on a large test: "
    "it covers the held-out patients, the splits, the curve, the choice of the labelled records and, beyond the labels "
    "that there are, a drift away from the curve. It cannot cover patients who are unlike those that are there."
)


def page(summary: dict, expected: dict) -> Page:
    """expected: adapter -> Expected, for its names alone; all numbers come from the summary."""
    level = f"{100 * summary['level']:.0f} %"
    made = Page(f"plan: {summary['task']}", "the score to expect by number of labels", level)
    made.facts(
        {key: summary[key] for key in ("metric", "labelled", "largest fit", "model", "store", "seed", "seconds")}
    )
    for line in summary["expected"]:
        value, low, high = _estimate(line["scores"][line["adapter"]])
        note = f"{low:.3f} to {high:.3f} ({summary['level']:.0%}), with {line['adapter']}"
        note += ", extrapolated" if line["extrapolated"] else ""
        made.highlight(f"{line['labels']:,} labels", value, note=note)
    made.section(
        "What to expect", f"All intervals of this page are {summary['level']:.0%} intervals. {HOW}", *summary["notes"]
    )
    pictures = {"expected, by number of labels": _expected(summary, list(expected))}
    pictures["measured on held-out records, mean over splits"] = _measured(summary)
    made.figures(pictures)
    names = list(summary["adapters"])
    rows = [
        [line["labels"], *(_text(line["scores"][name]) for name in names), line["adapter"], _mark(line)]
        for line in summary["expected"]
    ]
    made.table(["labels", *names, "take", ""], rows)
    made.text("Taken is the cheapest adapter that is at most one standard error of the difference below the best one.")
    made.section("Adapters")
    heads = ["adapter", "what it is", "trained", "splits", "s"]
    keys = ("about", "trained parameters", "splits", "seconds")
    made.table(heads, [[name, *(one[key] for key in keys)] for name, one in summary["adapters"].items()], digits=1)
    if summary["left out"]:
        made.section("Left out", *(f"{what}: {why}" for what, why in summary["left out"].items()))
    return made


def _mark(line: dict) -> str:
    return "extrapolated" if line["extrapolated"] else "within what was measured"


def _estimate(said: dict) -> Estimate:
    return Estimate(*(np.nan if said[key] is None else said[key] for key in ("value", "low", "high")))


def _text(said: dict) -> str:
    """As text, because a page says 95 % of every Estimate."""
    value, low, high = _estimate(said)
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _expected(summary: dict, names: list[str]):
    series = {}
    for name in names:
        points = [(line["labels"], *_estimate(line["scores"][name])) for line in summary["expected"]]
        series[name] = tuple(np.array(column) for column in zip(*points))
    return learning(series, summary["metric"], "labels")


def _measured(summary: dict):
    series = {}
    for name, one in summary["adapters"].items():
        points = [(int(n), *_estimate(said)) for n, said in one["measured"].items()]
        series[name] = tuple(np.array(column) for column in zip(*points))
    return learning(series, summary["metric"], "labels")
