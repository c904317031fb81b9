"""The waves of a record that is too long to be read in one go: the same decoder, piece by piece.

Pieces overlap and are joined inside a QRS complex that both of them see, so that no beat is there twice and none is
lost. Memory holds one piece.
"""

from __future__ import annotations

import numpy as np

from .decoder import Read, Reader, decode, in_order

PIECE = 600.0  # s
MARGIN = 30.0  # s on both sides of a seam that a piece knows too


class Along:
    """Takes probabilities in the order of time: `add` them, `end` gives what `decode` would of all of them."""

    def __init__(self, rate: float, to: float | None = None, signal: np.ndarray | None = None, reader=None):
        self.rate, self.to, self.signal, self.reader = rate, to, signal, reader or Reader()
        self.held: list[np.ndarray] = []
        self.length = 0  # samples in `held`
        self.begins = 0  # the first of them
        self.seam = -1  # what begins up to here has been read
        self.parts: list[Read] = []

    def add(self, probability: np.ndarray) -> None:
        """The next samples, (C, 4, n)."""
        self.held.append(probability)
        self.length += probability.shape[-1]
        whole = round((PIECE + 2 * MARGIN) * self.rate)
        while self.length >= whole:
            self._read(whole)

    def end(self) -> Read:
        """All waves; ValueError where nothing was added."""
        if not self.length:
            raise ValueError("no samples were added, so there are no waves to read")
        self._read()
        rows = zip(*((p.waves, p.confidence, p.first, p.stretches, p.modes) for p in self.parts))
        found = Read(*(np.concatenate(each) for each in rows))
        return found.take(in_order(found.waves), slice(None))

    def _read(self, samples: int | None = None) -> None:
        """Reads the first `samples` of those held, the next piece; or all of them, the last one."""
        held = np.concatenate(self.held, axis=-1)
        read = decode(held[..., :samples], self.rate, self.to, self.signal, self.reader, self.begins)
        margin, starts = round(MARGIN * self.rate), read.stretches[:, 0]
        end = self.begins + (samples or self.length)
        seam = int(starts[starts <= end - margin].max()) if samples else end
        mine = (read.first > self.seam) & (read.first <= seam)
        self.parts.append(read.take(mine, (starts >= max(self.seam, 0)) & (starts < seam)))
        self.seam = seam
        self.begins, begun = max(seam - margin, self.begins), self.begins
        self.held = [held[..., self.begins - begun :].copy()]
        self.length = self.held[0].shape[-1]
