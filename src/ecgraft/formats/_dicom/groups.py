"""The multiplex groups of a DICOM waveform: which is the rhythm and which a median beat, and their samples in mV.

PS3.3 C.10.9: a value is sample x sensitivity x correction factor + baseline, the baseline in the sensitivity's units.
Skew and offset say when the first sample of a channel was taken after the start of its group.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ...record import MILLIVOLT, InputError, lead_name
from .. import Given, check_size
from .._channels import is_ecg, unique
from .._said import extent
from .codes import DERIVED, LEAD, UNIT, UNSPECIFIED, lead_number, standard
from .file import SIGN, Item

ECG = tuple(f"1.2.840.10008.5.1.4.1.1.9.1{end}" for end in ("", ".1", ".2", ".3", ".4"))  # objects that are ECGs
MOST = 127  # channels or groups; the standard has 24 and 5
KIND = {(8, "SB"): "i1", (8, "UB"): "u1", (8, "MB"): "u1", (8, "AB"): "u1", (16, "SS"): "i2", (16, "US"): "u2"}
KIND |= {(32, "SL"): "i4", (32, "UL"): "u4", (64, "SV"): "i8", (64, "UV"): "u8"}
SIGNED = {8: "SB", 16: "SS", 32: "SL", 64: "SV"}  # taken where the file does not say
BLOCK = 2**16  # samples of each lead that are converted at a time
MEDIAN = re.compile(r"median|represent|average|template|\bbeat\b", re.I)
BEAT = 3.0  # s, what may be a median beat without being called so
LIMIT = 2  # how much longer groups that are put together may be than all of them


@dataclass(frozen=True)
class Channel:
    name: str
    ecg: bool
    unit: str  # as the file states it, "" where it does not
    sensitivity: float | None  # units per sample step, correction factor included
    baseline: float  # units
    skew: float  # samples after the start of the group
    filters: tuple[float, float, float]  # Hz: high-pass, low-pass, notch; 0 for none
    status: str
    derived: bool  # computed from other leads by the device, as its code says


@dataclass(frozen=True)
class Group:
    item: Item
    number: int  # from 1, as annotations count
    label: str
    original: bool | None  # False for derived, None where the file does not say
    length: int  # samples of each channel
    rate: float | None
    start: float | None  # ms
    ecg_object: bool

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """As many as the group says; a definition that is missing is an error."""
        count, found = self.item.whole("NumberOfWaveformChannels"), self.item.items("ChannelDefinitionSequence")
        if count > MOST or len(found) > MOST:
            raise InputError(f"group {self.number} has {max(count, len(found))} channels; no ECG has more than {MOST}")
        if len(found) < count:
            raise InputError(f"group {self.number} has {count} channels but defines {len(found)}; export it again")
        rows = found[:count]
        return tuple(_channel(row, name, self) for row, name in zip(rows, _names(rows)))

    @property
    def leads(self) -> dict[str, int]:
        """Name -> place among the channels."""
        return {channel.name: place for place, channel in enumerate(self.channels) if channel.ecg}

    @property
    def seconds(self) -> float:
        return self.length / self.rate if self.rate else 0.0

    def __str__(self) -> str:
        return extent(self.length, self.rate, len(self.leads))


@dataclass(frozen=True)
class Part:
    """The leads that a group gives to the record, and where each of their first samples stands in it."""

    group: Group
    leads: dict[str, int]
    begins: dict[str, int]


def groups(data: Item) -> tuple[list[Group], list[str]]:
    """The groups that have samples, and what is wrong with others; an error where that is all."""
    found, kind, wrong = data.items("WaveformSequence"), data.text("SOPClassUID"), []
    if len(found) > MOST:
        raise InputError(f"{len(found)} multiplex groups; no ECG has more than {MOST}")
    made = [_group(item, i, kind in ECG) for i, item in enumerate(found, 1)]
    for group in [group for group in made if group.length and group.item.whole("NumberOfWaveformChannels")]:
        try:
            _ = group.channels  # kept by the group
        except InputError as error:
            wrong.append(str(error))
    kept = [group for group in made if group.length and "channels" in vars(group)]
    if wrong and not kept:
        raise InputError(wrong[0])
    return kept, wrong


def _group(item: Item, number: int, ecg_object: bool) -> Group:
    origin, rate = item.text("WaveformOriginality").upper(), item.number("SamplingFrequency")
    return Group(
        item=item,
        number=number,
        label=item.text("MultiplexGroupLabel"),
        original={"ORIGINAL": True, "DERIVED": False}.get(origin),
        length=item.whole("NumberOfWaveformSamples"),
        rate=rate if rate and 0 < rate <= 100_000 else None,
        start=item.number("MultiplexGroupTimeOffset"),
        ecg_object=ecg_object,
    )


def medians(found: list[Group]) -> list[Group]:
    """Which are median beats: by label, or else derived and short, or else short beside one that has all its leads."""
    return [group for group in found if _is_median(group, [other for other in found if other is not group])]


def _is_median(group: Group, others: list[Group]) -> bool:
    if "RHYTHM" in group.label.upper():
        return False
    if MEDIAN.search(group.label):
        return True
    if group.original or not 0 < group.seconds < BEAT:
        return False
    longer = [other for other in others if other.seconds > 2 * group.seconds]
    return any(group.original is False or set(group.leads) <= set(other.leads) for other in longer)


def rank(group: Group) -> tuple:
    """The higher, the rather it is read: leads of the twelve, leads, seconds; the first of equals."""
    return standard(group.leads), len(group.leads), group.seconds, -group.number


def joined_parts(best: Group, found: list[Group]) -> list[Part]:
    """`best`, and with it the other leads of groups that say when they begin (a page of 4 x 3 leads and a strip)."""
    fits = [other for other in found if other.start is not None and other.rate == best.rate and other.rate]
    alone = best.start is None or standard(best.leads) == 12
    order = [best] if alone else sorted(fits, key=lambda group: -group.length)
    seen: dict[str, Group] = {}
    for group in order:
        seen |= {name: group for name in group.leads if name not in seen}
    used = [group for group in order if group in seen.values()]
    first = min(group.start or 0.0 for group in used)
    offset = [0 if alone else round(((group.start or 0.0) - first) * 1e-3 * group.rate) for group in used]
    length = max(at + group.length for at, group in zip(offset, used))
    if len(used) > 1 and length > LIMIT * sum(group.length for group in used):
        return joined_parts(best, [best])
    return _placed([({n: p for n, p in g.leads.items() if seen[n] is g}, g, at) for g, at in zip(used, offset)])


def _placed(rows: list[tuple[dict, Group, int]]) -> list[Part]:
    """Skews are taken out in whole samples, against the earliest channel."""
    late = {n: at + round(_skew(g.channels[place], g)) for leads, g, at in rows for n, place in leads.items()}
    first = min(late.values(), default=0)
    return [Part(g, leads, {n: late[n] - first for n in leads}) for leads, g, _ in rows]


def _skew(channel: Channel, group: Group) -> float:
    if abs(channel.skew) > group.length:
        raise InputError(f"lead {channel.name} begins {channel.skew:g} samples late, of {group.length}; is it damaged?")
    return channel.skew


def signal(found: list[Part], given: Given, path: Path) -> tuple[np.ndarray, dict[str, float], list[str]]:
    """(C, T) float32 mV, NaN where nothing was recorded; lead -> mV per step; what was taken for granted of padding."""
    names = [name for part in found for name in part.leads]
    length = max(part.begins[name] + part.group.length for part in found for name in part.leads)
    check_size(len(names) * length, path)
    whole = (
        len({part.begins[n] for part in found for n in part.leads}) == 1 and len({p.group.length for p in found}) == 1
    )
    mv = np.empty((len(names), length), np.float32) if whole else np.full((len(names), length), np.nan, np.float32)
    steps, said = {}, {}
    for part in found:
        raw, padding, table = _raw(part.group)  # (T, channels)
        scales = {n: _scale(part.group.channels[place], given, path) for n, place in part.leads.items()}
        steps |= {name: scale for name, (scale, _) in scales.items()}
        unsaid = padding is None or (padding == 0 and raw.dtype.kind == "i")
        gone = _lowest(raw) if unsaid else None
        said |= {"padding value 0 taken as signal": 1} if unsaid and padding is not None else {}
        said |= {"the lowest code, in all channels at once, is no sample": 1} if unsaid and gone.any() else {}
        for name, place in part.leads.items():
            begin = part.begins[name]
            row = mv[names.index(name), begin : begin + part.group.length]
            _convert(raw[:, place], *scales[name], table, row)
            row[gone if unsaid else raw[:, place] == padding] = np.nan
    return mv, steps, list(said)


def _lowest(raw: np.ndarray) -> np.ndarray:  # (T, channels) -> (T,) bool
    """Where all channels have the lowest code: ECG Toolkit writes it for no sample, and names no padding value."""
    if raw.dtype.kind != "i" or raw.dtype.itemsize < 2:
        return np.zeros(len(raw), bool)
    return (raw == np.iinfo(raw.dtype).min).all(axis=1)


def _convert(raw: np.ndarray, scale: float, baseline: float, table, row: np.ndarray) -> None:
    """Fills `row` (T,) with mV: in float64, then rounded once."""
    for start in range(0, len(raw), BLOCK):
        values = raw[start : start + BLOCK]
        values = (values if table is None else table[values]) * np.float64(scale)
        row[start : start + BLOCK] = values + baseline if baseline else values


def _scale(channel: Channel, given: Given, path: Path) -> tuple[float, float]:
    """mV per step and mV at 0. Where the file has no sensitivity, a step is one of the unit that was given."""
    factor = given.scale(f"{path}, lead {channel.name}", channel.unit or None)
    step = channel.sensitivity if channel.sensitivity is not None else 1.0
    if step == 0:
        raise InputError(f"the sensitivity of lead {channel.name} is 0; export the file again")
    return step * factor, channel.baseline * factor


def _raw(group: Group):
    """(T, channels) samples as encoded, their padding value or None, and what 8 bit of mu-law or A-law stand for."""
    bits, channels = group.item.whole("WaveformBitsAllocated"), len(group.channels)
    said = group.item.text("WaveformSampleInterpretation").upper() or SIGNED.get(bits, "")
    if (bits, said) not in KIND:
        raise InputError(
            f"group {group.number} has samples of {bits} bit, {said or 'of no kind'}; DICOM knows none such"
        )
    kind = np.dtype(SIGN[group.item.file.little] + KIND[bits, said])
    data, count = group.item.raw("WaveformData"), group.length * channels
    if len(data) < count * kind.itemsize:
        raise InputError(
            f"group {group.number} says {group.length} samples of {channels} channels, {count * kind.itemsize} bytes, "
            f"but has {len(data)}; it is cut short: export the file again"
        )
    padding = group.item.raw("WaveformPaddingValue")[: kind.itemsize]
    padding = np.frombuffer(padding, kind)[0] if len(padding) == kind.itemsize else None
    table = {"MB": mu_law, "AB": a_law}.get(said)
    return np.frombuffer(data, kind, count).reshape(-1, channels), padding, table() if table else None


def mu_law() -> np.ndarray:
    """(256,) 16 bit values of ITU-T G.711 mu-law codes: all bits inverted, with a bias of 33."""
    code = ~np.arange(256) & 255
    size = ((((code & 15) << 3) + 132) << (code >> 4 & 7)) - 132
    return np.where(code & 128, -size, size).astype(np.int16)


def a_law() -> np.ndarray:
    """(256,) 16 bit values of ITU-T G.711 A-law codes: every second bit inverted, the lowest exponent is linear."""
    code = np.arange(256) ^ 0x55
    exponent = code >> 4 & 7
    size = ((code & 15) << 4) + np.where(exponent, 264, 8) << np.maximum(exponent - 1, 0)
    return np.where(code & 128, size, -size).astype(np.int16)


def _names(rows: list[Item]) -> list[str]:
    """By the code of the source, or else the label, or else the code's meaning; by labels where codes stand twice."""
    labels = [row.text("ChannelLabel") for row in rows]
    coded = [_source(row)[1] or label for row, label in zip(rows, labels)]
    if len(set(coded)) < len(coded) and len(set(map(lead_name, labels)) - {""}) == len(labels):
        coded = labels
    return list(unique(name or f"channel {i}" for i, name in enumerate(coded, 1)))


