"""What an import reads, one item for each record: the entries of a public database, or the files of one's own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from .. import datasets, formats, plugs
from ..record import InputError, Record, UsageError
from ..store.labels import Known
from ..store.layout import HEAD
from ._labels import one_spelling, said_of

SHOWN = 5  # folders that were not looked into, that are printed


@dataclass(frozen=True)
class Item:
    """One record to be read: an entry of a database, or a file of one's own at `path`.

    file    what ids in a label file are compared with
    index   of the record in a file that holds several
    format  of the file, where that could be told already
    """

    name: str
    file: str
    entry: datasets.Entry | None = None
    path: str = ""
    index: int | None = None
    format: str | None = None
    source: str = ""
    known: Known | None = None

    def read(self, given: dict) -> Record:
        """`given`: what a file of one's own may not say itself."""
        if self.entry is not None:
            record = datasets.read(self.entry)
        else:
            index = {} if self.index is None else {"index": self.index}
            record = formats.read(self.path, self.format, **given | index).but(id=self.name, source=self.source)
        return self._with_labels(record, given.get("patient_key")) if self.known else record

    def _with_labels(self, record: Record, key: bytes | None) -> Record:
        """With what the table of labels says; its patients become hashes too where there is a key."""
        record = self.known.of(record)
        if key is None or self.known.person.get("patient") is None:
            return record
        return record.but(patient=formats.understand({"patient_key": key}).patient(record.patient))


@dataclass(frozen=True)
class Found:
    """The items of an import, the files beside them that are no ECGs, and what was not looked into, and why."""

    items: list[Item]
    others: list[Path]
    unseen: dict[Path, str]

    def say_unseen(self, console: Console) -> None:
        for path, why in list(self.unseen.items())[:SHOWN]:
            console.print(f"{formats.printable(path)}: {why}", style="yellow")

    def with_labels(self, labels: Path, folder: Path, console: Console) -> Found:
        known = said_of([item.file for item in self.items], labels, folder, console)
        return replace(self, items=[replace(item, known=said) for item, said in zip(self.items, known)])


def entries(source: Path, dataset: str, given: dict, console: Console) -> Found:
    """The records of a public database."""
    module = plugs.find("datasets", dataset)
    console.print(f"{module.NAME}, licence: {module.LICENCE}. Cite: {module.CITATION}", style="dim")
    return Found([Item(entry.id, entry.id, entry) for entry in datasets.entries(dataset, source, **given)], [], {})


def files(source: Path, to: Path, labels: Path | None, given: dict) -> Found:
    """The ECG files under a folder; a record is called by its path, without ending where that is enough.

    The records of a file that holds several are called NAME/0, NAME/1 ...
    """
    formats.understand(given)
    if (source / HEAD).exists():
        raise UsageError(f"{source}: this is a store already; give it to adapt, evaluate or embed")
    stores = _stores(source, to)
    found = formats.survey(source)
    ecgs, others = (
        [path for path in paths if not (_same(path, labels) or stores & {*path.parents})]
        for paths in (found.ecgs, found.others)
    )
    if not ecgs:
        kinds = ", ".join(formats.supported().values())
        closed = "".join(f"; {path}: {why}" for path, why in list(found.unseen.items())[:1])
        raise InputError(f"{source}: no ECG file in it that ecgraft reads ({kinds}){closed}")
    suspects = _suspects(ecgs, others)
    folder = source if source.is_dir() else source.parent
    inside = [path.relative_to(folder) for path in sorted({*ecgs, *suspects})]
    stems = Counter(file.with_suffix("") for file in inside)
    own = folder.resolve().name
    items = []
    for file in inside:
        name = file if stems[file.with_suffix("")] > 1 else file.with_suffix("")
        format = found.formats.get(folder / file)
        called = (one_spelling(path.as_posix()) for path in (name, file))
        items += _of_file(Item(*called, None, str(folder / file), None, format, own), given)
    return Found(items, [path for path in others if path not in suspects], found.unseen)


def _of_file(item: Item, given: dict) -> list[Item]:
    """An item for each record in the file of an item."""
    try:
        count = formats.count(item.path, item.format, **given)
    except InputError:  # reading it will say so
        count = 1
    if count == 1:
        return [item]
    names = [f"{item.name}/{i}" for i in range(count)]
    return [replace(item, name=name, file=name, index=i) for i, name in enumerate(names)]


def _suspects(ecgs: list[Path], others: list[Path]) -> set[Path]:
    """Files that look like no ECG but end like one: to be listed as broken rather than overlooked."""
    endings = {path.suffix.lower() for path in ecgs if path.suffix}
    return {path for path in others if path.suffix.lower() in endings}


def _stores(source: Path, to: Path) -> set[Path]:
    """Stores that lie inside the folder, the one to be written among them: their arrays are no files of one's own."""
    inside = {head.parent for head in source.rglob(HEAD)} if source.is_dir() else set()
    if to.resolve().is_relative_to(source.resolve()):
        inside.add(source / to.resolve().relative_to(source.resolve()))
    return inside


def _same(path: Path, labels: Path | None) -> bool:
    return labels is not None and labels.exists() and path.exists() and path.samefile(labels)


def reasons(refused: list[tuple[str, str]], most: int) -> list[str]:
    """(record, reason) -> a line for each reason, the most frequent first, with the first record that it is said of."""
    names: dict[str, list[str]] = {}
    for name, reason in refused:
        names.setdefault(reason, []).append(name)
    ranked = sorted(names.items(), key=lambda pair: -len(pair[1]))
    more = {why: f" and {len(own) - 1} more" * (len(own) > 1) for why, own in ranked}
    lines = [f"{formats.printable(own[0])}{more[why]}: {why}" for why, own in ranked[:most]]
    return lines + [f"and {len(ranked) - most} other reasons"] * (len(ranked) > most)


def bare(reason: str, file: str) -> str:
    """A reason without the file's name before it, so that it is the same for all files."""
    return reason.removeprefix(f"{formats.printable(file)}: ")
