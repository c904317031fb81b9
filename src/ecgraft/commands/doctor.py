"""ecgraft doctor: an ECG file held against what a model expects, line by line."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Annotated

import numpy as np

from .. import formats
from ..model import Model
from ..record import InputError, Record
from ..signal import leads as lead_tools
from ..signal import quality
from ..signal.recipe import Recipe
from ._blocks import plain, show, table

OK, NOTE, BAD = "ok", "note", "problem"
EINTHOVEN = 0.1  # of a lead's deviation, by which limb leads may miss their sum
SHORT = 2.0  # s; in less there may be no whole beat
THOUSAND = "A thousand times an ECG: it is likely in uV; try --unit uV, or correct the file where it says mV itself"


@dataclass(frozen=True)
class Finding:
    what: str
    verdict: str  # ok, note, problem
    file: str
    model: str = ""
    do: str = ""  # what to do, where there is something


def doctor(
    file: Annotated[Path, "ECG file"],
    *,
    model: Annotated[str, "model folder"] = "default",
    format: Annotated[str | None, "format of the file, where it cannot be told from its content"] = None,
    rate: Annotated[float | None, "sampling rate in Hz, for files that do not say"] = None,
    unit: Annotated[str | None, "mV, uV, V or nV, for files that do not say"] = None,
    leads: Annotated[str | None, "lead names separated by commas, or standard, for files that do not say"] = None,
    index: Annotated[int | None, "which record of a file that holds several, from 0"] = None,
    progress: Annotated[bool, "print what is found"] = True,
) -> list[Finding]:
    """Compares an ECG file with what a model expects: leads, rate, length, unit, filters, quality, and for each graft
    whether the ECG is like those that it was trained on.

    Raises InputError (exit status 1) where the model cannot, or should not, be asked about this file.
    """
    loaded = Model.load(model)
    given = {"rate": rate, "unit": unit, "leads": leads, "index": index}
    record = formats.read(file, format, **{name: value for name, value in given.items() if value is not None})
    recipe = loaded.recipe
    found = [_format(record), *_leads(record, recipe), _rate(record, recipe), _length(record, recipe)]
    found += [_unit(record), *_limbs(record), *_filters(record, recipe), *_quality(record)]
    found += _grafts(record, loaded) if not any(one.verdict == BAD for one in found) else []
    if progress:
        _show(file, model, found)
    bad = [one for one in found if one.verdict == BAD]
    if bad:
        raise InputError(f"{file}: {'; '.join(f'{one.what}: {one.file}. {one.do}' for one in bad)}")
    return found


def _format(record: Record) -> Finding:
    title = formats.supported()[record.extra["format"]]
    assumed = record.extra.get("assumed", "")
    said = [title, *(f"assumed: {assumed}" for _ in range(bool(assumed)))]
    said += [record.extra["median"] + " beside it" for _ in range("median" in record.extra)]
    return Finding("format", NOTE if assumed else OK, "; ".join(said), do="check what was assumed" if assumed else "")


def _leads(record: Record, recipe: Recipe) -> list[Finding]:
    """Which of the model's leads are there, follow from others, or are missing."""
    wanted, have = ", ".join(recipe.leads), ", ".join(record.leads)
    derived = lead_tools.derivable(record.leads, recipe.leads)
    rows, slots, notes = lead_tools.assign((*record.leads, *derived), recipe.leads, recipe.slot)
    missing = [name for i, name in enumerate(recipe.leads) if i not in slots]
    if not rows:
        return [Finding("leads", BAD, have, wanted, "None of the model's leads: name the file's leads with --leads")]
    said = [f"derived: {', '.join(derived)}"] * bool(derived) + [f"not there: {', '.join(missing)}"] * bool(missing)
    said += notes
    do = "the model was trained with more leads: expect it to be less sure" if missing else ""
    return [Finding("leads", NOTE if missing or notes else OK, "; ".join([have, *said]), wanted, do)]


def _rate(record: Record, recipe: Recipe) -> Finding:
    have, want = f"{record.rate:g} Hz", f"{recipe.rate:g} Hz"
    if record.rate < 25:
        return Finding("rate", BAD, have, want, "No ECG has so low a rate: give the right one with --rate")
    high = recipe.high or recipe.rate / 2
    if record.rate < 2 * high:
        do = f"nothing above {record.rate / 2:g} Hz is in it, of {high:g} Hz that the model looks at"
        return Finding("rate", NOTE, have, want, do)
    return Finding("rate", OK, have + ("" if record.rate == recipe.rate else ", is resampled"), want)


