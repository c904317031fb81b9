"""A task that goes on from the weights as the last one has left them; what is private is each task's own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from ... import adapters
from ...adapters import hold
from ...continual import Past
from ...encoders._leads import for_leads
from ...model import Graft, Model
from ...nn import files, shared
from ...nn.network import Network
from ...training import Config as Training
from ...training import Result, Sampler
from .sharing import check_leads


class Following:
    """The next task after those in `grafts`, whose own answers change with the weights.

    kept  what the strategy remembered of each earlier task
    """

    def __init__(self, model: Model, plug, config, grafts: dict[str, Graft], kept: dict):
        self.model, self.plug, self.config, self.grafts, self.kept = model, plug, config, grafts, kept

    def encoder(self, leads: tuple[str, ...], seed: int) -> nn.Module:
        """The encoder of the last task, for these leads; all of it is free."""
        encoder = for_leads(self.last() if self.grafts else self.model.encoder, leads)
        check_leads(encoder, shared.shapes(self.last() if self.grafts else encoder))
        adapters.attach(encoder, "full")
        return encoder

    def last(self) -> nn.Module:
        graft = list(self.grafts.values())[-1]
        encoder = for_leads(self.model.encoder, graft.recipe.leads)
        encoder.load_state_dict(graft.part("encoder"))
        return encoder

    def learn(self, job, objective: nn.Module, batches, how: Training, folder: Path | None) -> Result:
        objective.to(job.device)  # before it lends its tensors
        past = [self._past(graft, objective.network.encoder, job.device) for graft in self.grafts.values()]
        result = job.fit(self.plug.around(objective, past, self.config), batches, how, folder)
        if hasattr(self.plug, "remember"):
            single = Sampler(job.examples, 1, job.recipe.samples, seed=how.seed + 1, device=job.device)
            self.kept[job.name] = self.plug.remember(objective, single, self.config)
        return result

    def _past(self, graft: Graft, learning: nn.Module, device) -> Past:
        """An earlier task on the weights that are being learnt, and as it was."""
        before = self.network(graft.name)
        now = self.network(graft.name)
        for each in (before, now):
            hold(each.to(device).requires_grad_(False))
        self._lend(learning, now.encoder)
        return Past(now, before, graft.task, self.kept.get(graft.name))

    def _lend(self, learning: nn.Module, encoder: nn.Module) -> None:
        """Tensors of the encoder that learns take the places of those that a task has in common with it."""
        common = self._common(encoder)
        for name, layer in encoder.named_modules():
            for kind in ("_parameters", "_buffers"):
                found, own = getattr(learning.get_submodule(name), kind), getattr(layer, kind)
                own.update({key: value for key, value in found.items() if f"{name}.{key}" in common})

    def _common(self, encoder: nn.Module) -> set[str]:
        """The tensors that all tasks read: weights, and with a shared bank all but the stem and what a lead has."""
        if self.config.bank == "private":
            return {f"{layer}.weight" for layer in shared.layers(encoder)}
        apart, last = shared.stems(encoder), self.last().state_dict()
        here = {key: value for key, value in encoder.state_dict().items() if key.rpartition(".")[0] not in apart}
        return {key for key, value in here.items() if value.shape == last[key].shape}

    def network(self, name: str) -> Network:
        """A task as it now answers: its own norms, stem and head, on the last task's weights."""
        last, graft = self.last(), self.grafts[name]
        alone = Model(self.model.encoder, self.model.recipe)
        alone.grafts[name] = graft
        network = alone.network(name)
        adapters.merge(network.encoder)
        common = self._common(network.encoder)
        network.encoder.load_state_dict({k: v for k, v in last.state_dict().items() if k in common}, strict=False)
        return network

    @property
    def identity(self) -> dict:
        weights = {name: files.fingerprint(graft.part("encoder"), {}) for name, graft in self.grafts.items()}
        return {"strategy": self.plug.__name__, "config": asdict(self.config), "after": weights}

    def changed(self, network: Network) -> dict:
        tensors = {f"encoder.{key}": value for key, value in adapters.saved(network.encoder).items()}
        return {"adapter": "full", "adapter_config": {}, "tensors": tensors}


@torch.no_grad()
def share_weights(networks: list[Network]) -> None:
    """The convolutions and matrices of the first network's encoder are those of the others too."""
    first = networks[0].encoder
    for other in networks[1:]:
        check_leads(other.encoder, shared.shapes(first))
        for name, layer in shared.layers(other.encoder).items():
            layer.weight = first.get_submodule(name).weight
