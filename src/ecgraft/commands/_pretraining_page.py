"""The report of a pretraining: how it went, and what the encoder was shown."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from ..model import Model
from ..record import Record
from ..report import plots
from ..report.page import Page
from ..training import Mixture, Result
from ._page import column

SPREAD = ("deviation", "rank", "alignment", "uniformity")
EXAMPLES = 1  # records whose views are drawn
NOTICE = "For research; not a medical device."


def write(to: Path, model: Model, objective: torch.nn.Module, sources, result: Result, title: str) -> None:
    """report.html, replaced whole."""
    page = Page(f"pretraining: {title}", NOTICE)
    page.facts({key: value for key, value in model.card.items() if key != "last"} | {"encoder": model.fingerprint})
    counted = sum(model.card["records"].values())
    page.highlight("records", counted, note=f"{model.card['simulated']:.0%} of each batch simulated beside them")
    page.highlight("loss at the end", result.log[-1].get("loss") if result.log else None)
    _curves(page, result.log)
    _views(page, objective, sources, model)
    to.mkdir(parents=True, exist_ok=True)
    page.write(to / "report.html.part")
    os.replace(to / "report.html.part", to / "report.html")


def _curves(page: Page, log: list[dict]) -> None:
    page.section(
        "How it went",
        "A low loss says little: features that have collapsed have the lowest. Deviation, of features at unit length, "
        "and effective rank fall towards 0 and 1 then.",
    )
    names = [name for name in dict.fromkeys(key for row in log for key in row) if "loss" in name.split()[-1]]
    page.figures({"Loss": plots.lines({name: column(log, name) for name in names}, "step", "loss")})
    found = {kind: _named(log, kind) for kind in SPREAD}
    page.figures({kind: plots.lines(lines, "step", kind) for kind, lines in found.items() if lines})


def _named(log: list[dict], kind: str) -> dict:
    names = dict.fromkeys(key for row in log for key in row if key.split()[-1] == kind)
    lines = {name: column(log, name) for name in names}
    return {name: line for name, line in lines.items() if len(line[0]) > 1}


def _views(page: Page, objective: torch.nn.Module, sources, model: Model) -> None:
    """A record and two views of it, on the grid."""
    if not hasattr(objective, "view"):
        return
    recipe = model.recipe
    mixture = Mixture(
        sources.examples, EXAMPLES, recipe.samples, simulated=sources.simulated, share=float(not sources.examples)
    )
    from ..views import generator

    batch = mixture(0)
    random = generator(0, 0)
    shown = {"as it is": batch} | {f"view {k}": objective.view(batch, random)[0] for k in (1, 2)}
    page.section("What it was shown", "A record, and views of it before normalisation and what is masked after it.")
    for name, seen in shown.items():
        present, T = seen["present"][0].numpy(), int(seen["length"][0])
        leads = tuple(lead for lead, there in zip(recipe.leads, present) if there)
        signal = np.ascontiguousarray(seen["x"][0].numpy()[present, :T])
        page.ecg(Record(signal, recipe.rate, leads, id=name), caption=name)
