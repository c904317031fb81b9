"""Small plots as inline SVG: curves, ROC, reliability, intervals, confusion matrix. Coordinates are pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape

from ..metrics.bootstrap import Estimate
from . import colours

POINTS = 300  # at most in a curve
WIDTH = 330  # px; three stand side by side on a page
DASH = ("none", "6 3", "2 2")


class Frame:
    """The axes of a plot: a linear map from data to pixels, ticks, labels."""

    def __init__(self, x, y, size, margin):
        """x, y: (lowest, highest); margin: left, right, top, bottom."""
        self.width, self.height = size
        self.left, self.right, self.top, self.bottom = margin
        (self.x0, self.x1), (self.y0, self.y1) = map(_span, (x, y))

    def x(self, value):
        return self.left + (np.asarray(value) - self.x0) / (self.x1 - self.x0) * (self.width - self.left - self.right)

    def y(self, value):
        inner = self.height - self.top - self.bottom
        return self.height - self.bottom - (np.asarray(value) - self.y0) / (self.y1 - self.y0) * inner

    def axes(self, xlabel: str, ylabel: str = "", yticks: bool = True) -> str:
        low, right = self.height - self.bottom, self.width - self.right
        parts = []
        for tick in _fitting(self.x0, self.x1, right - self.left):
            parts.append(_line(self.x(tick), self.top, self.x(tick), low, colours.EVEN))
            parts.append(_text(self.x(tick), low + 15, f"{tick:g}", "middle", colours.SOFT))
        for tick in ticks(self.y0, self.y1) if yticks else ():
            parts.append(_line(self.left, self.y(tick), right, self.y(tick), colours.EVEN))
            parts.append(_text(self.left - 6, self.y(tick) + 4, f"{tick:g}", "end", colours.SOFT))
        parts.append(_line(self.left, low, right, low, colours.SOFT))
        parts.append(_text((self.left + right) / 2, self.height - 6, xlabel, "middle", colours.SOFT))
        if ylabel:
            turned = f'transform="rotate(-90 13 {(self.top + low) / 2:.0f})"'
            parts.append(_text(13, (self.top + low) / 2, ylabel, "middle", colours.SOFT, turned))
        return "".join(parts)

    def curve(self, x, y, colour: str, dash: str = "none", width: float = 1.8) -> str:
        keep = np.isfinite(x) & np.isfinite(y)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(self.x(x[keep]), self.y(y[keep])))
        style = f'stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dash}" stroke-linejoin="round"'
        return f'<polyline points="{points}" fill="none" {style}/>'

    def svg(self, parts: str, label: str) -> Markup:
        return Markup(
            f'<svg class="plot" viewBox="0 0 {self.width} {self.height}" width="{self.width}" role="img" '
            f'aria-label="{escape(label)}" font-size="11.5" font-family="inherit">{parts}</svg>'
        )


def lines(series: Mapping[str, tuple], x: str, y: str, xspan=None, yspan=None, diagonal: bool = False) -> Markup:
    """Curves by name, each a pair of arrays (x, y); at most 300 points of each are drawn. diagonal: a grey y = x."""
    curves = {name: _fewer(*map(np.asarray, pair)) for name, pair in series.items()}
    columns = list(zip(*curves.values())) or [(np.zeros(1),)] * 2
    xs, ys = (np.concatenate(column).astype(float) for column in columns)
    rows = -(-len(curves) // 2)
    frame = Frame(xspan or xs, yspan or ys, (WIDTH, 240 + 16 * rows), (52, 12, 14 + 16 * rows, 40))
    parts = [frame.axes(x, y)]
    if diagonal:
        parts.append(
            frame.curve(np.array([frame.x0, frame.x1]), np.array([frame.x0, frame.x1]), colours.SOFT, "3 3", 1)
        )
    for i, (name, (a, b)) in enumerate(curves.items()):
        colour, dash = colours.SERIES[i % len(colours.SERIES)], DASH[i // len(colours.SERIES) % len(DASH)]
        parts.append(frame.curve(a, b, colour, dash))
        left, high = frame.left + 135 * (i % 2), 12 + 16 * (i // 2)
        parts.append(_line(left, high - 4, left + 18, high - 4, colour, 2.2, dash))
        parts.append(_text(left + 24, high, _short(name, 17)))
    return frame.svg("".join(parts), f"{y} over {x}")


def roc(y, score, known=None, labels: Sequence[str] = ()) -> Markup:
    """ROC curves of the classes (N, K) that have positives and negatives."""
    y, score = np.asarray(y), np.asarray(score)
    known = (y >= 0) if known is None else (y >= 0) & np.asarray(known, dtype=bool)
    curves = {}
    for k, label in enumerate(labels):
        s, truth = score[known[:, k], k], y[known[:, k], k] == 1
        if truth.any() and not truth.all():
            order = np.argsort(-s, kind="stable")
            last = np.append(np.flatnonzero(np.diff(s[order])), len(s) - 1)
            true, false = np.cumsum(truth[order])[last] / truth.sum(), np.cumsum(~truth[order])[last] / (~truth).sum()
            curves[label] = np.append(0, false), np.append(0, true)
    return lines(curves, "1 - specificity", "sensitivity", (0, 1), (0, 1), diagonal=True)


def reliability(mean, share, labels: Sequence[str]) -> Markup:
    """Share of positives over mean probability, each (K, bins), from `classify.calibration`."""
    curves = {label: (mean[k], share[k]) for k, label in enumerate(labels) if np.isfinite(mean[k]).any()}
    return lines(curves, "predicted probability", "share of positives", (0, 1), (0, 1), diagonal=True)


def intervals(labels: Sequence[str], estimate: Estimate, x: str, xspan=None) -> Markup:
    """A dot with its interval for each label; one that is not defined says so."""
    value, low, high = (np.atleast_1d(np.asarray(part, dtype=float)) for part in estimate)
    margin = (18 + 7 * max((len(_short(label, 20)) for label in labels), default=0), 48, 6, 40)
    low_x, high_x = xspan or _span(np.concatenate([low, high, value]))
    air = 0.04 * (high_x - low_x)
    frame = Frame((low_x - air, high_x + air), (0, len(labels)), (WIDTH, 46 + 24 * len(labels)), margin)
    parts = [frame.axes(x, yticks=False)]
    for i, label in enumerate(labels):
        y = frame.y(len(labels) - i - 0.5)
        parts.append(_text(frame.left - 8, y + 4, _short(label, 20), "end"))
        if not np.isfinite(value[i]):
            parts.append(_text(frame.left + 6, y + 4, "not defined", "start", colours.SOFT))
            continue
        if np.isfinite(low[i]):
            parts.append(_line(frame.x(low[i]), y, frame.x(high[i]), y, colours.SERIES[0], 2.4))
        parts.append(f'<circle cx="{frame.x(value[i]):.1f}" cy="{y:.1f}" r="4" fill="{colours.SERIES[0]}"/>')
        parts.append(_text(frame.width - 4, y + 4, f"{value[i]:.3f}", "end"))
    return frame.svg("".join(parts), x)


def confusion(matrix, labels: Sequence[str]) -> Markup:
    """Counts, shaded by their share of the row (the reference)."""
    matrix = np.asarray(matrix, dtype=float)
    K = len(labels)
    cell, left = (
        max(34, min(62, 340 // max(K, 1))),
        34 + 7 * max((len(_short(label, 14)) for label in labels), default=0),
    )
    frame = Frame((0, K), (0, K), (left + K * cell + 8, K * cell + 48), (left, 8, 4, 44))
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    parts = []
    for i, j in np.ndindex(K, K):
        x, y, dark = left + j * cell, 4 + i * cell, share[i, j] > 0.55
        parts.append(
            f'<rect x="{x}" y="{y}" width="{cell - 2}" height="{cell - 2}" fill="{colours.SERIES[0]}" '
            f'fill-opacity="{0.05 + 0.95 * share[i, j]:.2f}"/>'
        )
        ink = "#fff" if dark else colours.INK
        parts.append(_text(x + cell / 2 - 1, y + cell / 2, f"{matrix[i, j]:.0f}", "middle", ink))
        parts.append(
            _text(x + cell / 2 - 1, y + cell / 2 + 13, f"{100 * share[i, j]:.0f} %", "middle", ink, 'font-size="9.5"')
        )
    for i, label in enumerate(labels):
        parts.append(_text(left - 8, 4 + i * cell + cell / 2 + 3, _short(label, 14), "end"))
        parts.append(_text(left + i * cell + cell / 2, frame.height - 28, _short(label, cell // 7), "middle"))
    parts.append(_text(left + K * cell / 2, frame.height - 8, "predicted", "middle", colours.SOFT))
    turned = f'transform="rotate(-90 12 {4 + K * cell / 2:.0f})"'
    parts.append(_text(12, 4 + K * cell / 2, "reference", "middle", colours.SOFT, turned))
    return frame.svg("".join(parts), "confusion matrix")


def ticks(low: float, high: float, about: int = 5) -> np.ndarray:
    """Round numbers (1, 2 or 5 times a power of ten apart) in [low, high]."""
    raw = (high - low) / about
    unit = 10.0 ** np.floor(np.log10(raw))
    step = unit * min((1, 2, 5, 10), key=lambda factor: abs(np.log(factor * unit / raw)))
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return np.arange(first, last + 1) * step + 0.0  # never -0


def _fitting(low: float, high: float, room: float) -> np.ndarray:
    """As many ticks as have room for their numbers side by side, in pixels."""
    for about in (5, 4, 3, 2):
        found = ticks(low, high, about)
        if len(found) * (10 + 7 * max((len(f"{tick:g}") for tick in found), default=0)) <= room:
            break
    return found


def _span(values) -> tuple[float, float]:
    """Lowest and highest finite value, never equal."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _fewer(x, y) -> tuple[np.ndarray, np.ndarray]:
    if len(x) <= POINTS:
        return x, y
    keep = np.unique(np.linspace(0, len(x) - 1, POINTS).round().astype(int))
    return x[keep], y[keep]


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(1, most - 1)] + "…"


def _line(x0, y0, x1, y1, colour: str, width: float = 1, dash: str = "none") -> str:
    ends = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dash}"/>'


def _text(x, y, text: str, anchor: str = "start", colour: str = colours.INK, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" {more}>{escape(text)}</text>'
