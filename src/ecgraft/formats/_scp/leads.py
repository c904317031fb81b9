"""Section 3 of SCP-ECG: which leads there are and when each was recorded."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ...record import InputError
from ...signal.leads import LIMB
from .. import Given
from .._channels import unique

MINUS_AVR = 65
CALIBRATION = {*range(31, 61), *range(79, 86)}  # pulses of leads 1 to 30, and of 66 to 72
_ROWS = {  # first code -> names, as in EN 1064, table 4, and from 86 in ISO 11073-10102
    1: "I II V1 V2 V3 V4 V5 V6 V7 V2R V3R V4R V5R V6R V7R X Y Z CC5 CM5 LA RA LL fI fE fC fA fM fF fH",
    61: "III aVR aVL aVF aVR V8 V9 V8R V9R D A J Defibrillator Pacing A1 A2 A3 A4",
    86: "C V VR VL VF MCL MCL1 MCL2 MCL3 MCL4 MCL5 MCL6 CC CC1 CC2 CC3 CC4 CC6 CC7 CM CM1 CM2 CM3 CM4 CM6",
    111: "dIII daVR daVL daVF",
    121: "CM7 CH5 CS5 CB5 CR5 ML AB1 AB2 AB3 AB4 ES AS AI S",
    147: "RL CV5RL CV6LL CV6LU V10",
}
NAMES = {first + i: name for first, row in _ROWS.items() for i, name in enumerate(row.split())}
EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


@dataclass(frozen=True)
class Lead:
    name: str
    code: int
    start: int  # first sample, from 1
    stop: int  # last sample


def leads(body: bytes, given: Given) -> tuple[list[Lead], int]:
    """The leads in file order, and the flags. Raises InputError for none, or for sample numbers that run back."""
    count, flags = struct.unpack_from("<BB", body) if len(body) >= 2 else (0, 0)
    if count == 0 or 2 + 9 * count > len(body):
        raise InputError(f"section 3 names {count} leads and describes {max(len(body) - 2, 0) // 9}")
    rows = list(struct.iter_unpack("<IIB", body[2 : 2 + 9 * count]))
    for number, (start, stop, _) in enumerate(rows, start=1):
        if not 1 <= start <= stop:
            raise InputError(f"section 3: lead {number} goes from sample {start} to {stop}; export the file again")
    codes = [code for _, _, code in rows]
    if any(codes):
        names = unique(NAMES.get(code, f"SCP lead {code}") for code in codes)
    else:
        names = given.names(count, "section 3")
    return [Lead(name, code, start, stop) for name, (start, stop, code) in zip(names, rows)], flags


def derived(names: tuple[str, ...]) -> list[str]:
    """The limb leads that follow from I and II, where a file stores the eight independent leads alone."""
    others = [name for name in LIMB if name not in EIGHT]
    return others if set(EIGHT) <= set(names) and not set(others) & set(names) else []
