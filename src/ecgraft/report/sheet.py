"""An ECG on paper, in millimetres: 25 mm/s and 10 mm/mV, as traces, boxes and texts that a renderer puts down.

Twelve leads stand in the usual three rows of four columns of equal time above a rhythm strip of lead II; other records
have a row for each lead, a single lead goes on over several rows. Each lead is drawn around its median. What leaves its
row by more than 5 mm is cut, and the sheet says so.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..record import LEADS, WAVES, Record, UsageError
from . import colours

SPEED = 25  # mm/s
GAIN = 10  # mm/mV
TOP, LEFT, RIGHT = 5, 10, 5  # mm around the traces; the calibration pulse stands in the left one
STRIP = 10.0  # s in a row
STRIPS = 3  # rows of a single lead
LANE = 3  # mm under a row for the bars of the reference
OVER = 5  # mm that a trace may leave its row
SMALL = {"size": 2.6, "colour": colours.SOFT}
LETTER = 1.45  # mm of a small letter, about


class Trace(NamedTuple):
    x: np.ndarray  # mm
    y: np.ndarray  # mm, downwards; NaN breaks the line


class Box(NamedTuple):
    x: float
    y: float
    width: float
    height: float
    colour: str
    opacity: float


class Text(NamedTuple):
    x: float
    y: float  # of the base line
    text: str
    size: float = 3.0
    colour: str = colours.INK
    anchor: str = "start"
    bold: bool = False


class Panel(NamedTuple):
    """One lead over a stretch of time, in a row, from x mm."""

    lead: int
    start: float  # s
    stop: float  # s
    x: float
    row: int


@dataclass
class Sheet:
    """width and height in mm; the grid covers the upper `grid` mm. What is drawn, from the bottom up."""

    width: float
    height: float = 0.0
    grid: float = 0.0
    cut: bool = False  # a trace left its row
    boxes: list[Box] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)


def compose(
    record: Record, predicted=None, start=0.0, seconds: float | None = None, rows: bool = False,
    unreadable: Sequence[tuple[int, int]] = (), below: Sequence[str] = (),
) -> Sheet:  # fmt: skip
    """The sheet of a record: predicted waves (WAVE rows) shaded, its own waves as bars beneath, spans as grey lines.

    start, seconds: the part to draw, by default 10 s from the start, of a single lead 30 s. rows: a row for each lead,
    also if there are twelve. unreadable: [first, stop) samples, shaded grey. below: lines of text beneath.
    """
    panels = _panels(record, start, seconds, rows)
    right = max(p.x + SPEED * (p.stop - p.start) for p in panels) + RIGHT
    sheet = Sheet(width=_whole(right), grid=TOP)
    for row in range(panels[-1].row + 1):
        _row(sheet, record, predicted, [p for p in panels if p.row == row], unreadable)
    _footer(sheet, record, predicted, panels, unreadable)
    for line in below:
        for part in textwrap.wrap(line, max(24, int((sheet.width - LEFT - RIGHT) / LETTER))):
            sheet.texts.append(Text(LEFT, sheet.height + 2, part, **SMALL))
            sheet.height += 4
    return sheet


def _whole(length: float) -> float:
    """The next large square of the grid, mm."""
    return float(5 * np.ceil(length / 5 - 1e-9))


def _row(sheet: Sheet, record: Record, predicted, panels, unreadable) -> None:
    curves = [_curve(record, p) for p in panels]
    up, down = _reach([y for _, y in curves])
    top, base, bottom = sheet.grid, sheet.grid + up, sheet.grid + up + down
    for panel, (x, y) in zip(panels, curves):
        held = np.clip(y, -up - OVER, down + OVER)
        sheet.cut |= bool((held[np.isfinite(y)] != y[np.isfinite(y)]).any())
        sheet.traces.append(Trace(x, base + held))
        _name(sheet, record, panel, top, absent=np.isnan(y).all())
        for x, width in filter(None, (_piece(*span, record.rate, panel) for span in unreadable)):
            sheet.boxes.append(Box(x, top, width, bottom - top, colours.SOFT, 0.25))
        _waves(sheet, record, predicted, panel, top, bottom)
    sheet.traces.append(_pulse(base))
    sheet.grid = _whole(bottom + (LANE if record.waves is not None else 0))


def _panels(record: Record, start: float, seconds: float | None, rows: bool) -> list[Panel]:
    if seconds is not None and seconds <= 0:
        raise UsageError(f"an ECG of {seconds} s cannot be drawn; ask for more than 0 s")
    C = len(record.leads)
    whole = STRIP * (STRIPS if C == 1 else 1) if seconds is None else seconds
    stop = min(start + whole, record.seconds)
    start = max(0.0, min(start, stop - 1 / record.rate))
    if C == 1:
        begins = np.arange(start, stop - 1e-9, STRIP)
        return [Panel(0, t, min(t + STRIP, stop), LEFT, row) for row, t in enumerate(begins)]
    if rows or not set(LEADS) <= set(record.leads):
        return [Panel(lead, start, stop, LEFT, lead) for lead in range(C)]
    quarter = (stop - start) / 4
    at = [record.leads.index(name) for name in LEADS]
    panels = [
        Panel(at[3 * column + row], start + column * quarter, start + (column + 1) * quarter, 0, row)
        for row in range(3)
        for column in range(4)
    ]
    panels = [p._replace(x=LEFT + SPEED * (p.start - start)) for p in panels]
    return [*panels, Panel(record.leads.index("II"), start, stop, LEFT, 3)]


def _curve(record: Record, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """x in mm on the sheet and y in mm below the base line, around the median of what is drawn of the lead."""
    first, last = np.ceil(np.array([panel.start, panel.stop]) * record.rate - 1e-6).astype(int)
    signal = record.signal[panel.lead, first:last]
    x = panel.x + SPEED * (np.arange(first, first + len(signal)) / record.rate - panel.start)
    middle = np.nanmedian(signal) if np.isfinite(signal).any() else 0.0
    return x, -GAIN * (signal - middle)


def _reach(curves) -> tuple[float, float]:
    """mm above and below the base line that a row needs, in steps of 5: 10 to 30 and 5 to 25."""
    y = np.concatenate(curves)
    y = np.append(y[np.isfinite(y)], 0.0)
    return float(np.clip(_whole(-y.min()), 10, 30)), float(np.clip(_whole(y.max()), 5, 25))


def _name(sheet: Sheet, record: Record, panel: Panel, top: float, absent: bool) -> None:
    name = record.leads[panel.lead]
    if len(record.leads) == 1 and panel.start > 0:
        name += f" from {panel.start:g} s"
    sheet.texts.append(Text(panel.x + 1, top + 1, name + (" (not recorded)" if absent else ""), bold=True))


def _pulse(base: float) -> Trace:
    """Calibration: 1 mV for 0.2 s, before the row."""
    return Trace(np.array([1.5, 2.5, 2.5, 7.5, 7.5, 8.5]), base - np.array([0, 0, GAIN, GAIN, 0, 0.0]))


def _waves(sheet: Sheet, record: Record, predicted, panel: Panel, top: float, bottom: float) -> None:
    for kind, x, width in _pieces(predicted, record.rate, panel):
        sheet.boxes.append(Box(x, top, width, bottom - top, colours.WAVES[kind], 0.2))
    if record.waves is None:
        return
    for lead, first, last in [] if record.scored is None else record.scored.tolist():
        if lead in (-1, panel.lead) and (piece := _piece(first, last, record.rate, panel)):
            sheet.boxes.append(Box(piece[0], bottom + 1.1, piece[1], 0.3, colours.SOFT, 0.8))
    for kind, x, width in _pieces(record.waves, record.rate, panel):
        sheet.boxes.append(Box(x, bottom + 0.5, width, 1.5, colours.WAVES[kind], 1.0))


def _pieces(waves, rate: float, panel: Panel) -> list[tuple[int, float, float]]:
    """Kind, x and width in mm of the waves in the panel's lead and time."""
    if waves is None:
        return []
    here = waves[
        ((waves["lead"] == panel.lead) | (waves["lead"] == -1)) & (waves["onset"] >= 0) & (waves["offset"] >= 0)
    ]
    pieces = [(kind, _piece(onset, offset, rate, panel)) for kind, _, onset, _, offset in here.tolist()]
    return [(kind, *piece) for kind, piece in pieces if piece and kind in colours.WAVES]


