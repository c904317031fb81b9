"""A record -> WFDB files: NAME.hea, NAME.dat, and beats, rhythms and waves as annotation files beside them.

Samples that lie on a grid (those of an A/D converter) are written on it and come back to the last bit. Others get the
finest of the gains 1, 2, 5, 10 ... per mV that holds their range: in 16 bits, or where the step would be more than
1 uV in 24, else in 32; their error is at most half a step. The widest lead says the format of all. What is not finite
is the format's "no sample".

  .atr          beats, and rhythms as changes (+)
  .i .ii ...    ( p ) ( N ) ( t ) of a lead, as in LUDB; .waves where they are of all leads
  comments      age, sex, "Dx:" with SNOMED CT codes as in the PhysioNet/CinC challenges, other labels, values, report

Where waves are complete stands in comments at 0 of those files. A patient's pseudonym is not written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...record import InputError, Record
from ...signal.grid import FINEST, USUAL, fits, guesses
from . import annotations_out as out
from .header import SIGNALS

STEP = 1000.0  # per mV: where it is coarser, more bits are taken
FAR = 2.0**30  # steps from 0
MOST = 127  # leads that a wave can be of


class Coded(NamedTuple):
    steps: np.ndarray  # (T,) whole numbers; 0 where there is no sample
    gain: float  # steps per mV
    bits: int  # that they need
    low: float
    high: float


def write(record: Record, path: Path) -> list[Path]:
    """Returns the paths, the header first; it is written last. Letters that WFDB names may not have become _."""
    name = name_of(path)
    if len(record.leads) > SIGNALS:
        raise InputError(f"{len(record.leads)} leads; a WFDB record has at most {SIGNALS}")
    lines, samples = _signals(record, name)
    files = {f"{name}.dat": samples} | {f"{name}.{end}": data for end, data in _annotations(record).items()}
    head = f"{name} {len(record.leads)} {_plain(record.rate)} {record.signal.shape[1]}"
    text = "\n".join([head, *lines, *(f"# {line}" for line in _comments(record))])
    files[f"{name}.hea"] = (text + "\n").encode("utf-8")
    paths = [path.with_name(file) for file in files]
    for place in paths:
        if place.exists():
            raise InputError(f"{place} is there already; remove it or write to another place")
    for place, content in zip(paths, files.values()):
        place.write_bytes(content)
    return [paths[-1], *paths[:-1]]


def name_of(path: Path) -> str:
    """The name of the record that is written to a path: letters that WFDB names may not have became _."""
    stem = path.stem if path.suffix.lower() in (".hea", ".dat") else path.name
    return re.sub(r"[^\w-]+", "_", stem, flags=re.ASCII).strip("_") or "record"


def _signals(record: Record, name: str) -> tuple[list[str], bytes]:
    """Signal lines, and the signal file."""
    coded = [_code(x, np.isfinite(x)) for x in record.signal]
    bits = max(lead.bits for lead in coded)
    half, lines = 1 << bits - 1, []
    digital = np.empty(record.signal.shape[::-1], np.int64)  # (T, C)
    for column, (x, lead, label) in enumerate(zip(record.signal, coded, record.leads)):
        shift = 0 if max(-lead.low, lead.high) < half else round((lead.low + lead.high) / 2)
        digital[:, column] = np.where(np.isfinite(x), lead.steps - shift, -half)
        total = (int(digital[:, column].sum()) + 0x8000) % 0x10000 - 0x8000
        what = f"{name}.dat {bits} {_plain(lead.gain)}({-shift})/mV {bits} 0 {digital[0, column]} {total} 0"
        lines.append(f"{what} {_line(label) or 'ECG'}")
    if bits == 16:
        return lines, digital.astype("<i2").tobytes()
    raw = digital.astype("<i4")
    return lines, raw.tobytes() if bits == 32 else raw.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def _code(x: np.ndarray, there: np.ndarray) -> Coded:
    """One lead (T,) float32 mV."""
    known = x[there]
    if not len(known):
        return Coded(np.zeros(len(x)), STEP, 16, 0, 0)
    gain, bits = next(chain(_grids(known), _round(known)))
    steps = np.rint(np.where(there, x, np.float32(0)).astype(np.float64) * gain)
    low, high = (steps.min(), steps.max()) if there.all() else (steps[there].min(), steps[there].max())
    return Coded(steps, gain, bits, float(low), float(high))


@np.errstate(over="ignore", invalid="ignore")  # of absurdly large values, which lie on no grid
def _grids(x: np.ndarray) -> Iterator[tuple[float, int]]:
    """(gain, bits) of grids that samples (T,) lie on; first those that give every bit back."""
    for bits in (16, 24):
        whole, near = 2**bits - 2, []
        for gain in chain(USUAL, _guesses(x, whole)):
            if fits(x[None, :64], gain, whole)[0] and fits(x[None], gain, whole)[0]:
                near.append(gain)
                yield from ((exact, bits) for exact in _exact(x, gain))
        yield from ((gain, bits) for gain in near)


def _exact(x: np.ndarray, gain: float) -> list[float]:
    """The shortest gain near `gain` with which whole steps are the samples (T,) to the last bit, if there is one.

    A sample is steps / gain, rounded by half a unit of its last place at most; so each bounds the gain from both sides.
    """
    size = np.abs(x[x != 0]).astype(np.float64)
    steps, half = np.rint(size * gain), np.spacing(np.abs(x[x != 0])) / 2.0
    low, high = (steps / (size + half)).max(initial=0), (steps / (size - half)).min(initial=np.inf)
    middle = min(max(gain, low), high)
    near = next((g for g in (round(middle, digits) for digits in range(18)) if low <= g <= high and g > 0), gain)
    back = np.rint(x.astype(np.float64) * near) / near
    return [near] if np.array_equal(back.astype(np.float32), x) else []


def _guesses(x: np.ndarray, whole: float) -> Iterator[float]:
    """Only where they are asked for. The distance that they go by is rounded: a little more room."""
    yield from guesses(x, 1.01 * whole)


def _round(x: np.ndarray) -> Iterator[tuple[float, int]]:
    low, high = float(x.min()), float(x.max())
    far = max(-low, high, FAR / FINEST)
    for bits in (16, 24, 32):
        limit = min((2**bits - 8) / max(high - low, 2**bits / FINEST), FAR / far)
        power = 10.0 ** np.floor(np.log10(limit))
        gain = float(max(digit * power for digit in (1, 2, 5) if digit * power <= limit * (1 + 1e-9)))
        if gain >= STEP or bits == 32:
            yield gain, bits


def _annotations(record: Record) -> dict[str, bytes]:
    """Name ending -> file."""
    length, files = record.signal.shape[1], {}
    if record.beats is not None or record.rhythms is not None:
        marks = [] if record.rhythms is None else out.of_rhythms(record.rhythms, length)
        marks += [] if record.beats is None else out.of_beats(record.beats)
        files["atr"] = _file(marks, record, ())
    if record.waves is None:
        return files
    spans = [] if record.scored is None else record.scored.tolist()
    used = {*record.waves["lead"].tolist(), *(lead for lead, _, _ in spans)}
    endings = dict(enumerate(out.extensions(record.leads[:MOST]))) if used != {-1} else {}
    for lead, ending in (endings | ({-1: "waves"} if -1 in used else {})).items():
        said = [f"{out.SCORED} {start} {stop}" for own, start, stop in spans if own == lead]
        marks = out.of_waves(record.waves[record.waves["lead"] == lead])
        files[ending] = _file(marks, record, said or [out.SCORED])
    return files


def _file(marks: list[out.Mark], record: Record, said) -> bytes:
    inside = [mark for mark in marks if 0 <= mark.sample < record.signal.shape[1]]
    return out.encode(sorted(inside, key=lambda mark: mark.sample), record.rate, said)


def _comments(record: Record) -> list[str]:
    codes = [code.removeprefix("snomed:") for code, yes in record.labels.items() if yes and _is_snomed(code)]
    said = [f"Age: {record.age:g}"] if record.age is not None else []
    said += [f"Sex: {record.sex}"] if record.sex else []
    said += [f"Dx: {','.join(codes)}"] if codes else []
    others = [(code, yes) for code, yes in record.labels.items() if not (yes and _is_snomed(code))]
    said += [f"{'Label' if yes else 'Not'}: {_line(code)}" for code, yes in others]
    said += [f"Complete: {_line(' '.join(sorted(record.complete)))}"] if record.complete else []
    said += [f"Value: {_line(key)} = {float(value)!r}" for key, value in record.values.items()]
    return said + [f"Report: {_line(line)}" for line in (record.report or "").splitlines() if _line(line)]


def _is_snomed(code: str) -> bool:
    return re.fullmatch(r"snomed:\d{6,18}", code) is not None


def _line(text: str) -> str:
    """On one line, without control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _plain(number: float) -> str:
    """A number as short as it can be written."""
    return repr(float(number)).removesuffix(".0")
