"""A full disk and a Ctrl-C, on demand."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
import time

SLOWLY = """
import sys, time
from ecgraft import cli, formats
from ecgraft.commands import ingest
from ecgraft.training import batches
def slow(function):
    return lambda *args, **options: (time.sleep(0.05), function(*args, **options))[1]
formats.read, ingest.SMALLEST = slow(formats.read), 2
batches.Sampler.__call__ = slow(batches.Sampler.__call__)
cli.main(sys.argv[1:])
"""


def fill_disk(monkeypatch, target, name: str, after: int) -> None:
    """`target.name` fails from its call `after` on, as on a full disk."""
    real, calls = getattr(target, name), itertools.count()

    def write(*args, **options):
        if next(calls) >= after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **options)

    monkeypatch.setattr(target, name, write)


def interrupt(words, begun) -> None:
    """Runs the command in a process of its own, slowly, sends it Ctrl-C when `begun()`."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SLOWLY, *map(str, words)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    until = time.monotonic() + 60
    while not begun():
        assert child.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    text = child.communicate(timeout=60)[1]
    assert child.returncode == 130 and "interrupted; run the same command again" in text
