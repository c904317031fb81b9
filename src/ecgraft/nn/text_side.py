"""The space that ECGs and reports share: what CETP trains beside the encoder, and what zero-shot answers need of it."""

from __future__ import annotations

from math import log
from typing import Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

LARGEST = log(100)  # of t


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """text_width: E of the text encoder. outputs, hidden: of the ECG's projector, where there is one."""

    text_width: int = Field(384, ge=1)
    ecg_projection: Literal["none", "mlp"] = "none"
    hidden: int = Field(512, ge=1)
    outputs: int = Field(256, ge=1)
    temperature: float = Field(0.07, gt=0, le=1)  # at the start


class TextSide(nn.Module):
    """v^ = v / |v| of pooled features, v = h or mlp(h); w^ = w / |w| of texts, w = G u + b; exp(t) scales their cosine.

    (O,) is `outputs` long with a projector, else as wide as the encoder.
    """

    def __init__(self, config: Config, width: int):
        super().__init__()
        self.config = config
        mlp = config.ecg_projection == "mlp"
        outputs = config.outputs if mlp else width
        self.text = nn.Linear(config.text_width, outputs)
        self.ecg = _mlp(width, config.hidden, outputs) if mlp else nn.Identity()
        self.t = nn.Parameter(torch.tensor(-log(config.temperature)))

    def of_ecg(self, h: Tensor) -> Tensor:  # (B, D) -> (B, O) of length 1
        return _unit(self.ecg(h))

    def of_text(self, u: Tensor) -> Tensor:  # (B, E) -> (B, O) of length 1
        return _unit(self.text(u.to(self.text.weight)))

    @torch.no_grad()
    def clamp(self) -> None:
        """t into [0, ln 100], after an optimiser step."""
        self.t.clamp_(0, LARGEST)

    @torch.no_grad()
    def prototype(self, u: Tensor) -> Tensor:  # (prompts, E) -> (O,)
        """The normalised mean over prompts of what each of them is in this space."""
        return _unit(self.of_text(u).mean(0))


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs)
    )
