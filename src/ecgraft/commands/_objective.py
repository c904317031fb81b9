"""Building what a pretraining minimises: the objective by name, on an encoder, with what it needs of the batches."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

from torch import nn

from .. import plugs, tasks, views
from ..nn.network import HeadConfig, Network, build_head
from ..objectives import PRETRAIN, stage, supervised
from ..plugs import configure
from ..record import UsageError
from ..signal.recipe import Recipe

JOINT, SUPERVISED = "joint", "supervised"
VIEWS = {"gain": {"record": 1.5, "flip": 0.1}, "noise": {"share": 0.3}, "lead_loss": {"share": 0.25, "single": 0.35}}
SUPERVISED_WEIGHTS = {"findings": 2.0}


def find(name: str) -> ModuleType:
    """The objective of that name. UsageError for one that is not for pretraining."""
    plug = plugs.find("objectives", name)
    if stage(plug) != PRETRAIN:
        others = [other for other in plugs.names("objectives") if stage(plugs.find("objectives", other)) == PRETRAIN]
        raise UsageError(
            f"objective {name}: it learns beside labels, so it is for ecgraft adapt (semi={name}); pretraining takes "
            + ", ".join(others)
        )
    return plug


def needs(name: str, values: dict) -> set[str]:
    """What an objective reads of a batch besides the signal."""
    plug = find(name)
    if name == JOINT:
        parts = configure(plug.Config, values, "objective joint").parts
        return set().union(*(needs(part, {}) for part in parts))
    return set(plug.NEEDS)


def check(name: str, values: dict) -> None:
    """UsageError for an objective, or a setting of it, that cannot be."""
    config = configure(find(name).Config, values, f"objective {name}")
    for part, inner in config.parts.items() if name == JOINT else ():
        if part in (JOINT, SUPERVISED):
            raise UsageError(f"objective joint: {part} compares no views, so it cannot be a part")
        check(part, _without_weight(inner))


def has_noise(name: str, values: dict) -> bool:
    """Whether an objective lays noise over what it shows the encoder."""
    if name == SUPERVISED:
        return "noise" in VIEWS
    config = configure(find(name).Config, values, f"objective {name}")
    return "noise" in (getattr(config, "views", None) or {})


def build(name: str, values: dict, known: dict, encoder: nn.Module, recipe: Recipe, noise: str = "") -> nn.Module:
    """The objective `name` with the settings `values`.

    known  what the command knows and an objective may want as a setting (steps, text_width ...)
    noise  folder of NSTDB for the view `noise`, where the objective has it
    """
    if name == SUPERVISED:
        return _supervised(values, encoder, recipe, noise)
    plug = find(name)
    given = {key: value for key, value in known.items() if key in plug.Config.__dataclass_fields__}
    config = configure(plug.Config, given | values, f"objective {name}")
    if noise and getattr(config, "views", None):
        config = replace(config, views=_with_noise(config.views, noise))
    if name != JOINT:
        return plug.build(config, encoder, recipe)
    parts = {part: build(part, _without_weight(inner), known, encoder, recipe) for part, inner in config.parts.items()}
    return plug.build(config, encoder, recipe, parts)


def _without_weight(values: dict) -> dict:
    """The settings of a part of joint that are its own."""
    return {key: value for key, value in values.items() if key != "weight"}


def _with_noise(steps: dict, folder: str) -> dict:
    if not folder or "noise" not in steps:
        return steps
    return steps | {"noise": (steps["noise"] or {}) | {"nstdb": folder}}


def _supervised(values: dict, encoder: nn.Module, recipe: Recipe, noise: str) -> supervised.Supervised:
    """Findings per record and waves per sample, each from what is known of it."""
    asked = {name: tasks.find(name) for name in ("findings", "waves")}
    heads = {name: build_head(task, encoder, HeadConfig()) for name, task in asked.items()}
    loss = configure(supervised.Config, {"weights": SUPERVISED_WEIGHTS} | values, "objective supervised")
    return supervised.Supervised(
        Network(encoder, heads, recipe), asked, loss, views.build(_with_noise(VIEWS, noise), recipe)
    )
