"""What a command tells a person, on the error stream, so that results on the standard one stay clean."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape


def say(text: str, mark: str = ">") -> None:
    """One line after a mark; never wrapped, so that commands and paths in it can be copied."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold]{mark}[/bold] {escape(text)}")
