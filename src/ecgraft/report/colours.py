"""Colours, once for every picture: of Okabe and Ito (2008), told apart with any colour vision."""

from __future__ import annotations

from ..record import QRS, P, T

WAVES = {P: "#0072b2", QRS: "#d55e00", T: "#009e73"}
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
INK = "#16191d"  # traces and text
SOFT = "#68707a"  # axes, what is said beside
PAPER = "#fffdfc"
MINOR, MAJOR = "#f9dfda", "#eebdb3"  # the grid, each 1 mm and each 5 mm
EVEN = "#e6e9ec"  # rules
