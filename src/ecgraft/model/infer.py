"""Running a network over records of any length: overlapping windows, put together again by a stated rule.

A record-level output is the mean of the logits of the record's windows; neighbours are asked once, with the mean of
the windows' features. A per-sample output is the mean of the windows' probabilities, weighted by a triangle, so that a
seam is ruled by the window that sees both its sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..nn import fuse
from ..nn.heads import Features, Neighbours
from ..nn.network import Network, is_dense
from ..signal.recipe import Recipe
from ..training.batches import Examples

FEATURES = "(features)"  # the output of `with_features`; no graft can have this name
OVERLAP = 0.25  # share of a window that the next one repeats, for per-sample outputs and what comes with them


class Memory:
    """Records in memory behind the interface of a prepared cache."""

    def __init__(self, records, recipe: Recipe):
        self.recipe = recipe
        self.prepared = [recipe.prepare(record) for record in records]
        self.length = np.array([p.signal.shape[1] for p in self.prepared])

    def batch(self, index: np.ndarray, start: np.ndarray, samples: int) -> dict[str, np.ndarray]:
        B, C = len(index), len(self.recipe.leads)
        x = np.zeros((B, C, samples), np.float32)
        present = np.zeros((B, C), bool)
        length = np.zeros(B, np.int32)
        for b, (i, at) in enumerate(zip(index, start)):
            piece = self.prepared[i].signal[:, at : at + samples]
            slots = self.prepared[i].slots
            x[b, slots, : piece.shape[1]] = np.nan_to_num(piece)
            present[b, slots] = True
            length[b] = piece.shape[1]
        return {"x": x, "present": present, "length": length}


def with_features(network: Network) -> Network:
    """The network, in eval mode, that gives its pooled features in the same pass."""
    return Network(network.encoder, {**network.heads, FEATURES: Features()}, network.recipe).eval()


def features_of(name: str) -> str:
    """The output that is the pooled features of a graft, where a network has several."""
    return f"{FEATURES} {name}"


@dataclass(frozen=True)
class Ready:
    """A network as `run` takes it, made once for many records: on its device, with BatchNorm folded.

    asked    the neighbours behind outputs that are features until a record is complete
    dense    whether an output is per sample
    overlap  of the windows of an output
    """

    network: nn.Module
    device: str
    asked: dict[str, Neighbours]
    dense: dict[str, bool]
    overlap: dict[str, float]

    @property
    def copies(self) -> int:
        """How many rows of a batch a window takes."""
        return getattr(self.network, "copies", 1)


def ready(network: nn.Module, device="cpu", fused: bool = False) -> Ready:
    """Makes a copy ready, or (fused) the network itself.

    Outputs of one graft have the same windows: those of `parts`, a list of lists of outputs, else of the network.
    """
    network = (network if fused else fuse(network)).to(device)
    asked = {name: head for name, head in network.heads.items() if isinstance(head, Neighbours)}
    network.heads.update({name: Features() for name in asked})
    dense = {name: is_dense(head) for name, head in network.heads.items()}
    parts = getattr(network, "parts", [list(dense)])
    overlap = {name: OVERLAP if any(dense[n] for n in part) else 0.0 for part in parts for name in part}
    return Ready(network, device, asked, dense, overlap)


def window_starts(length: int, samples: int, overlap: float) -> list[int]:
    """Where windows begin so that they cover `length` samples; the last one ends at the record's end."""
    if length <= samples:
        return [0]
    step = max(1, round(samples * (1 - overlap)))
    return [*range(0, length - samples, step), length - samples]


Drain = Callable[[np.ndarray], None]  # is handed the next probabilities (C, K, n) of a record


