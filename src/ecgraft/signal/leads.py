"""Leads by name: the six limb leads from any two of them, a recipe's slots, the vectorcardiogram."""

from __future__ import annotations

import numpy as np

from ..record import LEADS

# Einthoven and Goldberger: each limb lead as a sum of I and II.
LIMB = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}
DIPOLE_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")  # the eight independent ones
# Inverse Dower matrix (Edenbrandt and Pahlm 1988): X, Y, Z of the heart's dipole from DIPOLE_LEADS.
INVERSE_DOWER = np.array(
    [
        [0.156, -0.009, -0.172, -0.073, 0.122, 0.231, 0.239, 0.193],
        [-0.227, 0.886, 0.057, -0.019, -0.106, -0.022, 0.040, 0.048],
        [0.021, 0.102, -0.228, -0.310, -0.245, -0.063, 0.054, 0.108],
    ]
)  # (3, 8)
DOWER = np.linalg.pinv(INVERSE_DOWER)  # (8, 3), dipole to leads


def dipole_vectors(leads) -> np.ndarray:
    """The lead vectors of the dipole model, (C, 3): lead = vector . (X, Y, Z). Limb leads keep Einthoven's law."""
    chest = dict(zip(DIPOLE_LEADS[2:], DOWER[2:]))
    return np.array([np.array(LIMB[name]) @ DOWER[:2] if name in LIMB else chest[name] for name in leads])


def derivable(have, wanted) -> list[str]:
    """The limb leads among `wanted` that are not in `have` but follow from two limb leads that are."""
    if sum(name in LIMB for name in have) < 2:
        return []
    return [name for name in wanted if name in LIMB and name not in have]


def derive(signal: np.ndarray, leads: tuple[str, ...], wanted) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """`signal` (C, T) with the missing limb leads of `wanted` behind it, the names, and a sentence for each.

    Any two of the six limb leads give the others; the first two in canonical order are taken.
    """
    names = derivable(leads, wanted)
    if not names:
        return signal, tuple(leads), []
    base = [name for name in LIMB if name in leads][:2]
    to_base = np.linalg.inv(np.array([LIMB[name] for name in base]))  # I and II from the base pair
    weights = (np.array([LIMB[name] for name in names]) @ to_base).astype(np.float32)
    rows = signal[[leads.index(name) for name in base]]
    notes = [f"lead {name} is derived from {base[0]} and {base[1]}" for name in names]
    return np.concatenate([signal, weights @ rows]), (*leads, *names), notes


def assign(leads: tuple[str, ...], wanted: tuple[str, ...], slot: str) -> tuple[list[int], list[int], list[str]]:
    """Which row of a record goes to which place of `wanted`: rows, slots (ascending), and sentences.

    A lead that is not one of the twelve goes to `slot` if the place is free and it is the only such lead, or the first
    of several in a record that has no other use: better one lead in a likely place than none.
    """
    place = {name: leads.index(name) for name in wanted if name in leads}
    others = [name for name in leads if name not in LEADS and name not in wanted]
    notes = []
    if others and slot in wanted and slot not in place and (len(others) == 1 or not place):
        first = others.pop(0)
        place[slot] = leads.index(first)
        notes.append(f"lead {first or '(no name)'} is taken as {slot}")
    if others:
        notes.append(f"not used: lead{'s' if len(others) > 1 else ''} {', '.join(others)}")
    slots = [i for i, name in enumerate(wanted) if name in place]
    return [place[wanted[i]] for i in slots], slots, notes


def canonical(leads) -> list[int]:
    """The order that puts `leads` into I II III aVR aVL aVF V1..V6, others behind as they came."""
    rank = {name: i for i, name in enumerate(LEADS)}
    return sorted(range(len(leads)), key=lambda i: rank.get(leads[i], len(LEADS)))


def vcg(signal: np.ndarray, leads: tuple[str, ...]) -> np.ndarray:
    """Vectorcardiogram X, Y, Z in mV by the inverse Dower matrix: (C, T) -> (3, T). Needs I, II, V1..V6 by name.

    Raises ValueError if one is missing and cannot be derived.
    """
    signal, leads, _ = derive(signal, tuple(leads), ("I", "II"))
    missing = [name for name in DIPOLE_LEADS if name not in leads]
    if missing:
        raise ValueError(f"a vectorcardiogram needs the leads {', '.join(DIPOLE_LEADS)}; {', '.join(missing)} missing")
    return INVERSE_DOWER.astype(np.float32) @ signal[[leads.index(name) for name in DIPOLE_LEADS]]
