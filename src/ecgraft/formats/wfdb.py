"""WFDB records (PhysioNet): a header (.hea) and signal files, in one or several segments, and annotations beside them.

Every signal format is read without the wfdb library and equals `wfdb.rdrecord` (`_wfdb.signals`). Channels that are
not ECG (pressure, respiration ...) are left out and named in `extra["skipped"]`. A signal with more samples than the
frame rate gives keeps them: the record has the rate of its fastest ECG, slower ones are held. A header may also name
an EDF file as format 16: a data block of EDF is a frame.

`read` takes what lies beside the header (`_wfdb.beside`) and what its comments say (`_wfdb.comments`); `bare` is for
databases that have annotations and lists of their own, and keeps all comments.
"""

from __future__ import annotations

from pathlib import Path

from ..record import InputError, Record
from . import Given, resolution, told
from ._channels import GAIN, unique
from ._person import in_years
from ._wfdb import beside, comments, signals
from ._wfdb import write as out
from ._wfdb.header import Header, looks_like, parse
from ._wfdb.signals import Found

TITLE = "WFDB"
ENDINGS = (".hea", ".dat")


def claims(path: Path, head: bytes) -> int:
    if looks_like(head):
        return 3
    if path.suffix == ".hea" and head and b"\0" not in head and not head.lstrip().startswith(b"<"):
        return 2  # a broken header: that it is one, not that its numbers look like a table
    try:
        base = _base(path)
        return 3 if base != path and (path in parse(base).files() or not path.exists()) else 0
    except InputError:
        return 0


def parts(path: Path) -> list[Path]:
    """The files that belong to the header at `path`: signals, segments and their signals, annotations."""
    if path.suffix != ".hea":
        return []
    try:
        header = parse(path)
    except InputError:
        return []
    files, channels = header.files(), header.channels
    for segment in [file for file in files if file.suffix == ".hea" and file != path and file.is_file()]:
        try:
            part = parse(segment)
        except InputError:
            continue
        files, channels = files + part.files(), channels or part.channels
    return files + beside.files(header, unique(channel.name for channel in channels))


def read(path: Path, given: Given) -> Record:
    """The record whose header, signal file or bare name is `path`.

    Raises InputError for a header or signal file that is missing, broken or cut short, and where no channel is an ECG.
    """
    header = parse(_base(path))
    found = signals.found(header, given)
    record = _record(header, found)
    said = comments.understand(header.comments, given)
    marks = beside.read(header, record.leads, found.ratio, record.signal.shape[1])
    extra = told(
        unit=", ".join(dict.fromkeys(lead.channel.unit for lead in found.every)),
        resolution=resolution([1 / abs(lead.per_mv) for lead in found.every]),
        assumed=_assumed(found),
        derived=_held(header, found),
        skipped=[*filter(None, [", ".join(found.skipped)]), *said.skipped, *marks.skipped],
        annotations=", ".join(marks.extensions),
        comments="\n".join(said.kept),
    )
    return record.but(age=in_years(record.age), extra=extra, **said.fields, **marks.fields)


def bare(path) -> Record:
    """The record without annotations and labels, with all comments of its header."""
    header = parse(_base(Path(path)))
    found = signals.found(header, Given())
    skipped, remarks = ", ".join(found.skipped), "\n".join(header.comments)
    return _record(header, found).but(extra=told(skipped=skipped, assumed=_assumed(found), comments=remarks))


def write(record: Record, path: Path) -> list[Path]:
    """Header, signal file, annotation files. Samples on a grid of steps come back bit by bit, see `_wfdb.write`."""
    return out.write(record, path)


def target(path) -> Path:
    """The header that `write` makes."""
    return path.with_name(out.name_of(path) + ".hea")


def _base(path: Path) -> Path:
    """The header that belongs to a path: itself, or the one beside it."""
    if path.suffix == ".hea":
        return path
    whole = path.with_name(path.name + ".hea")
    return whole if whole.exists() or not path.suffix else path.with_suffix(".hea")


def _record(header: Header, found: Found) -> Record:
    leads = tuple(lead.name for lead in found.kept)
    return Record(found.signal, header.rate * found.ratio, leads, id=header.path.stem, **header.person())


def _assumed(found: Found) -> list[str]:
    plain = dict.fromkeys(lead.name for lead in found.every if not lead.channel.gain)
    return [f"no gain given, {GAIN:g} per mV taken: {', '.join(plain)}"] if plain else []


def _held(header: Header, found: Found) -> list[str]:
    """Leads that have fewer samples than the record."""
    slow = [lead for lead in found.kept if lead.channel.per_frame < found.ratio]
    return [f"{lead.name} is at {header.rate * lead.channel.per_frame:g} Hz, held" for lead in slow]
