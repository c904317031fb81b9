"""When the atria and the ventricles beat: sinus rhythm and its variability, ectopy, blocks, fibrillation, pacing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .config import Config
from .draw import Draw
from .plan import Plan

NORMAL, ATRIAL, VENTRICULAR = range(3)  # origin of a QRS; ATRIAL is premature with a normal QRS
FASTEST = 0.27  # s, the shortest mean interval


@dataclass
class Beats:
    """Per slot, (B, N). P and QRS of a slot belong together unless `linked` (B,) is False (3AVB). Times in seconds."""

    p_onset: torch.Tensor
    p_drawn: torch.Tensor  # there is a P wave
    p_ok: torch.Tensor  # and it is not hidden in a QRS
    onset: torch.Tensor  # of QRS
    ok: torch.Tensor  # there is a QRS
    origin: torch.Tensor
    before: torch.Tensor  # interval from the QRS before
    after: torch.Tensor  # interval to the next QRS
    linked: torch.Tensor


def slots(seconds: float) -> int:
    """Enough beats for the fastest rhythm, with one or two before the record begins."""
    return math.ceil((seconds + 1) / FASTEST) + 4


def beats(draw: Draw, plan: Plan, config: Config) -> Beats:
    N = slots(config.seconds)
    rr = plan.rr[:, None]
    interval = _intervals(draw, plan, N)
    start = -(1.2 + draw.uniform("start"))[:, None] * rr
    premature = _premature(draw, plan, config.seconds, start[:, 0], N)
    interval, origin = _extrasystoles(draw, plan, interval, premature)
    clock = start + interval.cumsum(1)  # QRS onset at the basic PR
    pr, ok = _conduction(draw, plan, N)
    p_onset = clock - plan.pr[:, None]
    onset = p_onset + pr
    p_onset = torch.where(origin == ATRIAL, onset - (plan.pr * draw.uniform("PAC/pr", 0.75, 1.1))[:, None], p_onset)
    block3 = plan.has["3AVB"]
    escape = 60 / draw.uniform("escape/rate", 29, 52)
    ladder = (torch.arange(N, device=rr.device) - 1 + draw.uniform("escape/start")[:, None]) * escape[:, None]
    ladder = ladder + 0.01 * draw.normal("escape/jitter", n=N)
    onset = torch.where(block3[:, None], ladder, onset)
    wide = (plan.has["PACE"] | (block3 & draw.chance("escape/wide", 0.5)))[:, None]
    origin = torch.where(wide, VENTRICULAR, origin)
    p_drawn = _p_waves(draw, plan, origin)
    ok = ok & (onset < config.seconds + 1)
    before, after = _gaps(onset, ok)
    p_ok = p_drawn & _visible(p_onset, plan, onset, ok, block3)
    return Beats(p_onset, p_drawn, p_ok, onset, ok, origin, before, after, ~block3)


def _intervals(draw: Draw, plan: Plan, N: int) -> torch.Tensor:
    """Basic intervals (B, N): respiration, slow waves and jitter for the sinus node, chance for fibrillation."""
    i = torch.arange(N, device=plan.rr.device)
    rr = plan.rr[:, None]
    rsa = draw.lognormal("hrv/rsa", 0.028, 0.7).clamp(0.003, 0.09)
    rsa = torch.where(plan.has["SARRH"], draw.uniform("hrv/sarrh", 0.11, 0.28), rsa)
    slow = draw.lognormal("hrv/slow", 0.015, 0.5)
    still = plan.any("PACE", "SVTAC", "AFLT")
    still_factor = torch.where(still, 0.05, 1.0)[:, None]
    breath = torch.sin(2 * math.pi * (breathing(draw)[:, None] * i * rr) + draw.uniform("breath/phase", 0, 6.283)[:, None])
    mayer = torch.sin(2 * math.pi * 0.1 * i * rr + draw.uniform("hrv/phase", 0, 6.283)[:, None])
    jitter = 0.008 * draw.normal("hrv/jitter", n=N)
    sinus = rr * (1 + still_factor * (rsa[:, None] * breath + slow[:, None] * mayer + jitter))
    spread = draw.uniform("af/spread", 0.13, 0.33)[:, None]
    chance = rr * torch.exp(spread * draw.normal("af/rr", n=N) - spread**2 / 2)
    interval = torch.where(plan.has["AFIB"][:, None], chance.clamp(min=0.29), sinus)
    variable = plan.has["AFLT"] & draw.chance("ratio/variable", 0.45)
    cycle = draw.normal("cycle", 0.215, 0.02).clamp(0.17, 0.27)
    ratio = 2 + draw.choice("ratio/beat", (5, 3, 4), N)
    return torch.where(variable[:, None], ratio * cycle[:, None], interval)


def breathing(draw: Draw) -> torch.Tensor:
    """Breaths a second, (B,)."""
    return draw.normal("breath/rate", 0.25, 0.05).clamp(0.12, 0.4)


def _premature(draw: Draw, plan: Plan, seconds: float, start: torch.Tensor, N: int) -> dict[str, torch.Tensor]:
    """Which slots are premature (B, N), by origin; at least one inside the record where the plan wants one."""
    i = torch.arange(N, device=start.device)
    out = {}
    for name in ("PAC", "PVC"):
        share = draw.uniform(f"{name}/share", 0, 0.3) ** 1.3
        some = draw.chance(f"{name}/beat", share[:, None], N)
        target = draw.uniform(f"{name}/forced", min(0.5, seconds / 4), max(seconds - 1.5, seconds / 2))
        forced = ((target - start) / plan.rr).round().clamp(2, N - 2)[:, None]
        out[name] = (some & ((i - forced).abs() > 1) | (i == forced)) & plan.has[name][:, None]
    bigeminy = (i + (draw.uniform("BIGU/phase") < 0.5)[:, None]) % 2 == 0
    out["PVC"] = torch.where(plan.has["BIGU"][:, None], bigeminy, out["PVC"] & ~out["PAC"])
    for name in out:
        out[name][:, 1:] = out[name][:, 1:] & ~out[name][:, :-1]
        out[name][:, 0] = False
    return out


def _extrasystoles(draw, plan, interval, premature):
    """Short intervals before premature beats, pauses behind: compensatory after PVC, reset after PAC."""
    N = interval.shape[1]
    rr = plan.rr[:, None]
    origin = torch.where(premature["PVC"], VENTRICULAR, torch.where(premature["PAC"], ATRIAL, NORMAL))
    for name, low, high in (("PAC", 0.55, 0.86), ("PVC", 0.48, 0.82)):
        coupling = draw.uniform(f"{name}/coupling", low, high)[:, None] + 0.02 * draw.normal(f"{name}/jitter", n=N)
        early = (coupling * rr).clamp(min=0.33)
        pause = 2 * rr - early if name == "PVC" else rr * draw.uniform("PAC/reset", 0.98, 1.25)[:, None]
        mask = premature[name] & ~plan.has["AFIB"][:, None]
        behind = torch.cat([torch.zeros_like(mask[:, :1]), mask[:, :-1]], 1)
        pause = torch.cat([pause[:, :1], pause[:, :-1]], 1) if name == "PVC" else pause
        interval = torch.where(behind & (origin == NORMAL), pause, interval)
        interval = torch.where(mask, torch.minimum(early, interval), interval)
    return interval, origin


def _conduction(draw: Draw, plan: Plan, N: int) -> tuple[torch.Tensor, torch.Tensor]:
    """PR of every slot and whether it is conducted, (B, N) each."""
    i = torch.arange(N, device=plan.rr.device)
    jitter = 0.0025 * draw.normal("pr/jitter", n=N)
    pr = plan.pr[:, None] + jitter
    wenckebach, mobitz = plan.has["2AVB1"][:, None], plan.has["2AVB2"][:, None]
    cycle = 3 + draw.choice("wenckebach/cycle", (3, 4, 3, 1))[:, None]
    cycle = torch.where(mobitz, 2 + draw.choice("mobitz/cycle", (2, 4, 3, 1))[:, None], cycle)
    place = (i + (draw.uniform("block/phase") * cycle[:, 0]).long()[:, None]) % cycle
    step = draw.uniform("wenckebach/step", 0.05, 0.11)[:, None]
    longer = step * (1 - 0.6**place) / 0.4
    pr = torch.where(wenckebach, pr + longer, pr)
    return pr, ~((place == cycle - 1) & (wenckebach | mobitz))


def _p_waves(draw: Draw, plan: Plan, origin: torch.Tensor) -> torch.Tensor:
    """(B, N): P waves of sinus node, ectopic atrial focus or (3AVB, DDD pacing) free-running atria."""
    none = plan.any("AFIB", "AFLT", "SVTAC") | (plan.has["PACE"] & draw.chance("pace/vvi", 0.6))
    free = plan.any("3AVB", "PACE")[:, None]
    return ~none[:, None] & ((origin != VENTRICULAR) | free)


def _gaps(onset: torch.Tensor, ok: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Intervals to the QRS before and behind, (B, N); 2 s where there is none."""
    far = 1e9
    before = torch.where(ok, onset, -far).cummax(1).values
    before = torch.cat([torch.full_like(before[:, :1], -far), before[:, :-1]], 1)
    after = torch.where(ok, onset, far).flip(1).cummin(1).values.flip(1)
    after = torch.cat([after[:, 1:], torch.full_like(after[:, :1], far)], 1)
    return (onset - before).clamp(max=2), (after - onset).clamp(max=2)


def _visible(p_onset, plan: Plan, onset, ok, block3) -> torch.Tensor:
    """(B, N): P waves that a QRS does not hide; matters only where atria and ventricles are apart."""
    end = p_onset + plan.p[:, None]
    width = torch.maximum(plan.qrs, plan.ectopic_qrs)[:, None]
    hit = (p_onset[:, :, None] < (onset + width)[:, None]) & (end[:, :, None] > onset[:, None]) & ok[:, None]
    return ~(hit.any(2) & block3[:, None])
