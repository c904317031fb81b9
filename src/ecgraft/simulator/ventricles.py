"""QRS, ST and T of each patient: the lobes of depolarisation, conduction defects, infarcts, and what repolarises."""

from __future__ import annotations

import torch

from .draw import Draw
from .plan import Plan
from .shapes import THRESHOLD, Shape, direction

# Lobes of a QRS: (centre, sigma, frontal, back, mV) as shares of the duration, degrees and mV:
# septum, apex, left wall, late left wall, base, slow end or delta, notch. NORMAL follows the median loop of the normal
# ECGs of PTB-XL's training folds.
NORMAL = ((0.15, 0.060, 207, -60, 0.15), (0.30, 0.065, 20, -35, 0.46), (0.46, 0.078, 30, 17, 1.22),
          (0.61, 0.078, 42, 65, 0.70), (0.77, 0.070, 180, 72, 0.36), (0.85, 0.060, 0, 0, 0.00), (0.5, 0.03, 0, 0, 0.0))  # fmt: skip
CRBBB = ((0.08, 0.040, 207, -60, 0.20), (0.18, 0.045, 20, -35, 0.46), (0.29, 0.052, 30, 17, 1.15),
         (0.39, 0.055, 42, 55, 0.45), (0.58, 0.095, 185, -50, 0.42), (0.74, 0.085, 180, -40, 0.55), (0.5, 0.03, 0, 0, 0.0))  # fmt: skip
CLBBB = ((0.12, 0.060, 50, -20, 0.22), (0.28, 0.095, 30, 45, 0.85), (0.45, 0.105, 10, 58, 1.15),
         (0.62, 0.105, -8, 55, 1.05), (0.79, 0.075, -20, 45, 0.35), (0.85, 0.060, 0, 0, 0.00), (0.5, 0.03, 0, 0, 0.0))  # fmt: skip
WPW = ((0.16, 0.080, 30, 10, 0.30), (0.45, 0.065, 20, -30, 0.45), (0.55, 0.070, 30, 17, 1.15),
       (0.66, 0.070, 42, 60, 0.60), (0.79, 0.062, 180, 70, 0.30), (0.28, 0.085, 30, 10, 0.28), (0.5, 0.03, 0, 0, 0.0))  # fmt: skip
LAFB = ((0.15, 0.062, 120, -25, 0.36), (0.30, 0.068, 10, -25, 0.45), (0.46, 0.080, -42, 15, 1.00),
        (0.61, 0.080, -58, 45, 0.75), (0.77, 0.070, -100, 50, 0.38), (0.85, 0.060, 0, 0, 0.00), (0.5, 0.03, 0, 0, 0.0))  # fmt: skip
PACED = ((0.12, 0.070, 0, -10, 0.30), (0.30, 0.105, -45, 20, 1.00), (0.49, 0.115, -65, 40, 1.20),
         (0.67, 0.100, -80, 50, 0.80), (0.81, 0.065, -90, 40, 0.25), (0.85, 0.060, 0, 0, 0.00), (0.5, 0.03, 0, 0, 0.0))  # fmt: skip
ISCHEMIA = {"STE-A": (10, -70), "STE-I": (95, 0), "STE-L": (-10, 15)}  # where the injured wall is: frontal, back


def qrs_shape(patient: Draw, plan: Plan) -> Shape:
    """(2 B) waves: each patient's own QRS, then his ventricular (ectopic, paced, escape) one."""
    table = torch.tensor([NORMAL, CRBBB, CLBBB, WPW, LAFB, PACED], dtype=torch.float64, device=plan.rr.device)
    kind = sum(i * plan.has[name] for i, name in enumerate(("CRBBB", "CLBBB", "WPW"), 1))
    kind = torch.where((kind == 0) & plan.has["LAFB"], 4, kind)
    own, other = table[kind].clone(), table[5].expand(len(kind), 7, 5).clone()
    own[:, :, 2:4] += _axis(patient, plan)
    _infarct(patient, plan, own)
    turn = torch.stack([patient.uniform("ectopic/frontal", 0, 360), patient.normal("ectopic/back", 0, 45)], 1)[:, None]
    other[:, :, 2:4] += torch.where(plan.has["PACE"][:, None, None], 0.1, 1.0) * turn
    own[:, :, 4] *= _size(patient, plan)[:, None]
    other[:, :, 4] *= patient.lognormal("ectopic/size", 0.95, 0.3)[:, None]
    lobes = torch.cat([_varied(patient, own, "qrs"), _varied(patient, other, "ectopic")])
    vector = direction(lobes[..., 2], lobes[..., 3]) * lobes[..., 4:5]
    parts = lobes[..., 0], lobes[..., 1], lobes[..., 5], vector, torch.zeros_like(lobes[..., 0])
    return Shape(*(part.float() for part in parts)).fitted(THRESHOLD["QRS"])


