"""Training windows from more than the records of one store: other labelled stores, and simulated ECGs."""

from __future__ import annotations

import numpy as np

from ..record import UsageError
from ..signal.recipe import Recipe
from ..training import Ahead, Examples, Mixture, Simulated
from ._examples import Corpus
from ._settings import Settings

KINDS = ("waves", "peaks")  # of tasks whose answers the simulator knows exactly
SEED = 10**6  # added to that of the training: ECGs that nothing else was simulated with
THREADS = 2  # that make batches while the network learns


def check(options: Settings, corpus: Corpus, also: list[Corpus]) -> None:
    """UsageError where such a mixture cannot be made."""
    if options.simulated and corpus.task.kind not in KINDS:
        known = " and ".join(KINDS)
        raise UsageError(f"simulated: task {corpus.task.name!r} is of kind {corpus.task.kind}, not of {known}")
    if also and corpus.task.kind == "regression":
        raise UsageError(f"--also: task {corpus.task.name!r} is a regression, which is learnt from one store")
    mixed = options.simulated or also
    if mixed and (options.semi or options.balance):
        asked = "semi" if options.semi else "balance"
        raise UsageError(f"{asked} does not go together with other stores (--also) or simulated ECGs (simulated=)")


def batches(
    examples: Examples, also: list[tuple[Corpus, object]], recipe: Recipe, options: Settings, seed: int, device
):
    """`batches(number) -> batch`. A record comes as often in an epoch as windows fit into it.

    also    the other corpora, each with its prepared cache: all of their records are learnt from
    """
    more = [corpus.examples(_usable(corpus, cache), cache) for corpus, cache in also]
    sources = [_by_length(each, recipe.samples) for each in (examples, *more)]
    simulated = None
    if options.simulated:
        simulated = Simulated(recipe, SEED + seed, peaks=examples.peaks, waves=examples.waves)
    mixture = Mixture(
        sources, options.batch, recipe.samples, seed=seed, simulated=simulated, share=options.simulated, device=device
    )
    return Ahead(mixture, 2 * THREADS + 2, THREADS)


def _usable(corpus: Corpus, cache) -> np.ndarray:
    """The labelled records of a store that have a lead of the recipe."""
    rows = corpus.rows("all")
    return rows[cache.usable[rows]]


def _by_length(examples: Examples, samples: int) -> Examples:
    """Every example once for each window that fits into it, at least once."""
    length = np.asarray(examples.cache.length)[examples.index]
    which = np.repeat(np.arange(len(examples)), np.maximum(1, length // samples))
    return examples.take(which)
