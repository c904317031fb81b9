"""Which signals of a file are ECGs, and names that stand once."""

from __future__ import annotations

import re

from ..record import LEADS, MILLIVOLT, lead_name

NOT_ECG = re.compile(
    r"(resp|pleth|ppg|n?i?bp|abp|art|cvp|[pil]ap\b|icp|spo2|sao2|co2|hr\b|pulse|eeg|eog|emg|scg|pcg|acc|temp)", re.I
)


def is_ecg(name: str, unit: str | None) -> bool:
    """By name for the twelve leads, else by a unit that is a voltage (None: not said) and no name of another signal."""
    voltage = unit is None or unit.strip().lower() in MILLIVOLT
    return lead_name(name) in LEADS or (voltage and not NOT_ECG.match(name.strip()))


def unique(names) -> tuple[str, ...]:
    """Names of which none stands twice: a second ECG becomes ECG-2."""
    bare = [lead_name(name) for name in names]
    return tuple(f"{n}-{bare[:i].count(n) + 1}" if n in bare[:i] else n for i, n in enumerate(bare))
