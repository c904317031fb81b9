"""Learning curves: a score over the number of labelled records, with intervals, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup, escape

from . import colours
from .plots import _line, _text, ticks

WIDTH, HEIGHT = 430, 300  # px
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 14, 44
DASHES = ("none", "6 3", "2 2")
SPREAD = 5  # px between the whiskers of neighbours at one budget


def learning(series: Mapping[str, tuple], y: str, x: str = "labelled records") -> Markup:
    """Curves by name: (n, value, low, high) arrays of one length each; n on a logarithmic axis.

    Whiskers of different curves stand a little beside each other, so that none hides another.
    """
    n, low, high = (np.concatenate([np.asarray(part[k], float) for part in series.values()]) for k in (0, 2, 3))
    value = np.concatenate([np.asarray(part[1], float) for part in series.values()])
    legend = 17 * -(-len(series) // 2)
    frame = _Frame(n, np.concatenate([value, low, high]), legend)
    parts = [frame.axes(np.unique(n), x, y)]
    for k, (name, (n, value, low, high)) in enumerate(series.items()):
        colour, beside = colours.SERIES[k % len(colours.SERIES)], SPREAD * (k - (len(series) - 1) / 2)
        dash = DASHES[k // len(colours.SERIES) % len(DASHES)]  # where colours come a second time
        px = frame.x(np.asarray(n, float)) + beside
        parts += _whiskers(px, frame.y(np.asarray(low, float)), frame.y(np.asarray(high, float)), colour)
        parts += _curve(px, frame.y(np.asarray(value, float)), colour, dash)
        left, high_ = LEFT + 190 * (k % 2), TOP + 17 * (k // 2)
        parts.append(
            f'<line x1="{left}" y1="{high_}" x2="{left + 20}" y2="{high_}" stroke="{colour}" '
            f'stroke-width="2.4" stroke-dasharray="{dash}"/>'
        )
        parts.append(_text(left + 26, high_ + 4, name[:24]))
    return Markup(
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT + legend}" width="{WIDTH}" role="img" '
        f'aria-label="{escape(f"{y} over {x}")}" font-size="11.5" font-family="inherit">{"".join(parts)}</svg>'
    )


class _Frame:
    """The map from numbers to pixels."""

    def __init__(self, n: np.ndarray, y: np.ndarray, legend: int):
        self.top, self.low = TOP + legend, HEIGHT + legend - BOTTOM
        self.n0, self.n1 = np.log(n.min()) - 0.1, np.log(n.max()) + 0.1
        y = y[np.isfinite(y)]
        self.y0, self.y1 = (y.min(), y.max()) if len(y) else (0.0, 1.0)
        if self.y1 - self.y0 < 1e-6:
            self.y0, self.y1 = self.y0 - 0.01, self.y1 + 0.01

    def x(self, n):
        return LEFT + (np.log(n) - self.n0) / (self.n1 - self.n0) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        return self.low - (value - self.y0) / (self.y1 - self.y0) * (self.low - self.top)

    def axes(self, n: np.ndarray, x: str, y: str) -> str:
        parts, last = [], -np.inf
        for count in n:
            at = float(self.x(count))
            parts.append(_line(at, self.top, at, self.low, colours.EVEN))
            if at - last > 34:
                parts.append(_text(at, self.low + 15, f"{count:,.0f}", "middle", colours.SOFT))
                last = at
        for tick in ticks(self.y0, self.y1):
            at = float(self.y(tick))
            parts.append(_line(LEFT, at, WIDTH - RIGHT, at, colours.EVEN))
            parts.append(_text(LEFT - 6, at + 4, f"{tick:g}", "end", colours.SOFT))
        parts.append(_line(LEFT, self.low, WIDTH - RIGHT, self.low, colours.SOFT))
        parts.append(_text((LEFT + WIDTH - RIGHT) / 2, self.low + 34, x, "middle", colours.SOFT))
        middle = (self.top + self.low) / 2
        parts.append(_text(13, middle, y, "middle", colours.SOFT, f'transform="rotate(-90 13 {middle:.0f})"'))
        return "".join(parts)


def _whiskers(x, low, high, colour: str) -> list[str]:
    pairs = zip(x, low, high)
    return [_line(a, b, a, c, colour, 1.6) for a, b, c in pairs if np.isfinite(b) and np.isfinite(c)]


def _curve(x, y, colour: str, dash: str) -> list[str]:
    there = np.isfinite(y)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[there], y[there]))
    dots = [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.2" fill="{colour}"/>' for a, b in zip(x[there], y[there])]
    return [
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>',
        *dots,
    ]
