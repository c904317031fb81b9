"""T waves, ST segments and U waves: of healthy, ischemic and secondarily changed ventricles."""

from __future__ import annotations

import torch

from .draw import Draw
from .plan import Plan
from .shapes import THRESHOLD, Shape, direction

INJURED = {"STE-A": (10, -70), "STE-I": (95, 0), "STE-L": (-10, 15)}  # where the injured wall is: frontal, back
INVERTED = ((40.0, 60.0), (190.0, 10.0), (-80.0, -10.0))  # T away from the anterior, lateral, inferior wall


def t_shape(draw: Draw, patient: Draw, plan: Plan, qrs: Shape) -> Shape:
    """(2 B) waves: the T wave of the own beat, then of the ventricular one. A wide QRS has an opposite T."""
    main = direction(patient.normal("t/frontal", 19, 15), patient.normal("t/back", -33, 18))
    size = patient.lognormal("t/size", 0.41, 0.40).clamp(0.05, 1.0) * torch.where(plan.has["LVOLT"], 0.5, 1.0)
    main = main * (size * (plan.rr / 0.8).clamp(0.5, 1.1) ** 0.5)[:, None]
    main = torch.where(plan.has["INVT"][:, None], _inverted(draw, main), main)
    own, other = (-qrs.area()).double().chunk(2)  # (B, 3)
    wide = 0.35 * main + own * patient.uniform("t/secondary", 0.45, 1.0)[:, None]
    strain = plan.has["LVH"] & patient.chance("lvh/strain", 0.4)
    t = torch.where(strain[:, None], 0.3 * main + 0.7 * own, main)
    t = torch.where(plan.any("CRBBB", "CLBBB", "WPW")[:, None], wide, t)
    other = other * patient.uniform("ectopic/t", 0.8, 1.4)[:, None]
    pair = zip(_t(patient, "t", t, 0.45), _t(patient, "ectopic/t", other, 0.2))
    return Shape(*(torch.cat(both).float() for both in pair)).fitted(THRESHOLD["T"])


def _inverted(draw: Draw, main: torch.Tensor) -> torch.Tensor:
    """T turned away from one wall, or altogether."""
    ways = torch.tensor(INVERTED, dtype=torch.float64, device=main.device)
    way = direction(ways[:, 0], ways[:, 1])[draw.choice("invt/site", (4, 3, 3))]
    return torch.where(draw.chance("invt/all", 0.3)[:, None], -main, way * main.norm(dim=1, keepdim=True))


def _t(patient: Draw, name: str, main: torch.Tensor, second: float) -> tuple[torch.Tensor, ...]:
    """The fields of a Shape of two lobes: asymmetric, and in some notched, biphasic or flat-topped."""
    place = patient.uniform(f"{name}/place", 0.52, 0.64)
    centre = torch.stack([place, place + patient.uniform(f"{name}/gap", -0.28, 0.16)], 1)
    left, right = patient.uniform(f"{name}/left", 0.15, 0.27, 2), patient.uniform(f"{name}/right", 0.11, 0.19, 2)
    share = patient.uniform(f"{name}/second", 0, second) * patient.chance(f"{name}/two", 0.6)
    turned = main + main.norm(dim=1, keepdim=True) * patient.normal(f"{name}/turn", 0, 0.8, 3)
    vector = torch.stack([main * (1 - share / 2)[:, None], turned * share[:, None]], 1)
    top = patient.uniform(f"{name}/flat", 0, 0.1)
    return centre, left, right, vector, torch.stack([top, torch.zeros_like(top)], 1)


def st_vectors(draw: Draw, patient: Draw, plan: Plan, qrs: Shape) -> tuple[torch.Tensor, torch.Tensor]:
    """ST segment and U wave, (2 B, 3) mV each: of own beats, then of ventricular ones."""
    st = direction(patient.normal("st/frontal", 23, 30), patient.normal("st/back", -65, 15))
    st = st * patient.lognormal("st", 0.05, 0.5)[:, None] + patient.normal("st/xyz", 0, 0.015, 3)
    early = direction(patient.normal("early/frontal", 25, 15), patient.normal("early/back", -50, 15))
    st = st + early * (patient.uniform("early/size", 0.06, 0.2) * patient.chance("early", 0.12))[:, None]
    for name, (frontal, back) in INJURED.items():
        way = direction(draw.normal(f"{name}/frontal", frontal, 12), draw.normal(f"{name}/back", back, 10))
        st = st + way * (draw.uniform("ste/size", 0.18, 0.5) * plan.has[name])[:, None]
    away = direction(draw.normal("std/frontal", 215, 20), draw.normal("std/back", 35, 20))
    st = st + away * (draw.uniform("std/size", 0.1, 0.25) * plan.has["STD"])[:, None]
    own, other = (-0.35 * qrs.area()).double().chunk(2)  # opposite to a wide QRS
    st = st + own * plan.any("CRBBB", "CLBBB", "WPW")[:, None]
    u = direction(patient.normal("u/frontal", 45, 20), patient.normal("u/back", -45, 15))
    u = u * (patient.uniform("u/size", 0.01, 0.06) * patient.chance("u", 0.35))[:, None]
    st = st * torch.where(plan.has["LVOLT"], 0.5, 1.0)[:, None]
    return torch.cat([st, 0.8 * other]), torch.cat([u, torch.zeros_like(u)])
