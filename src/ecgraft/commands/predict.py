"""ecgraft predict: what a model says of ECG files, as JSON, CSV, an HTML page, a picture, or WFDB annotation files."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
from pathlib import Path
from typing import Annotated

from .. import formats
from ..model import Model, Prediction
from ..model import union as unions
from ..model.model import HOW_TO_ASK
from ..model.stream import as_stream
from ..record import InputError, Record, UsageError
from ..report import Page, png
from . import _annotation_files, _waves_out, _zero_shot
from ._say import say

DRAWN = (".html", ".png")
FORMATS = (".json", ".csv", *DRAWN)
SHOWN = 5  # files without an answer that are named
SECONDS, MOST = 10.0, 60.0  # of an ECG that are drawn: by default, and at most
COLUMNS = ("record", "graft", "kind", "what", "lead", "probability", "answer", "onset_ms", "peak_ms", "offset_ms")
COLUMNS += ("confidence", "value", "unit", "low", "high", "beats", "reason", "verdict", "coverage", "unusual", "score")

Said = list[tuple[Record, dict[str, Prediction]]]


def predict(
    files: Annotated[list[Path], "ECG files"],
    *,
    model: Annotated[str, "model folder"] = "default",
    task: Annotated[list[str] | None, "grafts to run (default: all; with --prompts none)"] = None,
    union: Annotated[str, "grafts that answer together, no task being named: one label of all theirs (A,B,C)"] = "",
    prompts: Annotated[str, "ask the model's text side with these words: a .yaml file, or superclass, findings"] = "",
    text: Annotated[str, "folder of the text model, where the text side was trained with one"] = "",
    to: Annotated[Path | None, "file to write: .json, .csv, .html or .png (default: JSON on the screen)"] = None,
    annotations: Annotated[Path | None, "folder for waves and beats as WFDB annotation files"] = None,
    delay: Annotated[
        float | None, "read R peaks (grafts like qrs) as a stream would, this many s behind it and 0.25 s for its hops"
    ] = None,
    start: Annotated[float | None, "s into the record at which .html and .png begin to draw (default: 0)"] = None,
    seconds: Annotated[float | None, f"s to draw, {MOST:g} at most (default: {SECONDS:g})"] = None,
    rate: Annotated[float | None, "sampling rate in Hz, for files that do not say"] = None,
    unit: Annotated[str | None, "unit, for files that do not say"] = None,
    leads: Annotated[str | None, "lead names separated by commas, for files that do not say"] = None,
    index: Annotated[int | None, "which record of a file that holds several, from 0"] = None,
) -> list[dict]:
    """Reads ECG files of any length and lead set and runs the model's grafts on them.

    A file that cannot be read is named at the end (exit status 1); the others have their answers.

    Times are seconds in JSON; the columns of CSV name their units: milliseconds for waves, spans and beats.

    --annotations writes RECORD.atr, the waves of the leads together, one file per lead (RECORD.ii, RECORD.v1 ...), and
    RECORD.GRAFT for beats, in samples at the record's own rate; without --to nothing goes to the screen then.

    With --union classes that were learnt apart are one question: the label whose own head is surest by calibrated log
    odds, or "none of these" where none reaches its threshold; probabilities are the softmax of the log odds.

    With --prompts a model that was pretrained with reports says how alike each ECG is to the words: scores that rank
    records, without thresholds.
    """
    begin = _check(files, to, start, seconds)
    loaded = Model.load(model)
    if text and not prompts:
        raise UsageError("predict: --text goes with --prompts")
    asked = _zero_shot.ask(loaded, model, prompts, text) if prompts else None
    if not asked and not task and not any(graft.answers for graft in loaded.grafts.values()):
        side = f"; its text side answers {HOW_TO_ASK}" if loaded.grafts else ""
        raise InputError(f"{model}: this model has no graft yet; make one with ecgraft adapt{side}")
    joined = unions.members(loaded, [name.strip() for name in union.split(",")]) if union else []
    names = task or joined or ([] if asked else [name for name, graft in loaded.grafts.items() if graft.answers])
    names = list(dict.fromkeys([*names, *joined]))
    kinds = {name: loaded.graft(name).task.kind for name in names}
    if delay is not None and "peaks" not in kinds.values():
        raise UsageError("--delay is for R peaks: give a graft of that kind (--task qrs)")
    if annotations is not None:
        _annotation_files.check(annotations, kinds)
    said: Said = []
    claimed: dict[str, Path] = {}
    broken: list[str] = []

    def answer(file: Path) -> None:
        record = formats.read(file, rate=rate, unit=unit, leads=leads, index=index)
        if begin >= record.seconds:
            raise UsageError(f"--start {begin:g}: {file} lasts {record.seconds:g} s")
        if annotations is not None:
            _annotation_files.claim(annotations, record, file, claimed, kinds)
        answers = {_zero_shot.KIND: asked.predict(record)} if asked else {}
        streamed = [name for name in names if delay is not None and kinds[name] == "peaks"]
        answers |= {name: as_stream(loaded, name, record, delay) for name in streamed}
        whole = [name for name in names if name not in streamed]
        said.append((record, answers | (loaded.predict(record, whole, union=joined or None) if whole else {})))

    for file in files:
        try:
            with formats.naming(file):
                answer(file)
        except UsageError:
            raise
        except InputError as error:
            broken.append(str(error))
    if broken and not said:
        raise InputError("; ".join(broken[:SHOWN]))
    rows = [prediction.to_dict() for _, predictions in said for prediction in predictions.values()]
    if to is not None:
        write(to, rows, said, begin, seconds or SECONDS)
    elif annotations is None:
        json.dump(rows, sys.stdout, indent=1)
        print()
    if annotations is not None:
        written = _annotation_files.write(annotations, said)
        say(f"{len(written)} annotation files in {annotations}")
    if broken:
        raise InputError(f"{len(broken)} of {len(files)} files have no answer: {'; '.join(broken[:SHOWN])}")
    return rows


def _check(files: list[Path], to: Path | None, start: float | None, seconds: float | None) -> float:
    """The second at which drawing begins; UsageErrors for what does not go together."""
    ending = None if to is None else to.suffix
    if to is not None and ending not in FORMATS:
        raise UsageError(f"--to {to}: the ending says the format; use one of {', '.join(FORMATS)}")
    if ending == ".png" and len(files) != 1:
        raise UsageError(f"--to {to}: a picture shows one record, not {len(files)}; use .html for several")
    for name, value in (("--start", start), ("--seconds", seconds)):
        if value is not None and ending not in DRAWN:
            raise UsageError(f"predict: {name} goes with --to NAME.html or NAME.png")
    if start is not None and not (math.isfinite(start) and start >= 0):
        raise UsageError(f"--start {start:g}: it must be 0 or more")
    if seconds is not None and not 0 < seconds <= MOST:
        raise UsageError(f"--seconds {seconds:g}: it must be above 0 and at most {MOST:g}")
    return start or 0.0


def write(to: Path, rows: list[dict], said: Said, start: float = 0.0, seconds: float = SECONDS) -> None:
    """Writes beside, then renames."""
    text = {
        ".json": lambda: json.dumps(rows, indent=1),
        ".csv": lambda: table(rows),
        ".html": lambda: page(said, start, seconds).html(),
    }
    to.parent.mkdir(parents=True, exist_ok=True)
    beside = to.with_name(to.name + ".part")
    if to.suffix == ".png":
        picture(said[0], beside, start, seconds)
    else:
        beside.write_text(text[to.suffix](), encoding="utf-8")
    os.replace(beside, to)


def table(rows: list[dict]) -> str:
    """One line for each probability, score, value, wave, interval, span or beat; `kind` says which.

    value, low, high: of an interval the median and the quartiles over `beats`, in `unit`; or nothing and the reason.
    lead: "all" for the leads together.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        same = {"record": row["record"], "graft": row["graft"], "coverage": row.get("coverage", "")}
        same["unusual"] = "cannot tell" if row["unusual"] is None else int(row["unusual"])
        for label, p in row.get("probability", {}).items():
            said = {"answer": int(label in row["answer"]), "verdict": row.get("verdict", {}).get(label, "")}
            writer.writerow(same | {"kind": "label", "what": label, "probability": p, **said})
        if unions.NONE in row.get("answer", []) and "members" in row:
            writer.writerow(same | {"kind": "label", "what": unions.NONE, "answer": 1})
        for label, score in row.get("score", {}).items():
            said = {"probability": row["uncalibrated"][label], "score": score}
            writer.writerow(same | {"kind": "score", "what": label, **said})
        for line in _waves_out.rows(row):
            writer.writerow(same | line)
        if "value" in row:
            low, high = row.get("interval", ("", ""))
            said = {"value": row["value"], "low": low, "high": high}
            writer.writerow(same | {"kind": "value", "what": row["graft"], **said})
    return out.getvalue()


