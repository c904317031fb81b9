"""Running a network over records of any length: overlapping windows, put together again by a stated rule.

A record-level output is the mean of the logits of the record's windows. A per-sample output is the mean of the
windows' probabilities, weighted by a triangle, so that a seam is ruled by the window that sees both its sides.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..nn import fuse
from ..nn.network import Network, is_dense
from ..signal.recipe import Recipe
from ..training.batches import Examples

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


def window_starts(length: int, samples: int, overlap: float) -> list[int]:
    """Where windows begin so that they cover `length` samples; the last one ends at the record's end."""
    if length <= samples:
        return [0]
    step = max(1, round(samples * (1 - overlap)))
    return [*range(0, length - samples, step), length - samples]


@torch.inference_mode()
def run(network: Network, examples: Examples, samples: int, *, batch=32, device="cpu") -> Iterator[tuple]:
    """(example, output) in order, for a network of one head: (K,) mean logits, or (C, K, T) probabilities."""
    network = fuse(network).to(device)
    dense = all(is_dense(head) for head in network.heads.values())
    lengths = np.asarray(examples.cache.length)[examples.index]
    jobs = [(i, s) for i, n in enumerate(lengths) for s in window_starts(int(n), samples, OVERLAP if dense else 0.0)]
    gathered = _Blend() if dense else _Mean()
    for at in range(0, len(jobs), batch):
        which, starts = (np.array(column) for column in zip(*jobs[at : at + batch]))
        part = examples.batch(which, starts, samples, device)
        (logits,) = network(part).values()
        for i, start, output in zip(which, starts, gathered.prepare(logits).cpu().numpy()):
            yield from gathered.add(i, int(start), output, int(lengths[i]))
    yield from gathered.finish()


class _Mean:
    """The mean of a record's window outputs."""

    def __init__(self):
        self.at, self.outputs = None, []

    def prepare(self, logits: torch.Tensor) -> torch.Tensor:
        return logits

    def add(self, i: int, start: int, output: np.ndarray, length: int) -> Iterator[tuple]:
        if i != self.at:
            yield from self.finish()
            self.at, self.outputs = i, []
        self.outputs.append(output)

    def finish(self) -> Iterator[tuple]:
        if self.at is not None:
            yield int(self.at), np.mean(self.outputs, axis=0)
        self.at = None


class _Blend:
    """A record's window outputs laid over each other with triangular weights."""

    def __init__(self):
        self.at, self.sum, self.weight = None, None, None

    def prepare(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(dim=2)

    def add(self, i: int, start: int, output: np.ndarray, length: int) -> Iterator[tuple]:
        C, K, samples = output.shape
        if i != self.at:
            yield from self.finish()
            self.at, self.sum, self.weight = i, np.zeros((C, K, length), np.float32), np.zeros(length, np.float32)
        n = min(samples, length - start)
        triangle = np.minimum(np.arange(1, samples + 1), np.arange(samples, 0, -1))[:n].astype(np.float32)
        self.sum[..., start : start + n] += output[..., :n] * triangle
        self.weight[start : start + n] += triangle

    def finish(self) -> Iterator[tuple]:
        if self.at is not None:
            yield int(self.at), self.sum / self.weight
        self.at = None