def _axis(patient: Draw, plan: Plan) -> torch.Tensor:
    """(B, 1, 2) degrees: how the heart lies, to the feet and to the back."""
    spread = torch.where(patient.chance("axis/odd", 0.14), 45.0, 14.0) * torch.where(plan.has["LAFB"], 0.5, 1.0)
    return torch.stack([spread * patient.normal("axis"), patient.normal("axis/back", 0, 15)], 1)[:, None]


def _size(patient: Draw, plan: Plan) -> torch.Tensor:
    size = patient.lognormal("qrs/size", 1.22, 0.27)
    size = torch.where(plan.has["LVH"], size.clamp(min=0.9) * patient.uniform("lvh/size", 1.6, 2.3), size)
    return torch.where(plan.has["LVOLT"], patient.uniform("lvolt/size", 0.22, 0.38), size)


def _infarct(patient: Draw, plan: Plan, lobes: torch.Tensor) -> None:
    """Q waves: the first forces point away from the dead wall."""
    sites = (("AMI", 20, 75), ("IMI", -85, 15), ("LMI", 185, -10))
    for name, frontal, back in sites:
        dead = (plan.has["QWAVE"] & plan.has[name])[:, None]
        first = torch.stack([
            patient.uniform("q/centre", 0.20, 0.27), patient.uniform("q/sigma", 0.08, 0.105),
            patient.normal(f"q/{name}/frontal", frontal, 12), patient.normal(f"q/{name}/back", back, 10),
            patient.uniform("q/size", 0.35, 0.75),
        ], 1)  # fmt: skip
        lobes[:, 0] = torch.where(dead, first, lobes[:, 0])
        lobes[:, 1, 4] = torch.where(dead[:, 0], 0.15 * lobes[:, 1, 4], lobes[:, 1, 4])


def _varied(patient: Draw, lobes: torch.Tensor, name: str) -> torch.Tensor:
    """Every lobe a little different in everybody; a notch in some. (B, J, 5) -> (B, J, 6): two sigmas."""
    B, J, _ = lobes.shape
    out = torch.cat([lobes, lobes[:, :, 1:2]], 2)
    out[..., 0] += 0.025 * patient.normal(f"{name}/centre", n=J)
    out[..., 1] *= patient.lognormal(f"{name}/left", 1, 0.16, J)
    out[..., 5] *= patient.lognormal(f"{name}/right", 1, 0.16, J)
    out[..., 2] += patient.normal(f"{name}/frontal", 0, 11, J)
    out[..., 3] += patient.normal(f"{name}/back", 0, 12, J)
    out[..., 4] *= patient.lognormal(f"{name}/lobe", 1, 0.28, J)
    notch = torch.where(patient.chance(f"{name}/notched", 0.3), patient.uniform(f"{name}/notch", 0.05, 0.25), 0)
    out[:, 6, 4] = notch
    out[:, 6, 0] = patient.uniform(f"{name}/notch/at", 0.25, 0.9)
    out[:, 6, 2] = patient.uniform(f"{name}/notch/frontal", 0, 360)
    out[:, 6, 3] = patient.normal(f"{name}/notch/back", 0, 35)
    return out


def area(shape: Shape) -> torch.Tensor:
    """(S, 3): the integral of each wave, in mV times its duration."""
    weight = (shape.left + shape.right) * 1.2533  # sqrt(pi / 2): a Gaussian's half area
    return (shape.vector * weight[..., None]).sum(1)


