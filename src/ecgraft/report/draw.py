"""An ECG as inline SVG; one unit is one millimetre of paper."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup, escape

from ..record import Record
from . import colours
from .sheet import SPEED, Sheet, Trace, compose

STEP = 0.2  # mm; of the samples in such a step only the lowest and the highest are drawn
MOST = 80_000  # bytes of all traces; the step grows until they are fewer, which keeps a picture below 120 KB


def ecg(record: Record, predicted=None, **part) -> Markup:
    """The picture of a record on its grid; `part`: see `sheet.compose`. At most 120 KB."""
    sheet = compose(record, predicted, **part)
    parts = [_grid(sheet), *_boxes(sheet.boxes), _lines(sheet.traces), *map(_text, sheet.texts)]
    width, height = f"{sheet.width:g}", f"{sheet.height:g}"
    return Markup(
        f'<svg class="ecg" style="--mm:{width}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(f"ECG {record.id}".strip())}" font-family="inherit">{"".join(parts)}</svg>'
    )


def _lines(traces) -> str:
    step, lines = STEP, ""
    while not lines or (len(lines) > MOST and step < SPEED):
        lines = "".join(path(thin(trace, step)) for trace in traces)
        step *= 1.25
    return (
        f'<path transform="scale(.01)" d="{lines}" fill="none" stroke="{colours.INK}" stroke-width="28" '
        'stroke-linejoin="round" stroke-linecap="round"/>'
    )


def thin(trace: Trace, step: float) -> Trace:
    """The lowest and the highest sample of every `step` mm, in order; breaks (NaN) stay."""
    x, y = trace
    cell = ((x - x[:1]) / step).astype(int)
    if len(x) <= 2 * (cell[-1] + 1 if len(cell) else 0):
        return trace
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(x))))
    order = np.lexsort((y, group))  # NaN last
    valid = np.add.reduceat(np.isfinite(y), starts)
    keep = np.concatenate([order[starts], order[starts + np.maximum(valid - 1, 0)], np.flatnonzero(np.isnan(y))])
    keep = np.unique(keep)
    return Trace(x[keep], y[keep])


def path(trace: Trace) -> str:
    """Path data in hundredths of a millimetre: moves and relative lines, a new move after each break."""
    valid = np.isfinite(trace.y)
    x, y = (np.round(100 * part[valid]).astype(int) for part in trace)
    broken = np.diff(np.cumsum(~valid)[valid], prepend=-1) != 0
    steps = zip(np.diff(x, prepend=0).tolist(), np.diff(y, prepend=0).tolist(), x.tolist(), y.tolist(), broken.tolist())
    return "".join(f"M{px} {py}m0 0 " if new else f"{dx}{dy:+d} " for dx, dy, px, py, new in steps)


def _grid(sheet: Sheet) -> str:
    W, H = sheet.width, sheet.grid
    ground = f'<rect width="{W:g}" height="{H:g}" fill="{colours.PAPER}"/>'
    lines = ((1, colours.MINOR, 0.1), (5, colours.MAJOR, 0.18))
    return ground + "".join(_mesh(W, H, *line) for line in lines)


def _mesh(W: float, H: float, every: int, colour: str, stroke: float) -> str:
    down = "M0 0" + f"v{H:g}m{every} -{H:g}" * int(W / every) + f"v{H:g}"
    across = "M0 0" + f"h{W:g}m-{W:g} {every}" * int(H / every) + f"h{W:g}"
    return f'<path d="{down}{across}" fill="none" stroke="{colour}" stroke-width="{stroke}"/>'


def _boxes(boxes) -> list[str]:
    """One path for all boxes of a colour and opacity."""
    alike = {}
    for x, y, width, height, *style in boxes:
        outline = f"M{x:.2f} {y:.2f}h{width:.2f}v{height:.2f}h-{width:.2f}z"
        alike.setdefault(tuple(style), []).append(outline)
    return [f'<path d="{"".join(d)}" fill="{colour}" opacity="{opacity}"/>' for (colour, opacity), d in alike.items()]


def _text(text) -> str:
    weight = ' font-weight="600"' if text.bold else ""
    return (
        f'<text x="{text.x:.2f}" y="{text.y:.2f}" font-size="{text.size}" fill="{text.colour}" '
        f'text-anchor="{text.anchor}"{weight} xml:space="preserve" '
        'paint-order="stroke" stroke="#fff" stroke-width=".6">'
        f"{escape(text.text)}</text>"
    )
