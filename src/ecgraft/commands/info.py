"""ecgraft info: what is in a file, a store, an encoder, a graft or a model. Reads headers; imports no torch."""

from __future__ import annotations

import json
import sys
from collections import Counter
from math import prod
from pathlib import Path
from typing import Annotated

import numpy as np
from rich.console import Console
from rich.table import Table

from .. import formats
from ..record import WAVES, InputError, Record
from ..signal.recipe import Recipe
from ..store import Store
from ..store.layout import HEAD
from . import _doubles

Block = tuple[str, Table]  # a title and what stands under it
NOT_LEARNT = ("seen.", "distance.")  # tensors that are no weights


def info(
    path: Annotated[list[Path], "an ECG file, a store (several are compared), an encoder, a graft or a model folder"],
    *,
    format: Annotated[str | None, "format of an ECG file, where it cannot be told from its content"] = None,
    rate: Annotated[float | None, "sampling rate in Hz, for files that do not say"] = None,
    unit: Annotated[str | None, "mV, uV, V or nV, for files that do not say"] = None,
    leads: Annotated[str | None, "lead names separated by commas, or standard, for files that do not say"] = None,
    doubles: Annotated[bool | None, "look for the same ECG twice in stores (default: up to 20,000 records)"] = None,
    to: Annotated[Path | None, "file for all such pairs (.csv)"] = None,
) -> None:
    """Shows what is in an ECG file, a store, an encoder, a graft or a model folder.

    For a graft: which output is which diagnosis, from which probability on it says yes, and how well it scores.
    For stores: the same ECG or patient twice, whatever the gain, polarity, rate or length, in and across them.
    """
    console, paths = Console(markup=False, highlight=False), [path] if isinstance(path, str | Path) else list(path)
    given = {"format": format, "rate": rate, "unit": unit, "leads": leads}
    for title, table in [block for one in paths for block in describe(one, **given)] + _doubled(paths, doubles, to):
        console.print(_plain(title), style="bold", soft_wrap=True)
        console.print(table, end="\n\n")


def describe(path: Path, **given) -> list[Block]:
    """What `info` prints, block by block; `given` as for `ecgraft.read`."""
    path = Path(path)
    if path.suffix == ".safetensors":
        return _trained(path)
    if (path / "encoder.safetensors").is_file():
        return _model(path)
    return _store(path) if path.is_dir() else _record(path, formats.read(path, **given))


