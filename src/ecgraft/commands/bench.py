"""ecgraft bench: a protocol, all its methods on all its databases, as one table that can be believed."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

from rich.console import Console

from .. import tasks
from ..plugs import nearest
from ..record import InputError, UsageError
from ..store import Store
from ..store.parallel import cores, progress_bar, spread
from ._bench import cells as cell_tools
from ._bench import courses as course_tools
from ._bench import matrices, report, tables
from ._bench.cells import Cell, Ground
from ._bench.pretrained import Starts, pretrain_all
from ._bench.protocol import Protocol
from ._bench.reading import read
from ._bench.results import FILE, Results
from ._bench.run import Runner
from ._say import say


def bench(
    protocol: Annotated[Path, "protocol, a YAML file"],
    *,
    data: Annotated[
        Path | None, "folder with public databases; simulated ECGs stand for those that are missing"
    ] = None,
    to: Annotated[Path | None, "folder for results, report and stores (default: bench-NAME)"] = None,
    only: Annotated[str, "rows to run, separated by commas (default: all)"] = "",
    seeds: Annotated[int, "how many seeds (0: as the protocol says)"] = 0,
    jobs: Annotated[int, "cells at a time (0: one per core)"] = 0,
    reference: Annotated[str, "row that the others are compared with (default: the protocol's)"] = "",
    rescore: Annotated[bool, "compute the scores of finished cells again, from what was kept of them"] = False,
    device: Annotated[str, "where to compute: auto, cpu, cuda or mps"] = "auto",
    progress: Annotated[bool, "show progress"] = True,
) -> list[dict]:
    """Runs what has not been run yet, then writes report.md and report.html beside results.parquet.

    Each result is kept as soon as it is there: a bench that is interrupted goes on when the same command is repeated.
    """
    read_protocol = read(protocol)
    chosen = _chosen(only, read_protocol)
    if reference:
        read_protocol = replace(read_protocol, reference=_chosen(reference, read_protocol, "--reference")[0])
    for name, value in (("seeds", seeds), ("jobs", jobs)):
        if value < 0:
            raise UsageError(f"--{name} {value}: it must be at least 0")
    folder = Path(to) if to else Path(f"bench-{read_protocol.name}")
    return run(read_protocol, folder, data, chosen, seeds, jobs, rescore, device, progress)[0]


def run(
    protocol: Protocol, folder: Path, data: Path | None = None, only: list[str] = (), seeds: int = 0, jobs: int = 0,
    rescore: bool = False, device: str = "auto", progress: bool = True,
    withheld: dict[str, tuple[int, ...]] | None = None,
) -> tuple[list[dict], dict[str, list[tables.Line]]]:  # fmt: skip
    """The results of a protocol, from a file or made in code, and the lines of its tables; options as of `bench`.

    withheld  table -> rows of its store that are not to be tested on
    """
    console = Console(stderr=True, quiet=not progress, highlight=False, markup=False, soft_wrap=True)
    with Results(folder, protocol) as results:
        grounds = cell_tools.grounds(protocol, data, folder, console)
        grounds |= {name: replace(grounds[name], withheld=rows) for name, rows in (withheld or {}).items()}
        pool = cell_tools.pool(protocol, data, folder, console)
        courses = _courses(protocol, grounds, only, seeds or protocol.seeds)
        wanted = _keys(protocol, grounds, pool, folder, only, seeds or protocol.seeds)
        wanted |= {key: cell for course, keys in courses for key, cell in zip(keys, course.cells(protocol))}
        if rescore:
            runner = Runner(protocol, grounds, folder, device, cores())
            results.rows = [runner.again(row) if row["key"] in wanted else row for row in results.rows]
            results.write()
        begun, before = time.perf_counter(), results.done
        failed, jobs = _run(protocol, grounds, pool, folder, results, wanted, courses, jobs, device, console)
        made = tables.lines(protocol, results.rows, wanted, _tasks(protocol, grounds), folder)
        ways = {name: matrices.strategies(protocol, name, results.rows, wanted) for name in protocol.sequences}
        report.write(folder, protocol, made, grounds, failed, {name: each for name, each in ways.items() if each})
        rows = [row for row in results.rows if row["key"] in wanted]
        new = sum(row["seconds"] for row in rows if row["key"] not in before)
    if progress:
        if new:
            whole = time.perf_counter() - begun
            say(f"{whole:.0f} s, of which the runner itself took {max(0, 1 - new / (whole * jobs)):.1%}")
        say(f"{len(rows)} results: {folder / FILE}")
        say(f"tables: {folder / 'report.md'}, {folder / 'report.html'}")
    if failed:
        raise InputError(f"{len(failed)} of {len(wanted)} cells could not be computed. The first: {failed[0]}")
    return rows, made


def _chosen(only: str, protocol: Protocol, option: str = "--only") -> list[str]:
    chosen = [name.strip() for name in only.split(",") if name.strip()]
    for name in chosen:
        if name not in protocol.rows:
            raise UsageError(f"{option} {name!r}: no such row; {nearest(name, protocol.rows)}")
    return chosen


def _keys(protocol: Protocol, grounds: dict[str, Ground], pool, folder, only: list[str], seeds: int) -> dict[str, Cell]:
    """Key -> cell, in the order of running, of those that are by themselves."""
    stands = {name: cell_tools.stand_of(row) for name in protocol.rows if not (row := protocol.row(name)).pretrained}
    stores = {name: Store(ground.path) for name, ground in grounds.items()}
    starts, found = Starts(protocol, grounds, pool, folder), {}
    for cell in cell_tools.cells(protocol, only, seeds):
        table, row = protocol.table(cell.table), protocol.row(cell.row)
        started = starts.of(cell)
        stand, withheld = started.key if started else stands[cell.row], grounds[cell.table].withheld
        found[cell_tools.key_of(cell, protocol, table, row, stand, stores[cell.table], withheld)] = cell
    return found


def _courses(protocol: Protocol, grounds: dict[str, Ground], only: list[str], seeds: int) -> list:
    """Each course with the keys of its cells."""
    stores, found = {name: Store(ground.path) for name, ground in grounds.items()}, []
    for course in course_tools.courses(protocol, only, seeds):
        stand = cell_tools.stand_of(protocol.row(course.row))
        found.append((course, course_tools.keys(course, protocol, stand, stores, grounds)))
    return found


def _run(
    protocol, grounds, pool, folder: Path, results: Results, wanted: dict, courses: list, jobs: int, device: str,
    console,
) -> tuple:  # fmt: skip
    """Runs the cells that are not there yet; what could not be computed, and why, and how many ran at a time."""
    within = {key for _, keys in courses for key in keys}
    left = [(cell, key) for key, cell in wanted.items() if key not in results.done and key not in within]
    going = [(course, keys) for course, keys in courses if not results.done.issuperset(keys)]
    jobs = min(jobs or cores(), max(1, len(left) + len(going)))
    threads = max(1, cores() // jobs)
    starts = Starts(protocol, grounds, pool, folder)
    started = [starts.of(cell) for cell, _ in left]
    lost = pretrain_all([each for each in started if each], jobs, device, threads, console)
    why = [each and lost.get(each.place) for each in started]
    failed = [f"{cell.title}: {reason}" for (cell, _), reason in zip(left, why) if reason]
    left = [job for job, reason in zip(left, why) if not reason] + going
    make = partial(Runner, protocol, grounds, folder, device, threads, pool)
    metric = {name: protocol.metrics_of(protocol.table(name))[0] for name in protocol.tables}
    there = len(results.done & wanted.keys())
    with progress_bar("bench", len(wanted), there, not console.quiet) as advance:
        for row in itertools.chain.from_iterable(spread(make, (), left, jobs)):
            if "failed" in row:
                failed.append(f"{row['cell'].title}: {row['failed']}")
                console.print(f"not computed: {failed[-1]}", style="yellow")
            elif row["key"] not in results.done:
                results.add(row)
                cell, name = wanted[row["key"]], metric[row["table"]]
                console.print(f"{cell.title}: {name} {row[name]:.3f}, {row['seconds']:.0f} s")
            advance(1)
    return failed, jobs


def _tasks(protocol: Protocol, grounds: dict[str, Ground]) -> dict:
    return {n: tasks.find(protocol.table(n).task, Store(grounds[n].path)) for n in protocol.tables}
