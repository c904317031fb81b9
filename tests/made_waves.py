"""Waves painted as the probabilities that a model would say, and read back."""

from __future__ import annotations

import numpy as np

from ecgraft.record import NONE, QRS, P, T
from ecgraft.signal.decoder import decode

RATE = 250
BEAT = ((P, 20, 45), (QRS, 60, 84), (T, 120, 165))  # first and last sample


def beats(count, every=200, at=0, without=()):
    """(kind, first, last) of beats one after the other; without (beat, kind)."""
    return [
        (kind, at + i * every + first, at + i * every + last)
        for i in range(count)
        for kind, first, last in BEAT
        if (i, kind) not in without
    ]


def painted(samples, *leads, soft=1.5, sure=(0.97, 0.97, 0.97)):
    """Probabilities (C, 4, T) of the waves of each lead, P, QRS and T that sure, with edges `soft` samples wide."""
    out, far = np.zeros((len(leads), 4, samples)), int(50 * soft)
    for lead, waves in zip(out, leads):
        for kind, first, last in waves:
            time = np.arange(max(0, first - far), min(samples, last + far + 1))
            rise = [1 / (1 + np.exp(-np.clip(x / soft, -50, 50))) for x in (time - first + 0.5, last + 0.5 - time)]
            lead[kind, time] += rise[0] * rise[1]
        lead[1:] *= np.array(sure)[:, None] / np.maximum(1, lead[1:].sum(0))
        lead[NONE] = 1 - lead[1:].sum(0)
    out = (1 - 4e-3) * out + 1e-3
    return out.astype(np.float32)


def rows(found, lead=0):
    """(kind, onset, offset) of a lead."""
    some = found.waves[found.waves["lead"] == lead]
    return some[["kind", "onset", "offset"]].tolist()


def close(found, expected, samples):
    """Whether the waves are those expected, with ends that are at most some samples off."""
    expected = sorted(expected, key=lambda wave: wave[1])
    near = [np.abs(np.subtract(a[1:], b[1:])).max() <= samples for a, b in zip(found, expected)]
    return [wave[0] for wave in found] == [wave[0] for wave in expected] and all(near)


def exact(probability, *leads, together=None, **options):
    """Decodes; every lead must have its waves, the leads together those of the first lead or `together`."""
    found = decode(probability, RATE, **options)
    for i, waves in enumerate(leads):
        assert rows(found, i) == sorted(waves, key=lambda wave: wave[1])
    expected = leads[0] if together is None else together
    assert rows(found, -1) == sorted(expected, key=lambda wave: wave[1])
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
    assert found.stretches[0, 0] == 0 and found.stretches[-1, 1] == probability.shape[-1] - 1
    assert (found.stretches[1:, 0] == found.stretches[:-1, 1]).all()
    return found
