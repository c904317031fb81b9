"""Which signals of a file are ECGs, in what unit, and under names that stand once."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from ..record import LEADS, MILLIVOLT, InputError, lead_name
from . import Given
from ._wfdb.header import Channel

MOST = 64  # leads of a record, but where its format says otherwise
GAIN = 200.0  # digital units per mV where a WFDB header does not say, as WFDB defines it
NOT_ECG = re.compile(
    r"(resp|pleth|ppg|n?i?bp|abp|art|cvp|[pil]ap\b|icp|spo2|sao2|co2|hr\b|pulse|eeg|eog|emg|scg|pcg|acc|temp)", re.I
)
NO_NAME = re.compile(r"(ecg|ekg|col|column|ch|chan|channel|sig|signal|lead)?[ _#.-]*\d*(,.*)?", re.I)  # "col 1"


class EcgChannel(NamedTuple):
    """A WFDB channel that is an ECG, under the name that it has in the record."""

    channel: Channel
    index: int  # its place in the header
    name: str
    per_mv: float  # digital units per mV


def choose(channels: tuple[Channel, ...], path: Path, given: Given) -> tuple[list[EcgChannel], list[str]]:
    """The ECG channels, and the names of the others. A known lead in an unknown unit is an error, not an other.

    Names that are given stand in for names that say nothing ("col 1"), and for any names where no channel is an ECG by
    its own. They are used where they are as many as the ECGs, or as the channels; else the file's stand.
    """
    names = unique(channel.name for channel in channels)
    ecgs = [index for index, channel in enumerate(channels) if is_ecg(channel.name, channel.unit)]
    if given.leads is not None and all(says_nothing(names[index]) for index in ecgs):
        if len(given.leads) == len(channels):
            ecgs = list(range(len(channels)))
        if len(given.leads) == len(ecgs):
            new = dict(zip(ecgs, given.leads))
            names = [new.get(index, name) for index, name in enumerate(names)]
    kept = [as_ecg(channels[index], index, names[index], path, given) for index in ecgs]
    own = set(ecgs)
    skipped = [f"{channel.name} ({channel.unit})" for index, channel in enumerate(channels) if index not in own]
    if not kept:
        listed = ", ".join(skipped[:20]) or "none"
        hint = f"if they are, name all {len(channels)} with leads (--leads II,V1,V5)"
        raise InputError(f"{path}: no ECG among its {len(channels)} signals ({listed}); {hint}")
    return kept, skipped


def as_ecg(channel: Channel, index: int, name: str, path: Path, given: Given) -> EcgChannel:
    factor = given.scale(f"{path}, lead {channel.name}", channel.unit)
    gain = channel.gain or GAIN
    return EcgChannel(channel, index, name, gain / factor if factor >= 1 else gain * round(1 / factor))


def says_nothing(name: str) -> bool:
    return name not in LEADS and NO_NAME.fullmatch(name) is not None


def is_ecg(name: str, unit: str | None) -> bool:
    """By name for the twelve leads, else by a unit that is a voltage (None: not said) and no name of another signal."""
    voltage = unit is None or unit.strip().lower() in MILLIVOLT
    return lead_name(name) in LEADS or (voltage and not NOT_ECG.match(name.strip()))


def unique(names) -> tuple[str, ...]:
    """Names of which none stands twice: a second ECG becomes ECG-2."""
    bare = [lead_name(name) for name in names]
    if len(set(bare)) == len(bare):
        return tuple(bare)
    seen, found = Counter(), []
    for name in bare:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return tuple(found)
