"""Reading ECG files: one file here per file format, found by what the bytes say and not by the name's ending.

A format has `TITLE`, `claims(path, head) -> int` (how sure it is: 0 not mine, 1 looks like it, 2 my signature,
3 my signature and a header beside it; `head` is the first 4 KiB) and `read(path, given) -> Record`. It may have
`parts(path) -> [Path]`, the other files that belong to the record at `path`.
"""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .. import plugs
from ..record import LEADS, MILLIVOLT, InputError, Record, UsageError, to_millivolt

LARGEST = 2**28  # values in one record (24 h of 12 leads at 250 Hz); what claims more is refused before it is read
HEAD = 4096  # bytes that a format sees to decide


@dataclass(frozen=True)
class Given:
    """What a person says about files that do not say it themselves. What a file says itself comes first."""

    rate: float | None = None  # Hz
    unit: str | None = None  # mV, uV, V, nV
    leads: tuple[str, ...] | None = None

    def require(self, where, *, rate: bool, unit: bool, names: int) -> None:
        """InputError that names all that a file does not say and nobody has given, with the options for it.

        rate, unit  whether they are needed; names: how many lead names are
        """
        hint = "--leads standard for I, II, III, aVR, aVL, aVF, V1-V6" if names == 12 else "--leads II,V1,V5"
        options = {
            "its sampling rate": "rate (--rate 500)" if rate and self.rate is None else "",
            "its unit": "unit (--unit mV, or uV, V, nV)" if unit and self.unit is None else "",
            f"the names of its {names} leads": f"leads ({hint})" if names > 1 and self.leads is None else "",
        }
        missing = {what: option for what, option in options.items() if option}
        if missing:
            what, how = ", ".join(missing), ", ".join(missing.values())
            raise InputError(f"{where}: the file does not say {what}; give it with {how}")

    def hz(self, where) -> float:
        """The rate, or an InputError that names the option."""
        self.require(where, rate=True, unit=False, names=0)
        return float(self.rate)

    def scale(self, where, stated: str | None = None) -> float:
        """Factor to mV of the unit that the file states; of the given one where that is none, or not known."""
        if stated and stated.strip().lower() in MILLIVOLT:
            return to_millivolt(stated)
        if stated and self.unit is None:
            raise InputError(f"{where}: unknown unit {stated!r}; say what it is with unit (--unit mV, or uV, V, nV)")
        self.require(where, rate=False, unit=True, names=0)
        return to_millivolt(self.unit, str(where))

    def names(self, count: int, where) -> tuple[str, ...]:
        """`count` lead names. One lead may go without a name ("ECG"); more than one may not."""
        if self.leads is None and count == 1:
            return ("ECG",)
        self.require(where, rate=False, unit=False, names=count)
        if len(self.leads) != count:
            raise InputError(f"{where}: {count} signals but {len(self.leads)} names in leads; give one name for each")
        return self.leads


def read(path, format: str | None = None, **given) -> Record:
    """The ECG in a file. `given`: rate (Hz), unit and leads, for formats that lack them; `format` is told by content.

    For WFDB the path may be the header, the signal file or both without ending. Raises InputError for what is
    missing, unreadable or not an ECG, whatever the bytes are; UsageError for an unknown option.
    """
    path = Path(path)
    options = understand(given)
    module = plugs.find("formats", format) if format else _which(path)
    with reading(path, module.TITLE):
        return module.read(path, options)


def supported() -> dict[str, str]:
    """Format name -> title."""
    return {name: module.TITLE for name, module in _modules().items()}


def find(folder) -> list[Path]:
    """The ECG files under a folder (or the file itself), sorted; a record of several files comes once."""
    folder = Path(folder)
    header = folder.with_name(folder.name + ".hea")
    if not folder.exists() and header.is_file():
        return [header]
    if not folder.exists():
        raise InputError(f"{folder}: no such file or folder")
    if folder.is_file():
        return [folder]
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and not hidden(p.relative_to(folder)))
    found, parts = [], set()
    for path in paths:
        try:
            module = detect(path)
        except InputError:  # not readable: reading it will say so
            found.append(path)
            continue
        if module:
            found.append(path)
            parts.update(module.parts(path) if hasattr(module, "parts") else ())
    return [path for path in found if path not in parts]


def hidden(path: Path) -> bool:
    """Whether a file is hidden, or in a folder that is."""
    return any(part.startswith(".") for part in path.parts)


def detect(path):
    """The module of the format that is surest of the file, None where none is."""
    path = Path(path)
    head = _head(path)
    sure, module = max(((m.claims(path, head), m) for m in _modules().values()), key=lambda pair: pair[0])
    return module if sure > 0 else None


def understand(given: dict) -> Given:
    """Options as a person writes them (leads as "II,V5" or "standard") -> Given."""
    for key in given:
        if key not in Given.__dataclass_fields__:
            raise UsageError(f"read: unknown option {key!r}; {plugs.nearest(key, Given.__dataclass_fields__)}")
    given = {key: value for key, value in given.items() if value is not None}
    if "unit" in given and given["unit"].strip().lower() not in MILLIVOLT:
        raise UsageError(f"unknown unit {given['unit']!r}; use one of mV, uV, V, nV")
    if "rate" in given and not 0 < float(given["rate"]) <= 100_000:
        raise UsageError(f"rate {given['rate']}: it must be above 0 and at most 100000 Hz")
    leads = given.get("leads")
    if isinstance(leads, str):
        given["leads"] = LEADS if leads.lower() == "standard" else tuple(name.strip() for name in leads.split(","))
    elif leads is not None:
        given["leads"] = tuple(leads)
    return Given(**given)


def check_size(count: int, where) -> None:
    """Refuse what would not fit before it is allocated."""
    if count > LARGEST:
        raise InputError(f"{where}: {count} values in one record; at most {LARGEST} are read. Split the recording")


@contextmanager
def reading(path, title: str):
    """`with reading(path, title)`: whatever a parser raises on bad bytes becomes an InputError that names the file."""
    try:
        with naming(path):
            yield
    except InputError:
        raise
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(f"{path}: cannot be read as {title} ({what}); is it complete?") from error


@contextmanager
def naming(path):
    """`with naming(path)`: an InputError names the file, whoever raises it."""
    try:
        yield
    except InputError as error:
        if isinstance(error, UsageError) or str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error


@cache
def _modules() -> dict:
    return {name: importlib.import_module(f"ecgraft.formats.{name}") for name in plugs.names("formats")}


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
    try:
        with open(path, "rb") as file:
            return file.read(HEAD)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
