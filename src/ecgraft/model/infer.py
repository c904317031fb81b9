"""Running a network over records of any length: overlapping windows, put together again by a stated rule.

A record-level output is the mean of the logits of the record's windows; neighbours are asked once, with the mean of
the windows' features. A per-sample output is the mean of the windows' probabilities, weighted by a triangle, so that a
seam is ruled by the window that sees both its sides.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..nn import fuse
from ..nn.heads import Features, Neighbours
from ..nn.network import Network, is_dense
from ..signal.recipe import Recipe
from ..training.batches import Examples

FEATURES = "(features)"  # the output of `with_features`; no graft can have this name
OVERLAP = 0.25  # share of a window that the next one repeats, for per-sample outputs


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


def window_starts(length: int, samples: int, overlap: float) -> list[int]:
    """Where windows begin so that they cover `length` samples; the last one ends at the record's end."""
    if length <= samples:
        return [0]
    step = max(1, round(samples * (1 - overlap)))
    return [*range(0, length - samples, step), length - samples]


@torch.inference_mode()
def run(network: Network, examples: Examples, samples: int, *, batch=32, device="cpu") -> Iterator[tuple]:
    """(example, {head: output}) in order; an output is (K,) mean logits, or (C, K, T) probabilities."""
    network = fuse(network).to(device)
    asked = {name: head for name, head in network.heads.items() if isinstance(head, Neighbours)}
    network.heads.update({name: Features() for name in asked})
    dense = {name: is_dense(head) for name, head in network.heads.items()}
    overlap = OVERLAP if any(dense.values()) else 0.0
    lengths = np.asarray(examples.cache.length)[examples.index]
    jobs = [(i, start) for i, n in enumerate(lengths) for start in window_starts(int(n), samples, overlap)]
    at, gathered = None, {}
    for first in range(0, len(jobs), batch):
        which, starts = (np.array(column) for column in zip(*jobs[first : first + batch]))
        logits = network(examples.batch(which, starts, samples, device))
        outputs = {name: (x.softmax(dim=2) if dense[name] else x).cpu().numpy() for name, x in logits.items()}
        for row, (i, start) in enumerate(zip(which.tolist(), starts.tolist())):
            if i != at:
                if at is not None:
                    yield at, {name: each.result() for name, each in gathered.items()}
                at = i
                gathered = {
                    name: _Blend(int(lengths[i])) if per_sample else _Mean(asked.get(name), device)
                    for name, per_sample in dense.items()
                }
            for name, each in gathered.items():
                each.add(start, outputs[name][row])
    if at is not None:
        yield at, {name: each.result() for name, each in gathered.items()}


class _Mean:
    """The mean of a record's window outputs, or what a head answers to that."""

    def __init__(self, head: Neighbours | None = None, device="cpu"):
        self.outputs, self.head, self.device = [], head, device

    def add(self, start: int, output: np.ndarray) -> None:
        self.outputs.append(output)

    def result(self) -> np.ndarray:
        mean = np.mean(self.outputs, axis=0)
        if self.head is None:
            return mean
        return self.head(torch.from_numpy(mean)[None].to(self.device))[0].cpu().numpy()


class _Blend:
    """A record's window outputs laid over each other with triangular weights."""

    def __init__(self, length: int):
        self.length, self.sum, self.weight = length, None, np.zeros(length, np.float32)

    def add(self, start: int, output: np.ndarray) -> None:
        C, K, samples = output.shape
        if self.sum is None:
            self.sum = np.zeros((C, K, self.length), np.float32)
        n = min(samples, self.length - start)
        triangle = np.minimum(np.arange(1, samples + 1), np.arange(samples, 0, -1))[:n].astype(np.float32)
        self.sum[..., start : start + n] += output[..., :n] * triangle
        self.weight[start : start + n] += triangle

    def result(self) -> np.ndarray:
        return self.sum / self.weight
