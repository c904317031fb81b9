"""From a heart dipole to twelve leads: electrodes, their lead field, and what makes one patient's torso his own.

Dipole axes, as in vectorcardiography: x to the left, y to the feet, z to the back; mV as seen by the Dower leads.
The lead field is given per electrode (RA, LA, LL, V1..V6), so leads agree with each other by construction:
III = II - I, aVR = -(I + II)/2 and so on hold for any torso, swap or noise of the electrodes.
"""

from __future__ import annotations

import math

import torch

from .draw import Draw

# Leads I, II, V1..V6 of a dipole. Dower GE, Machado HB, Osborne JA. On deriving the electrocardiogram from
# vectorcardiographic leads. Clin Cardiol 1980;3:87-95. But lead I is (0.632, -0.235, 0.059) there, too small for what
# is seen: a regression of lead I on the dipoles of the seven other leads in 353 ECGs of PTB-XL's training folds gives
# (0.63, -0.05, 0.04).
DOWER = (
    (0.650, -0.060, 0.040),
    (0.235, 1.066, -0.132),
    (-0.515, 0.157, -0.917),
    (0.044, 0.164, -1.387),
    (0.882, 0.098, -1.277),
    (1.213, 0.127, -0.601),
    (1.125, 0.127, -0.086),
    (0.831, 0.076, 0.230),
)
ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")
# Swapped pairs and their weights: arms, right arm and leg, left arm and leg, neighbours on the chest.
SWAPS = ((0, 1), (0, 2), (1, 2), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8), (3, 5))
SWAP_WEIGHTS = (8, 2, 3, 2, 1, 1, 1, 1, 1)


def leads_of_electrodes() -> torch.Tensor:
    """(12, 9): the twelve leads as differences of electrode potentials (Wilson's terminal: mean of RA, LA, LL)."""
    wct = [1 / 3, 1 / 3, 1 / 3]
    limbs = [[-1, 1, 0], [-1, 0, 1], [0, -1, 1], [1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1]]
    rows = [[*limb, *[0] * 6] for limb in limbs]
    rows += [[*(-w for w in wct), *(float(i == j) for j in range(6))] for i in range(6)]
    return torch.tensor(rows, dtype=torch.float64)


def electrode_field() -> torch.Tensor:
    """(9, 3): potentials of the electrodes against Wilson's terminal for a unit dipole, from DOWER."""
    dower = torch.tensor(DOWER, dtype=torch.float64)
    ra = -(dower[0] + dower[1]) / 3
    return torch.stack([ra, dower[0] + ra, dower[1] + ra, *dower[2:]])


def rotation(angles: torch.Tensor) -> torch.Tensor:
    """(B, 3) Euler angles in radian -> (B, 3, 3), R = Rz Ry Rx."""
    (cx, cy, cz), (sx, sy, sz) = torch.cos(angles).unbind(1), torch.sin(angles).unbind(1)
    rows = [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx]
    rows += [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx, -sy, cy * sx, cy * cx]
    return torch.stack(rows, 1).reshape(-1, 3, 3)


def lead_field(patient: Draw) -> torch.Tensor:
    """(B, 9, 3): the electrode field of each patient: the heart turned, electrodes nearer, farther or shifted."""
    B, device = len(patient.key), patient.key.device
    field = electrode_field().to(device).expand(B, 9, 3)
    chest = field[:, 3:]
    shift = patient.normal("torso/shift", 0, 0.25, 6)[..., None]  # along the row of chest electrodes, in electrode gaps
    left = torch.cat([chest[:, :1], chest[:, :-1]], 1)
    right = torch.cat([chest[:, 1:], chest[:, -1:]], 1)
    chest = chest + torch.where(shift > 0, shift * (right - chest), -shift * (left - chest))
    field = torch.cat([field[:, :3], chest], 1)
    wobble = patient.normal("torso/wobble", 0, 0.14, 27).reshape(B, 9, 3) * field.norm(dim=2, keepdim=True)
    gain = patient.lognormal("torso/gain", 1.0, 0.14, 9)[..., None]
    turn = rotation(patient.normal("torso/turn", 0, math.radians(7), 3))
    return (field + wobble) * gain @ turn


def swapped(draw: Draw, share: torch.Tensor) -> torch.Tensor:
    """(B, 9, 9): permutation of the electrodes: the identity, but for two swapped ones in `share` of the records."""
    device = draw.key.device
    matrices = torch.eye(9, dtype=torch.float64, device=device).repeat(len(SWAPS) + 1, 1, 1)
    for matrix, (a, b) in zip(matrices[1:], SWAPS):
        matrix[[a, b]] = matrix[[b, a]]
    which = 1 + draw.choice("swap/which", SWAP_WEIGHTS)
    return matrices[torch.where(draw.chance("swap", share), which, 0)]
