"""One contrastive loss for hard and soft targets: NT-Xent, SupCon and the soft forms of Beat-SSL.

    l_i = - sum_{j != i} T_ij log( exp(z_i.z_j / tau) / sum_{k != i} exp(z_i.z_k / tau) ),   z at unit length

averaged over the rows that have a target. With one target of 1 a row that is NT-Xent (Chen et al. 2020); with several
equal ones and rows normalised it is SupCon (Khosla et al. 2020).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Rows = Literal["weighted", "normalised", "bce"]


def contrast(z: Tensor, target: Tensor, tau: float | Tensor, rows: Rows = "normalised", bias: float | Tensor = 0.0,
             among: Tensor | None = None) -> Tensor:  # fmt: skip
    """The loss of features z (N, D) for targets T (N, N), whose diagonal counts for nothing.

    rows   weighted: l_i as it stands; normalised: divided by the sum of its targets; bce: the mean over j of the binary
           cross-entropy of sigmoid(z_i.z_j / tau + bias) and T_ij
    among  (N, N) bool: the pairs that are compared at all (default: every one)
    """
    z = F.normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=-1)
    apart = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    among = apart if among is None else among & apart
    target = target.to(z.dtype) * among
    some = target.sum(1) > 0
    with torch.autocast(z.device.type, enabled=False):  # 8 bits are few for what is divided by tau
        logits = z @ z.T / tau  # (N, N)
    if rows == "bce":
        each = F.binary_cross_entropy_with_logits(logits + bias, target, reduction="none") * among
        loss = each.sum(1) / among.sum(1).clamp(min=1)
    else:
        log = torch.log_softmax(logits.masked_fill(~among, -torch.inf), 1)
        loss = -(target * log.masked_fill(~among, 0)).sum(1)
        loss = loss / target.sum(1).clamp(min=1e-12) if rows == "normalised" else loss
    return (loss * some).sum() / some.sum().clamp(min=1)


def own_view(N: int, device=None) -> Tensor:
    """Hard targets of 2 N views v1_1 .. v1_N, v2_1 .. v2_N: each view's is the other view of its record."""
    return torch.eye(2 * N, device=device).roll(N, 0)
