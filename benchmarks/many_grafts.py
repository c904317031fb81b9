"""Ten grafts on one record in one pass, against one graft by the same way, and against one after the other.

    python benchmarks/many_grafts.py

Twelve leads of ten seconds at 500 Hz, the packaged encoder, 1 thread. `predict` is the whole of model.predict, from the
record to probabilities; `network` the pass through encoder and heads alone. What each graft has learnt does not matter
here, so that adapters and heads hold random numbers. Repeats are interleaved and medians compared, so that a busy
machine slows all alike. `before`: ten grafts one after the other, each with a copy of the encoder made for the record.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import torch
from _result import in_turns, keep

from ecgraft import adapters
from ecgraft.model import Graft, Model
from ecgraft.model.infer import Memory
from ecgraft.nn.network import HeadConfig, build_head
from ecgraft.record import LEADS, Record
from ecgraft.tasks import Task, superclass, waves
from ecgraft.training import Examples

GRAFTS, SECONDS, RATE, REPEATS, THREADS = 10, 10, 500.0, 31, 1
LAST = {"place": "last-1"}
KINDS: dict[str, tuple[str, dict, float | None]] = {  # adapter, its settings, most of the time of one
    "linear": ("linear", {}, 2.0),
    "lrc, last stage": ("lrc", LAST, 2.0),
    "rd_lora, last stage": ("rd_lora", LAST, 2.0),
    "norm, last stage": ("norm", LAST, 2.0),
    "lrc": ("lrc", {}, 4.0),
    "lrc, norms as well": ("lrc", {"norm": "affine"}, 4.0),
    "rd_lora": ("rd_lora", {}, None),
    "full": ("full", {}, None),
    "lrc, last stage, waves": ("lrc", LAST, None),
}


def graft(model: Model, number: int, adapter: str, config: dict, task: Task) -> Graft:
    """A graft of random numbers, each tensor of the adapter 1 % off where it starts."""
    torch.manual_seed(number)
    encoder, settings = copy.deepcopy(model.encoder), HeadConfig()
    adapters.attach(encoder, adapter, config)
    head = build_head(task, encoder, settings)
    learnt = {key: value.detach().clone() for key, value in adapters.saved(encoder).items()}
    for value in learnt.values():
        if value.is_floating_point():
            value += 0.01 * value.std().nan_to_num(1.0).clamp(min=0.1) * torch.rand_like(value)
    tensors = {f"encoder.{key}": value for key, value in learnt.items()}
    tensors |= {f"head.{key}": value.detach().clone() for key, value in head.state_dict().items()}
    return Graft(
        f"g{number}", task, model.recipe, adapter, asdict(settings), model.fingerprint, tensors, adapter_config=config
    )


def with_grafts(adapter: str, config: dict, task: Task, number: int) -> Model:
    model = Model.load()
    model.grafts.clear()
    for i in range(number):
        model.add(graft(model, i, adapter, config, task))
    return model


def network(model: Model, record: Record) -> Callable[[], dict]:
    """The pass through encoder and heads alone."""
    ((recipe, made),) = model.ready(list(model.grafts))
    batch = Examples(Memory([record], recipe), np.arange(1)).batch(np.arange(1), np.zeros(1, int), recipe.samples)
    return lambda: made.network(batch)


def before(model: Model, record: Record) -> None:
    """One after the other; a graft that is put on anew leaves nothing ready."""
    for each in list(model.grafts.values()):
        model.add(each)
        model.predict(record, [each.name])


def compare(record: Record, adapter: str, config: dict, bar: float | None, task: Task) -> dict:
    """Milliseconds of one graft and of all, and their ratios."""
    one, many, old = (with_grafts(adapter, config, task, number) for number in (1, GRAFTS, GRAFTS))
    runs = {
        "one": lambda: one.predict(record), "many": lambda: many.predict(record),
        "network of one": network(one, record), "network of many": network(many, record),
    }  # fmt: skip
    with torch.inference_mode():
        seconds = in_turns(runs, REPEATS) | in_turns({"before": lambda: before(old, record)}, 3)
    return {
        "ms": {name: round(1e3 * each, 2) for name, each in seconds.items()},
        "ratio": round(seconds["many"] / seconds["one"], 2),
        "network ratio": round(seconds["network of many"] / seconds["network of one"], 2),
        "before over now": round(seconds["before"] / seconds["many"], 1),
        "bar": bar,
    }


def main() -> None:
    torch.set_num_threads(THREADS)
    noise = 0.2 * np.random.default_rng(0).standard_normal((len(LEADS), round(SECONDS * RATE)))
    record = Record(noise, RATE, LEADS, id="noise")
    rows = {
        name: compare(record, *kind, waves.TASK if name.endswith("waves") else superclass.TASK)
        for name, kind in KINDS.items()
    }
    keep("many_grafts", grafts=GRAFTS, repeats=REPEATS, rows=rows)


if __name__ == "__main__":
    main()
