"""A long record read piece by piece says the same as all at once."""

from __future__ import annotations

import numpy as np
import pytest

from ecgraft.signal import along, decoder
from ecgraft.signal.along import Along
from ecgraft.signal.decoder import decode
from made_waves import BEAT, RATE, beats, painted, rows

pytestmark = pytest.mark.slow


def ambulatory(minutes, leads, seed=0):
    """Probabilities of beats without end: uneven, with noise, with pauses, with stretches that no one is sure of."""
    rng = np.random.default_rng(seed)
    samples, at, waves = minutes * 60 * RATE, 0, []
    while at < samples - 400:
        waves += [(kind, at + first, at + last) for kind, first, last in BEAT if rng.random() > 0.05]
        at += int(rng.integers(170, 300)) if rng.random() > 0.01 else int(rng.integers(1000, 6000))
    p = painted(samples, *[waves] * leads)
    for _ in range(minutes * 2):
        a, n = int(rng.integers(0, samples)), int(rng.integers(50, 5000))
        some = p[..., a : a + n]
        noise = rng.dirichlet([1] * 4, (leads, some.shape[-1])).transpose(0, 2, 1)
        weight = rng.choice([0.3, 0.6, 1.0])
        p[..., a : a + n] = (1 - weight) * some + weight * noise
    return p


def fed(p, rng, most, to=None):
    """What `Along` reads of chunks of random lengths."""
    whole, at = Along(RATE, to), 0
    while at < p.shape[-1]:
        n = int(rng.integers(0, most))
        whole.add(p[..., at : at + n])
        at += n
    return whole.end()


@pytest.mark.parametrize(("leads", "seed"), [(1, 0), (1, 1), (2, 2), (2, 3)])
def test_piece_by_piece_is_the_same_as_all_at_once(monkeypatch, leads, seed):
    p = ambulatory(8, leads, seed)
    expected = decode(p, RATE, 360)
    monkeypatch.setattr(along, "PIECE", 47.0)
    for most in (500, 40_000, 400_000):
        found = fed(p, np.random.default_rng(seed), most, 360)
        assert (found.waves == expected.waves).all()
        assert (found.first == expected.first).all() and (found.confidence == expected.confidence).all()
        assert (found.stretches == expected.stretches).all() and (found.modes == expected.modes).all()


@pytest.mark.parametrize("leads", [1, 2])
def test_half_an_hour_in_pieces_is_the_same_as_all_at_once(leads):
    p = ambulatory(30, leads, 7)
    expected, found = decode(p, RATE), fed(p, np.random.default_rng(0), 30_000)
    assert (found.waves == expected.waves).all() and (found.modes == expected.modes).all()


@pytest.mark.parametrize("sure", [0.55, 0.97])
def test_no_beat_is_lost_or_there_twice_at_a_seam(monkeypatch, sure):
    waves = beats(150, every=211)
    p = painted(150 * 211 + 100, waves, sure=(0.97, sure, 0.97), soft=0.1)
    monkeypatch.setattr(along, "PIECE", 13.0)
    monkeypatch.setattr(along, "MARGIN", 10.0)
    assert rows(fed(p, np.random.default_rng(0), 2000)) == sorted(waves, key=lambda wave: wave[1])


def test_a_long_record_without_any_beat_in_pieces(monkeypatch):
    monkeypatch.setattr(along, "PIECE", 20.0)
    found = fed(painted(60_000, [], []), np.random.default_rng(0), 5000)
    assert len(found.waves) == 0
    assert (found.stretches[1:, 0] == found.stretches[:-1, 1]).all()
    assert (found.stretches[0, 0], found.stretches[-1, 1]) == (0, 59_999)


def test_less_than_a_margin_and_nothing_at_all():
    waves = beats(2)
    p = painted(400, waves)
    assert rows(fed(p, np.random.default_rng(0), 50)) == rows(decode(p, RATE))
    for chunks in ([], [np.zeros((1, 4, 0), np.float32)]):
        empty = Along(RATE)
        for chunk in chunks:
            empty.add(chunk)
        with pytest.raises(ValueError, match="no samples were added"):
            empty.end()


def test_the_number_read_at_once_makes_no_difference(monkeypatch):
    p = ambulatory(2, 3, 5)
    expected = decode(p, RATE)
    monkeypatch.setattr(decoder, "AT_ONCE", 900)
    found = decode(p, RATE)
    assert (found.waves == expected.waves).all() and (found.confidence == expected.confidence).all()
