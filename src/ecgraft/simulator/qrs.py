"""QRS complexes: the order in which the ventricles are reached, conduction defects, infarcts, hypertrophy."""

from __future__ import annotations

import torch

from .draw import Draw
from .findings import INFARCTS
from .plan import Plan
from .shapes import THRESHOLD, Shape, direction

# Six lobes: septum, apex, left wall, late left wall, base, and a slow end or delta wave. Each is (centre, sigma,
# frontal, back, mV): shares of the duration, degrees (see `direction`) and mV. NORMAL follows the median loop of the
# normal ECGs in PTB-XL's training folds; the others what textbooks say of the order of activation.
# fmt: off
NORMAL = ((0.15, 0.060, 207, -60, 0.15), (0.30, 0.065, 20, -35, 0.46), (0.46, 0.078, 30, 17, 1.22),
          (0.61, 0.078, 42, 65, 0.70), (0.77, 0.070, 180, 72, 0.36), (0.88, 0.050, 180, -50, 0.00))
CRBBB = ((0.08, 0.040, 207, -60, 0.20), (0.18, 0.045, 20, -35, 0.46), (0.29, 0.052, 30, 17, 1.15),
         (0.39, 0.055, 42, 55, 0.45), (0.58, 0.095, 185, -50, 0.42), (0.74, 0.085, 180, -40, 0.55))
CLBBB = ((0.12, 0.060, 50, -20, 0.22), (0.28, 0.095, 30, 45, 0.85), (0.45, 0.105, 10, 58, 1.15),
         (0.62, 0.105, -8, 55, 1.05), (0.79, 0.075, -20, 45, 0.35), (0.85, 0.060, 0, 0, 0.00))
WPW = ((0.16, 0.080, 30, 10, 0.30), (0.45, 0.065, 20, -30, 0.45), (0.55, 0.070, 30, 17, 1.15),
       (0.66, 0.070, 42, 60, 0.60), (0.79, 0.062, 180, 70, 0.30), (0.28, 0.085, 30, 10, 0.28))
LAFB = ((0.15, 0.062, 120, -25, 0.36), (0.30, 0.068, 10, -25, 0.45), (0.46, 0.080, -42, 15, 1.00),
        (0.61, 0.080, -58, 45, 0.75), (0.77, 0.070, -100, 50, 0.38), (0.88, 0.050, 180, -50, 0.00))
PACED = ((0.12, 0.070, 0, -10, 0.30), (0.30, 0.105, -45, 20, 1.00), (0.49, 0.115, -65, 40, 1.20),
         (0.67, 0.100, -80, 50, 0.80), (0.81, 0.065, -90, 40, 0.25), (0.85, 0.060, 0, 0, 0.00))
# fmt: on
Q_WAVES = {"AMI": (20, 75), "IMI": (-85, 15), "LMI": (185, -10)}  # first forces, away from the dead wall


def qrs_shape(patient: Draw, plan: Plan) -> Shape:
    """(2 B) waves: each patient's own QRS, then his ventricular (ectopic, paced, escape) one."""
    table = torch.tensor([NORMAL, CRBBB, CLBBB, WPW, LAFB, PACED], dtype=torch.float64, device=plan.rr.device)
    kind = sum(i * plan.has[name] for i, name in enumerate(("CRBBB", "CLBBB", "WPW"), 1))
    kind = torch.where((kind == 0) & plan.has["LAFB"], 4, kind)
    own, other = table[kind], table[5].repeat(len(kind), 1, 1)  # (B, 6, 5)
    _late_r(patient, own)
    own[:, :, 2:4] += _axis(patient, plan)
    _infarct(patient, plan, own)
    own[:, :, 4] *= _size(patient, plan)[:, None]
    focus = torch.stack([patient.uniform("ectopic/frontal", 0, 360), patient.normal("ectopic/back", 0, 45)], 1)
    other[:, :, 2:4] += torch.where(plan.has["PACE"], 0.1, 1.0)[:, None, None] * focus[:, None]
    other[:, :, 4] *= patient.lognormal("ectopic/size", 0.95, 0.3)[:, None]
    pair = zip(_varied(patient, own, "qrs"), _varied(patient, other, "ectopic"))
    return Shape(*(torch.cat(both).float() for both in pair)).fitted(THRESHOLD["QRS"])


