"""Small records for tests of the store: not ECGs, but all that a record can carry."""

from __future__ import annotations

import numpy as np

from ecgraft.record import BEAT, LEADS, RHYTHM, SPAN, WAVE, Record


def noise(i: int, leads=LEADS[:3], samples: int = 500, gain: float = 200.0) -> np.ndarray:
    """Integers of an AD converter over a gain, (C, T) mV."""
    steps = np.random.default_rng(i).integers(-900, 900, (len(leads), samples))
    return (steps.astype(np.float32) / np.float32(gain)).astype(np.float32)


def plain(i: int, leads=LEADS[:3], samples: int = 500, rate: float = 250.0, **known) -> Record:
    """Record i, of patient i // 2."""
    known = {"id": f"r{i}", "patient": f"p{i // 2}", "source": "made"} | known
    return Record(noise(i, leads, samples), rate, tuple(leads), **known)


def full(i: int = 0, **known) -> Record:
    """A record that carries everything."""
    signal = noise(i, LEADS[:2])
    signal[1, 100:120] = np.nan
    everything = {
        "age": 63.25,
        "sex": "F",
        "labels": {"scp:NORM": 1, "own:AF": 0},
        "complete": frozenset({"scp"}),
        "values": {"qt": 0.1 + 0.2},
        "report": "Sinusrhythmus, überdreht 心电图",
        "waves": np.array([(1, -1, 5, 10, 20), (2, 0, 30, 35, -1)], WAVE),
        "scored": np.array([(0, 3, 400)], SPAN),
        "beats": np.array([(35, b"N"), (200, b"V")], BEAT),
        "rhythms": np.array([(0, 500, "AFIB")], RHYTHM),
        "split": "train",
        "fold": 3,
        "extra": {"device": "CS-12 \u2028 E", "site": "2"},
    }
    return plain(i, LEADS[:2]).but(signal=signal, leads=("II", "CM5"), **(everything | known))


def assert_same(a: Record, b: Record) -> None:
    """Every field is equal, samples bit by bit."""
    assert np.array_equal(a.signal, b.signal, equal_nan=True)
    for name in ("waves", "scored", "beats", "rhythms"):
        one, two = getattr(a, name), getattr(b, name)
        assert (one is None) == (two is None) and (one is None or np.array_equal(one, two)), name
    rest = ("rate", "leads", "id", "patient", "age", "sex", "labels", "complete", "values", "report", "source")
    for name in (*rest, "split", "fold", "extra"):
        assert getattr(a, name) == getattr(b, name), name
