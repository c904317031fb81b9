"""ecgraft import: a public database, or a folder of one's own ECG files, into a store."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path
from typing import Annotated

from rich.console import Console

from .. import __version__, datasets, formats
from ..record import InputError, UsageError
from ..store import Store
from ..store.build import Building
from ..store.chunks import CHUNK, ChunkWriter
from ..store.layout import SKIPPED, check_free
from ..store.parallel import progress_bar, spread
from . import _account
from ._items import Item, entries, files, reasons
from ._secret import secret

NOTES = {"assumed": "assumed", "skipped": "left out"}  # what readers note in Record.extra
OWN = "none"  # the dataset of files that only look like a public database
SHOWN = 5  # reasons of skipped records, and notes, that are printed
SMALLEST, SHARES = 16, 16  # records in a chunk, chunks in an import, at least
FEW = 64  # records that are read sooner than other processes are started


def ingest(
    source: Annotated[Path, "folder of a public database or of your own ECG files, or one file"],
    *,
    to: Annotated[Path, "store to write; if it is there, the records are added to it"],
    dataset: Annotated[str | None, "public database, where it cannot be told from the folder; none: own files"] = None,
    part: Annotated[str | None, "of Challenge 2021: one of its sources alone (georgia, ningbo ...)"] = None,
    labels: Annotated[Path | None, "table of your labels (CSV): id, and a column for each label"] = None,
    rate: Annotated[float | None, "Hz: of files that do not say it; for PTB-XL 500 or 100"] = None,
    unit: Annotated[str | None, "mV, uV, V or nV: of files that do not say it"] = None,
    leads: Annotated[str | None, "lead names (II,V1) or standard: of files that do not say them"] = None,
    patient_key: Annotated[Path | None, "file with a secret: patients are kept as hashes under it, else not"] = None,
    median: Annotated[bool, "median beats of the files in place of their rhythms"] = False,
    workers: Annotated[int | None, "processes (default: one per core)"] = None,
    limit: Annotated[int | None, "only so many records"] = None,
    progress: Annotated[bool, "show progress"] = True,
) -> Store:
    """Imports ECGs into a store. Interrupted, it goes on when the same command is repeated.

    What cannot be read is skipped and listed, with the reason, in skipped.csv of the store. For files of your own
    import-report.html and .csv there say what was understood of each: format, leads, rate, unit, what was assumed.
    Names and numbers of patients are not kept. With --patient-key their hashes are, so that splits go by patient.
    """
    source, to, given = Path(source), Path(to), {"rate": rate, "unit": unit, "leads": leads, "source": part}
    given = {name: value for name, value in given.items() if value is not None}
    labels = None if labels is None else Path(labels)
    for name, number in (("limit", limit), ("workers", workers)):
        if number is not None and number < 1:
            raise UsageError(f"--{name} {number}: it must be at least 1")
    check_free(to)
    console = Console(stderr=True, quiet=not progress, highlight=False, markup=False, soft_wrap=True)
    if source.is_dir() and dataset is None:
        dataset = _database(source)
    dataset = None if dataset == OWN else dataset
    if part is not None and not dataset:
        raise UsageError(f"--part {part}: {source} is no public database, only such have parts")
    if dataset and (patient_key or median):
        raise UsageError(f"--patient-key, --median: they are for files of your own; {source} is {dataset}")
    given |= {"median": True} if median else {}
    if patient_key is not None:
        given["patient_key"] = secret(Path(patient_key), to, console)
    found = entries(source, dataset, given, console) if dataset else files(source, to, labels, given)
    if labels is not None:
        found = found.with_labels(labels, source if source.is_dir() else source.parent, console)
    found.say_unseen(console)
    account = partial(_account.write, to, source, found=found, given=given)
    return _build(found.items[:limit], to, given, workers, account, console)


def _database(source: Path) -> str | None:
    """The public database that a folder is. UsageError where other ones lie in its folders, which know their labels."""
    try:
        places = datasets.inside(source)
    except PermissionError:  # of a folder in it, which the survey will tell
        found = datasets.detect(source)
        places = {found: source} if found else {}
    inside = sorted(place.name for place in places.values() if place != source)
    if inside:
        first = source / inside[0]
        one = f"import each, as in {first}, or all as files of your own with --dataset {OWN}"
        raise UsageError(f"{source}: its folders {', '.join(inside)} are public databases; {one}")
    return next(iter(places), None)


def _build(items: list[Item], to: Path, given: dict, workers: int | None, account: Callable, console: Console) -> Store:
    size = min(CHUNK, max(SMALLEST, ceil(len(items) / SHARES)))
    chunks = [items[at : at + size] for at in range(0, len(items), size)]
    with Building(to, {"import": _digest(items, given), "chunk": size}) as building:
        if building.finished:
            console.print(f"{to}: all of these records are in it already")
            return Store(to)
        _read(chunks, building, given, workers or (1 if len(items) < FEW else None), console)
        skipped, notes, lines = building.skipped(), building.notes(), building.account()
        refused = [(one["record"], one["reason"]) for one in lines if one["status"] == _account.REFUSED] or skipped
        if len(skipped) == len(items):
            building.discard()
            if len({why for _, why in refused}) > 1:
                _refused(refused, "", console)
            raise InputError(f"none of {len(items)} records could be read. The first: {skipped[0][1]}")
        page = account(lines) if lines else None
        head = building.publish()
    before = 0 if building.old is None else building.old["records"]
    _report(to, head["records"], before, len(items) - len(skipped), refused, notes, console)
    if page:
        console.print(f"  what was understood of each file: {page}")
    return Store(to)


def _read(chunks: list[list[Item]], building: Building, given: dict, workers: int | None, console: Console) -> None:
    """Reads the chunks that no earlier attempt has finished."""
    done = building.done
    left = [(number, chunk) for number, chunk in enumerate(chunks) if number not in done]
    total, before = sum(map(len, chunks)), sum(map(sum, done.values()))
    if before:
        console.print(f"{before} of {total} records were read before an interruption; going on")
    with progress_bar("importing", total, before, not console.quiet) as advance:
        for count in spread(_Importer, (building.path, given), left, workers):
            advance(count)


class _Importer:
    """What a worker does: reads a chunk of items into its own shard of the store."""

    def __init__(self, to: Path, given: dict):
        self.writer, self.given = ChunkWriter(to), given

    def __call__(self, job: tuple[int, list[Item]]) -> int:
        number, items = job
        for item in items:
            try:
                record = item.read(self.given)
                self.writer.add(record)
            except InputError as error:
                self.writer.skip(formats.printable(item.name), formats.printable(error))
                line = _account.refused(item, str(error))
            else:
                for kind, text in NOTES.items():
                    if kind in record.extra:
                        self.writer.note(f"{text}: {record.extra[kind]}")
                line = _account.line(item, record) if item.path else {}
            if item.path:
                self.writer.tell(line)
        self.writer.finish(number)
        return len(items)


def _digest(items: list[Item], given: dict) -> str:
    """Of all that decides what is read, so that a rerun knows whether it goes on with the same."""
    found = hashlib.sha256(repr((__version__, sorted(given.items()))).encode())
    for item in items:
        found.update(repr((item, _stamp(item.path))).encode("utf-8", "replace"))
    return found.hexdigest()


def _stamp(path: str) -> tuple[int, int] | None:
    """Size and time of a file; None for one that is not there any more: reading it will say so."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _report(to: Path, count: int, before: int, read: int, refused: list, notes: Counter, console: Console) -> None:
    repeated = before + read - count
    again = f", {repeated} of them were in it already and are replaced" if repeated else ""
    console.print(f"{to}: {count} record{'s' * (count != 1)}, {read} read{again}")
    for text, number in notes.most_common(SHOWN):
        console.print(f"  {text} (in {number} record{'s' * (number > 1)})")
    if refused:
        _refused(refused, f", listed in {to / SKIPPED}", console)


def _refused(refused: list[tuple[str, str]], listed: str, console: Console) -> None:
    console.print(f"  {len(refused)} record{'s' * (len(refused) > 1)} skipped{listed}:", style="yellow")
    for line in reasons(refused, SHOWN):
        console.print(f"    {line}")