def _piece(first: int, last: int, rate: float, panel: Panel) -> tuple[float, float] | None:
    """x and width in mm of samples first to last, as far as the panel shows them."""
    begin, end = max(first / rate, panel.start), min(last / rate, panel.stop)
    return (panel.x + SPEED * (begin - panel.start), SPEED * (end - begin)) if end > begin else None


def _footer(sheet: Sheet, record: Record, predicted, panels, unreadable) -> None:
    """Seconds where all rows share them, then the legend and the scale."""
    below = sheet.grid + 4
    start, stop = panels[-1].start, panels[-1].stop
    if all(p.start == start for p in panels if p.x == LEFT):
        for second in np.arange(np.ceil(start), np.floor(stop) + 1):
            sheet.texts.append(Text(LEFT + SPEED * (second - start), below, f"{second:g} s", anchor="middle", **SMALL))
        below += 4.5
    scale = "traces cut where they leave their row     " * sheet.cut + f"{SPEED} mm/s   {GAIN} mm/mV"
    sheet.texts.append(Text(sheet.width - RIGHT, below, scale, anchor="end", **SMALL))
    known = record.waves is not None
    means = ["shaded: predicted"] * (predicted is not None) + ["bar beneath: reference"] * known
    means += ["grey line: annotated part"] * (known and record.scored is not None)
    grey = any(_piece(*span, record.rate, panel) for span in unreadable for panel in panels)
    means += ["grey: not readable"] * grey
    x = float(LEFT)
    for kind in colours.WAVES if means else ():
        sheet.boxes.append(Box(x, below - 2.2, 4, 2.4, colours.WAVES[kind], 0.8))
        sheet.texts.append(Text(x + 5, below, WAVES[kind], **SMALL))
        x += 9 + 2 * len(WAVES[kind])
    sheet.texts.append(Text(x + 2, below, "     ".join(means), **SMALL))
    sheet.height = below + 2
