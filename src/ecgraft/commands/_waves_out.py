"""What predict says of waves and beats, for a person: rows of the table, part of the page, lines under the picture."""

from __future__ import annotations

from collections import Counter

import numpy as np

from .. import __version__
from ..model import Prediction
from ..record import LEADS, WAVES, Record
from ..report import Page
from ..signal.leads import LIMB
from ..signal.recipe import Recipe

BRIEF = ("heart rate", "PR", "QRS", "QT", "QTc Fridericia", "QRS axis")  # intervals under the picture
RESEARCH = f"ecgraft {__version__}. For research only; not a medical device."


def rows(said: dict) -> list[dict]:
    """The rows of the table, of a prediction's `to_dict`. Times in ms."""
    out = [_wave(wave) for wave in [*said.get("together", []), *said.get("waves", [])]]
    for name, its in said.get("intervals", {}).items():
        its = {**its, "value": "" if its["median"] is None else its["median"]}
        out.append({"kind": "interval", "what": name, "lead": "all"} | {k: its[k] for k in its if k != "median"})
    for name in ("not readable", "no P waves"):
        spans = [{"onset_ms": _ms(a), "offset_ms": _ms(b)} for a, b in said.get(name, [])]
        out += [{"kind": "span", "what": name, "lead": "all"} | span for span in spans]
    out += [{"kind": "beat", "what": b["class"], "peak_ms": _ms(b["time"])} for b in said.get("beats", [])]
    return out


def _wave(wave: dict) -> dict:
    times = {f"{key}_ms": _ms(wave[key]) for key in ("onset", "peak", "offset")}
    told = {"lead": wave["lead"], "confidence": wave.get("confidence", "")}
    return {"kind": "wave", "what": wave["wave"]} | told | times


def _ms(seconds: float | None):
    """To a tenth."""
    return "" if seconds is None else round(1000 * seconds, 1)


def add(page: Page, name: str, said: Prediction) -> None:
    """The intervals as a table, and how many waves or beats there are."""
    if said.intervals:
        head = ["interval", "median", "unit", "lower quartile", "upper quartile", "beats", "not measurable because"]
        cells = []
        for i in said.intervals:
            median, low, high = (_shown(value, i.unit) for value in (i.median, i.low, i.high))
            cells.append([i.name, median, i.unit, low, high, i.beats or None, i.reason])
        caption = f"{name}: of the waves of the leads together; median and quartiles over the beats"
        caption += " (heart rate: of the mean RR interval)"
        page.table(head, cells, caption, digits=1)
    page.text(*(f"{name}: {text}." for text in _counted(said)))


def _shown(value: float | None, unit: str):
    """Beats a minute with a digit behind the point, milliseconds and degrees without, as samples are farther apart."""
    return value if value is None or unit == "/min" else round(value)


def _counted(said: Prediction) -> list[str]:
    if said.together is not None:
        counts = Counter(said.together["kind"].tolist())
        found = ", ".join(f"{counts[kind]} {WAVES[kind]}" for kind in range(1, len(WAVES)))
        sure = said.together_confidence
        sure = f"; mean confidence {np.mean(sure):.2f}" if sure is not None and len(sure) else ""
        return [f"waves of the leads together: {found}{sure}"]
    if said.beats is not None:
        classes = Counter(said.beats["symbol"].astype(str).tolist())
        told = ", ".join(f"{count} {symbol}" for symbol, count in classes.most_common() if symbol != "?")
        return [f"{len(said.beats)} beats" + (f": {told}" if told else "")]
    return []


def lines(record: Record, predictions: dict[str, Prediction], part: str) -> list[str]:
    """The text under the picture of a record."""
    out = [f"{record.id}: {part}"]
    for name, said in predictions.items():
        if said.probability:
            out.append(f"{name}: {', '.join(said.answer) or 'none of its labels'}")
        if said.value is not None:
            out.append(f"{name}: {said.value:.1f}")
        out += [f"{name}: {text}" for text in _counted(said)]
        brief = [i for i in said.intervals if i.name in BRIEF]
        known = [f"{i.name} {i.median:.0f} {i.unit}".replace(" /min", "/min") for i in brief if i.median is not None]
        if known:
            out.append("Median over the beats: " + "   ".join(known))
        reasons: dict[str, list[str]] = {}
        for interval in brief:
            reasons.setdefault(interval.reason, []).append(interval.name)
        out += [f"Not measurable: {', '.join(names)} ({why})" for why, names in reasons.items() if why]
    out += list(dict.fromkeys(f"Note: {note}" for said in predictions.values() for note in said.notes))
    return [*out, RESEARCH]


def on_leads(prediction: Prediction, record: Record) -> np.ndarray:
    """The prediction's waves with `lead` counting the record's own leads; those of derived leads are left out."""
    place = np.array([_own(name, record) for name in prediction.leads])
    waves = prediction.waves.copy()
    waves["lead"] = place[waves["lead"]] if len(waves) else waves["lead"]
    return waves[waves["lead"] >= 0]


def _own(name: str, record: Record) -> int:
    """The record's lead that was read as lead `name` (see signal.leads.assign), -1 where it was derived."""
    if name in record.leads:
        return record.leads.index(name)
    others = [i for i, lead in enumerate(record.leads) if lead not in LEADS]
    return others[0] if name == Recipe.slot and others and sum(lead in LIMB for lead in record.leads) < 2 else -1
