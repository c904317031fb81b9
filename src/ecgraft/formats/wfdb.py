"""WFDB records (PhysioNet): a header (.hea) and signal files, in one or several segments.

Format 16, which most databases use, is read with numpy: 6 times as fast as `wfdb.rdrecord` and equal to it. The other
formats go through the wfdb library. Channels that are not ECG (pressure, respiration ...) are left out and named in
`extra["skipped"]`; what was assumed is said in `extra["assumed"]`. A signal with more samples than the frame rate
gives keeps them: the record has the rate of its fastest ECG, slower ones are held.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..record import InputError, Record
from . import Given, check_size
from ._channels import EcgChannel, choose, unique
from ._header import Header, looks_like, parse

TITLE = "WFDB"
BITS = {"8": 8, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12, "310": 32 / 3, "311": 32 / 3}
FLAC = ("508", "516", "524")
MISSING = -32768  # "no sample" in format 16
GAIN = 200.0  # digital units per mV where the header does not say, as WFDB defines it


def claims(path: Path, head: bytes) -> int:
    if looks_like(head):
        return 3
    try:
        base = _base(path)
        return 3 if base != path and (path in parse(base).files() or not path.exists()) else 0
    except InputError:
        return 0


def parts(path: Path) -> list[Path]:
    """The files that the header at `path` names: signals, segments and the signals of segments."""
    if path.suffix != ".hea":
        return []
    try:
        files = parse(path).files()
    except InputError:
        return []
    return files + [part for file in files if file.suffix == ".hea" and file.exists() for part in parts(file)]


def read(path, given: Given = Given()) -> Record:  # noqa: B008
    """The record whose header, signal file or bare name is `path`.

    Raises InputError for a header or signal file that is missing, broken or cut short, and where no channel is an ECG.
    """
    header = parse(_base(Path(path)))
    if header.segments:
        kept, skipped, ratio, signal = _segments(header, given)
    else:
        kept, skipped = choose(header.channels, header.path, given)
        ratio = max(c.per_frame for c in kept)
        signal = _signals(header, kept, ratio)  # (C, T)
    extra = {"skipped": ", ".join(skipped), "assumed": "; ".join(_assumed(kept))}
    extra["comments"] = "\n".join(header.comments)
    return Record(
        signal,
        rate=header.rate * ratio,
        leads=tuple(c.name for c in kept),
        id=header.path.stem,
        extra={key: text for key, text in extra.items() if text},
        **header.person(),
    )


def _base(path: Path) -> Path:
    """The header that belongs to a path: itself, or the one beside it."""
    if path.suffix == ".hea":
        return path
    whole = path.with_name(path.name + ".hea")
    return whole if whole.exists() or not path.suffix else path.with_suffix(".hea")


def _signals(header: Header, kept: list[EcgChannel], ratio: int) -> np.ndarray:
    """(C, T * ratio) mV, NaN where there is no sample."""
    length = _length(header)
    check_size(len(kept) * length * ratio, header.path)
    first = header.channels[0]
    layout = {(c.file, c.format, c.per_frame, c.skew, c.offset) for c in header.channels}
    if len(layout) == 1 and (first.format, first.per_frame, first.skew, ratio) == ("16", 1, 0, 1):
        return _format16(header, kept, length)
    return _library(header, kept, length, ratio)


def _format16(header: Header, kept: list[EcgChannel], length: int) -> np.ndarray:
    """Equal to `wfdb.rdrecord` in float32: where gains are float32 numbers, dividing in float32 rounds alike.

    (A quotient that is rounded to 53 bits and then to 24 is the one that is rounded to 24 at once, as 53 > 2 * 24 + 1.)
    """
    first, total = header.channels[0], len(header.channels)
    raw = np.fromfile(header.path.parent / first.file, "<i2", length * total, offset=first.offset)
    raw = raw.reshape(length, total).T  # (all channels, T)
    if len(kept) < total:
        raw = raw[[c.index for c in kept]]
    gain = np.array([(c.gain or GAIN) / c.factor for c in kept])
    baseline = np.array([c.baseline for c in kept], float)
    exact = (gain == gain.astype(np.float32)).all() and np.abs(baseline).max() < 2**23
    kind = np.float32 if exact else np.float64
    signal = raw.astype(kind, order="C")
    signal -= baseline.astype(kind)[:, None]
    signal /= gain.astype(kind)[:, None]
    if raw.min() == MISSING:
        signal[raw == MISSING] = np.nan
    return signal


def _library(header: Header, kept: list[EcgChannel], length: int, ratio: int) -> np.ndarray:
    import wfdb

    base = str(header.path.with_suffix(""))
    record = wfdb.rdrecord(base, channels=[c.index for c in kept], smooth_frames=False)
    signal = np.empty((len(kept), length * ratio), np.float32)
    for row, channel, values in zip(signal, kept, record.e_p_signal):
        if len(values) != length * channel.per_frame or ratio % channel.per_frame:
            raise InputError(
                f"{header.path}: lead {channel.name} has {len(values)} samples, not a whole part of {ratio}"
            )
        row[:] = np.repeat(values * channel.factor, ratio // channel.per_frame)
    return signal


def _length(header: Header) -> int:
    """Frames. Every signal file is there and long enough for them, or InputError."""
    length = header.length
    for file in dict.fromkeys(c.file for c in header.channels):
        own = [c for c in header.channels if c.file == file]
        path = header.path.parent / file
        if not path.is_file():
            raise InputError(f"{header.path}: its signal file {file} is missing")
        odd = [c.format for c in own if c.format not in BITS and c.format not in FLAC]
        if odd:
            raise InputError(f"{header.path}: signal format {odd[0]} is not one of WFDB's")
        if own[0].format in FLAC:
            continue
        frame = sum(c.per_frame for c in own) * BITS[own[0].format] / 8  # bytes
        there = int((path.stat().st_size - own[0].offset) / frame)
        length = there if length is None else length
        if there < length:
            raise InputError(f"{path}: cut short, {there} of {length} samples; get the file again")
    if not length:
        raise InputError(f"{header.path}: no samples")
    return length


def _segments(header: Header, given: Given):
    """Several segments end to end -> ECG channels, names of others, samples per frame, (C, T) mV; NaN in gaps."""
    folder = header.path.parent
    parsed = [parse(folder / f"{name}.hea") if name != "~" else None for name, _ in header.segments]
    layout = next((h for h in parsed if h), None)
    if layout is None or any(h.segments for h in parsed if h):
        raise InputError(f"{header.path}: its segments must be records of one segment")
    kept, skipped = choose(layout.channels, layout.path, given)
    rows = {c.name: row for row, c in enumerate(kept)}
    own = [choose(h.channels, h.path, given)[0] if h and _any(h, rows) else [] for h in parsed]
    own = [[c for c in channels if c.name in rows] for channels in own]
    ratio = max(c.per_frame for channels in [kept, *own] for c in channels)
    length = sum(frames for _, frames in header.segments)
    check_size(len(kept) * length * ratio, header.path)
    signal = np.full((len(kept), length * ratio), np.nan, np.float32)  # (C, T)
    start = 0
    for part, channels, (name, frames) in zip(parsed, own, header.segments):
        stop = start + frames * ratio
        if channels and frames:
            values = _signals(part, channels, ratio)
            if values.shape[1] < stop - start:
                raise InputError(f"{header.path}: segment {name} has fewer than its {frames} samples")
            signal[[rows[c.name] for c in channels], start:stop] = values[:, : stop - start]
        start = stop
    return kept, skipped, ratio, signal


def _any(header: Header, rows: dict[str, int]) -> bool:
    """Whether a segment has one of the leads; it may have none."""
    return any(name in rows for name in unique(c.name for c in header.channels))


def _assumed(kept: list[EcgChannel]) -> list[str]:
    plain = [c.name for c in kept if not c.gain]
    return [f"no gain given, {GAIN:g} per mV taken: {', '.join(plain)}"] if plain else []