def _axis(patient: Draw, plan: Plan) -> torch.Tensor:
    """(B, 1, 2) degrees: how the heart lies, to the feet and to the back."""
    spread = torch.where(patient.chance("axis/odd", 0.14), 45.0, 14.0) * torch.where(plan.has["LAFB"], 0.5, 1.0)
    return torch.stack([spread * patient.normal("axis"), patient.normal("axis/back", 0, 15)], 1)[:, None]


def _size(patient: Draw, plan: Plan) -> torch.Tensor:
    """(B,) factor."""
    size = patient.lognormal("qrs/size", 1.22, 0.27)
    size = torch.where(plan.has["LVH"], size.clamp(min=1.1) * patient.uniform("lvh/size", 1.5, 2.1), size)
    return torch.where(plan.has["LVOLT"], patient.uniform("lvolt/size", 0.22, 0.38), size)


def _late_r(patient: Draw, lobes: torch.Tensor) -> None:
    """A small r' in V1, in some with a normal conduction."""
    small = patient.uniform("late/size", 0.1, 0.35) * patient.chance("late", 0.12)
    lobes[:, 5, 4] = torch.where(lobes[:, 5, 0] == 0.88, small, lobes[:, 5, 4])


def _infarct(patient: Draw, plan: Plan, lobes: torch.Tensor) -> None:
    """Q waves: the first forces point away from the dead wall, the apex is lost."""
    for name in INFARCTS:
        frontal, back = Q_WAVES[name]
        dead = (plan.has["QWAVE"] & plan.has[name])[:, None]
        first = (
            patient.uniform("q/centre", 0.20, 0.27),
            patient.uniform("q/sigma", 0.07, 0.1),
            patient.normal(f"q/{name}/frontal", frontal, 12),
            patient.normal(f"q/{name}/back", back, 10),
            patient.uniform("q/size", 0.35, 0.75),
        )
        lobes[:, 0] = torch.where(dead, torch.stack(first, 1), lobes[:, 0])
        lobes[:, 1, 4] = torch.where(dead[:, 0], 0.15 * lobes[:, 1, 4], lobes[:, 1, 4])


def _varied(patient: Draw, lobes: torch.Tensor, name: str) -> tuple[torch.Tensor, ...]:
    """Every lobe a little different in everybody, and a notch in some: the fields of a Shape of 7 lobes."""
    J = lobes.shape[1]
    centre, sigma, frontal, back, size = lobes.unbind(2)
    notch = patient.uniform(f"{name}/notch/size", 0.05, 0.25) * patient.chance(f"{name}/notch", 0.3)
    size = torch.cat([size * patient.lognormal(f"{name}/size", 1, 0.24, J), notch[:, None]], 1)
    at = patient.uniform(f"{name}/notch/at", 0.25, 0.9)[:, None]
    centre = torch.cat([centre + 0.025 * patient.normal(f"{name}/centre", n=J), at], 1)
    frontal = frontal + patient.normal(f"{name}/frontal", 0, 11, J)
    frontal = torch.cat([frontal, patient.uniform(f"{name}/notch/frontal", 0, 360)[:, None]], 1)
    back = back + patient.normal(f"{name}/back", 0, 12, J)
    back = torch.cat([back, patient.normal(f"{name}/notch/back", 0, 35)[:, None]], 1)
    sigma = torch.cat([sigma, torch.full_like(at, 0.03)], 1)
    left, right = (sigma * patient.lognormal(f"{name}/{side}", 1, 0.16, J + 1) for side in ("left", "right"))
    return centre, left, right, direction(frontal, back) * size[..., None], torch.zeros_like(centre)