def _source(row: Item) -> tuple[int | None, str]:
    """The number of the lead that a channel's source code says, None for what is no ECG; and a name, "" for none."""
    code = row.first("ChannelSourceSequence")
    if code is None:
        return None, ""
    value, meaning = code.text("CodeValue") or code.text("LongCodeValue"), code.text("CodeMeaning")[:64]
    number = lead_number(code.text("CodingSchemeDesignator").upper(), value)
    if number in LEAD:
        return number, LEAD[number]
    if value.upper().startswith("MDC_ECG_LEAD_"):
        return UNSPECIFIED, lead_name(value[len("MDC_ECG_LEAD_") :])
    short = lead_name(re.split(r"[,(]", meaning)[0])
    return number, "" if number == UNSPECIFIED or row.text("ChannelLabel") else short


def _channel(row: Item, name: str, group: Group) -> Channel:
    number, sensitivity = _source(row)[0], row.number("ChannelSensitivity")
    factor, unit = row.number("ChannelSensitivityCorrectionFactor"), _unit(row)
    skew = row.number("ChannelSampleSkew") or (row.number("ChannelTimeSkew") or 0.0) * (group.rate or 0.0)
    voltage = not unit or unit.lower() in MILLIVOLT
    other = (group.ecg_object and is_ecg(name, unit or None)) or (re.match("e[ck]g", name, re.I) and voltage)
    return Channel(
        name=name,
        ecg=bool(standard([name]) or (number and voltage) or other),
        unit=unit,
        sensitivity=None if sensitivity is None else sensitivity * (1.0 if factor is None else factor),
        baseline=row.number("ChannelBaseline") or 0.0,
        skew=skew + (row.number("ChannelOffset") or 0.0) * (group.rate or 0.0),
        filters=tuple(row.number(f"{which}Frequency") or 0.0 for which in ("FilterLow", "FilterHigh", "NotchFilter")),
        status=row.text("ChannelStatus").upper(),
        derived=number in DERIVED,
    )


def _unit(row: Item) -> str:
    """The unit of a channel as a name of MILLIVOLT, or as the file states it, or "" where it does not."""
    code = row.first("ChannelSensitivityUnitsSequence")
    if code is None:
        return ""
    value, meaning = code.text("CodeValue"), code.text("CodeMeaning")
    said = UNIT.get(value.lower(), value)
    return said if said.lower() in MILLIVOLT or meaning.lower() not in MILLIVOLT else meaning
