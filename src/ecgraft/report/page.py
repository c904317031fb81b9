"""One self-contained HTML page: what was run, numbers with intervals, pictures. Under 3 MB; prints true to scale."""

from __future__ import annotations

import datetime
import numbers
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from .. import __version__
from ..metrics.bootstrap import Estimate
from ..record import Record
from .draw import ecg

LARGEST = 3_000_000  # bytes of a page
SPARE = 200_000  # of them, what is kept free of pictures


class Page:
    """Add from top to bottom: facts and highlights go into the head, the rest into the section begun last.

    Every text is escaped, for names and labels come from files; pictures are Markup, as `draw` and `plots` return it.
    """

    def __init__(self, title: str, subtitle: str = "", level: str = "95 %"):
        """level: of the intervals on the page, by bootstrap; "" where it has none."""
        self.title, self.subtitle, self.level = title, subtitle, level
        self.run: list[tuple[str, object]] = []
        self.tiles: list[dict] = []
        self.sections: list[dict] = []
        self.left_out = 0  # ECGs that did not fit
        self._bytes = 0

    def facts(self, facts: Mapping[str, object]) -> None:
        """What was run: config, seed, data fingerprint, versions. A mapping as value is folded away."""
        self.run += facts.items()

    def highlight(self, label: str, value, note: str = "", digits: int = 3) -> None:
        """One large number (or Estimate) in the head."""
        self.tiles.append({"label": label, "cell": _cell(value, digits), "note": note})

    def section(self, title: str, *paragraphs: str) -> None:
        self._begin(title)
        self.text(*paragraphs)

    def text(self, *paragraphs: str) -> None:
        if paragraphs:
            self._add(kind="text", paragraphs=paragraphs)

    def table(
        self, columns: Sequence[str], rows, caption: str = "", digits: int | Mapping = 3, totals: int = 0
    ) -> None:
        """Cells: text, int, float, Estimate or None (not defined, like NaN). The last `totals` rows are set apart.

        digits: behind the point, for all columns or by the column's name.
        """
        by_name = digits if isinstance(digits, Mapping) else dict.fromkeys(columns, digits)
        cells = [[_cell(value, by_name.get(name, 3)) for name, value in zip(columns, row)] for row in rows]
        heads = [{"name": name, "kind": _kind([row[i] for row in cells])} for i, name in enumerate(columns)]
        self._add(kind="table", heads=heads, rows=cells, caption=caption, totals=len(cells) - totals)

    def figures(self, pictures: Mapping[str, Markup]) -> None:
        """Pictures by caption, side by side where there is room."""
        self._bytes += sum(len(picture) for picture in pictures.values())
        self._add(kind="figures", pictures=list(pictures.items()))

    def ecg(self, record: Record, predicted=None, caption: str = "", **part) -> None:
        """The picture of a record (see `draw.ecg`), left out and counted when the page would become too large."""
        picture = ecg(record, predicted, **part)
        if self._bytes + len(picture) > LARGEST - SPARE:
            self.left_out += 1
            return
        self._bytes += len(picture)
        self._add(kind="ecg", picture=picture, caption=caption)

    def html(self) -> str:
        source = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
        environment = jinja2.Environment(
            autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        facts = [(name, value, isinstance(value, Mapping)) for name, value in self.run]
        today = datetime.date.today().isoformat()
        return environment.from_string(source).render(page=self, facts=facts, today=today, version=__version__)

    def write(self, path) -> Path:
        """Write the page; returns its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.html(), encoding="utf-8")
        return path

    def _add(self, **block) -> None:
        if not self.sections:
            self._begin("")
        self.sections[-1]["blocks"].append(block)

    def _begin(self, title: str) -> None:
        self.sections.append({"title": title, "id": f"part-{len(self.sections) + 1}", "blocks": []})


def _cell(value, digits: int) -> dict:
    """What a cell shows: kind ("text", "number", "estimate"), text, interval."""
    if isinstance(value, Estimate):
        interval = ""
        if np.isfinite(value.low) and np.isfinite(value.high):
            interval = f"{number(value.low, digits)} – {number(value.high, digits)}"
        return {"kind": "estimate", "text": number(value.value, digits), "interval": interval}
    if value is None or (isinstance(value, numbers.Real) and not isinstance(value, bool)):
        return {"kind": "number", "text": number(value, digits), "interval": ""}
    return {"kind": "text", "text": str(value), "interval": ""}


def _kind(cells) -> str:
    kinds = {cell["kind"] for cell in cells}
    return next((kind for kind in ("estimate", "text", "number") if kind in kinds), "text")


def number(value, digits: int = 3) -> str:
    """12 345, 0.912, −0.050, or a dash where it is not defined."""
    if value is None or not np.isfinite(value):
        return "–"
    form = f"{value:,d}" if isinstance(value, numbers.Integral) else f"{value:,.{digits}f}"
    return form.replace(",", "\u202f").replace("-", "−")
