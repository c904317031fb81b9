"""What can be seen in a record: findings, beat symbols and intervals."""

from __future__ import annotations

import torch

from ..record import QRS, P, T
from .findings import NAMES
from .plan import Plan
from .rhythm import ATRIAL, VENTRICULAR, Beats
from .timing import Timing


def findings(plan: Plan, beats: Beats, times: dict[int, Timing], seconds: float) -> torch.Tensor:
    """(B, K) bool: ectopy and blocked P waves as they are seen in the record, the rest as planned."""
    has = dict(plan.has)
    early = {"PVC": times[QRS], "PAC": times[P]}
    for name, origin in (("PVC", VENTRICULAR), ("PAC", ATRIAL)):
        peak, there = early[name].peak, early[name].there
        has[name] = has[name] & (there & (beats.origin == origin) & (peak >= 0) & (peak < seconds)).any(1)
    has["BIGU"] = has["BIGU"] & has["PVC"]
    blocked = (times[P].there & ~beats.there & (times[P].onset >= 0) & (times[P].offset < seconds)).any(1)
    for name in ("2AVB1", "2AVB2"):
        has["SR"] = has["SR"] | (has[name] & ~blocked)
        has[name] = has[name] & blocked
    has["NORM"] = ~torch.stack([has[name] for name in NAMES if name not in ("NORM", "SR", "SARRH")]).any(0)
    return torch.stack([has[name] for name in NAMES], 1)


def symbols(plan: Plan, beats: Beats) -> torch.Tensor:
    """(B, N) ASCII codes of the WFDB beat symbols, int64."""
    own = torch.full_like(plan.has["SR"], ord("N"), dtype=torch.int64)
    for name, symbol in (("CRBBB", "R"), ("CLBBB", "L"), ("3AVB", "j")):
        own = torch.where(plan.has[name], ord(symbol), own)
    wide = torch.where(plan.has["PACE"], ord("/"), torch.where(plan.has["3AVB"], ord("E"), ord("V")))
    out = torch.where(beats.origin == VENTRICULAR, wide[:, None], own[:, None])
    return torch.where(beats.origin == ATRIAL, ord("A"), out)


def numbers(plan: Plan, beats: Beats, times: dict[int, Timing], seconds: float) -> torch.Tensor:
    """(B, 4): mean rate a minute, and typical PR, QRS and QT in ms; -1 where there is none."""
    seen = beats.there & (beats.onset >= 0) & (beats.onset < seconds)
    count = seen.sum(1)
    rr = torch.where(count > 0, torch.where(seen, beats.before, 0).sum(1) / count.clamp(min=1), plan.rr)
    qt = torch.where(seen, times[T].offset - beats.onset, 0).sum(1) / count.clamp(min=1)
    pr = torch.where(plan.any("AFIB", "AFLT", "SVTAC", "PACE", "3AVB"), -0.001, plan.pr)
    qrs = torch.where(plan.has["PACE"], plan.ectopic_qrs, plan.qrs)
    return torch.stack([60 / rr, 1000 * pr, 1000 * qrs, torch.where(count > 0, 1000 * qt, -1)], 1)
