"""Small batches and objectives that bootstrap, and a training that is killed and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from ecgraft import encoders, plugs
from ecgraft.objectives import bell
from ecgraft.objectives._look import Seen, draw, look
from ecgraft.objectives._per_lead import LeadHeads
from ecgraft.signal.recipe import Recipe
from ecgraft.training import Config, fit

EIGHT = ("II", "III", "V1", "V2", "V3", "V4", "V5", "V6")
THREE = ("I", "II", "V1")
TINY = ((4,), (6,))
MLP = ((0, "first", "weight"), (0, "first", "bias"), (1, "norm", "weight"), (1, "norm", "bias"),
       (3, "second", "weight"), (3, "second", "bias"))  # fmt: skip


def made_batch(number: int = 0, B: int = 6, T: int = 160, C: int = 3) -> dict:
    x = torch.randn(B, C, T, generator=torch.Generator().manual_seed(number))
    present = torch.ones(B, C, dtype=torch.bool)
    return {"x": x, "present": present, "length": torch.full((B,), T), "seed": 7, "step": number}


def with_leads(batch: dict, present) -> dict:
    """The batch with other leads present, the rest silent."""
    present = torch.as_tensor(present).bool().expand_as(batch["present"])
    return batch | {"present": present, "x": batch["x"].masked_fill(~present[..., None], 0)}


def made(name: str = "vgg", leads=THREE, encoder: dict | None = None, plug=bell, **values) -> nn.Module:
    """A small objective, the same each time; `values` are its settings, `encoder` those of its encoder."""
    torch.manual_seed(1)
    network = encoders.build(name, {"leads": leads} | ({"groups": TINY} if name == "vgg" else {}) | (encoder or {}))
    config = plugs.configure(plug.Config, {"hidden": 16, "outputs": 8} | values, plug.__name__)
    return plug.build(config, network, Recipe(leads=leads, rate=network.rate, seconds=2.0))


def drawn(objective: nn.Module, batch: dict) -> list[Seen]:
    return look(objective.encoder, draw(batch, objective.view, objective.after, objective.recipe, 2))


def copy_lead(heads: LeadHeads, one: nn.Sequential, i: int) -> None:
    """Puts the head of lead i into a network of one."""
    for place, layer, name in MLP:
        value = getattr(getattr(heads, layer), name).data
        getattr(one[place], name).data.copy_(value[i].T if value.ndim == 3 else value.chunk(heads.norm.leads)[i])


def one_step(objective: nn.Module, batch: dict, step: int = 0, rate: float = 0.1) -> None:
    """Plain gradient descent."""
    objective.train()(batch)["loss"].backward()
    with torch.no_grad():
        for p in objective.parameters():
            p -= rate * p.grad
            p.grad = None
    objective.after_step(step)


def check_resume(folder: Path, **choice) -> None:
    """Killed in its fourth step of six, it goes on to the bits that it would have come to."""

    class Killed(Exception):
        pass

    def killed(number: int) -> dict:
        if number == 3:
            raise Killed
        return made_batch(number)

    config = Config(steps=6, precision="fp32", checkpoint_every=1e-9, rate=1e-2)
    choice |= {"ema": "cosine", "steps": 6, "momentum": 0.9}
    whole, half, again = (made(**choice) for _ in range(3))
    fit(whole, made_batch, config, progress=False)
    with pytest.raises(Killed):
        fit(half, killed, config, folder=folder, progress=False)
    fit(again, made_batch, config, folder=folder, progress=False)
    one, two, start = (objective.state_dict() for objective in (whole, again, made(**choice)))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    targets = [key for key in one if key.startswith("target") and key.endswith("weight")]
    assert targets and not any(torch.equal(one[key], start[key]) for key in targets)
