"""The account of an import of one's own files: what was understood of each, in import-report.csv and .html."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .. import formats
from ..record import LEADS, InputError, Record
from ..report import Page
from ..signal import quality
from ._items import Found, Item, bare

NAME = "import-report"
COLUMNS = ("file", "record", "status", "format", "leads", "rate", "seconds", "unit", "resolution", "median", "assumed")
COLUMNS += ("derived", "skipped", "doubts", "reason")
READ, REFUSED, OTHER, UNSEEN = "read", "refused", "no ECG", "not looked into"  # status
KIND = ("format", "leads", "rate", "unit", "resolution")  # files that agree in these were made alike
DRAWN, LISTED, DOUBTS = 6, 500, 6  # ECGs drawn, rows of a table on the page, findings of a record
NAMED = 20  # files of which one reason is said
NOTES = {"assumed": "What was assumed", "derived": "What was computed", "skipped": "What was left out"}
MEANING = {
    "assumed": "The files do not say it, so it was taken for granted; where that is wrong, give it as an option.",
    "derived": "It is not in the files, but follows from what is in them.",
    "skipped": "It is in the files and not in the store.",
}


def line(item: Item, record: Record) -> dict:
    """What was understood of a record, and what looks wrong with it."""
    told = {key: record.extra.get(key, "") for key in COLUMNS if key in formats.TOLD}
    return told | {
        "file": item.path,
        "record": _text(item.name),
        "status": READ,
        "leads": " ".join(record.leads),
        "rate": f"{record.rate:g}",
        "seconds": f"{record.seconds:.3f}".rstrip("0").rstrip("."),
        "doubts": "; ".join(quality.findings(record)[:DOUBTS]),
    }


def refused(item: Item, reason: str) -> dict:
    return {
        "file": item.path,
        "record": _text(item.name),
        "status": REFUSED,
        "reason": _text(bare(reason, item.path)),
    }


def write(to: Path, source: Path, lines: list[dict], found: Found, given: dict) -> Path:
    """Writes both files into the folder `to`; returns the page's path."""
    folder = source if source.is_dir() else source.parent
    lines = lines + [{"file": str(path), "status": OTHER} for path in found.others]
    lines += [{"file": str(path), "status": UNSEEN, "reason": why} for path, why in found.unseen.items()]
    for one in lines:
        one["file"] = _text(Path(one["file"]).relative_to(folder).as_posix())
    path = to / f"{NAME}.csv"
    beside = path.with_name(path.name + ".new")
    with open(beside, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, restval="")
        table.writeheader()
        table.writerows(lines)
    os.replace(beside, path)
    path = path.with_suffix(".html")
    page(to.name, source, lines, found, given).write(beside)
    os.replace(beside, path)
    return path


def page(store: str, source: Path, lines: list[dict], found: Found, given: dict) -> Page:
    """What a person should look at before they trust the store."""
    sorts = (READ, REFUSED, OTHER, UNSEEN)
    read, bad, others, unseen = ([one for one in lines if one["status"] == status] for status in sorts)
    doubtful = [one for one in read if one["doubts"]]
    made = Page(f"Import of {_text(source.resolve().name)}", "what was understood of each file", level="")
    _facts(made, store, found, given)
    made.highlight("records read", len(read))
    made.highlight("records refused", len(bad))
    made.highlight("look doubtful", len(doubtful))
    made.highlight("files that are no ECG", len(others))
    _understood(made, read, found, given)
    for title, said in (("What was refused", bad), ("What was not looked into", unseen)):
        if said:
            made.section(title, *_by_reason([(one["reason"], one["file"]) for one in said]))
    if doubtful:
        made.section("What looks doubtful", "Read, but a person should look: a wrong unit or gain shows here first.")
        made.table(["record", ""], [[one["record"], one["doubts"]] for one in doubtful[:LISTED]], _more(doubtful))
    if others:
        endings = Counter(Path(one["file"]).suffix.lower() or "no ending" for one in others)
        made.section("No ECGs", ", ".join(f"{ending} {count}" for ending, count in endings.most_common(20)))
    made.section("Every record")
    rows = [[one["record"], one["format"], _leads(one["leads"]), one["rate"], one["seconds"]] for one in read[:LISTED]]
    made.table(["record", "format", "leads", "Hz", "s"], rows, _more(read))
    return made


