"""Accuracy matrices of tasks learnt one after another, one a strategy, as inline SVG. Coordinates are pixels."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape

from ..record import InputError
from . import colours
from .page import number
from .plots import _short, _text

PAGE = 1020  # px: as wide as a page lets a picture be
WIDE, HIGH, GAP, LINE = (54, 80), 42, 26, 13  # px: of a cell, between matrices, of a line of a name
SIDE, SMALL = 17, 'font-size="10"'  # letters in a line before a row
DASHED = f'fill="none" stroke="{colours.SOFT}" stroke-opacity=".4" stroke-dasharray="4 3"'
PALE, DEEP = 0.06, 0.73  # opacity of the lowest and of the highest score; ink can be read on both
LEAST = 0.05  # a colour scale spans no less, so that noise looks like noise


def accuracy(
    matrices: Mapping[str, np.ndarray], tasks: Sequence[str], kinds: Sequence[str] = (), digits: int = 3
) -> Markup:
    """Heat maps of R (K, K) by name, see `metrics.forgetting`: rows "after task i", columns "task j", numbers inside.

    Below a score stands its change since the task was learnt, unless it is exactly 0. Learnt tasks are coloured, on one
    scale for all columns of a kind (what the score of each task is, say "F1"); those to come are pale and dashed, or
    blank where they were not measured (NaN). A learnt one that was not measured is a dash.
    """
    K = len(tasks)
    kinds = list(kinds) or [""] * K
    matrices = {name: _checked(R, name, K) for name, R in matrices.items()}
    if len(kinds) != K:
        raise InputError(f"{len(kinds)} kinds of score for {K} tasks")
    if not matrices or not K:
        raise InputError("there is no accuracy matrix to draw")
    scales = _scales(list(matrices.values()), kinds)
    sheet = _Sheet(tasks, kinds if len(scales) > 1 else [""] * K, len(matrices), len(scales))
    parts = []
    for place, (name, R) in enumerate(matrices.items()):
        parts.append(sheet.heads(place, name))
        for i, j in np.ndindex(K, K):
            parts.append(_cell(R, i, j, sheet.corner(place, i, j), sheet.cell, scales[kinds[j]], digits))
    parts += [sheet.scale(line, kind, scale, digits) for line, (kind, scale) in enumerate(scales.items())]
    return sheet.svg("".join(parts) + sheet.notes(), f"scores after each task: {', '.join(matrices)}")


class _Scale:
    """Opacity of a colour from the lowest to the highest score."""

    def __init__(self, scores: np.ndarray, colour: str):
        scores = scores[np.isfinite(scores)]
        self.low, self.high = (scores.min(), scores.max()) if len(scores) else (0.0, 1.0)
        self.low, self.colour = min(self.low, self.high - LEAST), colour

    def box(self, score: float, x: float, y: float, width: float, height: float, more: str = "") -> str:
        opacity = PALE + (DEEP - PALE) * (score - self.low) / (self.high - self.low)
        return _box(x, y, width, height, f'fill="{self.colour}" fill-opacity="{opacity:.3f}" {more}')


def _scales(matrices: list[np.ndarray], kinds: Sequence[str]) -> dict[str, _Scale]:
    """A scale for each kind, over what is learnt in all matrices."""
    learnt = [np.where(np.tri(len(kinds), dtype=bool), R, np.nan) for R in matrices]
    found = {}
    for kind in dict.fromkeys(kinds):
        scores = np.stack(learnt)[:, :, [other == kind for other in kinds]]
        found[kind] = _Scale(scores.ravel(), colours.SERIES[len(found) % len(colours.SERIES)])
    return found


class _Sheet:
    """Where everything stands."""

    def __init__(self, tasks: Sequence[str], kinds: Sequence[str], matrices: int, scales: int):
        self.K, self.kinds, self.scales = len(tasks), kinds, scales
        tasks = [task.replace("_", " ") for task in tasks]  # so that they wrap
        self.rows = [_wrapped(f"after {task}", SIDE) for task in tasks]
        self.left = 14 + 6 * max(len(line) for row in self.rows for line in row)
        room, narrow = PAGE - self.left + GAP, self.K * WIDE[0] + GAP
        self.across = min(matrices, max(1, room // narrow))
        longest = max(len(word) for task in tasks for word in task.split() or [""])
        most = max(WIDE[0], (room // self.across - GAP) // self.K)
        self.cell = min(max(WIDE[0], 6 * longest + 8), WIDE[1], most)
        self.columns = [_wrapped(task, (self.cell - 4) // 6) for task in tasks]
        self.head = 30 + LINE * (max(map(len, self.columns)) + any(kinds))  # above the cells
        wide = self.K * self.cell
        self.width = max(self.left + self.across * (wide + GAP) - GAP + 2, self.left + 330)  # of the legend
        self.low = -(-matrices // self.across) * (self.head + self.K * HIGH + 14)  # where the legend begins
        self.height = self.low + 18 * scales + 40

    def corner(self, place: int, i: int, j: int) -> tuple[float, float]:
        """Upper left of a cell of a matrix."""
        down, along = divmod(place, self.across)
        x = self.left + along * (self.K * self.cell + GAP) + j * self.cell
        return x, down * (self.head + self.K * HIGH + 14) + self.head + i * HIGH

    def heads(self, place: int, name: str) -> str:
        """The name of a matrix, its columns and, at the left of the page, its rows."""
        x, y = self.corner(place, 0, 0)
        title = _short(name, self.K * self.cell // 7)
        parts = [_text(x, y - self.head + 14, title, more='font-weight="600" font-size="12.5"')]
        for j, (lines, kind) in enumerate(zip(self.columns, self.kinds)):
            x, y = self.corner(place, 0, j)
            lines = [*lines, _short(kind, self.cell // 6)] if kind else lines
            parts += _lines(lines, x + self.cell / 2 - 1, y - 7 - LINE * (len(lines) - 1), "middle", bool(kind))
        for i, lines in enumerate(self.rows if place % self.across == 0 else ()):
            x, y = self.corner(place, i, 0)
            parts += _lines(lines, x - 9, y + HIGH / 2 + 3 - LINE * (len(lines) - 1) / 2, "end")
        return "".join(parts)

    def scale(self, line: int, kind: str, scale: _Scale, digits: int) -> str:
        """One line of the legend: the lowest score, the colours, the highest, what it is."""
        x, y = self.left, self.low + 18 * line
        low, high = number(scale.low, digits), number(scale.high, digits)
        start = x + 8 + 7 * len(low)
        steps = np.linspace(scale.low, scale.high, 24)
        bar = "".join(scale.box(step, start + 5 * k, y, 5, 11) for k, step in enumerate(steps))
        return _text(x, y + 10, low) + bar + _text(start + 128, y + 10, f"{high}  {_short(kind, 14)}")

    def notes(self) -> str:
        y = self.low + 18 * self.scales + 12
        said = ("small: change since learnt (framed)", "dashed: not learnt yet")
        return "".join(_text(self.left, y + 15 * k, text, "start", colours.SOFT) for k, text in enumerate(said))

    def svg(self, parts: str, label: str) -> Markup:
        return Markup(
            f'<svg class="plot" viewBox="0 0 {self.width} {self.height}" width="{self.width}" role="img" '
            f'aria-label="{escape(label)}" font-size="11.5" font-family="inherit">{parts}</svg>'
        )


def _cell(R: np.ndarray, i: int, j: int, corner: tuple, cell: int, scale: _Scale, digits: int) -> str:
    """The score of task j after task i, and its change since j was learnt."""
    (x, y), score, change = corner, R[i, j], R[i, j] - R[j, j]
    if not np.isfinite(score):
        return _text(x + cell / 2 - 1, y + HIGH / 2 + 3, "–", "middle", colours.SOFT) if j <= i else ""
    if j > i:
        dashed = _box(x + 1, y + 1, cell - 4, HIGH - 4, DASHED)
        return dashed + _text(x + cell / 2 - 1, y + HIGH / 2 + 3, number(score, digits), "middle", colours.SOFT)
    frame = f'stroke="{colours.SOFT}" stroke-width="1.2"' if i == j else ""
    box = scale.box(score, x, y, cell - 2, HIGH - 2, frame)
    if not np.isfinite(change) or change == 0:
        return box + _text(x + cell / 2 - 1, y + HIGH / 2 + 3, number(score, digits), "middle")
    parts = box + _text(x + cell / 2 - 1, y + HIGH / 2 - 3, number(score, digits), "middle")
    return parts + _text(x + cell / 2 - 1, y + HIGH / 2 + 11, _signed(change, digits), "middle", more=SMALL)


def _signed(change: float, digits: int) -> str:
    """+0.012, −0.120, or ≈ 0 where the digits do not show what there is."""
    said = number(abs(change), digits)
    return "≈ 0" if not said.strip("0.") else f"{'+' if change > 0 else '−'}{said}"


def _wrapped(text: str, most: int) -> list[str]:
    text = " ".join(_short(word, most) for word in text.split())
    return textwrap.wrap(text, most, max_lines=3, placeholder="…") or [""]


def _lines(lines: Sequence[str], x: float, y: float, anchor: str, soft_last: bool = False) -> list[str]:
    inks = [colours.INK] * (len(lines) - soft_last) + [colours.SOFT] * soft_last
    return [_text(x, y + LINE * k, line, anchor, ink, SMALL) for k, (line, ink) in enumerate(zip(lines, inks))]


def _box(x, y, width, height, style: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" {style}/>'


def _checked(R, name: str, K: int) -> np.ndarray:
    R = np.asarray(R, dtype=float)
    if R.shape != (K, K):
        raise InputError(f"{name}: a matrix {R.shape} does not fit {K} tasks")
    return R