def _length(record: Record, recipe: Recipe) -> Finding:
    have, want = f"{record.seconds:g} s", f"windows of {recipe.seconds:g} s"
    if record.seconds < SHORT:
        return Finding(
            "length", BAD, have, want, "Too short for a heart beat: is this a median beat, or the rate wrong?"
        )
    if record.seconds < recipe.seconds:
        return Finding(
            "length", NOTE, f"{have}, is padded", want, "the model has seen longer ones: it may be less sure"
        )
    count = ceil(record.seconds / recipe.seconds)
    return Finding("length", OK, have if count == 1 else f"{have}, is read in windows", want)


def _unit(record: Record) -> Finding:
    """Whether the size of the signal is that of an ECG."""
    span = np.nanpercentile(record.signal, 99.5, axis=1) - np.nanpercentile(record.signal, 0.5, axis=1)
    middle = float(np.nanmedian(span)) if np.isfinite(span).any() else 0.0
    have = f"{middle:.3g} mV from low to high in the middle lead"
    said = record.extra.get("unit", "")
    have += f" (the file is in {said})" if said else ""
    if 0.1 <= middle <= 10:
        return Finding("unit", OK, have, "millivolt")
    if 100 <= middle <= 10_000:
        return Finding("unit", BAD, have, "millivolt", THOUSAND)
    if middle <= 0.01:
        return Finding(
            "unit", BAD, have, "millivolt", "A thousandth of an ECG, or nothing: is the unit V, or is it flat?"
        )
    return Finding("unit", NOTE, have, "millivolt", "unusual for an ECG: check unit and gain")


def _limbs(record: Record) -> list[Finding]:
    """Whether the six limb leads obey Einthoven's and Goldberger's laws, as far as they are there."""
    if not {"I", "II"} <= set(record.leads):
        return []
    rows = record.signal - np.nanmedian(record.signal, axis=1, keepdims=True)
    lead = dict(zip(record.leads, rows))
    wrong = []
    for name in ("III", "aVR", "aVL", "aVF"):
        if name in lead:
            a, b = lead_tools.LIMB[name]
            rest = lead[name] - (a * lead["I"] + b * lead["II"])
            if np.nanstd(rest) > EINTHOVEN * max(np.nanstd(lead["I"]), np.nanstd(lead["II"])):
                wrong.append(name)
    if wrong:
        said = f"{', '.join(wrong)} do not follow from I and II"
        return [Finding("limb leads", NOTE, said, "", "recorded at other times, or under wrong names: check the leads")]
    return [Finding("limb leads", OK, "obey Einthoven's law")] if {"III", "aVR", "aVL", "aVF"} & set(lead) else []


def _filters(record: Record, recipe: Recipe) -> list[Finding]:
    said = record.extra.get("filters")
    return (
        [Finding("filters", OK, said, f"band-pass {recipe.low or 0:g} to {recipe.high or recipe.rate / 2:g} Hz")]
        if said
        else []
    )


def _quality(record: Record) -> list[Finding]:
    found = quality.findings(record)
    return [Finding("quality", NOTE, sentence) for sentence in found] or [Finding("quality", OK, "nothing found")]


def _grafts(record: Record, model: Model) -> list[Finding]:
    """Whether the record is like those that each graft was trained on."""
    found = []
    for name, graft in model.grafts.items():
        if not graft.answers:
            continue
        said = model.predict(record, [name])[name]
        if said.unusual:
            do = "its answer may be worth nothing: label some ECGs like this one and adapt it"
            found.append(Finding(f"graft {name}", NOTE, "unlike what it was trained on", "", do))
        else:
            like = "cannot tell whether it knows such ECGs" if said.unusual is None else "like what it was trained on"
            found.append(Finding(f"graft {name}", OK, like))
    return found


def _show(file: Path, model: str, found: list[Finding]) -> None:
    rows = table("", "", "the file", "the model", "what to do")
    style = {OK: "green", NOTE: "yellow", BAD: "red"}
    for one in found:
        rows.add_row(one.verdict, one.what, *map(plain, (one.file, one.model, one.do)), style=style[one.verdict])
    show([(f"{file} for {model}", rows)])
