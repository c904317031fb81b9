"""A task that learns the free weights of an encoder and reads those of earlier tasks: train, compact, retrain."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from ... import encoders, plugs
from ...continual import _parts
from ...continual._parts import Parting, Phase
from ...encoders._leads import for_leads
from ...model import Model, chain
from ...nn import compact, shared
from ...nn.network import Network
from ...plugs import configure
from ...record import UsageError
from ...training import Config as Training
from ...training import Result

LATER_START = 0.1  # of the usual spread of untrained weights, for free weights beside those of earlier tasks
LEAST_STEPS = 20  # of a round of the search for a sparsity


class Sharing:
    """The next task of a model. UsageError where there is no room for it."""

    def __init__(self, model: Model, name: str, values: dict):
        self.model, self.name, plug = model, name, plugs.find("continual", name)
        self.plug, self.config = plug, configure(plug.Config, values, f"strategy {name}")
        self.earlier = chain.order(model.grafts)
        self.said = self._said(getattr(plug, "ROOT", "free"))
        if values.get("stem", self.said["stem"]) != self.said["stem"]:
            raise UsageError(f"stem={values['stem']}: all tasks of this model have stem={self.said['stem']}")
        self.ledger = chain.ledger(model) if self.earlier else chain.start(model, self.said["root"], self.said["stem"])
        self.position = self.ledger.tasks + 1
        self.plan = plug.plan(self.config, self.position)
        self._check_room()

    def _said(self, root: str) -> dict:
        """What the graft says of its weights: as the earlier ones do."""
        if self.earlier:
            last = self.earlier[-1]
            said = {key: last.shared[key] for key in ("root", "stem")}
            return said | {"after": {"graft": last.name, "fingerprint": last.shared["fingerprint"]}}
        return {"root": "free" if self.model.blank else root, "stem": self.config.stem, "after": {}}

    def _check_room(self) -> None:
        free = self.ledger.owned(0)
        if self.plan.owns and free < _parts.LEAST_FREE:
            raise UsageError(
                f"{free:.1%} of the weights are free, and a further task needs {_parts.LEAST_FREE:.0%}: the tasks "
                f"{', '.join(graft.name for graft in self.earlier)} hold the others. Take --strategy piggyback, which "
                "needs none; or begin a new model, with a larger sparsity or with the number of its tasks (tasks=)"
            )

    def encoder(self, leads: tuple[str, ...], seed: int) -> nn.Module:
        """The encoder of the task: norms and all that is private as the last task left it, free weights new."""
        new = _fresh(self.model, leads, seed)
        encoder = before(self.model, leads) if self.earlier or not self._from_scratch else new
        check_leads(encoder, self.ledger.shapes, self.said["stem"])
        encoder.requires_grad_(True)
        with torch.no_grad():
            for name in self.ledger.owner:
                encoder.get_submodule(name).weight.copy_(self._start(name, new))
        restore = getattr(self.config, "isolation", "") == "restore"
        shared.claim(encoder, self.ledger, free=self.plan.owns, picked=self.plan.picked, restore=restore)
        return encoder.train()

    @property
    def _from_scratch(self) -> bool:
        """Whether free weights start untrained, not from those that the encoder was pretrained to."""
        claim = getattr(self.config, "claim", "auto")
        own = self.said["root"] == "free" and claim == "auto"
        return self.model.blank or claim == "noise" or (own and untrained(self.model))

    def _start(self, name: str, new: nn.Module) -> torch.Tensor:
        """What the free weights of a layer start from."""
        if not self._from_scratch:
            return self.model.encoder.get_submodule(name).weight
        scale = LATER_START if self.ledger.tasks else 1.0
        return scale * new.get_submodule(name).weight

    def learn(self, job, objective: nn.Module, batches, how: Training, folder: Path | None) -> Result:
        """The phases of the plan one after another, each with an optimiser of its own."""
        if self.plan.search and not len(job.validation):
            raise UsageError("sparsity=search: it asks validation records how much can be dropped, and there are none")
        network, self.log, result, done = objective.network, [], Result(), 0
        ends = [
            round(how.steps * sum(p.share for p in self.plan.phases[: i + 1])) for i in range(len(self.plan.phases))
        ]
        for phase, end in zip(self.plan.phases, ends):
            steps, at = max(1, end - done), done
            if phase.start:
                self._settle(network, phase.start)
            run = _Run(job, objective, batches, how, folder, self.config)
            if phase.name == "compact" and self.plan.search:
                result = self._search(run, phase, steps, at, result)
            else:
                result = run.of(phase, steps, at)
            told = {"score": result.score, "step s": result.seconds}
            told = {key: value if math.isfinite(value) else None for key, value in told.items()}
            self.log.append({"phase": phase.name, "steps": steps} | told)
            done = end
        self._close(network)
        return result

    def _settle(self, network: Network, share: float) -> None:
        compact.drop(network, share, **_given_back(self.config))
        for layer in shared.parts(network).values():
            shared.give_back(layer)

    def _search(self, run: _Run, phase: Phase, steps: int, at: int, before: Result) -> Result:
        """Drops more and more, as long as the score stays within the tolerance of what it was before."""
        network, (rise, most), share, result = run.objective.network, self.plan.search, 0.0, before
        each, wanted = max(LEAST_STEPS, steps // 4), before.score - self.plan.tolerance
        while share + rise <= most + 1e-9:
            kept = {key: value.detach().clone() for key, value in network.state_dict().items()}
            tried = run.of(replace(phase, name=f"compact-{share + rise:.1f}", start=share, end=share + rise), each, at)
            if tried.score < wanted:
                network.load_state_dict(kept)
                break
            share, result, at = share + rise, tried, at + each
        self._settle(network, 0.0)
        self.found = round(share, 3)
        return result

    def _close(self, network: Network) -> None:
        """Plain layers from here on; what the task has taken is kept for `changed`."""
        self.empty = sum(shared.empty_channels(layer) for layer in shared.parts(network).values())
        self.trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
        self.tensors = shared.saved(network.encoder, self.ledger)
        shared.settle(network.encoder)

    @property
    def identity(self) -> dict:
        return {"strategy": self.name, "config": asdict(self.config), **self.said}

    def more(self, free: float) -> int | None:
        """How many further tasks of the same settings there is room for in a free share; None: any number."""
        count, given_back = 0, getattr(self, "found", None)
        for position in range(self.position + 1, shared.MOST + 1):
            try:
                plan = self.plug.plan(self.config, position)
            except UsageError:  # there are as many as were declared
                return count
            if not plan.owns:
                return None
            if free < _parts.LEAST_FREE:
                return count
            free, count = free * (plan.phases[-1].end if given_back is None else given_back), count + 1
        return count

    def changed(self, network: Network) -> dict:
        held = {f"{name}.weight" for name in self.ledger.owner}
        private = {f"encoder.{k}": v for k, v in network.encoder.state_dict().items() if k not in held}
        own = len(self.tensors[shared.OWN]) / max(1, self.ledger.size)
        free = self.ledger.owned(0) - own
        told = {
            "task number": self.position, "of": self.ledger.size, "owns": own, "free after it": free,
            "further tasks": self.more(free), "output channels that read nothing": self.empty, "phases": self.log,
        }  # fmt: skip
        told |= {"sparsity found": self.found} if self.plan.search else {}
        made = {"adapter": self.name, "adapter_config": asdict(self.config), "tensors": private | self.tensors}
        said = dict(self.said)
        described = {"encoder": self.model.fingerprint} | said
        said["fingerprint"] = chain.fingerprint_of(self.tensors, described)
        return made | {"shared": said, "card": {"weights": told, "trained parameters": self.trained}}


class _Run:
    """The training loop as the phases of a task call it."""

    def __init__(self, job, objective, batches, how: Training, folder: Path | None, config):
        self.job, self.objective, self.batches, self.how, self.folder = job, objective, batches, how, folder
        self.given_back = _given_back(config)

    def of(self, phase: Phase, steps: int, at: int) -> Result:
        """One phase; its batches follow on those of the phases before it."""
        how = replace(self.how, steps=steps, rate=self.how.rate * phase.rate)
        if phase.end > phase.start:  # weights from before they were dropped are none to go back to
            how = replace(how, keep="last", patience=0)
        folder = self.folder / phase.name if self.folder else None
        made = Parting(self.objective, phase, steps, **self.given_back)
        return self.job.fit(made, lambda number: self.batches(number + at), how, folder, f"{phase.name}")


def before(model: Model, leads: tuple[str, ...]) -> nn.Module:
    """The encoder with what is private to the last task; of leads that it did not know, untrained."""
    chained = chain.order(model.grafts)
    if not chained:
        return for_leads(model.encoder, leads)
    encoder = for_leads(model.encoder, chained[-1].recipe.leads)
    encoder.load_state_dict(chained[-1].part("encoder"), strict=False)
    return for_leads(encoder, leads)


@torch.no_grad()
def left(model: Model, leads: tuple[str, ...]) -> nn.Module:
    """The encoder with the weights of all tasks so far, and what is private to the last one."""
    encoder, ledger = before(model, leads), chain.ledger(model)
    for name, values in ledger.values.items():
        layer = encoder.get_submodule(name)
        layer.weight.copy_(values.view(layer.weight.shape))
    return encoder


def _given_back(config) -> dict:
    """What `compact.drop` asks of a strategy."""
    filters = getattr(config, "granularity", "weights") == "filters"
    return {"least": getattr(config, "min_per_channel", 0), "filters": filters}


def check_leads(encoder: nn.Module, shapes: dict[str, tuple[int, ...]], stem: str = "private") -> None:
    """UsageError for an encoder whose leads give other shapes to the weights that tasks share."""
    if shared.shapes(encoder, stem) != shapes:
        raise UsageError(
            f"leads {', '.join(encoder.leads)}: weights that all tasks share depend on the leads here (stem=shared, or "
            "a branch for each lead), so that all tasks have the same leads"
        )


def untrained(model: Model) -> bool:
    """Whether the encoder has learnt nothing so far."""
    return model.blank or (model.card.get("pretraining") == "none" and "merged from" not in model.card)


def _fresh(model: Model, leads: tuple[str, ...], seed: int) -> nn.Module:
    """The model's encoder untrained, for these leads."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = encoders.build(model.encoder.name, asdict(model.encoder.config) | {"leads": tuple(leads)})
    return made
