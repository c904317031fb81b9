"""What a cell costs: the largest memory of the process while it ran, and the time."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import torch

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class Cost:
    """`with Cost() as cost: ...`, then `cost.seconds` and `cost.peak` (MB, of the whole process).

    On Linux the high-water mark is reset at the start; elsewhere it is that of the process so far. On a GPU it is what
    torch had allocated there.
    """

    def __enter__(self) -> Cost:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        with contextlib.suppress(OSError):  # not Linux, or a container that does not allow it
            CLEAR.write_text("5")
        self.begun = time.perf_counter()
        return self

    def __exit__(self, *_) -> None:
        self.seconds = time.perf_counter() - self.begun
        self.peak = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else _resident()


def _resident() -> float:
    """The largest resident set since the mark was reset, MB; NaN where the system does not say."""
    if STATUS.exists():
        line = next((line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")), None)
        if line:
            return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
