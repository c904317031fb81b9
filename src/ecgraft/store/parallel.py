"""Work on many jobs in several processes. Results come back as they are done; what is large goes through files."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait

from ..record import InputError

_work: Callable | None = None  # what this worker process does with a job


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(make: Callable, args: tuple, jobs: Iterable, workers: int | None = None) -> Iterator:
    """`make(*args)(job)` for every job, in any order; `make` is called once in each process.

    One job or one worker is done in this process. When the caller stops (an error, Ctrl-C), jobs that have begun are
    finished and the others are dropped.
    """
    jobs = list(jobs)
    workers = min(workers or cores(), len(jobs))
    if workers <= 1:
        work = make(*args) if jobs else None
        yield from map(work, jobs)
        return
    pool = ProcessPoolExecutor(workers, _context(), _begin, (make, args))
    try:
        with _no_script():
            futures = [pool.submit(_do, job) for job in jobs]
        yield from (future.result() for future in as_completed(futures))
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process ended unexpectedly (out of memory?); run the command again to go on, with fewer workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _context():
    """Fork is quickest, but not safe beside the threads of torch."""
    fork = sys.platform == "linux" and "torch" not in sys.modules
    return multiprocessing.get_context("fork" if fork else "spawn")


@contextmanager
def _no_script():
    """A spawned worker imports the script that runs here, as `__main__`, and would start it once more. Not ours."""
    main = sys.modules["__main__"]
    kept = {name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(kept)


def _begin(make: Callable, args: tuple) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leading process decides what Ctrl-C stops
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    _work = make(*args)


def _end_with(parent) -> None:
    """A worker does not outlive a leading process that was killed."""
    wait([parent.sentinel])
    os._exit(1)


def _do(job):
    return _work(job)


@contextmanager
def progress_bar(title: str, total: int, done: int = 0, shown: bool = True):
    """`with progress_bar(...) as advance: advance(n)`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # It draws when it advances, not from a thread of its own: processes are forked while it is shown.
    with Progress(*columns, console=Console(stderr=True), disable=not shown, auto_refresh=False) as bar:
        task = bar.add_task(title, total=total, completed=done)

        def advance(count: int) -> None:
            bar.update(task, advance=count, refresh=True)

        yield advance
