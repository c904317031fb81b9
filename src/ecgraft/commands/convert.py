"""ecgraft convert: ECG files of any format that ecgraft reads, or a store, as WFDB, EDF, CSV or DICOM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from rich.console import Console

from .. import formats, plugs
from ..record import InputError, Record, UsageError
from ..store import Store
from ..store.layout import HEAD
from ..store.parallel import progress_bar
from . import _items
from ._secret import secret

KEPT = ("age", "sex", "patient", "report", "labels", "values", "waves", "beats", "rhythms")
SHOWN = 5  # reasons for refusals that are printed


@dataclass(frozen=True)
class Written:
    """What became of one record. error: the largest difference (mV) between it and the file, which was read again."""

    record: str
    files: list[Path]
    error: float
    lost: tuple[str, ...]  # what the file does not hold


def convert(
    source: Annotated[Path, "ECG file, folder of such files, or store"],
    to: Annotated[Path, "file to write (.hea, .edf, .bdf, .csv, .dcm ...), or a folder"],
    *,
    format: Annotated[str | None, "wfdb, edf, csv or dicom: what to write into a folder"] = None,
    rate: Annotated[float | None, "sampling rate in Hz, for files that do not say"] = None,
    unit: Annotated[str | None, "mV, uV, V or nV, for files that do not say"] = None,
    leads: Annotated[str | None, "lead names separated by commas, or standard, for files that do not say"] = None,
    index: Annotated[int | None, "which record of a file that holds several, from 0"] = None,
    median: Annotated[bool, "the median beat in place of the rhythm"] = False,
    patient_key: Annotated[Path | None, "file with a secret: patients are written as hashes under it, else not"] = None,
    progress: Annotated[bool, "show progress and what was found"] = True,
) -> list[Written]:
    """Writes ECGs as another format, and reads every file again to say how far it is from the original.

    Names, numbers and dates of patients are not carried over. Of a folder or store every record is written, under its
    name; what is there already stays, so that an interrupted conversion goes on; what cannot be read is listed.
    """
    source, to = Path(source), Path(to)
    console = Console(stderr=True, quiet=not progress, highlight=False, markup=False, soft_wrap=True)
    given = {"rate": rate, "unit": unit, "leads": leads, "index": index, "median": median or None}
    given = {name: value for name, value in given.items() if value is not None}
    if patient_key is not None:
        given["patient_key"] = secret(Path(patient_key), to, console)
    if not source.is_dir() and _is_file(to, format):
        _only(source, index, given)
        done, refused, there = [_write(formats.read(source, **given), to, format)], [], 0
    else:
        done, refused, there = _all(source, to, _ending(format), given, console)
    _report(to, done, refused, there, console)
    if refused and not done and not there:
        raise InputError(f"none of {len(refused)} records could be converted. The first: {': '.join(refused[0])}")
    return done


def _is_file(to: Path, format: str | None) -> bool:
    """Whether one file is to be written, and not a folder of them."""
    if format is None:
        return True
    return not to.is_dir() and formats.written().get(to.suffix.lower()) == _ending(format)[0]


def _only(source: Path, index: int | None, given: dict) -> None:
    """UsageError where a file holds several records and nobody has said which."""
    count = formats.count(source, **given) if index is None else 1
    if count > 1:
        how = "say which with --index 0, or --format and a folder for all"
        raise UsageError(f"{source}: it holds {count} records; {how}")


def _ending(format: str | None) -> tuple[str, str]:
    """The format that is written into a folder, and its first ending."""
    kinds = {name: ending for ending, name in reversed(formats.written().items())}
    if format is None:
        raise UsageError(f"convert: say with --format what to write into the folder; one of {', '.join(kinds)}")
    if format not in kinds:
        raise UsageError(f"--format {format}: ecgraft does not write that; {plugs.nearest(format, kinds)}")
    return format, kinds[format]


def _all(source: Path, to: Path, kind: tuple[str, str], given: dict, console: Console):
    """Every record of a folder, file or store -> written, what was refused, and how many were there already."""
    if to.is_file():
        raise UsageError(f"{to} is a file; several records are written into a folder")
    if to.resolve() == source.resolve():
        raise UsageError(f"{to}: its files are the ones to be converted; write into another folder")
    format, ending = kind
    count, reads = _records(source, to, given, console)
    done, refused, there = [], [], 0
    taken: dict[Path, str] = {}  # names may become the same where a format allows fewer letters
    with progress_bar("converting", count, 0, not console.quiet) as advance:
        for name, item, read in reads:
            place = to / (_safe(name) + ending)
            made = formats.target(place, format)
            owner = taken.setdefault(made, name)
            try:
                if owner != name:
                    raise InputError(f"{made}: so {owner} is called already; rename one of them")
                if made.exists():
                    there += 1
                else:
                    done.append(_write(read(), place, format))
            except InputError as error:
                refused.append((item.file, _items.bare(str(error), item.path)) if item else (name, str(error)))
            advance(1)
    return done, refused, there


def _records(source: Path, to: Path, given: dict, console: Console) -> tuple[int, Iterator]:
    """How many, and for each its name, what it is in a folder, and a function that reads it."""
    if (source / HEAD).is_file():
        if given:
            raise UsageError(f"convert: {source} is a store, which knows {', '.join(given)} of its records")
        store = Store(source)
        return len(store), ((str(store.column("id")[i]), None, lambda i=i: store.record(i)) for i in range(len(store)))
    found = _items.files(source, to, None, given)
    found.say_unseen(console)
    return len(found.items), ((item.name, item, lambda item=item: item.read(given)) for item in found.items)


def _safe(name: str) -> str:
    """A record's name as a path below a folder."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "record"


def _write(record: Record, place: Path, format: str | None) -> Written:
    files = formats.write(record.but(id=place.stem), place, format)
    try:
        again = formats.read(files[0])
        same = again.leads == record.leads and again.signal.shape == record.signal.shape
        if not same or not np.array_equal(np.isnan(again.signal), np.isnan(record.signal)):
            raise InputError(
                f"{place}: read again it had other leads, length or gaps; it was removed, try another format"
            )
    except BaseException:  # what was not compared would count as converted in the next run
        for file in files:
            file.unlink(missing_ok=True)
        raise
    error = float(np.nanmax(np.abs(again.signal - record.signal), initial=0.0))
    lost = tuple(name for name in KEPT if _known(record, name) and not _known(again, name))
    return Written(record.id, files, error, lost)


def _known(record: Record, name: str) -> bool:
    value = getattr(record, name)
    return value is not None and (not hasattr(value, "__len__") or len(value) > 0)


def _report(to: Path, done: list[Written], refused: list[tuple], there: int, console: Console) -> None:
    if done:
        worst = max(done, key=lambda one: one.error)
        how = "equal to the last bit" if worst.error == 0 else f"at most {1000 * worst.error:.3g} uV from the original"
        how += f" ({formats.printable(worst.record)})" * (worst.error > 0 and len(done) > 1)
        files = done[0].files[0] if len(done) == 1 else f"{to}: {len(done)} records"
        console.print(f"{files}, read again: {how}")
    for name, count in Counter(name for one in done for name in one.lost).items():
        console.print(f"  not in the file: {name} (of {count} record{'s' * (count > 1)})")
    if there:
        console.print(f"  {there} record{'s were' if there > 1 else ' was'} there already, not written again")
    if refused:
        console.print(f"  {len(refused)} record{'s' * (len(refused) > 1)} could not be converted:", style="yellow")
    for line in _items.reasons(refused, SHOWN):
        console.print(f"    {line}")