def page(said: Said, start: float = 0.0, seconds: float = SECONDS) -> Page:
    """The ECGs with their waves in colour and the answers beneath."""
    made = Page("Predictions", f"{len(said)} record{'s' * (len(said) != 1)}", level="")
    for record, predictions in said:
        made.section(record.id)
        made.ecg(*_drawn(record, predictions), _part(record, start, seconds), **_spans(predictions, start, seconds))
        for name, prediction in predictions.items():
            add_answer(made, name, prediction)
        notes = list(dict.fromkeys(note for p in predictions.values() for note in p.notes))
        made.text(*(f"Note: {note}." for note in notes))
    return made


def picture(said: tuple[Record, dict[str, Prediction]], path: Path, start: float, seconds: float) -> None:
    """The ECG with its waves in colour, and in a few lines what was found."""
    record, predictions = said
    below = _waves_out.lines(record, predictions, _part(record, start, seconds))
    shown, waves = _drawn(record, predictions)
    png(shown, path, waves, below=below, **_spans(predictions, start, seconds))


def _drawn(record: Record, predictions: dict[str, Prediction]):
    """What is drawn: the record, and the waves of the first graft that has some."""
    said = next((p for p in predictions.values() if p.waves is not None), None)
    return record.but(waves=None, scored=None), _waves_out.on_leads(said, record) if said else None


