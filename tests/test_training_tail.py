"""Batches with a tail of unlabelled windows: which records, in what order, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ecgraft.record import InputError
from ecgraft.training import Examples, Sampler, Tail
from test_training import Cache

pytestmark = pytest.mark.slow


class Full(Cache):
    """Waves and R peaks everywhere, for tasks per sample."""

    def waves(self, index, start, samples):
        shape = (len(index), 1, samples)
        return np.full(shape, 2, np.uint8), np.ones(shape, bool)

    def peaks(self, index, start, samples):
        return np.full((len(index), 3), 7, np.int32)

    def beats(self, index, start, samples, task):
        return self.peaks(index, start, samples), np.ones((len(index), 3), np.int8)


def made(share: float, seed: int = 1, unlabelled: int = 7, **more) -> Tail:
    y = np.ones((4, 2), np.int8)
    labelled = Sampler(Examples(Full(), np.arange(4), y, y > 0, **more), batch=4, samples=90, seed=seed)
    return Tail(labelled, Examples(Full(), np.arange(3, 3 + unlabelled), **more), share, 90, seed=seed)


def test_labelled_rows_come_first_and_the_tail_is_unknown():
    tail = made(1.5, waves=True, beats=object(), peaks=True)
    batch, plain = tail(3), tail.labelled(3)
    assert batch["labelled"].tolist() == [True] * 4 + [False] * 6
    assert batch.keys() == plain.keys() | {"labelled"} and (batch["step"], batch["seed"]) == (3, 1)
    for name, value in plain.items():
        if torch.is_tensor(value):
            assert torch.equal(batch[name][:4], value) and batch[name].dtype == value.dtype and len(batch[name]) == 10
    unknown = {"y": 0, "known": False, "waves": 0, "scored": False, "peaks": -1, "beats": -1}
    for name, value in unknown.items():
        assert (batch[name][4:] == value).all(), name
    assert batch["x"][4:].abs().sum() > 0 and batch["present"][4:].all() and (batch["length"][4:] == 90).all()


@pytest.mark.parametrize("share, size", [(0, 0), (0.1, 0), (0.5, 2), (1, 4), (3, 12), (2.6, 10)])
def test_any_share(share, size):
    batch = made(share)(0)
    assert batch["labelled"].tolist() == [True] * 4 + [False] * size and len(batch["x"]) == 4 + size


def test_every_unlabelled_record_comes_once_a_turn_and_batches_repeat_by_number():
    tail = made(1.0)
    drawn = torch.cat([tail(k)["index"][4:] for k in range(7)]).tolist()  # 28 windows of 7 records
    turns = [drawn[k : k + 7] for k in range(0, 28, 7)]
    assert all(sorted(turn) == list(range(3, 10)) for turn in turns) and turns[0] != turns[1]
    for number in (5, 0, 6):  # as a run that is resumed asks for them
        again, first = made(1.0)(number), tail(number)
        assert all(torch.equal(again[name], first[name]) for name in ("x", "index", "length", "y"))
    assert not torch.equal(made(1.0, seed=2)(0)["x"][4:], tail(0)["x"][4:])
    at = (tail(0)["x"][4:, 0, 0] * 1000).round().long() - tail(0)["index"][4:] * 1000
    assert ((at >= 0) & (at <= torch.from_numpy(Cache.length)[tail(0)["index"][4:]] - 90)).all() and at.any()


def test_the_tail_changes_no_labelled_row():
    for share in (0.0, 1.0, 3.0):
        assert torch.equal(made(share)(2)["x"][:4], made(0.0).labelled(2)["x"])


def test_no_unlabelled_record():
    with pytest.raises(InputError, match="tail=0"):
        made(1.0, unlabelled=0)
    assert made(0.0, unlabelled=0)(0)["labelled"].all()
