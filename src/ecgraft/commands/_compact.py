"""A merged model without the channels that compute nothing: what is taken out, and what it saves."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import torch
from torch import nn

from ..encoders._inner import narrowed
from ..model import Model, infer, reference
from ..nn import compact

REPEATS, WARM_UP = 15, 2  # passes that are timed, and those before
SECONDS = 10.0  # of the record that is timed


def compacted(model: Model) -> Model:
    """A model whose encoder has only the inner channels it needs (encoders._inner); itself where it needs them all.

    The model: one whose grafts change nothing in its encoder, as a merged one. UsageError where its encoder has no
    setting for inner widths.
    """
    encoder = narrowed(model.encoder)
    if encoder is model.encoder:
        return model
    taken = {"inner channels": [channels(encoder), channels(model.encoder)], "from": model.fingerprint}
    new = Model(encoder, model.recipe, model.card | {"compact": taken}, seen=model.seen)
    for graft in model.grafts.values():
        new.add(replace(reference.without(graft), encoder=new.fingerprint))
    return new


def channels(encoder: nn.Module) -> int:
    """Inner channels of its residual modules."""
    return sum(block.first.conv.out_channels for block in compact.residuals(encoder).values())


def compare(before: Model, after: Model, name: str, repeats: int = REPEATS, clock=time.perf_counter) -> dict:
    """What a graft costs in two models, [before, after]: weights and bytes of the encoder, ms of one record.

    ms    median of passes through encoder and head on one record of 10 s, which take turns; ratio: after over before
    zero  weights that are 0, of those of the encoder
    """
    found: dict = {"inner channels": [channels(model.encoder) for model in (before, after)]}
    tensors = [list(model.encoder.state_dict().values()) for model in (before, after)]
    weights = [list(model.encoder.parameters()) for model in (before, after)]
    found["weights"] = [sum(p.numel() for p in each) for each in weights]
    found["zero"] = [sum(int((p == 0).sum()) for p in each) for each in weights]
    found["bytes"] = [sum(t.numel() * t.element_size() for t in each) for each in tensors]
    runs = [_run(model, name) for model in (before, after)]
    a, b = _in_turns(runs, repeats, clock)
    with torch.inference_mode():
        ((one,), (other,)) = (run().values() for run in runs)
    found |= {"ms": [round(1e3 * a, 2), round(1e3 * b, 2)], "ratio": round(b / a, 3)}
    return found | {"largest difference": float((one - other).abs().max()), "largest logit": float(one.abs().max())}


def _run(model: Model, name: str):
    """A pass of a graft over one record."""
    made = infer.ready(model.network(name))
    recipe = model.graft(name).recipe
    samples = max(1, round(SECONDS * recipe.rate))
    x = torch.from_numpy(reference.signal(len(recipe.leads), recipe.rate, samples)[:1]).float() / 1000  # mV
    batch = {"x": x, "present": torch.ones(x.shape[:2], dtype=torch.bool), "length": torch.tensor([samples])}
    return lambda: made.network(batch)


@torch.inference_mode()
def _in_turns(runs: list, repeats: int, clock) -> list[float]:
    """Median seconds of each; they take turns, so that a busy machine slows all alike."""
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(WARM_UP + repeats):
        for each, run in zip(seconds, runs):
            begun = clock()
            run()
            each.append(clock() - begun)
    return [statistics.median(each[WARM_UP:]) for each in seconds]


def told(found: dict) -> str:
    """A line of `compare` for a person."""
    kept, of = found["inner channels"][::-1]
    if kept == of:
        return f"nothing can be taken out: all {of} inner channels of its residual modules are needed"
    sides = (
        [f"{v:,}" for v in found["weights"]],
        [f"{v / 1024:,.0f}" for v in found["bytes"]],
        [f"{v:g}" for v in found["ms"]],
    )
    weights, size, ms = (" -> ".join(pair) for pair in sides)
    return (
        f"{of - kept} of {of} inner channels compute nothing and are taken out: weights {weights}; {size} KiB; "
        f"{ms} ms for a record ({found['ratio']:.2f} of the time); logits differ by {found['largest difference']:.1g} "
        f"at most, the largest is {found['largest logit']:.3g}"
    )
