"""The report of a pretraining: how it went, and what the encoder was shown."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from ..model import Model
from ..objectives._look import draw
from ..record import Record
from ..report import plots
from ..report.page import Page
from ..training import Mixture, Result
from ._page import column

SPREAD = ("deviation", "rank", "alignment", "uniformity")
LOSSES = ("loss", "rhythm", "beat", "intra", "inter", "findings", "waves")  # as objectives call them
EXAMPLES = 16  # records; views are drawn of the one with the most leads


def write(to: Path, model: Model, objective: torch.nn.Module, sources, result: Result, title: str) -> None:
    """report.html, replaced whole."""
    page = Page(f"pretraining: {title}")
    page.facts(_facts(model))
    counted = sum(model.card["records"].values())
    page.highlight("records", counted, note=f"{model.card['simulated']:.0%} of each batch simulated beside them")
    page.highlight("loss at the end", result.log[-1].get("loss") if result.log else None)
    _curves(page, result.log)
    _views(page, objective, sources, model)
    to.mkdir(parents=True, exist_ok=True)
    page.write(to / "report.html.part")
    os.replace(to / "report.html.part", to / "report.html")


def _facts(model: Model) -> dict:
    """The card, with numbers of a length that can be read."""
    card = {key: value for key, value in model.card.items() if key != "last"}
    card |= {key: f"{card[key]:.3g}" for key in ("step ms", "waited for data") if card[key] is not None}
    return card | {"encoder": model.fingerprint}


def _curves(page: Page, log: list[dict]) -> None:
    page.section(
        "How it went",
        "A low loss says little: features that have collapsed have the lowest. Deviation, of features at unit length, "
        "and effective rank fall towards 0 and 1 then.",
    )
    pictures = {"loss and its parts": (_named(log, LOSSES), "loss")}
    pictures |= {kind: (_named(log, (kind,)), kind) for kind in SPREAD}
    page.figures({title: plots.lines(lines, "step", y) for title, (lines, y) in pictures.items() if lines})


def _named(log: list[dict], kinds: tuple[str, ...]) -> dict:
    names = dict.fromkeys(key for row in log for key in row if key.split()[-1] in kinds)
    lines = {name: column(log, name) for name in names}
    return {name: line for name, line in lines.items() if len(line[0])}


def _views(page: Page, objective: torch.nn.Module, sources, model: Model) -> None:
    """A record and two views of it, on the grid; what is masked is left out."""
    if not hasattr(objective, "view"):
        return
    recipe = model.recipe
    mixture = Mixture(
        sources.examples, EXAMPLES, recipe.samples, simulated=sources.simulated, share=float(not sources.examples)
    )
    batch = mixture(0)
    i = int(batch["present"].sum(1).argmax())
    batch = {name: value[i : i + 1] if torch.is_tensor(value) else value for name, value in batch.items()}
    shown = {"as it is": (batch, None)}
    for k, (seen, _, time) in enumerate(draw(batch, objective.view, objective.after, recipe, 2), 1):
        shown[f"view {k}"] = (seen, time.cut)
    page.section("What it was shown", "A record and two views of it, in mV; what a view masks is left out.")
    for name, (seen, cut) in shown.items():
        present, T = seen["present"][0].numpy(), int(seen["length"][0])
        x = seen["x"][0].numpy().copy()
        if cut is not None:
            x[cut[0].numpy()] = np.nan
        leads = tuple(lead for lead, there in zip(recipe.leads, present) if there)
        page.ecg(Record(np.ascontiguousarray(x[present, :T]), recipe.rate, leads, id=name), caption=name)
