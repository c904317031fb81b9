"""EDF, EDF+, BDF and BDF+ (European Data Format): signals in data records, annotations among them.

By https://www.edfplus.info/specs. Its own reader and not edfio 0.4.18, which puts the pieces of a discontinuous file
end to end, reads bytes behind the last data record as samples, loses a last record that is cut short, takes the header
to be as large as it says, and fails on annotations that are not UTF-8, on decimal commas and on empty ranges.

Digital values become mV in one rounding. ECGs of different rates get that of the fastest, the slower ones held, where
it is a multiple of theirs; else the largest group of one rate is read. Gaps of EDF+D are NaN.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..record import InputError, Record
from . import PACKED, Given, check_size, resolution, told
from ._channels import unique
from ._digital import Scale, int24
from ._edf import annotations, leads
from ._edf import header as headers
from ._person import age, day_of, in_years, month

TITLE = "EDF"
ENDINGS = (".edf", ".bdf")
BLOCK = 2**21  # bytes that are read at a time
GAPS = 2**26  # values that a file with gaps may have whatever its size: 24 h of 3 leads at 250 Hz
WRITER = "ecgraft"  # in the field of the equipment
MAKERS = re.compile(
    r"(ecgraft|bittium|faros|biosemi|schiller|mortara|philips|nihon kohden|natus|compumedics|somno)", re.I
)


def claims(path: Path, head: bytes) -> int:
    return 2 if headers.looks_like(head) else 0


def read(path: Path, given: Given) -> Record:
    header = headers.parse(path)
    kept, skipped = leads.choose(header)
    kept, others, slower = _group(kept)
    rate, assumed = _rate(header, max(s.samples for s in kept), given)
    scales = [leads.scale(s, given, f"{path}, lead {s.label}", header.width) for s in kept]
    skipped += others + [f"{s.label} (no range of values)" for s, scale in zip(kept, scales) if scale is None]
    kept, scales = [s for s, c in zip(kept, scales) if c], [c for c in scales if c]
    if not kept:
        raise InputError(f"{path}: no lead has a range of digital and physical values; export the file again")
    return _record(header, kept, scales, rate, given, skipped, [*header.assumed, *assumed], slower)


def write(record: Record, path: Path) -> list[Path]:
    """EDF+ of 16 bits, or BDF+ of 24 where `path` ends in .bdf; see `_edf.write`."""
    from ._edf.write import save

    return save(record, path, WRITER)


def _record(header, kept, scales, rate: float, given: Given, skipped, assumed, slower) -> Record:
    names = unique(leads.name(s.label, i + 1) for i, s in enumerate(kept))
    times, marks = _annotations(header)
    starts = _starts(header, times, rate, max(s.samples for s in kept), assumed)
    signal = _signal(header, kept, scales, starts)  # (C, T)
    begin = float(times[0]) if len(times) and np.isfinite(times[0]) else 0.0
    ours = header.recording.split()[4:5] == [WRITER]
    labels = [s.label for s in kept]
    found = annotations.understand(marks, begin, rate, signal.shape[1], labels, ours)
    for lead, start, stop in found.missing:
        signal[lead if lead >= 0 else slice(None), start:stop] = np.nan
    if found.end:
        signal = signal[:, : found.end]
    elif not ours:
        assumed += _unsaid(header, signal, rate, sum(scale.gone for scale in scales))
    dropped = [f"{found.dropped} annotations whose texts are no known words"] if found.dropped else []
    person, derived = _person(header, given)
    return Record(
        signal,
        rate,
        names,
        id=header.path.stem,
        extra=told(
            unit=list(dict.fromkeys(s.unit for s in kept if s.unit)),
            resolution=resolution([abs(c.terms[0] / c.terms[2]) for c in scales]),
            assumed=assumed,
            derived=slower + derived,
            skipped=skipped + dropped,
            device=_device(header),
            filters=leads.filters(kept),
            annotations=found.events,
        ),
        **person,
        **found.fields,
    )


def _group(kept: list) -> tuple[list, list[str], list[str]]:
    """The signals that one rate can hold, the others, and which of the first are held."""
    counts = Counter(s.samples for s in kept)
    top = max(counts)
    if any(top % count for count in counts):
        top = max(counts, key=lambda count: (counts[count], count))
        fit = [s for s in kept if s.samples == top]
    else:
        fit = kept
    others = [
        f"{s.label} ({s.samples} samples where others have {top})" for s in kept if s.samples != top and fit is not kept
    ]
    return fit, others, [f"{s.label}: each sample held {top // s.samples} times" for s in fit if s.samples < top]


def _rate(header, top: int, given: Given) -> tuple[float, list[str]]:
    """Samples per second of a lead with `top` samples in a data record, and what was assumed."""
    if header.seconds == 0:
        return given.hz(header.path), ["the data records have no duration; the given rate"]
    exact, whole = top / header.seconds, round(top / header.seconds)
    rounded = exact != whole and header.decimals >= 4 and abs(exact - whole) * 10**4 < whole
    if rounded and abs(Fraction(top, whole) - header.seconds) < Fraction(1, 10**header.decimals):
        said = f"{whole} Hz, which data records of {float(header.seconds):g} s stand for"
        return float(whole), [said]
    return float(exact), []


def _blocks(header):
    """(place of the first data record, bytes (n, a data record)), block after block; what is left comes last."""
    frame = header.samples * header.width
    step = max(1, BLOCK // frame)
    with open(header.path, "rb") as file:
        file.seek(header.start)
        for first in range(0, header.records, step):
            count = min(step, header.records - first)
            data = np.fromfile(file, np.uint8, count * frame)
            yield first, data.reshape(count, frame)
        if header.rest:
            yield header.records, np.fromfile(file, np.uint8, header.rest * header.width)[None]


def _columns(data: np.ndarray, signal, width: int) -> np.ndarray:  # (n, frame) uint8 -> (n, samples) of int
    """The samples of a signal; fewer from a data record that is cut short."""
    part = np.ascontiguousarray(data[:, signal.first * width : (signal.first + signal.samples) * width])
    return part.view("<i2") if width == 2 else int24(part.reshape(len(part), -1, 3))


def _annotations(header) -> tuple[np.ndarray, list]:
    """When each data record begins, and the marks. Times are those of the first signal of annotations."""
    times, marks = np.array([]), []
    for signal in [s for s in header.signals if s.annotations and s.samples]:
        own = slice(signal.first * header.width, (signal.first + signal.samples) * header.width)
        texts = (row.tobytes() for _, data in _blocks(header) for row in data[:, own])
        when, found = annotations.parse(texts)
        times, marks = times if len(times) else when, marks + found
    return times, marks


def _starts(header, times: np.ndarray, rate: float, top: int, assumed: list[str]) -> np.ndarray | None:
    """The sample at which each data record begins, None where each follows the one before."""
    count = header.records + (header.rest > 0)
    if header.plus != "D" or len(times) < count or count < 2:
        assumed += (
            ["discontinuous, and no times in it: the data records follow each other"] if header.plus == "D" else []
        )
        return None
    following = np.arange(count) * (top / rate)
    known = np.isfinite(times)
    lag = np.where(known, times - times[0] - following, 0)
    if not known[0]:
        raise InputError(f"{header.path}: discontinuous, and its first data record has no time; export it again")
    if not known.all():  # a record without a time follows the one before
        last = np.maximum.accumulate(np.where(known, np.arange(count), 0))
        lag = lag[last]
        assumed.append(f"{int((~known).sum())} data records have no time and follow the one before")
    shift = np.round(lag * rate)
    jump = np.diff(shift)
    if (jump < -1).any():
        place = int(np.argmax(jump < -1)) + 2
        raise InputError(f"{header.path}: data record {place} begins before the one before it ends; export it again")
    if np.abs(shift).max() > GAPS:
        raise InputError(f"{header.path}: gaps of {np.abs(shift).max() / rate / 3600:.0f} h; split the recording")
    return _settled(shift.astype(np.int64)) + np.arange(count) * top


def _settled(shift: np.ndarray) -> np.ndarray:
    """Lags without the steps of one sample that come from rounding; a change of more is a gap."""
    settled, now = np.empty_like(shift), 0
    if np.abs(shift).max() <= 1:
        return np.zeros_like(shift)
    for place, lag in enumerate(shift.tolist()):
        now = lag if lag > now + 1 else now
        settled[place] = now
    return settled


def _signal(header, kept: list, scales: list[Scale], starts: np.ndarray | None) -> np.ndarray:
    """(C, T) mV."""
    top = max(s.samples for s in kept)
    extra = max(min(max(header.rest - s.first, 0), s.samples) * (top // s.samples) for s in kept)
    if not header.records and not extra:
        raise InputError(f"{header.path}: no sample of its leads is in it; the file is cut short or empty")
    length = header.records * top + extra
    size = header.path.stat().st_size
    if starts is not None:
        length = int(starts[header.records - (not extra)]) + (extra or top)
        if len(kept) * length > GAPS + PACKED * size:
            raise InputError(f"{header.path}: nearly all of its {length} samples are gaps; split the recording")
    check_size(len(kept) * length, header.path, packed=None if starts is not None else size)
    signal = np.empty((len(kept), length), np.float32)
    if starts is not None or header.rest:
        signal.fill(np.nan)
    for first, data in _blocks(header):
        for row, s, scale in zip(signal, kept, scales):
            values = scale(_columns(data, s, header.width))  # (n, samples)
            values = np.repeat(values, top // s.samples, axis=1) if s.samples < top else values
            _place(row, values, first, top, starts)
    return signal


def _place(row: np.ndarray, values: np.ndarray, first: int, top: int, starts: np.ndarray | None) -> None:
    """Puts the samples of some data records (n, samples) where they belong in the lead."""
    if starts is None:
        row[first * top : first * top + values.size] = values.ravel()
    elif values.size:
        places = starts[first : first + len(values), None] + np.arange(values.shape[1])
        row[places.ravel()] = values.ravel()


def _unsaid(header, signal: np.ndarray, rate: float, gone: int) -> list[str]:
    """Codes that were taken for no sample; a last data record that seems filled up: all leads constant to its end."""
    if gone:
        return [f"{gone} samples of the lowest code, which is outside of the stated range, are none"]
    tail = signal[:, -max(2, round(float(header.seconds) * rate)) :]
    moves = (tail[:, :-1] != tail[:, -1:]).any(axis=0)
    still = tail.shape[1] - 1 - (int(np.flatnonzero(moves)[-1]) + 1 if moves.any() else 0)
    filled = still >= max(10, 0.1 * rate) and signal.shape[1] > tail.shape[1]
    return [f"the last {still} samples are constant in all leads, as if filled up; they are kept"] if filled else []


def _person(header, given: Given) -> tuple[dict, list[str]]:
    """Pseudonym, sex, age. EDF+ has "code sex birthdate name"; in plain EDF the whole field stands for the patient."""
    parts = header.patient.split()
    shaped = len(parts) >= 4 and parts[1] in ("M", "F", "X") and (parts[2] == "X" or _date(parts[2]))
    if not shaped:
        return {"patient": given.patient(header.patient)}, []
    code, sex, born, name = parts[:4]
    said = re.search(r"\bage:(\d{1,3})\b", " ".join(parts[4:]))
    years, derived = age(in_years(float(said[1])) if said else None, _date(born), _recorded(header))
    patient = given.patient(code, "" if name == "X" else name, "" if born == "X" else born)
    return {"patient": patient, "sex": sex if sex in "MF" else None, "age": years}, derived


def _date(said: str) -> date | None:
    found = re.fullmatch(r"(\d\d?)-([A-Z]{3})-(\d{4})", said.upper(), re.ASCII)
    return day_of(found[3], month(found[2]), found[1]) if found else None


def _recorded(header) -> date | None:
    """The date of recording. 01.01.85 is what EDF+ writes where it is not to be known."""
    parts = header.recording.split()
    if len(parts) > 1 and parts[0] == "Startdate" and _date(parts[1]):
        return _date(parts[1])
    found = re.fullmatch(r"(\d\d)\.(\d\d)\.(\d\d)", header.date)
    if not found or header.date == "01.01.85":
        return None
    year = int(found[3])
    return day_of(year + (1900 if year >= 85 else 2000), found[2], found[1])


def _device(header) -> str:
    """The maker, where the recording's free text names a known one; nothing else of that text is kept."""
    found = MAKERS.search(header.recording.replace("_", " "))
    return found[1] if found and found[1].lower() != WRITER else ""
