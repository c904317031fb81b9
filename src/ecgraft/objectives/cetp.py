"""CETP (Wang et al. 2025, TAC-ECG): an ECG and its report attract, those of different records repel, as in CLIP.

    Z_ij = exp(t) v^_i . w^_j,   L = 1/2 [ mean_i CE(Z_i., target_i) + mean_j CE(Z_.j, target_j) ]

v^ is the ECG's pooled feature, w^ a linear map of the report's embedding u, which a frozen text encoder made before
the training. Exact repeats of a report need nothing: a target that is spread over them gives the same gradients.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from .. import views
from ..nn import text_side
from ..nn.ranks import gather
from ..nn.text_side import TextSide
from ..signal.recipe import Recipe
from ._look import Seen, draw, look
from ._spread import due, spread

NEEDS: tuple[str, ...] = ("text",)  # text (B, E), text_known (B,), text_key (B,), equal for equal reports
SOFT = 0.1  # temperature of the soft targets


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """text_width: E, which the command knows. views: over the signal in mV; after: over the normalised.

    target          identity: each report is its own record's alone; similarity: softmax over j of
                    cos(u_i - m, u_j - m) / 0.1, for wordings that mean the same; m is the mean of u (`fit_texts`)
    ecg_projection  none: v is the pooled feature itself, and `outputs` is not used; mlp: of `hidden` units
    temperature     exp(-t) at the start; exp(t) stays in [1, 100]
    """

    text_width: int = Field(384, ge=1)
    target: Literal["identity", "similarity"] = "identity"
    ecg_projection: Literal["none", "mlp"] = "none"
    hidden: int = Field(512, ge=1)
    outputs: int = Field(256, ge=1)
    temperature: float = Field(0.07, gt=0, le=1)
    views: dict[str, dict | None] = Field(
        default_factory=lambda: {"gain": {}, "noise": {"share": 0.2}, "lead_loss": {}}
    )
    after: dict[str, dict | None] = Field(default_factory=dict)


class CETP(nn.Module):
    """`side` is what is kept of it beside the encoder."""

    def __init__(self, config: Config, encoder: nn.Module, recipe: Recipe):
        super().__init__()
        self.config, self.encoder, self.recipe = config, encoder, recipe
        self.view, self.after = views.build(config.views, recipe), views.build(config.after, recipe)
        shared = text_side.Config.__dataclass_fields__
        self.side = TextSide(text_side.Config(**{name: getattr(config, name) for name in shared}), encoder.width)
        self.register_buffer("text_mean", torch.zeros(config.text_width))

    @torch.no_grad()
    def fit_texts(self, mean) -> None:
        """The mean (E,) of the corpus' report embeddings, before the first step; only soft targets read it."""
        self.text_mean.copy_(torch.as_tensor(mean))

    def forward(self, batch: dict) -> dict[str, Tensor]:
        return self.compare(look(self.encoder, draw(batch, self.view, self.after, self.recipe, 1)), batch)

    def compare(self, seen: list[Seen], batch: dict) -> dict[str, Tensor]:
        """The loss of the first view's features and the reports. Records without a report count for nothing."""
        h, u = seen[0].h, batch["text"]
        h = h.to(torch.promote_types(h.dtype, torch.float32))
        with torch.autocast(h.device.type, enabled=False):
            v, w = gather(self.side.of_ecg(h)), gather(self.side.of_text(u))  # (N, O)
            known = gather(batch["text_known"].to(torch.uint8)).bool()
            if known.sum() < 2:  # nothing to compare with
                return {"loss": 0 * (v.sum() + w.sum() + self.side.t)}
            v, w, u, key = v[known], w[known], gather(u)[known], gather(batch["text_key"])[known]
            logits = self.side.t.exp() * v @ w.T  # (N, N) ECGs in rows
            target = None if self.config.target == "identity" else soft_targets(u, self.text_mean)
            to_text, to_ecg = clip(logits, target)
        found = {"loss": (to_text + to_ecg) / 2, "to text": to_text, "to ecg": to_ecg, "t": self.side.t.detach()}
        return found | {"accuracy": accuracy(logits, key)} | (spread(h, (v, w)) if due(batch) else {})

    def after_step(self, step: int) -> None:
        self.side.clamp()


def clip(logits: Tensor, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Cross-entropy along the rows and along the columns of (N, N) logits.

    target: (N, N), rows sum to 1 and are what row i, and column i, should be; None for the identity.
    """
    target = torch.arange(len(logits), device=logits.device) if target is None else target
    return F.cross_entropy(logits, target), F.cross_entropy(logits.T, target)


@torch.no_grad()
def soft_targets(u: Tensor, mean: Tensor) -> Tensor:  # (N, E), (E,) -> (N, N)
    """Which reports say the same: softmax over j of cos(u_i - m, u_j - m) / SOFT."""
    u = F.normalize(u - mean.to(u), dim=-1)
    return torch.softmax(u @ u.T / SOFT, 1)


@torch.no_grad()
def accuracy(logits: Tensor, key: Tensor) -> Tensor:
    """Share of ECGs whose best report, and of reports whose best ECG, carries the same string; the mean of both."""
    there, back = key[logits.argmax(1)] == key, key[logits.argmax(0)] == key
    return (there.float().mean() + back.float().mean()) / 2


def build(config: Config, encoder: nn.Module, recipe: Recipe) -> CETP:
    return CETP(config, encoder, recipe)
