"""ECG files: one file here per file format, found by what the bytes say and not by the name's ending.

A format has `TITLE`, `claims(path, head) -> int` (how sure it is: 0 not mine, 1 looks like it, 2 my signature,
3 my signature and a header beside it; `head` is the first 4 KiB) and `read(path, given) -> Record`. It may have

  GUESSES                        it is asked only about what no other format claims (text tables)
  parts(path) -> [Path]          the other files that belong to the record at `path`
  MEDIAN                         given.median reads the median beat
  count(path, given) -> int      how many records the file holds, where one file may hold many; read(index=) takes one
  ENDINGS, write(record, path)   the name endings it is known by, and a writer: puts the record into new files and
                                 returns their paths; `path` and what is beside it is not there yet
  target(path) -> Path           the first of these paths, where names of files are not free

A reader keeps nobody's name or number: `given.patient(...)` makes a pseudonym, or None where no secret was given.
What it has to tell beside the record goes into `Record.extra` by `told`.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .. import plugs
from ..record import InputError, Record, UsageError
from ._given import Given, understand

__all__ = ["Given", "understand"]
LARGEST = 2**28  # values in one record (24 h of 12 leads at 250 Hz); what claims more is refused before it is read
HEAD = 4096  # bytes that a format sees to decide
MESSAGE = 600  # characters of an error, at most: a damaged file may have quoted itself
PACKED, ROOM = 64, 2**22  # values for each byte of a compressed file, and values that any may have: more is a bomb
TOLD = (  # what a reader says beside the record, as text in Record.extra
    "format",  # the plug's name; `read` puts it there
    "unit",  # as the file states it: "uV"
    "resolution",  # mV per digital unit, "0.0025"; "0.001 to 0.005" where leads differ
    "assumed",  # what the file does not say and was taken for granted
    "derived",  # what was computed and not recorded: leads, age from a date of birth
    "skipped",  # what is in the file and was left out: other signals, median beats, damaged statements
    "median",  # "600 samples at 500 Hz, 12 leads": there is a median beat, which median=True reads
    "device",  # maker and model, never a serial number
    "filters",  # of the device: "high-pass 0.05 Hz, low-pass 150 Hz, notch 50 Hz"
)


def read(path, format: str | None = None, **given) -> Record:
    """The ECG in a file. `format` is told by content. `given`, see Given: rate (Hz), unit and leads for formats that
    lack them; index, median, patient_key.

    For WFDB the path may be the header, the signal file or both without ending. Raises InputError for what is
    missing, unreadable or not an ECG, whatever the bytes are; UsageError for an unknown option.
    """
    path = Path(path)
    options = understand(given)
    with naming(path):
        module = _named(format) if format else _which(path)
        _answerable(module, options, path)
        with reading(path, module.TITLE):
            record = module.read(path, options)
    return record.but(extra={"format": _name(module), **record.extra})


def supported() -> dict[str, str]:
    """Format name -> title."""
    return {name: module.TITLE for name, module in _modules().items()}


def write(record: Record, path, format: str | None = None) -> list[Path]:
    """Writes a record as the format that the ending of `path` names, or as `format`; returns the files, the one to read
    first. They are made beside and then renamed. UsageError where one is there already or no format has the ending.
    """
    path = Path(path)
    module = _named(format) if format else _written_as(path)
    if not hasattr(module, "write"):
        kinds = ", ".join(written())
        raise UsageError(f"{path}: ecgraft reads {module.TITLE} but does not write it; it writes {kinds}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=path.parent) as beside, naming(path):
        made = module.write(record, Path(beside) / path.name)
        placed = [path.parent / file.name for file in made]
        there = [file for file in placed if file.exists()]
        if there:
            raise UsageError(f"{there[0]} is there already; remove it or write to another place")
        for file, place in reversed(list(zip(made, placed))):
            os.replace(file, place)
    return placed


def target(path, format: str | None = None) -> Path:
    """The file to read first that `write` makes of `path`."""
    path = Path(path)
    module = _named(format) if format else _written_as(path)
    return module.target(path) if hasattr(module, "target") else path


def written() -> dict[str, str]:
    """Name ending -> the format that is written under it."""
    writers = {name: module for name, module in _modules().items() if hasattr(module, "write")}
    return {ending: name for name, module in writers.items() for ending in module.ENDINGS}


@dataclass(frozen=True)
class Survey:
    """The files under a folder, sorted; hidden ones are left out."""

    ecgs: list[Path]  # one for each record, or file of records
    parts: list[Path]  # what belongs to one of them: signal and annotation files
    others: list[Path]  # what no format claims
    formats: dict[Path, str]  # of `ecgs`, as far as they could be opened
    unseen: dict[Path, str]  # folders that were not looked into, and links to nothing: why


def survey(folder) -> Survey:
    """What lies under a folder (or is the file itself). Links to files are followed, links to folders are not."""
    folder = Path(folder)
    header = folder.parent / f"{folder.name}.hea"  # of "." there is no name
    if not folder.exists() and header.is_file():
        return Survey([header], [], [], {}, {})
    if not folder.exists():
        raise InputError(f"{folder}: no such file or folder")
    if folder.is_file():
        return Survey([folder], [], [], {}, {})
    paths, unseen = _walk(folder)
    found, others, parts, names = [], [], set(), {}
    for path in paths:
        try:
            module = detect(path)
        except InputError:  # not readable: reading it will say so
            found.append(path)
            continue
        if module:
            names[path] = _name(module)
            parts.update(module.parts(path) if hasattr(module, "parts") else ())
        (found if module else others).append(path)
    kept = [path for path in found if path not in parts]
    return Survey(kept, [p for p in paths if p in parts], [p for p in others if p not in parts], names, unseen)


def _walk(folder: Path) -> tuple[list[Path], dict[Path, str]]:
    """The files under a folder, sorted, and what could not be looked into, with the reason."""
    files: list[Path] = []
    unseen: dict[Path, str] = {}

    def closed(error: OSError) -> None:
        unseen[Path(error.filename)] = f"{error.strerror}: this folder was not looked into"

    for place, folders, names in os.walk(folder, onerror=closed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                unseen[Path(place, name)] = "a link to a folder, which is not followed; import what it points to"
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            if path.is_file():
                files.append(path)
            elif path.is_symlink():
                unseen[path] = "a link to a file that is not there"
    return sorted(files), unseen


def find(folder) -> list[Path]:
    """The ECG files under a folder (or the file itself), sorted; a record of several files comes once."""
    return survey(folder).ecgs


def count(path, format: str | None = None, **given) -> int:
    """How many records a file holds, as `index` counts them; 1 where its format has one a file."""
    path, options = Path(path), understand(given)
    with naming(path):
        module = _named(format) if format else _which(path)
    with reading(path, module.TITLE):
        return module.count(path, options) if hasattr(module, "count") else 1


def detect(path):
    """The module of the format that is surest of the file, None where none is."""
    path = Path(path)
    head, modules = _head(path), _modules().values()
    for asked in ([m for m in modules if not hasattr(m, "GUESSES")], [m for m in modules if hasattr(m, "GUESSES")]):
        sure, module = max(((m.claims(path, head), m) for m in asked), key=lambda pair: pair[0], default=(0, None))
        if sure > 0:
            return module
    return None


def check_size(count: int, where, packed: int | None = None) -> None:
    """Refuse what would not fit before it is allocated. `packed`: bytes that are said to unpack to `count` values."""
    if count > LARGEST:
        raise InputError(f"{where}: {count} values in one record; at most {LARGEST} are read. Split the recording")
    if packed is not None and count > ROOM + PACKED * packed:
        raise InputError(f"{where}: {count} values in {packed} bytes; no ECG is compressed so much")


def told(**what) -> dict[str, str]:
    """`Record.extra` from keyword arguments (TOLD, and any other): lists are joined, what is empty is left out."""
    joined = {key: value if isinstance(value, str) else "; ".join(value or ()) for key, value in what.items()}
    return {key: text for key, text in joined.items() if text}


def resolution(per_unit) -> str:
    """mV per digital unit of each lead -> what `told` has as resolution."""
    low, high = min(per_unit), max(per_unit)
    return f"{low:.6g}" if high == low else f"{low:.6g} to {high:.6g}"


@contextmanager
def reading(path, title: str):
    """`with reading(path, title)`: whatever a parser raises on bad bytes becomes an InputError that names the file."""
    try:
        with naming(path):
            yield
    except InputError:
        raise
    except (FileNotFoundError, PermissionError) as error:
        where = "" if error.filename is None or Path(error.filename) == Path(path) else f"{error.filename}: "
        raise InputError(f"{path}: {where}{error.strerror or error}") from error
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(f"{path}: cannot be read as {title} ({what}); is it complete?") from error


@contextmanager
def naming(path):
    """`with naming(path)`: an InputError names the file, whoever raises it."""
    try:
        yield
    except InputError as error:
        said, where = printable(error), printable(path)
        said = said if where in said or isinstance(error, UsageError) else f"{where}: {said}"
        said = said if len(said) <= MESSAGE else f"{said[: MESSAGE - 100]} ... {said[-90:]}"
        if said == str(error):
            raise
        raise type(error)(said) from error


def printable(said) -> str:
    """Text as a terminal can show it: names of files may hold anything."""
    return "".join(c if c.isprintable() else "?" for c in str(said))


@cache
def _modules() -> dict:
    return {name: importlib.import_module(f"ecgraft.formats.{name}") for name in plugs.names("formats")}


def _answerable(module, given: Given, path: Path) -> None:
    """InputError where a second record or a median beat is asked for of a format that has none."""
    if given.index and not hasattr(module, "count"):
        raise InputError(f"{path}: there is no record {given.index} in it; it holds one record, index 0")
    if given.median and not hasattr(module, "MEDIAN"):
        raise InputError(f"{path}: {module.TITLE} has no median beats; read the rhythm, without median (--median)")


def _name(module) -> str:
    return module.__name__.rpartition(".")[2]


def _named(name: str):
    return _modules().get(name) or plugs.find("formats", name)


def _written_as(path: Path):
    """The module that writes files of a name's ending."""
    endings = written()
    name = endings.get(path.suffix.lower())
    if name is None:
        raise UsageError(f"{path}: the ending says the format; use one of {', '.join(endings)}")
    return _modules()[name]


def _which(path: Path):
    module = detect(path)
    if module is None and not path.exists():
        raise InputError(f"{path}: no such file")
    if module is None:
        kinds = ", ".join(supported().values())
        raise InputError(f"{path}: not a format that ecgraft reads ({kinds}); an ECG in CSV has a row per sample")
    return module


def _head(path: Path) -> bytes:
    """The first bytes; b"" for a WFDB record named without ending, which is no file."""
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; give a file, or import the folder")
    if path.exists() and not path.is_file():  # a pipe would be waited for, for ever
        raise InputError(f"{path}: this is no ordinary file; save what comes out of it, and give that")
    try:
        with open(path, "rb") as file:
            return file.read(HEAD)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
