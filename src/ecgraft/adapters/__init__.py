"""Adapters: how an encoder may change for one task. One file per adapter.

A plug has `Config`, `attach(encoder, config) -> names` (of the entries of the encoder's state that belong to the task:
what is trained, and statistics that move), `detach(encoder)` and, where the algebra allows it, `merge(encoder)`. It is
handed an encoder that is frozen and in eval mode, and frees its own part. The functions here do the rest.

A plug whose layers have ranks also has `places(encoder, config) -> {layer: Place}` and `weights(encoder, config) ->
{layer: module}`, the module by whose weight the importance of the layer is judged; `attach` is then handed a rank for
each layer that gets one as `config.rank`. Its `rank` may be "auto", which is found out before it is attached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MethodType
from typing import TYPE_CHECKING, Any

from .. import plugs
from ..nn import frozen
from ..record import InputError, UsageError
from . import _ranks

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class Attached:
    """What `attach` leaves on the encoder as `encoder.attached`."""

    name: str  # of the adapter
    config: Any
    saved: list[str]  # names in the encoder's state
    original: dict[str, Tensor]  # what stood under those names before
    free: set[str]  # parameters that required a gradient before
    training: bool  # mode before


def attach(encoder: nn.Module, name: str, values: dict | None = None) -> list[str]:
    """Put adapter `name` into the encoder, which then computes as before; all else is frozen, buffers included.

    Returns the names of the tensors that a graft saves. Raises UsageError where an adapter is attached already, and
    where its settings do not fit the encoder, which is then as it was.
    """
    if hasattr(encoder, "attached"):
        raise UsageError(f"the encoder carries adapter {encoder.attached.name!r}; detach it before you attach {name!r}")
    plug = plugs.find("adapters", name)
    config = plugs.configure(plug.Config, values, f"adapter {name}")
    before, training = encoder.state_dict(), encoder.training
    free = {key for key, p in encoder.named_parameters() if p.requires_grad}
    encoder.attached = Attached(name, config, [], {}, free, training)
    encoder.requires_grad_(False)
    hold(encoder)
    try:
        if hasattr(plug, "places"):
            config = encoder.attached.config = _settled(name, plug, encoder, config)
        saved = plug.attach(encoder, config)
    except Exception:
        _forget(encoder)
        raise
    frozen.freeze(encoder)
    encoder.attached.saved = saved
    encoder.attached.original = {key: before[key].clone() for key in saved if key in before}
    return saved


def _settled(name: str, plug, encoder: nn.Module, config):
    """The settings with a rank for each layer, so that a graft does not depend on rules and defaults."""
    whole = sum(p.numel() for p in encoder.parameters())
    ranks = _ranks.resolve(name, plug.places(encoder, config), config.rank, config.budget, whole)
    return replace(config, rank=ranks, budget=None)


def detach(encoder: nn.Module) -> None:
    """Take the adapter out; the encoder is then bit for bit what it was before `attach`."""
    state = _state(encoder)
    frozen.thaw(encoder)
    plugs.find("adapters", state.name).detach(encoder)
    encoder.load_state_dict(state.original, strict=False)
    _forget(encoder)


def merge(encoder: nn.Module) -> None:
    """Fold the adapter into the plain weights: an encoder without adapter, equal to 1e-5.

    Raises UsageError where that cannot be.
    """
    plug = plugs.find("adapters", _state(encoder).name)
    if not hasattr(plug, "merge"):
        raise UsageError(f"adapter {encoder.attached.name!r} cannot be merged into the encoder")
    frozen.thaw(encoder)
    plug.merge(encoder)
    _forget(encoder)


def saved(encoder: nn.Module) -> dict[str, Tensor]:
    """The tensors that a graft saves, by name; they share memory with the encoder."""
    state = encoder.state_dict()
    return {name: state[name] for name in _state(encoder).saved}


def restore(encoder: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put saved tensors back into an encoder that carries the same adapter. Raises InputError where they do not fit."""
    now = saved(encoder)
    for name in sorted(now.keys() ^ tensors.keys()):
        fault = "is missing" if name in now else "does not belong to it"
        raise InputError(f"adapter {encoder.attached.name!r}: tensor {name!r} {fault}")
    for name, value in tensors.items():
        if value.shape != now[name].shape:
            raise InputError(f"adapter tensor {name!r}: shape {tuple(value.shape)}, not {tuple(now[name].shape)}")
    encoder.load_state_dict(tensors, strict=False)


def hold(module: nn.Module) -> None:
    """Eval mode for good: a later `train()`, of a parent too, does not reach the module."""
    module.eval()
    module.train = MethodType(_stay, module)


def release(module: nn.Module) -> None:
    """End `hold`."""
    module.__dict__.pop("train", None)


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return type(module).train(module, False)


def _state(encoder: nn.Module) -> Attached:
    if not hasattr(encoder, "attached"):
        raise UsageError("the encoder carries no adapter; attach one first")
    return encoder.attached


def _forget(encoder: nn.Module) -> None:
    """Everything as before `attach` but the weights: what is free, the mode, no adapter."""
    state = encoder.attached
    del encoder.attached
    for module in encoder.modules():
        release(module)
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name in state.free)
    encoder.train(state.training)