def header(path: Path) -> tuple[dict, int]:
    """The JSON header of an encoder or graft file and how many values were learnt; the tensors are not read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            found = json.loads((file.metadata() or {})["ecgraft"])
            names = [name for name in file.keys() if not name.startswith(NOT_LEARNT)]  # noqa: SIM118
            count = sum(prod(file.get_slice(name).get_shape()) for name in names)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path}: not an encoder or graft of ecgraft, or damaged ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: not an encoder or graft of ecgraft (its header is no mapping)")
    return found, count


def _model(path: Path) -> list[Block]:
    files = [path / "encoder.safetensors", *sorted((path / "grafts").glob("*.safetensors"))]
    return [block for file in files for block in _trained(file)]


def _trained(path: Path) -> list[Block]:
    """An encoder or a graft."""
    found, count = header(path)
    kind, task, card = (found.get(key) or {} for key in ("kind", "task", "card"))
    facts = {"name": found.get("name"), "values": f"{count:,} ({path.stat().st_size / 1024:,.0f} KiB)"}
    facts |= {key: found.get(key) for key in ("adapter", "encoder", "fingerprint", "format_version")}
    facts |= {"architecture": found.get("config"), "recipe": _sentence(found.get("recipe"))}
    if found.get("text"):
        facts["text side"] = "joins ECGs and reports: predict --prompts, evaluate --zero-shot or --retrieval"
        facts |= {"text encoder": found["text"], "joint space": found.get("head")} | card
    else:
        facts |= (_certainty(found) if kind == "graft" else {}) | card
    blocks = [(f"{kind or 'file'} {path}", _facts(facts))]
    if task and task.get("kind") != "text":
        blocks.append(_outputs(task, found.get("thresholds") or {}, found.get("conformal") or {}))
    if found.get("metrics"):
        blocks.append(_metrics(found["metrics"]))
    return blocks


def _sentence(recipe: dict | None) -> str | None:
    return Recipe.from_dict(recipe).describe() if recipe else None


def _certainty(graft: dict) -> dict[str, str]:
    """What a graft knows of its own certainty, in words."""
    calibration, conformal, distance = (graft.get(key) or {} for key in ("calibration", "conformal", "distance"))
    plain = {name: value for name, value in calibration.items() if isinstance(value, int | float)}
    method = "isotonic" if len(plain) < len(calibration) else plain
    facts = {"calibration": method or "none"}
    if conformal:
        facts["coverage"] = (
            f"the true answer is among the possible ones in {_percent(conformal['coverage'])} of records"
        )
    if "half" in conformal:
        half = conformal["half"]
        facts["interval"] = "not known: too few validation records" if half is None else f"answer ± {half:.3g}"
    if distance:
        limit, records = distance.get("limit"), distance.get("records")
        told = f"farther than {_plain(limit)} from the training records (limit of {records} validation records)"
        facts["unusual record"] = "cannot be told: too few validation records" if limit is None else told
    return facts


def _percent(share) -> str:
    return f"{100 * share:.3g} %"


def _outputs(task: dict, thresholds: dict, conformal: dict) -> Block:
    """The label table: which output is which diagnosis, and which probabilities leave it open."""
    limits, pairs = conformal.get("limits"), task.get("kind") == "multilabel"
    more = [] if not limits else ["yes possible from", "no possible up to"] if pairs else ["possible from"]
    table = _table("output", "label", "yes from", *more, "codes")
    codes = task.get("codes") or {}
    for index, label in enumerate(task.get("labels") or [task.get("value")]):
        cells = [_plain(thresholds.get(label))]
        if limits:
            no, yes = limits[index] if pairs else (None, limits[index])
            yes = None if pairs and no is None else yes  # then both answers are always possible
            no = None if yes is None else no
            ends = [None if yes is None else 1 - yes, *([no] if pairs else [])]
            cells += ["any" if end is None else _plain(end) for end in ends]
        table.add_row(str(index), _plain(label), *cells, _plain(codes.get(label)))
    return f"outputs of task {task.get('name')} ({task.get('kind')})", table


def _metrics(metrics: dict) -> Block:
    of = metrics.get("of")
    table = _table("metric", "value", "interval")
    for name, value in _flat(metrics):
        if isinstance(value, dict):
            table.add_row(
                _plain(name), _plain(value["value"]), f"{_plain(value.get('low'))} to {_plain(value.get('high'))}"
            )
        elif name != "of":
            table.add_row(_plain(name), _plain(value), "")
    return "how well it scores" + (f", on {of}" if of else ""), table


def _flat(values: dict, before: str = ""):
    """Nested metrics as (name, number or {"value", "low", "high"})."""
    for name, value in values.items():
        if isinstance(value, dict) and "value" not in value:
            yield from _flat(value, f"{before}{name} ")
        else:
            yield f"{before}{name}", value


def _record(path: Path, record: Record) -> list[Block]:
    facts = {key: getattr(record, key) for key in ("id", "patient", "age", "sex", "report", "source", "split", "fold")}
    facts |= {"rate": f"{record.rate:g} Hz", "length": f"{record.seconds:.2f} s ({record.signal.shape[1]} samples)"}
    facts |= {"labels": [code for code, yes in record.labels.items() if yes], **record.values, **record.extra}
    for name in ("beats", "rhythms"):
        rows = getattr(record, name)
        facts[name] = None if rows is None else len(rows)
    if record.waves is not None:
        count = Counter(record.waves["kind"].tolist())
        facts["waves"] = [f"{count[code]} {name}" for code, name in enumerate(WAVES) if count[code]]
    leads = _table("lead", "lowest (mV)", "highest (mV)", "no sample (%)")
    for name, x in zip(record.leads, record.signal):
        missing = np.isnan(x).mean()
        low, high = (np.nan, np.nan) if missing == 1 else (np.nanmin(x), np.nanmax(x))
        leads.add_row(_plain(name), f"{low:.3f}", f"{high:.3f}", f"{100 * missing:.1f}")
    return [(f"ECG {path}", _facts(facts)), ("leads", leads)]


def _store(path: Path) -> list[Block]:
    store = Store(path)
    rate = store.number("rate")
    seconds = store.number("length") / rate
    reports = np.count_nonzero(np.diff(store.table.offsets["report"]))
    facts = {"records": f"{len(store):,}", "patients": f"{len(np.unique(store.number('person'))):,}"}
    if len(store):
        facts["length"] = f"{seconds.min():.1f} to {seconds.max():.1f} s, {seconds.sum() / 3600:.1f} h in all"
    facts |= {"rate": [f"{value:g} Hz {count:,}" for value, count in zip(*np.unique(rate, return_counts=True))]}
    facts |= {name: _counts(*store.category(name)) for name in ("source", "split", "sex", "leads")}
    facts |= {name: f"{np.count_nonzero(store.has(name)):,} records" for name in ("waves", "beats", "rhythms")}
    facts |= {"reports": f"{reports:,} records", "values": store.values, "fingerprint": store.fingerprint}
    table, yes = _table("code", "yes", "no", "unknown"), (store.labels == 1).sum(0)
    for column in np.argsort(-yes, kind="stable"):
        counts = (np.count_nonzero(store.labels[:, column] == value) for value in (1, 0, -1))
        table.add_row(_plain(store.codes[column]), *(f"{count:,}" for count in counts))
    return [(f"store {path}", _facts(facts)), ("labels", table)]


def _doubled(paths: list[Path], asked: bool | None, to: Path | None) -> list[Block]:
    """What stands twice in the stores among the paths."""
    stores = [Store(path) for path in paths if (Path(path) / HEAD).is_file()]
    if to is not None:
        _doubles.check(to, stores, asked)
    if not _doubles.wanted(stores, asked if to is None else True):
        return []
    rows, patients = _doubles.pairs(stores, progress=sys.stderr.isatty()), _doubles.shared_patients(stores)
    if to is not None:
        _doubles.write(to, rows)
    blocks = [("the same ECG twice", _facts(_doubles.summary(rows, patients)))]
    listed = {"pairs": [_doubles.short(row) for row in rows], "patients in test and other parts": patients}
    return blocks + [_listed(title, found) for title, found in listed.items() if found]


def _listed(title: str, rows: list[dict]) -> Block:
    """The first of many rows."""
    table = _table(*rows[0])
    for row in rows[: _doubles.SHOWN]:
        table.add_row(*map(_plain, row.values()))
    if len(rows) > _doubles.SHOWN:
        title += f", the first {_doubles.SHOWN} of {len(rows)} (pairs: --to FILE.csv has all)"
    return title, table


def _counts(numbers: np.ndarray, names: list) -> list[str]:
    """How many records each category has, the most frequent first."""
    count = np.bincount(numbers[numbers >= 0], minlength=len(names))
    order = [index for index in np.argsort(-count, kind="stable") if count[index]]
    return [f"{_plain(names[index])} {count[index]:,}" for index in order[:20]]


def _facts(facts: dict) -> Table:
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        if value not in (None, "", [], {}):
            table.add_row(_plain(name), _plain(value))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None)
    for name in columns:
        table.add_column(name)
    return table


def _plain(value) -> str:
    """One line of printable characters: what comes out of a file may not steer the terminal."""
    if isinstance(value, float):
        return f"{value:.3g}" if value == value else "not known"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else " " for c in text)
