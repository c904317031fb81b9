"""Which signals of a file are ECGs, in what unit, and under names that stand once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..record import LEADS, MILLIVOLT, InputError, lead_name
from . import Given
from ._header import Channel

NOT_ECG = re.compile(
    r"(resp|pleth|ppg|n?i?bp|abp|art|cvp|[pil]ap\b|icp|spo2|sao2|co2|hr\b|pulse|eeg|eog|emg|scg|pcg|acc|temp)", re.I
)


@dataclass(frozen=True)
class EcgChannel(Channel):
    """A WFDB channel that is an ECG: its place in the header and the factor of its unit to mV."""

    index: int
    factor: float


def choose(channels: tuple[Channel, ...], path: Path, given: Given) -> tuple[list[EcgChannel], list[str]]:
    """The ECG channels, and the names of the others. A known lead in an unknown unit is an error, not an other."""
    kept, skipped = [], []
    for index, (channel, name) in enumerate(zip(channels, unique(channel.name for channel in channels))):
        if is_ecg(channel.name, channel.unit):
            factor = given.scale(f"{path}, lead {channel.name}", channel.unit)
            kept.append(EcgChannel(**vars(channel) | {"name": name}, index=index, factor=factor))
        else:
            skipped.append(f"{channel.name} ({channel.unit})")
    if not kept:
        raise InputError(f"{path}: no ECG among its {len(channels)} signals ({', '.join(skipped) or 'none'})")
    return kept, skipped


def is_ecg(name: str, unit: str | None) -> bool:
    """By name for the twelve leads, else by a unit that is a voltage (None: not said) and no name of another signal."""
    voltage = unit is None or unit.strip().lower() in MILLIVOLT
    return lead_name(name) in LEADS or (voltage and not NOT_ECG.match(name.strip()))


def unique(names) -> tuple[str, ...]:
    """Names of which none stands twice: a second ECG becomes ECG-2."""
    bare = [lead_name(name) for name in names]
    return tuple(f"{n}-{bare[:i].count(n) + 1}" if n in bare[:i] else n for i, n in enumerate(bare))
