"""What a training says: a line of JSON per event in a file, and a progress bar on the terminal."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Log:
    """Events as JSON lines. On resume the lines of steps that will run again are taken out first."""

    def __init__(self, path: Path | None, resume_at: int = 0):
        self.path = path
        self.rows: list[dict] = []
        if path is not None and path.exists() and resume_at:
            self.rows = [row for row in read(path) if row["step"] <= resume_at]
        if path is not None:
            path.write_text("".join(json.dumps(row) + "\n" for row in self.rows))

    def write(self, step: int, **values) -> None:
        row = {"step": step, **{key: _plain(value) for key, value in values.items()}}
        self.rows.append(row)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")


def read(path: Path) -> list[dict]:
    """The events of a log; a last line that was cut off is left out."""
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class Bar:
    """A progress bar with records a second, the loss and the time left."""

    def __init__(self, title: str, steps: int, start: int, show: bool):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[says]}"),
        )
        self._progress = Progress(*columns, disable=not show, refresh_per_second=2)  # drawing takes from the training
        self._task = self._progress.add_task(title, total=steps, completed=start, says="")
        self._records, self._since = 0, time.perf_counter()

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_) -> None:
        self._progress.stop()

    def step(self, step: int, records: int) -> None:
        self._records += records
        self._progress.update(self._task, completed=step)

    def say(self, text: str) -> None:
        speed = self._records / max(1e-9, time.perf_counter() - self._since)
        self._progress.update(self._task, says=f"{speed:.0f} records/s  {text}")


def _plain(value):
    """A number or text that JSON can hold; NaN and infinity become null."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
