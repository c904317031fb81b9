"""What is printed about a file: tables under titles, in characters that cannot steer a terminal. Imports no torch."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

Block = tuple[str, Table]  # a title and what stands under it


def show(blocks: list[Block]) -> None:
    """Prints them on the standard output."""
    console = Console(markup=False, highlight=False)
    for title, rows in blocks:
        console.print(plain(title), style="bold", soft_wrap=True)
        console.print(rows, end="\n\n")


def facts(known: dict) -> Table:
    """A row for each fact that is known."""
    rows = Table(show_header=False, box=None)
    for name, value in known.items():
        if value not in (None, "", [], {}):
            rows.add_row(plain(name), plain(value))
    return rows


def table(*columns: str) -> Table:
    rows = Table(box=None)
    for name in columns:
        rows.add_column(name)
    return rows


def plain(value) -> str:
    """One line of printable characters: what comes out of a file may not steer the terminal."""
    if isinstance(value, float):
        return f"{value:.3g}" if value == value else "not known"
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else " " for c in text)
