"""One thread: the simulator's operations are too small to share among several."""

from __future__ import annotations

from contextlib import contextmanager

import torch


@contextmanager
def one_thread():
    """Inside, torch uses one thread. A second one costs more than it brings, on a busy machine ten times more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
