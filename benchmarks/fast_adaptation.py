"""What keeping the outputs of frozen layers saves in adapting: python benchmarks/fast_adaptation.py

Simulated 12-lead ECGs of 10 s, 240 with labels, the encoder that comes with ecgraft, without augmentation. Each job is
run whole, from the labels to the packed graft, with what frozen layers compute kept and without (`cache=false`; the
linear probe, which otherwise always computes its features once, then computes them anew in every step). Same seed,
fp32: the grafts must score alike. Seconds are those of the processor, so that a busy machine does not count (`clock`:
by the clock). The bars: under 60 s with what is kept, at least 5 times as fast as without.

Then single steps (forward and backward of one batch) of more adapters, and of larger encoders with random weights: the
median time, and what is saved for the backward pass beside the weights. Further, where the time of such a step goes.
"""

from __future__ import annotations

import argparse
import copy
import gc
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from _result import in_turns, keep

import ecgraft
from ecgraft import adapters, tasks
from ecgraft.commands import _job, _kept, _score
from ecgraft.commands._bench.cost import Cost
from ecgraft.commands._examples import Corpus
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings, fitting_steps, with_defaults
from ecgraft.commands._trunk import signal
from ecgraft.model import Model
from ecgraft.nn.network import HeadConfig, Network, build_head
from ecgraft.objectives.supervised import Config as Loss
from ecgraft.objectives.supervised import Supervised
from ecgraft.store import Store
from ecgraft.training import Sampler
from ecgraft.training.cost import step_cost

SEED, BATCH = 0, 32
JOBS = [("linear", {}, "waves"), ("linear", {}, "findings")]
JOBS += [("lrc", {"place": "last-1"}, "waves"), ("lrc", {"place": "last-1"}, "findings")]
STEPS = [("resnet18", *job) for job in JOBS]
STEPS += [("resnet18", name, {"place": "last-1"}, "findings") for name in ("rd_lora", "norm", "bias")]
STEPS += [("resnet18", "lrc", {"place": "last-2"}, "findings")]
STEPS += [(name, "linear", {}, "waves") for name in ("xresnet101", "net1d")]
STEPS += [(name, "lrc", {"place": "last-1"}, "findings") for name in ("xresnet101", "net1d")]


@dataclass(frozen=True)
class Anew:
    """Examples of a probe whose features are computed in every batch."""

    kept: object  # the examples of the probe
    job: Job
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.kept)

    def __getattr__(self, name: str):
        return getattr(self.kept, name)

    @torch.no_grad()
    def batch(self, which: np.ndarray, start: np.ndarray, samples: int, device="cpu") -> dict:
        job, encoder = self.job, self.job.model.encoder
        given = job.corpus.examples(self.rows[which], job.cache).batch(np.arange(len(which)), start, samples, device)
        h = encoder.pool(encoder(signal(job.recipe, given), given["present"]), given["length"])
        return self.kept.batch(which, start, samples, device) | {"x": h}


class Always(Job):
    """A job that computes everything anew."""

    def _probing(self, network, examples):
        probe, kept = super()._probing(network, examples)
        return probe, Anew(kept, self, examples.index)


def run(store: Path, adapter: str, config: dict, task: str, cache: bool) -> dict:
    """One job: its graft's answers on the test part are scored too."""
    corpus = Corpus.open(Store(store), tasks.find(task))
    train, validation = corpus.few(1, SEED)
    options = Settings(
        adapter=adapter, adapter_config=config, augment={}, batch=BATCH, cache=cache, training={"precision": "fp32"},
        rare="note",
    )  # fmt: skip
    options = with_defaults(options, fitting_steps(len(train), BATCH), SEED)
    job = (Job if cache else Always)(Model.load(), corpus, train, validation, options, task, progress=False)
    assert len(job.cache), "the records are prepared before the clock runs"
    spent = {"kept": 0.0, "training": 0.0, "validation": 0.0, "packing": 0.0}
    begun = time.process_time()
    with Watch(spent), Cost() as cost:
        graft = job.run()
    seconds = time.process_time() - begun
    job.model.add(graft)
    rows = corpus.rows("test")
    found = _score.answer(job.model.network(task), corpus, rows, job.cache)
    spent["training"] -= spent["validation"]
    steps = options.training["steps"]
    return {
        "seconds": seconds, "clock": cost.seconds, "peak_mb": cost.peak,
        "steps": steps, "step_ms": 1e3 * spent["training"] / steps, "records": len(train) + len(validation),
        "score": job.result.score, "test_score": _score.main_score(corpus, found, graft.calibration),
        "spent": {name: round(each, 2) for name, each in spent.items()},
    }  # fmt: skip


class Watch:
    """Adds up what the parts of a job take."""

    parts = (("kept", _kept, "keep"), ("kept", _job, "kept_features"), ("training", _job, "fit"))
    parts += (("validation", _score, "main_score"), ("validation", Job, "answer"), ("packing", Job, "_pack"))

    def __init__(self, spent: dict[str, float]):
        self.spent, self.inside = spent, 0

    def __enter__(self) -> None:
        self.real = [(owner, name, getattr(owner, name)) for _, owner, name in self.parts]
        for (part, owner, name), (_, _, real) in zip(self.parts, self.real):
            setattr(owner, name, self._timed(part, real))

    def __exit__(self, *_) -> None:
        for owner, name, real in self.real:
            setattr(owner, name, real)

    def _timed(self, part: str, real):
        def timed(*given, **named):
            if part == "packing":
                self.inside += 1  # its answers are not those of validation
            begun = time.process_time()
            try:
                return real(*given, **named)
            finally:
                if part == "packing":
                    self.inside -= 1
                if not self.inside:
                    self.spent[part] += time.process_time() - begun

        return timed