def _spans(predictions: dict[str, Prediction], start: float, seconds: float) -> dict:
    unreadable = [span for said in predictions.values() for span in said.unreadable]
    return {"start": start, "seconds": seconds, "unreadable": unreadable}


def _part(record: Record, start: float, seconds: float) -> str:
    """Which part is drawn."""
    stop = min(start + seconds, record.seconds)
    whole = start == 0 and stop == record.seconds
    return f"{start:g} to {stop:g} s" + ("" if whole else f" of {record.seconds:.1f} s; the answers are for all of it")


def add_answer(made: Page, name: str, said: Prediction) -> None:
    """What a graft says of the record, and how sure it is."""
    if said.probability:
        ranked = sorted(said.probability.items(), key=lambda pair: -pair[1])[:12]
        rows = [[label, p, "yes" if label in said.answer else "no"] for label, p in ranked]
        head = ["label", "probability", "answer"]
        if said.verdict:
            head.append(f"at {100 * said.coverage:.0f} % coverage")
            rows = [[*row, said.verdict[row[0]]] for row in rows]
        made.table(head, rows, caption=f"{name} of {', '.join(said.members)}" if said.members else name)
    if said.members:
        surest = f"{said.answer[0]}, by the calibrated log odds of each label's own graft"
        none = f"{unions.NONE}: no label reaches its threshold"
        made.text(f"{name}: {none if said.answer == [unions.NONE] else surest}.")
    if said.score:
        ranked = sorted(said.score.items(), key=lambda pair: -pair[1])[:12]
        rows = [[label, score, said.uncalibrated[label]] for label, score in ranked]
        made.table(["label", "score", "probability (not calibrated)"], rows, caption=f"{name}, asked with words")
        return
    if said.sure is not None:
        possible = ", ".join(said.possible) or "none that it knows"
        sure = "sure" if said.sure else "not sure; the answer is better left open"
        made.text(f"{name} is {sure}. Possible at {100 * said.coverage:.0f} % coverage: {possible}.")
    if said.value is not None:
        made.text(f"{name}: {said.value:.1f}{_between(said)}")
    _waves_out.add(made, name, said)
    if said.unusual is None:
        made.text(f"{name} cannot tell whether this record is like those that it was trained on.")


def _between(said: Prediction) -> str:
    if said.interval is None:
        return ""
    if not math.isfinite(said.interval[0]):
        return " (too few validation records to say within what range)"
    low, high = said.interval
    return f" ({low:.1f} to {high:.1f} at {100 * said.coverage:.0f} % coverage)"
