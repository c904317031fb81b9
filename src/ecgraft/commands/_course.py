"""Task after task by one strategy, whatever it is: what a protocol compares, and what `ecgraft extend` does once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .. import continual, plugs
from ..encoders._leads import for_leads
from ..model import Graft, Model
from ..nn.network import Network
from ..plugs import configure
from ..record import UsageError
from ..training import Result
from ._graft_files import merged
from ._job import Job
from ._strategies import sharing
from ._strategies.following import Following, share_weights
from ._strategies.sharing import Sharing


class Course:
    """A model that learns task after task. `grafts` holds those of the tasks so far, as they were learnt."""

    def __init__(self, model: Model, strategy: str, values: dict | None = None):
        self.plug = plugs.find("continual", strategy)
        self.strategy, self.values = strategy, values or {}
        self.config = configure(self.plug.Config, self.values, f"strategy {strategy}")
        self.model, self.grafts, self.kept, self.waiting = model, {}, {}, []
        if model.blank and self.plug.START != continual.SHARED:
            raise UsageError(
                f"strategy {strategy}: the encoder has no weights of its own, and this learns from those of an encoder"
            )
        self.trained = not sharing.untrained(model)

    @property
    def keeps(self) -> bool:
        """Whether earlier tasks answer as before, bit for bit."""
        return self.plug.START in continual.KEEPS

    def learn(
        self, job: Job, folder: Path | None = None, save: Callable[[Graft], None] = lambda graft: None
    ) -> Graft | None:
        """The next task; None where all are learnt together in the end (`finish`). `folder`, `save` as of `Job.run`."""
        self._check_name(job.name)
        job.model = self.model
        job.options = replace(job.options, adapter="full", adapter_config={})  # `_adapt` names another
        if self.plug.START == continual.TOGETHER:
            self.waiting.append(job)
            return None
        if self.plug.START == continual.BASE:
            return self._adapt(job, folder, save)
        if self.plug.START == continual.SHARED:
            job.strategy = Sharing(self.model, self.strategy, self.values)
        else:
            job.strategy = Following(self.model, self.plug, self.config, self.grafts, self.kept)
        graft = job.run(folder, save)
        if self.plug.START == continual.SHARED:
            self.model.add(graft)
        self.grafts[graft.name] = graft
        return graft

    def _check_name(self, name: str) -> None:
        """UsageError for a task that is there already."""
        shared = {graft.name for graft in self.model.grafts.values() if graft.shared}
        if name in {*self.grafts, *shared, *(job.name for job in self.waiting)}:
            raise UsageError(f"task {name!r} is learnt already, and others may stand on it; give this one another name")

    def _adapt(self, job: Job, folder: Path | None, save: Callable[[Graft], None]) -> Graft:
        """By an adapter. Of an untrained encoder a first task makes a trained one, where adapters are small."""
        first = not self.trained and self.config.adapter != "full" and not self.model.grafts
        name, settings = ("full", {}) if first else (self.config.adapter, self.config.adapter_config)
        job.options = replace(job.options, adapter=name, adapter_config=settings)
        graft = job.run(folder, save)
        self.model.add(graft)
        if first:
            self.model = merged(self.model, graft.name)
            graft = self.model.graft(graft.name)
        self.grafts[graft.name] = graft
        return graft

    def finish(self) -> list[Graft]:
        """Learns the tasks that were waiting, all together; their steps are added."""
        if not self.waiting:
            return []
        networks = [job.begin() for job in self.waiting]
        share_weights(networks)
        batches = [job._batches(job.examples) for job in self.waiting]
        parts = [job.supervised(network) for job, network in zip(self.waiting, networks)]
        count = len(parts)

        def in_turn(number: int) -> dict:
            return batches[number % count](number // count) | {"turn": number % count}

        first = self.waiting[0]
        how = replace(first.training, steps=sum(job.training.steps for job in self.waiting), keep="last")
        result = first.fit(self.plug.around(parts, self.config), in_turn, how, None, validate=False)
        for job, network in zip(self.waiting, networks):
            job.result = Result(result.log, seconds=result.seconds)
            self.grafts[job.name] = job.finish(network)
            self.model.add(self.grafts[job.name])
        self.waiting = []
        return list(self.grafts.values())

    def network(self, name: str) -> Network:
        """A task that was learnt, as it answers now."""
        if self.plug.START == continual.LAST:
            return Following(self.model, self.plug, self.config, self.grafts, self.kept).network(name)
        return self.model.network(name)

    def left(self, leads: tuple[str, ...]) -> Model | None:
        """What the tasks so far have left to a new head: all of their weights. None where a task starts anew."""
        if self.plug.START not in (continual.SHARED, continual.LAST) or not self.grafts:
            return None
        if self.plug.START == continual.SHARED:
            encoder = sharing.left(self.model, leads)
        else:
            last = Following(self.model, self.plug, self.config, self.grafts, self.kept).last()
            encoder = for_leads(last, leads)
        return Model(encoder, replace(self.model.recipe, leads=leads))


def check_keeps(strategy: str) -> None:
    """UsageError for a strategy that changes what earlier tasks answer."""
    if plugs.find("continual", strategy).START not in continual.KEEPS:
        there = [n for n in plugs.names("continual") if plugs.find("continual", n).START in continual.KEEPS]
        raise UsageError(
            f"--strategy {strategy}: earlier tasks would answer otherwise after it; it is there for ecgraft bench to "
            f"compare with. Take {', '.join(there)}"
        )
