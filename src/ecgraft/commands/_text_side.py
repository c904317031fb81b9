"""A model's text side: making its graft after a pretraining with reports, and opening it to ask with words."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from ..formats import reading
from ..model import Graft, Model
from ..nn import text, text_side
from ..nn.text_side import TextSide
from ..plugs import configure
from ..record import InputError
from ..tasks import Task

NAME = "text"  # of the graft
TASK = Task(NAME, "text")


def text_graft(objective: nn.Module, model: Model, identity: dict, card: dict | None = None, name=NAME) -> Graft:
    """The text side that `objective` (cetp, or one that holds it) has trained beside the encoder of `model`.

    identity: of the text encoder that read the reports.
    """
    side = next((part for part in objective.modules() if isinstance(part, TextSide)), None)
    if side is None:
        raise InputError("this objective has trained no text side")
    if side.config.text_width != identity["width"]:
        raise InputError(f"a text side for embeddings of {side.config.text_width}, not of {identity['width']} numbers")
    tensors = {f"head.{key}": value.detach().cpu().clone() for key, value in side.state_dict().items()}
    return Graft(
        name, TASK, model.recipe, "linear", asdict(side.config), model.fingerprint, tensors,
        text=dict(identity), card=dict(card or {}),
    )  # fmt: skip


def fits(graft: Graft, identity: dict) -> bool:
    """Whether a text side was trained with the embeddings of this text encoder. Only the model's name may differ."""
    return not graft.answers and not text.differences(graft.text, identity)


@dataclass(frozen=True)
class Side:
    """A text side, opened: its graft, the space that ECGs and reports share, the text encoder that it needs."""

    graft: Graft
    space: TextSide
    encoder: text.TextEncoder

    @torch.inference_mode()
    def of_ecgs(self, features: np.ndarray) -> np.ndarray:
        """Pooled features (n, D) of the model's own encoder -> (n, O) of length 1."""
        return self.space.of_ecg(torch.from_numpy(np.ascontiguousarray(features))).numpy()

    @torch.inference_mode()
    def of_texts(self, embedding: np.ndarray) -> np.ndarray:
        """Embeddings (n, E) of the text encoder -> (n, O) of length 1."""
        return self.space.of_text(torch.from_numpy(np.ascontiguousarray(embedding))).numpy()

    @torch.inference_mode()
    def prototype(self, prompts: list[str]) -> np.ndarray:
        """What several wordings of one thing mean together: (O,) of length 1."""
        return self.space.prototype(torch.from_numpy(self.encoder.embed(prompts))).numpy()

    @property
    def scale(self) -> float:
        """exp(t)."""
        return float(self.space.t.detach().exp())


def text_sides(model: Model) -> list[str]:
    """The names of the model's text sides."""
    return [name for name, graft in model.grafts.items() if not graft.answers]


def open_side(model: Model, where: str, folder: str = "") -> Side:
    """The text side of the model at `where`. `folder`: of the text model, where it was trained with one of a folder.

    Raises InputError where the model has none, or its text encoder is not here.
    """
    names = text_sides(model)
    if not names:
        raise InputError(
            f"{where}: this model has no text side, so it cannot be asked with words; "
            "one comes of ecgraft pretrain --objective cetp on a store with reports"
        )
    graft = model.graft(NAME if NAME in names else names[0])
    config = configure(text_side.Config, graft.head, f"head of graft {graft.name!r}")
    space = TextSide(config, model.encoder.width)
    with reading(f"graft {graft.name!r}", "weights of its text side"):
        space.load_state_dict(graft.part("head"))
    encoder = text.of_identity(graft.text, folder)
    return Side(graft, space.eval().requires_grad_(False), encoder)