def step(store: Path, encoder: str, adapter: str, config: dict, task: str, repeats: int) -> dict:
    """A step with and without what is kept, in turns; what both save for the backward pass, and what is kept."""
    model = Model.load() if encoder == "resnet18" else Model.fresh(encoder)
    corpus, adapted = Corpus.open(Store(store), tasks.find(task)), copy.deepcopy(model.encoder)
    adapters.attach(adapted, adapter, config)
    network = Network(adapted, {task: build_head(corpus.task, adapted, HeadConfig())}, model.recipe)
    cache, rows = corpus.store.prepared(model.recipe, progress=False), np.arange(BATCH)
    kept = _kept.keep(network, model.fingerprint, cache, rows)
    examples, samples = corpus.examples(rows, cache), model.recipe.samples
    runs, saved = {}, {}
    for name, net, given in (
        ("whole", network, examples), ("kept", kept.network, replace(examples, cache=kept.cache))
    ):  # fmt: skip
        objective, sampler = Supervised(net, {task: corpus.task}, Loss()).train(), Sampler(given, BATCH, samples)
        runs[name] = lambda o=objective, s=sampler: o(s(0))["loss"].backward()
        saved[name] = step_cost(objective, sampler(0)).saved
    seconds = in_turns(runs, repeats, time.process_time)
    return {
        "encoder": encoder, "adapter": adapter, "place": config.get("place", ""), "task": task,
        "first_stage": kept.cache.trunk.first, "kept_kb_per_window": round(kept.cache.trunk.width * 4e-3, 1),
        "step_ms": {name: round(1e3 * s, 1) for name, s in seconds.items()},
        "saved_for_backward_mb": {name: round(size / 1e6, 1) for name, size in saved.items()},
        "ratio": round(seconds["whole"] / seconds["kept"], 2),
    }  # fmt: skip


def parts(store: Path, repeats: int) -> dict:
    """Milliseconds of what a step of a per-sample head on kept outputs consists of."""
    model, corpus = Model.load(), Corpus.open(Store(store), tasks.find("waves"))
    encoder = copy.deepcopy(model.encoder)
    adapters.attach(encoder, "linear", {})
    network = Network(encoder, {"waves": build_head(corpus.task, encoder, HeadConfig())}, model.recipe).train()
    cache, rows, samples = corpus.store.prepared(model.recipe, progress=False), np.arange(BATCH), model.recipe.samples
    kept = _kept.keep(network, model.fingerprint, cache, rows)
    samplers = {
        name: Sampler(corpus.examples(rows, c), BATCH, samples) for name, c in (("x", cache), ("k", kept.cache))
    }
    batch, head = samplers["x"](0), network.heads["waves"]
    x = signal(model.recipe, batch)
    with torch.no_grad():
        levels = encoder(x, batch["present"])
    logits = head(levels, samples).detach().requires_grad_()
    objective = Supervised(network, {"waves": corpus.task}, Loss())
    gradient = torch.randn_like(logits)
    seconds = in_turns(
        {
            "batch of the signal": lambda: samplers["x"](0),
            "batch of what is kept": lambda: samplers["k"](0),
            "normalising": lambda: signal(model.recipe, batch),
            "encoder": torch.no_grad()(lambda: encoder(x, batch["present"])),
            "head, forward": torch.no_grad()(lambda: head(levels, samples)),
            "head, forward and backward": lambda: head(levels, samples).backward(gradient),
            "loss, forward and backward": lambda: objective._loss(corpus.task, logits, batch).backward(),
        },
        repeats,
        time.process_time,
    )
    return {name: round(1e3 * s, 1) for name, s in seconds.items()}


def compared(store: Path, adapter: str, config: dict, task: str) -> dict:
    """A job with and without what is kept."""
    made = {}
    for name, cache in (("kept", True), ("whole", False)):
        gc.collect()
        made[name] = run(store, adapter, config, task, cache)
    kept, whole = made["kept"], made["whole"]
    row = {"adapter": adapter, "place": config.get("place", ""), "task": task}
    row |= {"records": kept["records"], "steps": kept["steps"], "ratio": round(whole["seconds"] / kept["seconds"], 2)}
    row |= {f"{what}_differs": round(abs(kept[what] - whole[what]), 6) for what in ("score", "test_score")}
    for name, each in made.items():
        numbers = {what: round(each[what], 3) for what in ("seconds", "clock", "step_ms", "score", "test_score")}
        row[name] = numbers | {"peak_mb": round(each["peak_mb"]), "spent": each["spent"]}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--records", type=int, default=240, help="with labels; a quarter more are made, for the test part"
    )
    parser.add_argument("--repeats", type=int, default=7, help="of single steps")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        ecgraft.simulate(to=store, count=round(given.records / 0.8), seed=3, progress=False)
        rows = []
        for job in JOBS:
            rows.append(compared(store, *job))
            print(rows[-1], flush=True)
        steps = []
        for one in STEPS:
            steps.append(step(store, *one, given.repeats))
            print(steps[-1], flush=True)
        where = parts(store, given.repeats)
    bars = {"seconds": "under 60", "ratio": "at least 5", "scores": "differ by 1e-4 at most"}
    keep("fast_adaptation", bars=bars, batch=BATCH, jobs=rows, steps=steps, parts_ms=where)


if __name__ == "__main__":
    main()
