"""What a pretraining reads: stored and simulated records, with what its objective needs of each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import nn

from .. import simulator, tasks
from ..plugs import configure
from ..record import InputError, UsageError
from ..signal.beats import BEAT_FEATURES, RECORD_FEATURES, measure_batch
from ..signal.recipe import Recipe
from ..store.beats import store_beats
from ..tasks import targets
from ..training import Examples, Simulated
from . import _beat_classes
from ._pool import Pool

TEXT = "words"  # text encoder
BEATS, LABELS, TEXTS = {"peaks", "beat_features", "record_features"}, {"labels", "waves"}, {"text"}
SEED = 314_159  # added to the seed, so that simulated ECGs are not those of a store that ecgraft simulate has made
SAMPLE = 1024  # simulated ECGs that stand for a corpus where there is no store
MOST = 20_000  # stored records from which constants of the corpus are taken
FINDINGS = tasks.find("findings")


def check(wanted: set[str], values: dict) -> None:
    """UsageError for what no batch carries, and for settings `values` that the simulator does not have."""
    for name in ("seconds", "rate"):
        if name in values:
            raise UsageError(f"simulator.{name}: simulated ECGs have the encoder's rate and the length seconds=...")
    configure(simulator.Config, values, "simulator")
    foreign = wanted - (BEATS | LABELS | TEXTS)
    if foreign:
        raise UsageError(f"the objective needs {', '.join(sorted(foreign))}, which batches do not carry")


@dataclass
class Sources:
    """Examples of the pool's stores and of the simulator, each with what is `wanted` of a batch."""

    pool: Pool
    caches: list
    recipe: Recipe
    options: object  # Settings of pretrain
    wanted: set[str]
    seed: int
    progress: bool
    kinds: list = field(init=False)

    def __post_init__(self):
        self.kinds = [_Beats(self)] if self.wanted & BEATS else []
        if self.wanted & TEXTS:
            from ._texts import Reports

            self.kinds.append(Reports(self))
        stores = range(len(self.pool.stores))
        self.examples = [self._examples(s) for s in stores if len(self.pool.rows[s])]
        self.simulated = self._simulated() if self.options.simulated else None

    def known(self) -> dict:
        """What an objective may want as a setting."""
        return {key: value for kind in self.kinds for key, value in kind.known().items()}

    def prepare(self, objective: nn.Module) -> None:
        """Gives the objective what it wants to know of the corpus."""
        for kind in self.kinds:
            kind.prepare(objective)

    def grafts(self, objective: nn.Module, model, card: dict) -> list:
        """What of the objective is kept as a graft."""
        return [graft for kind in self.kinds for graft in kind.grafts(objective, model, card)]

    def _examples(self, s: int) -> Examples:
        store, rows = self.pool.stores[s], self.pool.rows[s]
        more = tuple(kind.stored[s] for kind in self.kinds)
        if not self.wanted & LABELS:
            return Examples(self.caches[s], rows, more=more)
        y, known = targets(FINDINGS, store.codes, store.labels)
        return Examples(self.caches[s], rows, y[rows], known[rows], waves=True, more=more)

    def _simulated(self) -> Simulated:
        config = configure(simulator.Config, self.options.simulator, "simulator")
        labels = FINDINGS if "labels" in self.wanted else None
        more = tuple(kind.made for kind in self.kinds)
        return Simulated(self.recipe, SEED + self.seed, config, labels=labels, waves="waves" in self.wanted, more=more)


class _Beats:
    """R peaks and features of beats and records."""

    def __init__(self, sources: Sources):
        self.sources = sources
        self.stored = [store_beats(cache, sources.progress) for cache in sources.caches]
        self.graft = None
        if sources.options.beats:
            model, self.graft = _beat_classes.open_graft(sources.options.beats)
            pairs = zip(self.stored, sources.pool.rows)
            self.stored = [_beat_classes.classed(*each, model, self.graft, progress=sources.progress) for each in pairs]

    def known(self) -> dict:
        sizes = {"record_features": len(RECORD_FEATURES), "beat_features": len(BEAT_FEATURES)}
        return sizes | ({"beat_class": "model"} if self.graft else {})

    def made(self, made, x: np.ndarray) -> dict[str, np.ndarray]:
        """x (B, C, T): of the recipe's leads, 0 in those that are absent."""
        found = measure_batch(x, x.any(2), self.sources.recipe.rate, made.peaks.numpy())
        if self.graft:
            found["beat_class"] = _beat_classes.simulated(made, found["peaks"], self.graft)
        return found

    def prepare(self, objective: nn.Module) -> None:
        if hasattr(objective, "fit"):
            objective.fit(*self._corpus(), self.sources.options.batch)

    def grafts(self, objective: nn.Module, model, card: dict) -> list:
        return []

    def _corpus(self) -> tuple[np.ndarray, np.ndarray]:
        """Features of records (n, R) and of beats (m, F), of the stores, or of simulated ECGs where there is none."""
        sources = self.sources
        if not len(sources.pool):
            made = sources.simulated.batch(0, SAMPLE)
            beats = made["beat_features"].numpy()[made["peaks"].numpy() >= 0]
            return made["record_features"].numpy(), beats
        chosen = sources.pool.few(MOST, sources.seed)
        records = [table.record_features(rows) for table, rows in zip(self.stored, chosen.rows)]
        beats = [table.beat_features(rows) for table, rows in zip(self.stored, chosen.rows)]
        if not sum(map(len, beats)):
            names = ", ".join(store.path.name for store in sources.pool.stores)
            raise InputError(f"{names}: not a single heartbeat was found; beat_ssl needs some")
        return np.concatenate(records), np.concatenate(beats)
