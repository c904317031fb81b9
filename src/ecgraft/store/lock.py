"""One writer at a time: a lock on a file that the system releases when its process ends, however it ends."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..record import InputError

PATIENCE = 5.0  # s; workers of a process that was killed need a moment to notice it
MAKING = 3600.0  # s; what another process is making is worth waiting for


class Lock:
    """`with Lock(path, message):` waits `patience` seconds, then raises InputError with `message`."""

    def __init__(self, path: Path, message: str, patience: float = PATIENCE):
        self.path, self.message, self.patience, self.file = path, message, patience, None

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *_) -> None:
        self.release()

    def acquire(self) -> None:
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        until = time.monotonic() + self.patience
        while not _try(self.file):
            if time.monotonic() > until:
                self.release()
                raise InputError(self.message)
            time.sleep(0.05)

    def release(self) -> None:
        if self.file is not None:
            os.close(self.file)
        self.file = None


def _try(file: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
