"""The tables of a bench as Markdown and as an HTML page with learning curves."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ...metrics.bootstrap import Estimate
from ...report import Page
from ...report.curves import learning
from ...report.page import number
from . import matrices
from .cells import Ground
from .protocol import Protocol, Table
from .tables import Line, undefined

NOTICE = "For research only; not a medical device."
HOW = (
    "Scores are means over seeds; a seed changes the split (where it is random), the choice of labelled records and "
    "the start. Intervals: 95 %, patients and seeds drawn with replacement. Differences are paired: the same patients "
    "and seeds on both sides; p is two-sided, by the bootstrap's standard error, adjusted over all comparisons "
    "that are shown (Holm). Thresholds and calibration come from validation data. Costs are medians: time of a step, "
    "what it keeps for its backward pass and the most that it holds beyond weights and batch, largest memory of the "
    "process, whole time with test; what rows share (prepared records, features) counts for the one that needed it "
    "first."
)


def write(
    folder: Path, protocol: Protocol, made: dict[str, list[Line]], grounds: dict[str, Ground], left: list[str],
    sequences: dict[str, list] | None = None,
) -> None:  # fmt: skip
    """report.md and report.html, each replaced whole.

    left       what could not be computed, and why
    sequences  name -> its lines (matrices.Strategy)
    """
    sequences = sequences or {}
    for name, text in (
        ("report.md", markdown(protocol, made, grounds, left, sequences)),
        ("report.html", page(protocol, made, grounds, left, sequences).html()),
    ):
        beside = folder / f"{name}.part"
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, folder / name)


def caption(protocol: Protocol, name: str, lines: list[Line], ground: Ground) -> str:
    """What a table is of; a stand-in is said first."""
    table, tested = protocol.table(name), [cell for line in lines for cell in line.cells]
    source = table.database or ground.path.name
    parts = [f"SIMULATED STAND-IN for {source}, not real ECGs" if ground.standin else source]
    parts += [
        f"task {table.task}",
        f"{table.split} split" + (f", {table.folds} folds" if table.split == "folds" else ""),
    ]
    n, patients = (sorted({cell[key] for cell in tested}) for key in ("test", "patients"))
    parts.append(f"{_span(n)} test records of {_span(patients)} patients a split")
    none = sorted({label for line in lines for label in undefined(line)})
    copies = sum(cell.get("copies left out") or 0 for cell in tested)
    parts += [f"{copies} test records left out as copies of learnt ones"] if copies else []
    parts += [f"not defined in every test part: {', '.join(none)}"] if none else []
    return "; ".join(parts) + (f". {table.about}" if table.about else "")


def _title(name: str, ground: Ground) -> str:
    return f"{name} (simulated stand-in)" if ground.standin else name


def _span(values: list[int]) -> str:
    return f"{values[0]}" if len(values) == 1 else f"{values[0]} to {values[-1]}"


def columns(protocol: Protocol, table: Table) -> list[str]:
    metrics = [_named(metric) for metric in protocol.metrics_of(table)]
    costs = ["trained", "KiB", "ms a step", "kept MB", "step MB", "peak MB", "s"]
    return ["labelled", "row", "seeds", *metrics, f"difference to {protocol.reference}", "p (Holm)", *costs]


def _named(metric: str) -> str:
    for short, long in (("auroc", "AUROC"), ("ap", "AP"), ("f1", "F1"), ("cinc2017", "CinC2017"), ("cpsc", "CPSC")):
        metric = metric.replace(short, long) if short in metric.split() or metric.startswith(short) else metric
    return metric


def cells(line: Line) -> list:
    """The numbers of a line, in the order of `columns`."""
    difference = line.difference if line.difference is not None else None
    costs = [line.cost("trained parameters"), line.cost("bytes") / 1024]
    costs += [line.cost(name) for name in ("step ms", "step kept MB", "step peak MB", "peak MB")]
    whole = [round(v) if np.isfinite(v) else None for v in costs[:2]]
    return [
        round(line.train), line.row, len(line.seeds), *line.scores.values(), difference,
        _p(line.adjusted) if difference is not None else None, *whole, *costs[2:], line.cost("seconds"),
    ]  # fmt: skip


def _p(value: float) -> str:
    """A p-value; smaller ones than 0.0001 say nothing more."""
    return "" if not np.isfinite(value) else "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def markdown(
    protocol: Protocol, made: dict[str, list[Line]], grounds: dict[str, Ground], left: list[str], sequences: dict
) -> str:
    parts = [f"# {protocol.name}, version {protocol.version}", protocol.about, NOTICE, HOW, _rows(protocol)]
    for name, lines in sequences.items():
        sequence = protocol.sequence(name)
        rows = [[_plain(cell) for cell in matrices.cells(line)] for line in lines]
        parts += [f"## Sequence: {name}", f"{', '.join(sequence.tables)}. {sequence.about}".strip(), matrices.HOW]
        parts += [_table(matrices.columns(sequence.reference), rows), _table(*matrices.growth(protocol, name, lines))]
    for name, lines in made.items():
        heads = columns(protocol, protocol.table(name))
        rows = [[_plain(cell) for cell in cells(line)] for line in lines]
        parts += [
            f"## {_title(name, grounds[name])}",
            caption(protocol, name, lines, grounds[name]),
            _table(heads, rows),
        ]
        parts += [_published(protocol, name)]
    parts += ["## Not computed", "\n".join(f"- {text}" for text in left)] if left else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))


def _rows(protocol: Protocol) -> str:
    said = [f"- **{name}**: {protocol.row(name).about}" for name in protocol.rows if protocol.row(name).about]
    return "\n".join(said)


def _published(protocol: Protocol, table: str) -> str:
    papers = [paper for paper in protocol.papers() if paper.table == table]
    return "\n".join(f"- published: {p.what}: {_named(p.metric)} {p.value:g} ({p.source})" for p in papers)


def _plain(cell) -> str:
    if isinstance(cell, Estimate):
        inside = f" ({cell.low:.3f} to {cell.high:.3f})" if np.isfinite(cell.low) else ""
        return f"{cell.value:.3f}{inside}" if np.isfinite(cell.value) else "not defined"
    if cell is None or (isinstance(cell, float) and not np.isfinite(cell)):
        return ""
    if isinstance(cell, float):
        return f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def page(
    protocol: Protocol, made: dict[str, list[Line]], grounds: dict[str, Ground], left: list[str], sequences: dict
) -> Page:
    """A section for each sequence, its matrices and numbers, and for each table, its curves and numbers."""
    made_page = Page(f"bench {protocol.name}", protocol.about)
    made_page.facts({"protocol": protocol.name, "version": protocol.version, "reference": protocol.reference})
    made_page.section("How to read this", HOW)
    rows = [[name, protocol.row(name).about] for name in protocol.rows]
    made_page.table(["row", "what it is"], rows)
    for name, lines in sequences.items():
        sequence = protocol.sequence(name)
        made_page.section(f"Sequence: {name}", sequence.about, matrices.HOW)
        made_page.figures({"Scores after each task": matrices.picture(protocol, name, lines)})
        digits = {"KiB": 0, "s to learn": 0, "s to test": 1}
        made_page.table(matrices.columns(sequence.reference), [matrices.cells(line) for line in lines], digits=digits)
        made_page.table(*matrices.growth(protocol, name, lines))
    for name, lines in made.items():
        made_page.section(_title(name, grounds[name]), caption(protocol, name, lines, grounds[name]))
        pictures = _curves(lines)
        if pictures:
            made_page.figures(pictures)
        digits = {"KiB": 0, "ms a step": 1, "kept MB": 1, "step MB": 1, "peak MB": 0, "s": 1}
        made_page.table(columns(protocol, protocol.table(name)), [cells(line) for line in lines], digits=digits)
        papers = [p for p in protocol.papers() if p.table == name]
        made_page.text(*(f"Published: {p.what}: {_named(p.metric)} {number(p.value)} ({p.source})." for p in papers))
    if left:
        made_page.section("Not computed", *left)
    return made_page


def _curves(lines: list[Line]) -> dict:
    """A picture for each metric, where there is more than one budget."""
    if len({line.budget for line in lines}) < 2:
        return {}
    pictures = {}
    for metric in lines[0].scores:
        series: dict[str, list] = {}
        for line in lines:
            estimate = line.scores[metric]
            series.setdefault(line.row, []).append((line.train, estimate.value, estimate.low, estimate.high))
        curves = {row: tuple(np.array(column) for column in zip(*points)) for row, points in series.items()}
        pictures[_named(metric)] = learning(curves, _named(metric))
    return pictures
