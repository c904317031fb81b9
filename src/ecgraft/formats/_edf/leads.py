"""Which signals of an EDF file are ECGs, what they are called, and what their numbers are in mV."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from ...record import LEADS, MILLIVOLT, InputError, lead_name
from .. import Given, _said
from .._channels import is_ecg
from .._digital import Scale
from .header import Header, Signal, number

PREFIX = re.compile(r"(?:ECG|EKG)([\s_:.-]*)(.*)", re.I)
REFERENCE = re.compile(r"\s*-\s*(ref|avg|gnd)\w*$", re.I)
ELECTRODES = {"la-ra": "I", "ll-ra": "II", "ll-la": "III", "lf-ra": "II", "lf-la": "III"}
BRAIN = re.compile(  # electrodes of EEG, eyes and muscles; C1 to C6 are also the chest's
    r"(EEG|EOG|EMG|LOC\b|ROC\b|CHIN|LEG|TIB|[LR]AT\b|(FP|AF|FC|FT|CP|TP|PO|[FPOTAM]|C(?=[z0-9]+[-_:/ ]))(z|\d{1,2})\b)",
    re.I,
)
OTHER = re.compile(r"(status|trig|mark|event|batt|dc ?\d|pos|light|spare|imp|sync|clock|snor|mic|flow|thor|abd)", re.I)
MICRO = re.compile(r"(u|µ|μ|æ|ì|micro|mc|мк)(v|в)(olts?)?\.?", re.I)  # æ and ì are µ of other code pages
MILLI = re.compile(r"(m|milli|м)(v|в)(olts?)?\.?", re.I)
CUTS = (r"\b(?:HP|HPF|HIGH-?PASS)", r"\b(?:LP|LPF|LOW-?PASS)", r"\b(?:N|NOTCH)")
SHOWN = 12  # signals that a message names


def choose(header: Header) -> tuple[list[Signal], list[str]]:
    """The ECGs, and the others as "name (unit)". By what labels say; where none does, by unit."""
    signals = [s for s in header.signals if not s.annotations]
    if not signals:
        raise InputError(
            f"{header.path}: annotations and no signal; give the EDF file with the ECG that they belong to"
        )
    brain = any(BRAIN.match(s.label) for s in signals)
    named = {s for s in signals if _says_ecg(s.label, brain)}
    volts = {s for s in signals if s.unit and not brain and _could_be(s, unit(s.unit))}
    blank = {s for s in signals if not s.unit and not brain and _could_be(s, None)}
    ecgs = named | volts or blank
    kept = [s for s in signals if s in ecgs and s.samples]
    if not kept:
        labels = ", ".join(s.label or "without label" for s in signals[:SHOWN])
        more = f" and {len(signals) - SHOWN} more" if len(signals) > SHOWN else ""
        raise InputError(f"{header.path}: no ECG among its signals ({labels}{more})")
    return kept, [f"{s.label or 'without label'} ({s.unit or 'no unit'})" for s in signals if s not in ecgs]


def name(label: str, place: int) -> str:
    """The lead that a label means: "ECG II", "EKG V1-Ref", "ECG LA-RA"; one that says a channel alone is kept."""
    said = PREFIX.fullmatch(label)
    rest = REFERENCE.sub("", said[2] if said else label).strip()
    known = ELECTRODES.get(rest.lower().replace(" ", ""))
    if known:
        return known
    if said and (not rest or rest[0].isdigit() or (not said[1] and lead_name(rest) not in LEADS)):
        return label
    return f"ECG{rest or place}" if not rest or rest.isdigit() else rest


def unit(said: str) -> str:
    """The unit in the spelling that the record knows, as it stands where it is none of them."""
    bare = said.strip()
    return "uV" if MICRO.fullmatch(bare) else "mV" if MILLI.fullmatch(bare) else bare


def scale(signal: Signal, given: Given, where: str, width: int) -> Scale | None:
    """None where the header gives no range. A maximum below its minimum turns the signal over, as EDF+ has it.

    The lowest code that `width` bytes have is no sample where the stated range has it not: WFDB's code for that.
    """
    values = [number(said) for said in (*signal.physical, *signal.digital)]
    if None in values:
        return None
    low, high, least, most = values
    if low == high or least == most:
        return None
    lowest = -(1 << 8 * width - 1)
    missing = lowest if min(least, most) > lowest else None
    return Scale(*_line(low, high, least, most, given.scale(where, unit(signal.unit) or None)), missing)


@lru_cache(100)
def _line(low: Fraction, high: Fraction, least: Fraction, most: Fraction, factor: float) -> tuple[Fraction, Fraction]:
    """Gain and offset in mV."""
    gain, exact = (high - low) / (most - least), Fraction(factor).limit_denominator(10**9)
    return gain * exact, (low - gain * least) * exact


def filters(signals: list[Signal]) -> list[str]:
    """Of prefiltering texts ("HP:0.05Hz LP:150Hz N:50Hz"), the numbers alone."""
    found = []
    for said in dict.fromkeys(s.filters for s in signals):
        cuts = (re.search(word + r"[\s:=]*(\d+(?:[.,]\d+)?)\s*Hz", said, re.I) for word in CUTS)
        found.append(_said.filters(*(cut[1].replace(",", ".") if cut else None for cut in cuts)))
    return [said for said in dict.fromkeys(found) if said]


def _says_ecg(label: str, brain: bool) -> bool:
    if PREFIX.match(label):
        return True
    doubtful = label.isdigit() or (brain and re.fullmatch(r"C[1-6]", label, re.I))
    return not doubtful and lead_name(REFERENCE.sub("", label)) in LEADS


def _could_be(signal: Signal, said: str | None) -> bool:
    """Whether a signal in that unit (None: blank) that does not say what it is may be an ECG."""
    voltage = said is None or said.lower() in MILLIVOLT
    return voltage and is_ecg(signal.label, None) and not OTHER.match(signal.label)
