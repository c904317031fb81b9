"""An ECG as a PNG file (matplotlib), the same sheet as `draw`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..record import Record
from . import colours
from .sheet import Sheet, compose

MILLIMETRE = 72 / 25.4  # points


def png(record: Record, path, predicted=None, dpi: int = 150, **part) -> Path:
    """Write the picture of a record, true to scale at `dpi`. part: see `sheet.compose`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sheet = compose(record, predicted, **part)
    figure = Figure(figsize=(sheet.width / 25.4, sheet.height / 25.4), dpi=dpi, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, sheet.width), ylim=(sheet.height, 0))
    axes.set_axis_off()
    _grid(axes, sheet)
    _fill(axes, sheet)
    FigureCanvasAgg(figure).print_png(path)
    return Path(path)


def _grid(axes, sheet: Sheet) -> None:
    for every, colour, width in ((1, colours.MINOR, 0.1), (5, colours.MAJOR, 0.18)):
        style = {"colors": colour, "linewidth": width * MILLIMETRE, "zorder": 0}
        axes.vlines(np.arange(0, sheet.width + 1, every), 0, sheet.grid, **style)
        axes.hlines(np.arange(0, sheet.grid + 1, every), 0, sheet.width, **style)


def _fill(axes, sheet: Sheet) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    for x, y, width, height, colour, opacity in sheet.boxes:
        axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, alpha=opacity, linewidth=0, zorder=1))
    for trace in sheet.traces:
        axes.plot(trace.x, trace.y, color=colours.INK, linewidth=0.28 * MILLIMETRE, solid_joinstyle="round", zorder=2)
    align = {"start": "left", "middle": "center", "end": "right"}
    for text in sheet.texts:
        axes.text(
            text.x,
            text.y,
            text.text,
            fontsize=text.size * MILLIMETRE,
            color=text.colour,
            ha=align[text.anchor],
            va="baseline",
            weight="bold" if text.bold else "normal",
            path_effects=[withStroke(linewidth=0.6 * MILLIMETRE, foreground="white")],
            zorder=3,
        )
