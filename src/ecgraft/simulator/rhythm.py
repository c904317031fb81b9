"""When the atria and the ventricles beat: sinus rhythm and its variability, ectopy, blocks, fibrillation, pacing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .config import Config
from .draw import Draw
from .plan import Plan

NORMAL, ATRIAL, VENTRICULAR = range(3)  # origin of a beat; ATRIAL is premature, with the QRS of a normal beat
_FASTEST = 0.27  # s, the shortest mean interval
_FAR = 1e9


@dataclass
class Beats:
    """Per slot, (B, N); times in seconds. P and QRS of a slot belong together, unless not `linked` (B,): 3AVB."""

    p_onset: torch.Tensor
    p_there: torch.Tensor  # there is a P wave
    p_seen: torch.Tensor  # and no QRS hides it
    onset: torch.Tensor  # of QRS
    there: torch.Tensor  # there is a QRS
    origin: torch.Tensor
    before: torch.Tensor  # interval from the QRS before
    after: torch.Tensor  # interval to the next QRS
    linked: torch.Tensor


def beats(draw: Draw, plan: Plan, config: Config) -> Beats:
    """All beats, from one or two before the record begins to some behind its end."""
    N = math.ceil((config.seconds + 1) / _FASTEST) + 4
    start = -(1.2 + draw.uniform("start"))[:, None] * plan.rr[:, None]
    premature = _premature(draw, plan, config.seconds, start, N)
    interval, origin = _extrasystoles(draw, plan, _intervals(draw, plan, N), premature)
    pr, there = _conduction(draw, plan, origin)
    p_onset = start + interval.cumsum(1) - plan.pr[:, None]
    onset = p_onset + pr
    early_p = onset - (plan.pr * draw.uniform("PAC/pr", 0.85, 1.15))[:, None]
    p_onset = torch.where(origin == ATRIAL, early_p, p_onset)
    block = plan.has["3AVB"][:, None]
    onset = torch.where(block, _escape(draw, N), onset)
    origin = torch.where(_wide(draw, plan, N), VENTRICULAR, origin)
    p_there = _p_waves(draw, plan, origin)
    there = there & (onset < config.seconds + 1)
    p_seen = p_there & ~(block & _hidden(p_onset, plan, onset.contiguous()))
    return Beats(p_onset, p_there, p_seen, onset, there, origin, *_gaps(onset, there), ~block[:, 0])


def breath(draw: Draw, time: torch.Tensor) -> torch.Tensor:
    """Respiration, -1 to 1, at times (B, N) in seconds."""
    rate = draw.normal("breath/rate", 0.25, 0.05).clamp(0.12, 0.4)
    return torch.sin(2 * math.pi * (rate[:, None] * time + draw.uniform("breath/phase")[:, None]))


def _intervals(draw: Draw, plan: Plan, N: int) -> torch.Tensor:
    """Basic intervals (B, N): respiration, slow waves and jitter in sinus rhythm, chance in fibrillation."""
    rr = plan.rr[:, None]
    time = torch.arange(N, device=rr.device) * rr
    depth = draw.lognormal("hrv/breath", 0.034, 0.7).clamp(0.003, 0.1)
    depth = torch.where(plan.has["SARRH"], draw.uniform("hrv/sarrh", 0.11, 0.28), depth)
    mayer = torch.sin(2 * math.pi * (0.1 * time + draw.uniform("hrv/phase")[:, None]))
    change = depth[:, None] * breath(draw, time) + draw.lognormal("hrv/slow", 0.015, 0.5)[:, None] * mayer
    erratic = torch.where(plan.has["SARRH"] & draw.chance("hrv/erratic", 0.35), 0.08, 0.008)[:, None]
    change = change + erratic * draw.normal("hrv/jitter", n=N)
    still = torch.where(plan.any("PACE", "SVTAC", "AFLT"), 0.05, 1.0)[:, None]
    spread = draw.uniform("af/spread", 0.13, 0.33)[:, None]
    chance = rr * torch.exp(spread * draw.normal("af/rr", n=N) - spread**2 / 2)
    interval = torch.where(plan.has["AFIB"][:, None], chance.clamp(min=0.29), rr * (1 + still * change))
    variable = (plan.has["AFLT"] & draw.chance("ratio/variable", 0.45))[:, None]
    return torch.where(variable, (2 + draw.choice("ratio/beat", (5, 3, 4), N)) * plan.flutter[:, None], interval)


def _premature(draw: Draw, plan: Plan, seconds: float, start: torch.Tensor, N: int) -> dict[str, torch.Tensor]:
    """Which slots are premature (B, N), by kind; at least one inside the record where the plan wants one."""
    i = torch.arange(N, device=start.device)
    out = {}
    for name in ("PAC", "PVC"):
        some = draw.chance(f"{name}/beat", (0.4 * draw.uniform(f"{name}/share") ** 1.4)[:, None], N)
        target = draw.uniform(f"{name}/at", min(0.5, seconds / 4), max(seconds - 1.5, seconds / 2))[:, None]
        slot = ((target - start) / plan.rr[:, None]).round().clamp(2, N - 2)
        out[name] = torch.where((i - slot).abs() <= 1, i == slot, some) & plan.has[name][:, None]
    every_other = (i + draw.chance("BIGU/phase", 0.5)[:, None]) % 2 == 0
    out["PVC"] = torch.where(plan.has["BIGU"][:, None], every_other, out["PVC"] & ~out["PAC"])
    runs = draw.chance("runs", 0.25)[:, None] & ~plan.has["BIGU"][:, None]
    for mask in out.values():  # in most never two in a row
        mask[:, 1:] = mask[:, 1:] & (runs | ~mask[:, :-1])
    return out


def _extrasystoles(
    draw: Draw, plan: Plan, interval: torch.Tensor, premature: dict
) -> tuple[torch.Tensor, torch.Tensor]:
    """Intervals and origins (B, N) with early beats: a compensatory pause behind a PVC, a reset behind a PAC."""
    N = interval.shape[1]
    rr = plan.rr[:, None]
    origin = torch.where(premature["PVC"], VENTRICULAR, torch.where(premature["PAC"], ATRIAL, NORMAL))
    for name, low, high in (("PAC", 0.55, 0.86), ("PVC", 0.48, 0.82)):
        coupling = draw.uniform(f"{name}/coupling", low, high)[:, None] + 0.02 * draw.normal(f"{name}/jitter", n=N)
        early = (coupling * rr).clamp(min=0.33)
        pause = 2 * rr - early if name == "PVC" else rr * draw.uniform("PAC/reset", 0.98, 1.25)[:, None]
        mask = premature[name] & ~plan.has["AFIB"][:, None]
        behind = mask.roll(1, 1) & (origin == NORMAL)
        interval = torch.where(behind, pause.expand(-1, N).roll(1, 1), interval)
        interval = torch.where(mask, torch.minimum(early, interval), interval)
    return interval, origin


def _conduction(draw: Draw, plan: Plan, origin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """PR of every slot and whether it is conducted, (B, N) each."""
    N = origin.shape[1]
    pr = plan.pr[:, None] + 0.0025 * draw.normal("pr/jitter", n=N)
    wenckebach, mobitz = plan.has["2AVB1"][:, None], plan.has["2AVB2"][:, None]
    cycle = 3 + draw.choice("wenckebach/cycle", (3, 4, 3, 1))
    cycle = torch.where(mobitz[:, 0], 2 + draw.choice("mobitz/cycle", (2, 4, 3, 1)), cycle)[:, None]
    place = (torch.arange(N, device=pr.device) + (draw.uniform("block/phase") * 60).long()[:, None]) % cycle
    longer = draw.uniform("wenckebach/step", 0.05, 0.11)[:, None] * (1 - 0.6**place) / 0.4
    blocked = (place == cycle - 1) & (wenckebach | mobitz)
    blocked = blocked | ((origin == ATRIAL) & draw.chance("PAC/blocked", 0.08)[:, None])
    return torch.where(wenckebach, pr + longer, pr), ~blocked


def _escape(draw: Draw, N: int) -> torch.Tensor:
    """QRS onsets (B, N) of an escape rhythm of 29 to 52 a minute."""
    interval = 60 / draw.uniform("escape/rate", 29, 52)[:, None]
    steps = torch.arange(N, device=interval.device) - 1 + draw.uniform("escape/start")[:, None]
    return interval * steps + 0.01 * draw.normal("escape/jitter", n=N)


def _wide(draw: Draw, plan: Plan, N: int) -> torch.Tensor:
    """(B, N): beats of ventricular origin that are not premature: paced (some on demand only), or escape beats."""
    demand = plan.has["PACE"] & draw.chance("pace/demand", 0.2)
    own = demand[:, None] & draw.chance("pace/own", 0.5, N)
    return (plan.has["PACE"][:, None] & ~own) | (plan.has["3AVB"] & draw.chance("escape/wide", 0.5))[:, None]


def _p_waves(draw: Draw, plan: Plan, origin: torch.Tensor) -> torch.Tensor:
    """(B, N): there are P waves but before PVCs; none in fibrillation, flutter, SVTAC and half of the paced."""
    none = plan.any("AFIB", "AFLT", "SVTAC") | (plan.has["PACE"] & draw.chance("pace/vvi", 0.5))
    return ~none[:, None] & ((origin != VENTRICULAR) | plan.any("3AVB", "PACE")[:, None])


def _gaps(onset: torch.Tensor, there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Intervals to the QRS before and to the next, (B, N); 3 s at most, also where there is none."""
    before = torch.where(there, onset, -_FAR).cummax(1).values.roll(1, 1)
    before[:, 0] = -_FAR
    after = torch.where(there, onset, _FAR).flip(1).cummin(1).values.flip(1).roll(-1, 1)
    after[:, -1] = _FAR
    return (onset - before).clamp(max=3), (after - onset).clamp(max=3)


def _hidden(p_onset: torch.Tensor, plan: Plan, onset: torch.Tensor) -> torch.Tensor:
    """(B, N): P waves that overlap a QRS; `onset` ascends."""
    end = p_onset + plan.p[:, None]
    last = onset.gather(1, (torch.searchsorted(onset, end) - 1).clamp(min=0))  # the last QRS before the P ends
    return (last < end) & (last + torch.maximum(plan.qrs, plan.ectopic_qrs)[:, None] > p_onset)
