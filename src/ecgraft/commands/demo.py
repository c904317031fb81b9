"""ecgraft demo: the whole story, from ECGs to a report, on simulated ECGs or on a folder of public databases."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rich.console import Console

from .. import datasets
from ..model import Model
from ..record import InputError
from ..report import Page
from ..store import Store
from ..training import log
from ..training.loop import LOG
from . import _page
from ._examples import Corpus
from ._say import say
from .adapt import adapt
from .evaluate import plain, remember, score, write
from .ingest import ingest
from .simulate import simulate


@dataclass(frozen=True)
class Chapter:
    """One task of the demo: learnt from `budget` labelled records of a store, scored on its test part."""

    task: str
    store: str  # folder of the store
    budget: float
    settings: dict = field(default_factory=dict)


QUICK = {"seconds": 10.0, "batch": 16, "rare": "note"}
SIMULATED = 700  # ECGs
ON_SIMULATED = (
    Chapter("findings", "simulated", 200, QUICK | {"training": {"steps": 200, "rate": 1e-3, "average": 0.98}}),
    Chapter("waves", "simulated", 20, QUICK | {"training": {"steps": 120, "rate": 1e-3, "average": 0.98}}),
)
ON_DATA = {  # dataset -> its chapter
    "cinc2017": Chapter(
        "rhythm", "cinc2017", 1,
        {"seconds": 30.0, "balance": 0.5, "smoothing": 0.1, "augment": {"gain": {"flip": 0.3}, "noise": {"share": 0.2}},
         "training": {"steps": 500, "rate": 1e-3, "average": 0.99}},
    ),
    "ptb_xl": Chapter("superclass", "ptb_xl", 1, {"training": {"steps": 200, "rate": 5e-4, "average": 0.98}}),
    "ludb": Chapter("waves", "ludb", 1, {"batch": 16, "training": {"steps": 300, "rate": 1e-3, "average": 0.98}}),
}  # fmt: skip


def demo(
    *,
    to: Annotated[Path, "folder for the stores, the model and the report"] = Path("ecgraft-demo"),
    data: Annotated[
        Path | None, "folder with public databases (CinC 2017, PTB-XL, LUDB) instead of simulated ECGs"
    ] = None,
    seed: Annotated[int, "seed of everything"] = 0,
    progress: Annotated[bool, "show progress"] = True,
) -> dict:
    """Makes or imports ECGs, adapts the encoder of ecgraft for classification and waves, scores it, writes a report."""
    begun, to = time.monotonic(), Path(to)
    chapters = import_data(Path(data), to, progress) if data else simulate_data(to, seed, progress)
    page = Page("ecgraft demo", "real ECGs" if data else "simulated ECGs")
    summary: dict = {"seed": seed, "tasks": {c.task: tell(c, to, page, seed, progress) for c in chapters}}
    page.section("Training")
    _page.add_training(page, {c.task: log.read(to / "model" / "training" / c.task / LOG) for c in chapters})
    summary["seconds"] = round(time.monotonic() - begun)
    command = f"ecgraft demo --data {data}" if data else "ecgraft demo"
    page.facts({"command": command, "seed": seed, "model": str(to / "model"), "seconds": summary["seconds"]})
    write(to, summary, page)
    what_next(to, chapters)
    return summary


def tell(chapter: Chapter, to: Path, page: Page, seed: int, progress: bool) -> dict:
    """Adapts the encoder for a chapter's task, scores it on the test part, adds both to the page."""
    say(f"adapting the encoder for {chapter.task} on {chapter.store}")
    store, folder = to / "stores" / chapter.store, to / "model"
    options = {"budget": chapter.budget, "adapter": "full", "seed": seed, "progress": progress, **chapter.settings}
    adapt(store, task=chapter.task, to=folder, **options)
    model = Model.load(folder)
    graft = model.graft(chapter.task)
    corpus = Corpus.open(Store(store), graft.task)
    rows = corpus.rows("test")
    found, scores = score(model, graft.name, corpus, rows, seed=seed, progress=progress)
    name, estimate = _page.main_estimate(graft, scores)
    say(f"{graft.name}: {name} {estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})")
    page.highlight(f"{graft.name}: {name}", estimate, f"{len(rows)} test records of {chapter.store}")
    _page.add_task(page, graft, corpus, found, scores)
    summary = {"records": len(rows), "scores": plain(scores, graft.task)}
    remember(model, folder, graft, corpus, summary["scores"])
    return summary


def simulate_data(to: Path, seed: int, progress: bool) -> tuple[Chapter, ...]:
    """A store of simulated ECGs."""
    if not (to / "stores" / "simulated").exists():
        simulate(to=to / "stores" / "simulated", count=SIMULATED, seed=seed + 1, progress=progress)
    return ON_SIMULATED


def import_data(data: Path, to: Path, progress: bool) -> list[Chapter]:
    """A store of each database of the demo that lies in the folder, or is the folder."""
    chapters = []
    for name, folder in sorted(datasets.inside(data).items()) if data.is_dir() else []:
        if name in ON_DATA:
            store = to / "stores" / name
            if not store.exists():
                ingest(folder, to=store, dataset=name, progress=progress)
            chapters.append(ON_DATA[name])
    if not chapters:
        raise InputError(f"{data}: none of {', '.join(ON_DATA)} lies there; give the folder that holds their folders")
    return chapters


def what_next(to: Path, chapters) -> None:
    store = to / "stores" / chapters[0].store
    Console(soft_wrap=True, highlight=False).print(
        f"\n[bold]report[/bold]  {to / 'report.html'}\n[bold]model[/bold]   {to / 'model'}\n\nNext:\n"
        f"  ecgraft info {to / 'model'}                     which output is which diagnosis\n"
        f"  ecgraft predict YOUR_ECG --model {to / 'model'} --to answer.html\n"
        f"  ecgraft import YOUR_FOLDER --to my-store --labels YOUR_LABELS.csv\n"
        f"  ecgraft adapt my-store --task own --model {to / 'model'} --to my-model\n"
        f"(the store of the demo: {store})"
    )
