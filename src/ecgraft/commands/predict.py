"""ecgraft predict: what a model says of ECG files, as JSON, CSV or an HTML page."""

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
from ..model.model import HOW_TO_ASK
from ..record import InputError, Record, UsageError
from ..report import Page
from . import _zero_shot

FORMATS = (".json", ".csv", ".html")


def predict(
    files: Annotated[list[Path], "ECG files"],
    *,
    model: Annotated[str, "model folder"] = "default",
    task: Annotated[list[str] | None, "grafts to run (default: all; with --prompts none)"] = None,
    prompts: Annotated[str, "ask the model's text side with these words: a .yaml file, or superclass, findings"] = "",
    text: Annotated[str, "folder of the text model, where the text side was trained with one"] = "",
    to: Annotated[Path | None, "file to write: .json, .csv or .html (default: JSON on the screen)"] = None,
    rate: Annotated[float | None, "sampling rate in Hz, for files that do not say"] = None,
    unit: Annotated[str | None, "unit, for files that do not say"] = None,
    leads: Annotated[str | None, "lead names separated by commas, for files that do not say"] = None,
) -> list[dict]:
    """Reads ECG files of any length and lead set and runs the model's grafts on them.

    With --prompts a model that was pretrained with reports says how alike each ECG is to the words: scores that rank
    records, without thresholds.
    """
    if to is not None and to.suffix not in FORMATS:
        raise UsageError(f"--to {to}: the ending says the format; use one of {', '.join(FORMATS)}")
    loaded = Model.load(model)
    if text and not prompts:
        raise UsageError("predict: --text goes with --prompts")
    asked = _zero_shot.ask(loaded, model, prompts, text) if prompts else None
    if not asked and not task and not any(graft.answers for graft in loaded.grafts.values()):
        side = f"; its text side answers {HOW_TO_ASK}" if loaded.grafts else ""
        raise InputError(f"{model}: this model has no graft yet; make one with ecgraft adapt{side}")
    said = []
    for file in files:
        record = formats.read(file, rate=rate, unit=unit, leads=leads)
        with formats.naming(file):
            answers = {_zero_shot.KIND: asked.predict(record)} if asked else {}
            said.append((record, answers | (loaded.predict(record, task) if task or not asked else {})))
    rows = [prediction.to_dict() for _, predictions in said for prediction in predictions.values()]
    if to is None:
        json.dump(rows, sys.stdout, indent=1)
        print()
    else:
        write(to, rows, said)
    return rows


def write(to: Path, rows: list[dict], said: list[tuple[Record, dict[str, Prediction]]]) -> None:
    """Writes beside, then renames."""
    text = {
        ".json": lambda: json.dumps(rows, indent=1),
        ".csv": lambda: table(rows),
        ".html": lambda: page(said).html(),
    }
    to.parent.mkdir(parents=True, exist_ok=True)
    beside = to.with_name(to.name + ".part")
    beside.write_text(text[to.suffix](), encoding="utf-8")
    os.replace(beside, to)


def table(rows: list[dict]) -> str:
    """One line for each probability, value, wave or beat."""
    out = io.StringIO()
    columns = ["record", "graft", "what", "lead", "probability", "answer", "onset", "peak", "offset", "value"]
    columns += ["verdict", "low", "high", "coverage", "unusual", "score"]
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        same = {"record": row["record"], "graft": row["graft"], "coverage": row.get("coverage", "")}
        same["unusual"] = "cannot tell" if row["unusual"] is None else int(row["unusual"])
        for label, p in row.get("probability", {}).items():
            said = {"answer": int(label in row["answer"]), "verdict": row.get("verdict", {}).get(label, "")}
            writer.writerow(same | {"what": label, "probability": p, **said})
        for label, score in row.get("score", {}).items():
            writer.writerow(same | {"what": label, "probability": row["uncalibrated"][label], "score": score})
        for wave in row.get("waves", []):
            times = {key: wave[key] for key in ("onset", "peak", "offset")}
            writer.writerow(same | {"what": wave["wave"], "lead": wave["lead"], **times})
        for beat in row.get("beats", []):
            writer.writerow(same | {"what": beat["class"], "peak": beat["time"]})
        if "value" in row:
            low, high = row.get("interval", ("", ""))
            writer.writerow(same | {"what": row["graft"], "value": row["value"], "low": low, "high": high})
    return out.getvalue()


def page(said: list[tuple[Record, dict[str, Prediction]]]) -> Page:
    """The ECGs with their waves in colour and the answers beneath."""
    made = Page("Predictions", f"{len(said)} records")
    for record, predictions in said:
        made.section(record.id)
        waves = next((p for p in predictions.values() if p.waves is not None), None)
        shown = record.but(waves=None, scored=None)
        made.ecg(shown, on_leads(waves, record) if waves else None, seconds=min(10.0, record.seconds))
        for name, prediction in predictions.items():
            add_answer(made, name, prediction)
        notes = list(dict.fromkeys(note for p in predictions.values() for note in p.notes))
        made.text(*(f"Note: {note}." for note in notes))
    return made


def add_answer(made: Page, name: str, said: Prediction) -> None:
    """What a graft says of the record, and how sure it is."""
    if said.probability:
        ranked = sorted(said.probability.items(), key=lambda pair: -pair[1])[:12]
        rows = [[label, p, "yes" if label in said.answer else "no"] for label, p in ranked]
        head = ["label", "probability", "answer"]
        if said.verdict:
            head.append(f"at {100 * said.coverage:.0f} % coverage")
            rows = [[*row, said.verdict[row[0]]] for row in rows]
        made.table(head, rows, caption=name)
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
    if said.unusual is None:
        made.text(f"{name} cannot tell whether this record is like those that it was trained on.")


def _between(said: Prediction) -> str:
    if said.interval is None:
        return ""
    if not math.isfinite(said.interval[0]):
        return " (too few validation records to say within what range)"
    low, high = said.interval
    return f" ({low:.1f} to {high:.1f} at {100 * said.coverage:.0f} % coverage)"


def on_leads(prediction: Prediction, record: Record):
    """The prediction's waves with `lead` counting the record's own leads; those of derived leads are left out."""
    place = [record.leads.index(name) if name in record.leads else -2 for name in prediction.leads]
    waves = prediction.waves.copy()
    waves["lead"] = [place[lead] for lead in waves["lead"]]
    return waves[waves["lead"] >= 0]
