"""Where a lead stands still nothing is known of it: finding it, and what the decoder makes of it."""

from __future__ import annotations

import numpy as np
import pytest

import made_waves as made
from ecgraft.record import Record
from ecgraft.signal.decoder import UNREADABLE, decode
from ecgraft.signal.quality import still


def test_still_spans_are_two_seconds_long_at_least():
    signal = np.random.default_rng(0).normal(size=(4, 5000))
    signal[0, 1000:2500], signal[1, 3000:], signal[2], signal[3, 100:900] = 3, np.nan, 0, 1
    found = [spans.tolist() for spans in still(Record(signal, 500, ("I", "II", "V1", "V2")))]
    assert found == [[[1000, 2500]], [[3000, 5000]], [[0, 5000]], []]
    assert [still(Record(np.zeros((1, n)), 500, ("I",)))[0].tolist() for n in (1, 3, 400)] == [
        [[0, 1]], [[0, 3]], [[0, 400]],
    ]  # fmt: skip


@pytest.mark.parametrize("leads", [1, 2, 12])
def test_a_decoder_that_knows_nothing_of_a_lead_takes_its_word_from_the_others(leads):
    waves = made.beats(10)
    expected = sorted(waves, key=lambda wave: wave[1])
    p = made.painted(2000, *[waves] * leads)
    p[-1, :, 600:1400] = np.nan
    found = decode(p, made.RATE)
    for lead in range(-1, leads - 1):
        assert made.rows(found, lead) == (expected if leads > 1 else made.rows(found, 0))
    assert not [wave for wave in made.rows(found, leads - 1) if wave[2] >= 600 and wave[1] < 1400]
    assert made.rows(found, leads - 1)[:5] == expected[:5] and made.rows(found, leads - 1)[-8:] == expected[-8:]
    assert bool(found.spans(UNREADABLE)) == (leads == 1)
    p[:] = np.nan
    found = decode(p, made.RATE)
    assert len(found.waves) == 0 and found.spans(UNREADABLE) == [(0, 1999)]
