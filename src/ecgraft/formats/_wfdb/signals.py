"""The ECGs of a WFDB record, of one segment or of several, in mV. Equal to `wfdb.rdrecord` rounded to float32.

It differs on purpose where a lead is skewed and has several samples a frame: all the samples past the end are NaN (wfdb
leaves zeros), and where times of day stand in the place of the length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...record import InputError
from .. import Given, check_size, naming
from .._channels import EcgChannel, as_ecg, choose, unique
from . import samples
from .header import Header, parse


class Found(NamedTuple):
    kept: list[EcgChannel]
    skipped: list[str]  # names of other signals
    ratio: int  # samples per frame
    signal: np.ndarray  # (C, T) float32 mV
    every: list[EcgChannel]  # those of `kept`, in each of its segments


def found(header: Header, given: Given) -> Found:
    if header.segments:
        return _segments(header, given)
    kept, skipped = choose(header.channels, header.path, given)
    ratio = max(lead.channel.per_frame for lead in kept)
    return Found(kept, skipped, ratio, _signals(header, kept, ratio), kept)


def _signals(header: Header, kept: Sequence[EcgChannel], ratio: int) -> np.ndarray:
    """(C, T * ratio) mV, NaN where there is no sample."""
    with naming(header.path):
        files = {header.path.parent / file: places for file, places in header.of_files().items()}
        length = _length(header, files)
        check_size(len(kept) * length * ratio, header.path, packed=sum(file.stat().st_size for file in files))
        signal = np.empty((len(kept), length * ratio), np.float32)  # (C, T)
        rows = {lead.index: row for row, lead in enumerate(kept)}
        for file, places in files.items():
            own, wanted = [header.channels[place] for place in places], [p in rows for p in places]
            if any(wanted):
                for place, raw in zip(places, samples.read(file, own, length)):
                    if place in rows:
                        _fill(signal[rows[place]], raw, kept[rows[place]], length, ratio)
        return signal


def _length(header: Header, files: dict[Path, list[int]]) -> int:
    """Frames. Every signal file is there and long enough for them, or InputError."""
    length = header.length
    for file, places in files.items():
        there = samples.frames(file, [header.channels[place] for place in places])
        length = there if length is None else length
        if there < length:
            raise InputError(f"{file}: cut short, {there} of {length} samples; get the file again")
    if not length:
        raise InputError("no samples")
    return length


def _fill(out: np.ndarray, raw: np.ndarray, lead: EcgChannel, length: int, ratio: int) -> None:
    """Digital samples of a lead (length * per_frame,) -> `out`, mV (length * ratio,)."""
    own = lead.channel.per_frame
    if own == ratio:
        _millivolt(raw, lead, out)
    else:
        mv = _millivolt(raw, lead, np.empty(len(raw), np.float32))
        out[:] = np.repeat(mv, ratio // own) if ratio % own == 0 else mv[np.arange(length * ratio) * own // ratio]
    late = min(lead.channel.skew, length) * ratio
    if late:
        out[: len(out) - late] = out[late:].copy()
        out[len(out) - late :] = np.nan


@np.errstate(over="ignore")  # absurd gains give infinity
def _millivolt(raw: np.ndarray, lead: EcgChannel, out: np.ndarray) -> np.ndarray:
    """Equal to what `wfdb.rdrecord` gives in float64, rounded to float32.

    Where gain and digital values are float32 numbers, dividing in float32 rounds alike: a quotient that is rounded to
    53 bits and then to 24 is the one that is rounded to 24 at once, as 53 > 2 * 24 + 1.
    """
    channel, gain = lead.channel, lead.per_mv
    short = channel.format not in ("8", "32") and abs(channel.baseline) < 2**23 and float(np.float32(gain)) == gain
    mv = out if short else np.empty(len(raw))
    np.copyto(mv, raw)
    if channel.baseline:
        mv -= mv.dtype.type(channel.baseline)
    mv /= mv.dtype.type(gain)
    if mv is not out:
        np.copyto(out, mv, casting="same_kind")
    missing = samples.MISSING.get(channel.format)
    if missing is not None and raw.min() == missing:
        out[raw == missing] = np.nan
    return out


def _segments(header: Header, given: Given) -> Found:
    """Several segments end to end; NaN in gaps, and where a segment lacks a lead."""
    names = dict.fromkeys(name for name, _ in header.segments if name != "~")
    parsed = {name: _segment(header, name) for name in names}
    if not parsed:
        raise InputError(f"{header.path}: none of its segments is a record")
    layout = next(iter(parsed.values()))
    kept, skipped = choose(layout.channels, layout.path, given)
    own_names = unique(channel.name for channel in layout.channels)
    rows = {own_names[lead.index]: row for row, lead in enumerate(kept)}
    own = {name: _leads(part, rows, given) for name, part in parsed.items()}
    ratio = max(lead.channel.per_frame for leads in [kept, *own.values()] for lead in leads)
    length = sum(frames for _, frames in header.segments)
    files = {file for part in parsed.values() for file in part.files() if file.is_file()}
    check_size(len(kept) * length * ratio, header.path, packed=sum(file.stat().st_size for file in files))
    signal = np.full((len(kept), length * ratio), np.nan, np.float32)  # (C, T)
    stops = np.cumsum([frames for _, frames in header.segments]) * ratio
    times, read = Counter(name for name, _ in header.segments), {}
    for (name, frames), stop in zip(header.segments, stops.tolist()):
        if frames and own.get(name):
            values = read[name] if name in read else _signals(parsed[name], own[name], ratio)
            if times[name] > 1:
                read[name] = values
            if values.shape[1] < frames * ratio:
                raise InputError(f"{header.path}: segment {name} has fewer than its {frames} samples")
            signal[[rows[lead.name] for lead in own[name]], stop - frames * ratio : stop] = values[:, : frames * ratio]
    every = [lead for name, frames in header.segments if frames for lead in own.get(name, ())]
    return Found(kept, skipped, ratio, signal, every or kept)


def _segment(header: Header, name: str) -> Header:
    path = header.path.parent / f"{name}.hea"
    if not path.is_file():
        raise InputError(f"{header.path}: the header of its segment {name} is missing")
    part = parse(path)
    if part.segments:
        raise InputError(f"{header.path}: its segments must be records of one segment")
    if abs(part.rate - header.rate) > 1e-3 * header.rate:
        raise InputError(f"{header.path}: {header.rate:g} Hz, but {part.rate:g} Hz in its segment {name}")
    return part


def _leads(part: Header, rows: dict[str, int], given: Given) -> list[EcgChannel]:
    """The channels of a segment that are leads of the record, under the names that they have in the headers."""
    names = unique(channel.name for channel in part.channels)
    places = [place for place, name in enumerate(names) if name in rows]
    return [as_ecg(part.channels[place], place, names[place], part.path, given) for place in places]