def _facts(made: Page, store: str, found: Found, given: dict) -> None:
    said = {name: value for name, value in given.items() if name not in ("patient_key", "median")}
    made.facts({"store": _text(store), "given": ", ".join(f"{k} {v}" for k, v in said.items()) or "nothing"})
    made.facts({"patients": patients(found, given)})
    made.facts({"beats": "median beats in place of the rhythm" if "median" in given else "the rhythm, no median beats"})


def _understood(made: Page, read: list[dict], found: Found, given: dict) -> None:
    """The kinds of files, one of each drawn, and what was assumed, computed and left out."""
    groups = Counter(tuple(one[key] for key in KIND) for one in read)
    made.section("What was understood", "Names of files stand on this page as they are: look before you pass it on.")
    made.table(
        ["format", "records", "leads", "Hz", "unit in the file", "mV per step"],
        [[kind[0], count, _leads(kind[1]), *kind[2:]] for kind, count in groups.most_common(LISTED)],
    )
    _draw(made, read, groups, found, given)
    for key, title in NOTES.items():
        counted = Counter(part for one in read for part in one[key].split("; ") if part)
        if counted:
            made.section(title, MEANING[key])
            made.table(["", "records"], counted.most_common(LISTED))


def _draw(made: Page, read: list[dict], groups: Counter, found: Found, given: dict) -> None:
    """The first record of each kind, read once more, where it is still there."""
    items = {_text(item.name): item for item in found.items}
    first: dict[tuple, Item] = {}
    for one in read:
        first.setdefault(tuple(one[key] for key in KIND), items[one["record"]])
    for kind, _ in groups.most_common(DRAWN):
        try:
            record = first[kind].read(given)
        except InputError:
            continue
        made.ecg(record.but(waves=None, scored=None), caption=f"{kind[0]}: {_text(record.id)}")


def patients(found: Found, given: dict) -> str:
    """What the store holds of who it was."""
    if "patient_key" in given:
        return "hashes under the key"
    if any(item.known and item.known.person.get("patient") for item in found.items):
        return "as the table of labels writes them, which may be names; with --patient-key hashes"
    return "not kept (see --patient-key)"


def _by_reason(said: list[tuple[str, str]]) -> list[str]:
    """A paragraph for each reason, the most frequent first, with the first files of which it is said."""
    files: dict[str, Counter[str]] = {}
    for reason, name in said:
        files.setdefault(reason, Counter())[name] += 1
    ranked = sorted(files.items(), key=lambda pair: -pair[1].total())[:LISTED]
    return [f"{_short(reason, 300)} ({own.total():,}): {_names(own)}" for reason, own in ranked]


def _names(files: Counter[str]) -> str:
    """File -> how many of its records: the first NAMED."""
    first = [_short(name) + f" ({count} records)" * (count > 1) for name, count in list(files.items())[:NAMED]]
    return ", ".join(first) + f" and {len(files) - NAMED:,} more, see {NAME}.csv" * (len(files) > NAMED)


def _leads(text: str) -> str:
    return "the twelve" if text == " ".join(LEADS) else _short(text)


def _text(name: str) -> str:
    """A file's name as text that can be written: it may be bytes of another encoding."""
    return name.encode("utf-8", "replace").decode()


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _more(rows: Iterable) -> str:
    rows = list(rows)
    return f"the first {LISTED} of {len(rows):,}; {NAME}.csv has all" if len(rows) > LISTED else ""