@torch.inference_mode()
def run(
    network: Network | Ready, examples: Examples, samples: int, *, batch=32, device="cpu",
    drains: dict[str, Drain] | None = None,
) -> Iterator[tuple]:  # fmt: skip
    """(example, {head: output}) in order; an output is (K,) mean logits, or (C, K, T) probabilities.

    `batch`: windows in a pass. What is `ready` runs on its own device. An output per sample that has a drain is handed
    to it piece by piece, as soon as no later window changes it, and is None in the end: so memory does not grow with
    the record.
    """
    drains = drains or {}
    made = network if isinstance(network, Ready) else ready(network, device)
    lengths = np.asarray(examples.cache.length)[examples.index]
    jobs = [(i, start) for i, n in enumerate(lengths) for start in _all_starts(made, int(n), samples)]
    batch, at, gathered = max(1, batch // made.copies), None, {}
    for first in range(0, len(jobs), batch):
        which, starts = (np.array(column) for column in zip(*jobs[first : first + batch]))
        logits = made.network(examples.batch(which, starts, samples, made.device))
        outputs = {name: (x.softmax(dim=2) if made.dense[name] else x).cpu().numpy() for name, x in logits.items()}
        for row, (i, start) in enumerate(zip(which.tolist(), starts.tolist())):
            if i != at:
                if at is not None:
                    yield at, {name: each.result() for name, each in gathered.items()}
                at, gathered = i, _gather(made, int(lengths[i]), samples, drains)
            for name, each in gathered.items():
                each.add(start, outputs[name][row])
    if at is not None:
        yield at, {name: each.result() for name, each in gathered.items()}


def _all_starts(made: Ready, length: int, samples: int) -> list[int]:
    """The windows that some output of a record needs; all outputs are computed there."""
    each = (window_starts(length, samples, overlap) for overlap in set(made.overlap.values()))
    return sorted(set().union(*each))


def _gather(made: Ready, length: int, samples: int, drains: dict[str, Drain]) -> dict[str, _Mean | _Blend]:
    """What a record's window outputs are put together in."""
    starts = {overlap: set(window_starts(length, samples, overlap)) for overlap in made.overlap.values()}
    return {
        name: _Blend(starts[made.overlap[name]], length, drains.get(name))
        if per_sample
        else _Mean(starts[made.overlap[name]], made.asked.get(name), made.device)
        for name, per_sample in made.dense.items()
    }


class _Mean:
    """The mean of a record's outputs in the windows at `starts`, or what a head answers to that."""

    def __init__(self, starts: set[int], head: Neighbours | None = None, device="cpu"):
        self.starts, self.outputs, self.head, self.device = starts, [], head, device

    def add(self, start: int, output: np.ndarray) -> None:
        if start in self.starts:
            self.outputs.append(output)

    def result(self) -> np.ndarray:
        mean = np.mean(self.outputs, axis=0)
        if self.head is None:
            return mean
        return self.head(torch.from_numpy(mean)[None].to(self.device))[0].cpu().numpy()


class _Blend:
    """A record's outputs in the windows at `starts`, laid over each other with triangular weights."""

    def __init__(self, starts: set[int], length: int, drain: Drain | None = None):
        self.starts, self.length, self.drain, self.sum = starts, length, drain, None
        self.base = 0  # what lies before it has gone to the drain

    def add(self, start: int, output: np.ndarray) -> None:
        if start not in self.starts:
            return
        C, K, samples = output.shape
        if self.sum is None:
            held = self.length if self.drain is None else min(self.length, 2 * samples)
            self.sum, self.weight = np.zeros((C, K, held), np.float32), np.zeros(held, np.float32)
        if self.drain is not None and start > self.base:
            self._flush(start - self.base)
        n, at = min(samples, self.length - start), start - self.base
        triangle = np.minimum(np.arange(1, samples + 1), np.arange(samples, 0, -1))[:n].astype(np.float32)
        self.sum[..., at : at + n] += output[..., :n] * triangle
        self.weight[at : at + n] += triangle

    def _flush(self, n: int) -> None:
        """Hands the first n samples on; windows come in order, so nothing is added to them any more."""
        self.drain(self.sum[..., :n] / self.weight[:n])
        self.base += n
        for held in (self.sum, self.weight):
            held[..., :-n] = held[..., n:].copy()
            held[..., -n:] = 0

    def result(self) -> np.ndarray | None:
        if self.drain is None:
            return self.sum / self.weight
        self._flush(self.length - self.base)
        return None