def t_shape(draw: Draw, patient: Draw, plan: Plan, qrs: Shape) -> Shape:
    """(2 B) waves: the T wave of the own beat, then of the ventricular one. Two lobes: asymmetric, notched, biphasic."""
    B = len(plan.rr)
    main = direction(patient.normal("t/frontal", 27, 15), patient.normal("t/back", -33, 18))
    size = patient.lognormal("t/size", 0.41, 0.40).clamp(0.05, 0.95) * torch.where(plan.has["LVOLT"], 0.5, 1.0)
    main = main * (size * _rate_factor(plan))[:, None]
    main = torch.where(plan.has["INVT"][:, None], _inverted(draw, main), main)
    opposite = -area(qrs).double()  # (2 B, 3): secondary T waves are opposite to a wide QRS
    own = torch.where(plan.any("CRBBB", "CLBBB", "WPW")[:, None], 0.35 * main + opposite[:B] * draw.uniform("t/secondary", 0.7, 1.3)[:, None], main)
    strain = plan.has["LVH"] & patient.chance("lvh/strain", 0.4)
    own = torch.where(strain[:, None], 0.3 * main + 0.7 * opposite[:B], own)
    other = opposite[B:] * patient.uniform("ectopic/t", 0.8, 1.4)[:, None]
    parts = [torch.cat(pair) for pair in zip(_t(patient, "t", own, 0.45), _t(patient, "ectopic/t", other, 0.2))]
    return Shape(*(part.float() for part in parts)).fitted(THRESHOLD["T"])


def _rate_factor(plan: Plan) -> torch.Tensor:
    return (plan.rr / 0.8).clamp(0.5, 1.1) ** 0.5


def _inverted(draw: Draw, main: torch.Tensor) -> torch.Tensor:
    """T turned away from the anterior, lateral or inferior wall, or altogether."""
    size = main.norm(dim=1, keepdim=True)
    ways = torch.tensor([(40.0, 60.0), (190.0, 10.0), (-80.0, -10.0)], dtype=torch.float64, device=main.device)
    away = direction(ways[:, 0], ways[:, 1])[draw.choice("invt/site", (4, 3, 3))] * size
    return torch.where(draw.chance("invt/all", 0.3)[:, None], -main, away)


def _t(draw: Draw, name: str, main: torch.Tensor, second: float):
    B, device = len(main), main.device
    place = draw.uniform(f"{name}/place", 0.52, 0.64)
    gap = draw.uniform(f"{name}/gap", -0.28, 0.16)
    left = draw.uniform(f"{name}/left", 0.15, 0.27, 2)
    right = draw.uniform(f"{name}/right", 0.11, 0.19, 2)
    share = draw.uniform(f"{name}/second", 0, second) * draw.chance(f"{name}/two", 0.6)
    turned = main + main.norm(dim=1, keepdim=True) * draw.normal(f"{name}/turn", 0, 0.8, 3)
    vector = torch.stack([main * (1 - share / 2)[:, None], turned * share[:, None]], 1)
    flat = torch.stack([draw.uniform(f"{name}/flat", 0, 0.1), torch.zeros(B, dtype=torch.float64, device=device)], 1)
    return torch.stack([place, place + gap], 1), left, right, vector, flat


def st_vectors(draw: Draw, patient: Draw, plan: Plan, qrs: Shape) -> tuple[torch.Tensor, torch.Tensor]:
    """ST segment and U wave, (2 B, 3) mV each: own beats, then ventricular ones."""
    B = len(plan.rr)
    st = direction(patient.normal("st/frontal", 23, 30), patient.normal("st/back", -65, 15))
    st = st * patient.lognormal("st", 0.05, 0.5)[:, None] + patient.normal("st/xyz", 0, 0.015, 3)
    early = direction(patient.normal("early/frontal", 25, 15), patient.normal("early/back", -50, 15))
    st = st + early * (patient.uniform("early/size", 0.06, 0.2) * patient.chance("early", 0.12))[:, None]
    for name, (frontal, back) in ISCHEMIA.items():
        way = direction(draw.normal(f"{name}/frontal", frontal, 12), draw.normal(f"{name}/back", back, 10))
        st = st + way * (draw.uniform("ste/size", 0.18, 0.5) * plan.has[name])[:, None]
    away = direction(draw.normal("std/frontal", 215, 20), draw.normal("std/back", 35, 20))
    st = st + away * (draw.uniform("std/size", 0.1, 0.25) * plan.has["STD"])[:, None]
    secondary = -0.35 * area(qrs).double()
    wide = plan.any("CRBBB", "CLBBB", "WPW")[:, None]
    st = torch.where(wide, st + secondary[:B], st) * torch.where(plan.has["LVOLT"], 0.5, 1.0)[:, None]
    u = direction(patient.normal("u/frontal", 45, 20), patient.normal("u/back", -45, 15))
    u = u * (patient.uniform("u/size", 0.01, 0.06) * patient.chance("u", 0.35))[:, None]
    return torch.cat([st, 0.8 * secondary[B:]]), torch.cat([u, torch.zeros_like(u)])
