"""Weights that belong to tasks, against the oracles of ECG-CL (methods/ecg-cl.md, section 6) that are about weights."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ecgraft import encoders
from ecgraft.continual import _parts
from ecgraft.continual._parts import Parting, Phase, cubic, sparsity
from ecgraft.nn import shared
from ecgraft.nn.shared import OWN, READS, Ledger, PartConv1d
from ecgraft.record import UsageError
from made_tasks import Toy, adamw, drop_all, free, learnt, train

OPTIMISERS = {
    "sgd": lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda ps: torch.optim.Adam(ps, lr=1e-2, weight_decay=0.01),
    "adamw": lambda ps: torch.optim.AdamW(ps, lr=1e-2, weight_decay=0.01),
}
SHARES = (0.7, 0.5, 0.0)


def empty() -> Ledger:
    return Ledger.empty(shared.shapes(Toy()))


def of_tasks(*shares: float, **how) -> Ledger:
    """A ledger after tasks that gave these shares back."""
    ledger = empty()
    for task, share in enumerate(shares):
        ledger.enter(learnt(ledger, share, seed=task, **how)[1])
    return ledger


def same(one: dict, other: dict) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(
        one[key].dtype == other[key].dtype and torch.equal(one[key].view(torch.uint8), other[key].view(torch.uint8))
        for key in one
    )


def weights(encoder: nn.Module, ledger: Ledger) -> dict[str, torch.Tensor]:
    return {name: encoder.get_submodule(name).weight.detach().flatten() for name in ledger.owner}


def part(weight: list, owner: list, channels: int = 1, **how) -> PartConv1d:
    """A convolution with one input and kernel 1 or more, of whose flat weights some are owned by earlier tasks."""
    shape = (channels, 1, len(weight) // channels)
    box = nn.Module()
    box.layer = nn.Conv1d(1, channels, shape[2], bias=False)
    with torch.no_grad():
        box.layer.weight.copy_(torch.tensor(weight).view(shape))
    values = torch.where(torch.tensor(owner) > 0, torch.tensor(weight), 0.0)
    ledger = Ledger({"layer": torch.tensor(owner, dtype=torch.uint8)}, {"layer": values}, {"layer": shape}, max(owner))
    shared.claim(box, ledger, **how)
    return box.layer


# --- who owns what (oracles 2 and 6)


def test_no_weight_has_two_owners_and_owned_and_free_are_all():
    ledger, before = empty(), None
    for task, share in enumerate(SHARES, 1):
        before, tensors = copy.deepcopy(ledger), learnt(ledger, share, seed=task)[1]
        ledger.enter(tensors)
        for name, owner in ledger.owner.items():
            had = before.owner[name] > 0
            assert torch.equal(owner[had], before.owner[name][had]) and set(owner[~had].tolist()) <= {0, task}
            assert same({"": ledger.values[name][had]}, {"": before.values[name][had]})
            assert sum(int((owner == k).sum()) for k in range(task + 1)) == len(owner)
            assert not ledger.values[name][owner == 0].any()
        assert sum(ledger.owned(k) for k in range(task + 1)) == pytest.approx(1)


def test_the_owner_map_changes_only_when_a_task_enters():
    ledger = of_tasks(0.7)
    before, (_, tensors) = copy.deepcopy(ledger), learnt(ledger, 0.5)
    ledger.read(tensors)
    assert ledger.tasks == 1 and same(ledger.owner, before.owner) and same(ledger.values, before.values)
    ledger.enter(tensors)
    assert ledger.tasks == 2 and not same(ledger.owner, before.owner)


@pytest.mark.parametrize("encoder", ["toy", "multires"])
def test_shares_of_three_tasks(encoder):
    """0.30, 0.35 and 0.35 of every layer, up to one weight."""
    made = Toy() if encoder == "toy" else encoders.build("multires", {"width": 8})
    ledger = Ledger.empty(shared.shapes(made))
    for share in SHARES:
        shared.claim(made, ledger)
        drop_all(made, share)
        tensors = shared.saved(made, ledger)
        shared.settle(made)
        ledger.enter(tensors)
    for owner in ledger.owner.values():
        n = len(owner)
        counts = [int((owner == k).sum()) for k in range(4)]
        after = math.floor(0.7 * n)
        assert counts == [0, n - after, after - after // 2, after // 2]
        assert all(abs(count - share * n) <= 1 for count, share in zip(counts, (0, 0.30, 0.35, 0.35)))
    assert [ledger.owned(k) for k in range(4)] == pytest.approx(
        [0, 0.30, 0.35, 0.35], abs=len(ledger.owner) / ledger.size
    )


@pytest.mark.parametrize("tasks", [1, 2, 3, 7])
def test_a_declared_number_of_tasks_gives_each_an_equal_part(tasks):
    left = 1.0
    for k in range(1, tasks + 1):
        share = sparsity(k, tasks, None)
        assert share == (tasks - k) / (tasks - k + 1)
        assert left * (1 - share) == pytest.approx(1 / tasks)
        left *= share
    assert left == 0
    with pytest.raises(UsageError, match=f"task {tasks + 1}, but the model was divided for {tasks}"):
        sparsity(tasks + 1, tasks, None)


def test_shares_that_are_given():
    assert [sparsity(k, None, None) for k in (1, 2, 3)] == [_parts.FIRST, _parts.LATER, _parts.LATER] == [0.7, 0.5, 0.5]
    assert [sparsity(k, None, 0.2) for k in (1, 2)] == [0.2, 0.2] and sparsity(1, None, 0.0) == 0
    assert [sparsity(k, None, [0.6, 0.4]) for k in (1, 2, 3)] == [0.6, 0.4, 0.4]


# --- what training leaves alone (oracle 3)


def carried(optimizer, before: list, now: list) -> None:
    """The same optimiser goes on with other tensors, and with what it remembers wherever the shapes agree."""
    for old, new in zip(before, now):
        state = optimizer.state.pop(old, None)
        if state is not None and old.shape == new.shape:
            optimizer.state[new] = state
    optimizer.param_groups[0]["params"] = now


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("restore", [False, True], ids=["exclude", "restore"])
@pytest.mark.parametrize("kind", OPTIMISERS)
def test_training_leaves_the_weights_of_others_bit_for_bit(kind, restore, reused):
    ledger, encoder = of_tasks(0.7), Toy(5)
    shared.claim(encoder, Ledger.empty(ledger.shapes), restore=restore)  # momentum of every weight
    before = free(encoder)
    optimizer = OPTIMISERS[kind](before)
    train(encoder, optimizer, 4)
    shared.settle(encoder)
    shared.claim(encoder, ledger, picked=False, restore=restore)
    for share in (0.5, 0.0):
        now = free(encoder)
        if reused:
            carried(optimizer, before, now)
        else:
            optimizer = OPTIMISERS[kind](now)
        train(encoder, optimizer, 4)
        assert_others_stand(encoder, ledger)
        drop_all(encoder, share)
        before = now


def assert_others_stand(encoder: nn.Module, ledger: Ledger) -> None:
    for name, layer in shared.parts(encoder).items():
        now, others = layer.effective().detach().flatten(), ledger.owner[name] > 0
        assert same({"": now[others]}, {"": ledger.values[name][others]})
        assert not torch.equal(now[~others], layer.weight.flatten()[~others])
        if layer.restored is not None:
            not_own = torch.ones(layer.weight.numel(), dtype=torch.bool)
            not_own[layer.own_at] = False
            assert same({"": layer.own.detach().flatten()[not_own]}, {"": layer.restored[not_own]})


@pytest.mark.parametrize("kind, moved", [("sgd", None), ("adam", None), ("adamw", 1 - (1 - 1e-4) ** 5)])
def test_masking_gradients_would_not_hold_a_weight(kind, moved):
    """AdamW at 1e-2 with decay 0.01 moves a weight of 1 by 5e-4 in five steps without any gradient."""
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = OPTIMISERS[kind]([weight])
    for _ in range(5):
        weight.grad = torch.zeros(1, dtype=torch.float64)
        optimizer.step()
    assert weight.item() != 1
    if moved:
        assert 1 - weight.item() == pytest.approx(moved, rel=1e-9) == pytest.approx(5e-4, rel=1e-3)


def test_putting_back_comes_to_the_same_as_not_handing_over():
    ledger = of_tasks(0.7)
    one, other = (learnt(ledger, 0.5, seed=3, steps=12, restore=restore) for restore in (False, True))
    assert torch.equal(one[1][READS], other[1][READS])
    torch.testing.assert_close(one[1][OWN], other[1][OWN], atol=1e-6, rtol=0)
    for name, weight in weights(one[0], ledger).items():
        torch.testing.assert_close(weight, weights(other[0], ledger)[name], atol=1e-6, rtol=0)


# --- what is dropped (oracles 4 and 7)


def test_dropped_weights_stay_zero_through_retraining():
    ledger, encoder = of_tasks(0.7), Toy(1)
    for restore in (False, True):
        shared.claim(encoder, ledger, restore=restore)
        optimizer = adamw(encoder)
        train(encoder, optimizer, 3)
        drop_all(encoder, 0.5, give_back=False)
        gone = {name: layer.own_at[~layer.kept] for name, layer in shared.parts(encoder).items()}
        found = []
        train(encoder, optimizer, 3, after=lambda _, gone=gone, found=found: found.append(at(encoder, gone)))
        drop_all(encoder, 0.5)
        optimizer = adamw(encoder)
        train(encoder, optimizer, 3, after=lambda _, gone=gone, found=found: found.append(at(encoder, gone)))
        assert len(found) == 6 and not torch.cat(found).any()
        read = ledger.read(shared.saved(encoder, ledger))
        assert not any(read[name].flatten()[where].any() for name, where in gone.items())
        shared.settle(encoder)


def at(encoder: nn.Module, where: dict) -> torch.Tensor:
    """The weights that layers compute with, at these places."""
    layers = shared.parts(encoder)
    return torch.cat([layers[name].effective().detach().flatten()[places] for name, places in where.items()])


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 2 / 3, 0.99])
def test_exactly_floor_of_share_times_n_are_dropped(n, share):
    layer = part([1.0] * n, [0] * n)
    shared.drop(layer, share)
    assert int((~layer.kept).sum()) == math.floor(round(share * n, 6))


def test_of_equal_weights_the_first_goes_first():
    layer = part([2.0, -1.0, 1.0, -1.0, 3.0], [0] * 5)
    for share, gone in ((0.2, [1]), (0.4, [1, 2]), (0.6, [1, 2, 3]), (0.8, [0, 1, 2, 3])):
        shared.drop(layer, share)
        assert torch.nonzero(~layer.kept).flatten().tolist() == gone


def test_what_was_dropped_counts_and_is_never_taken_back():
    layer = part([1.0, 2.0, 3.0, 4.0], [0] * 4)
    shared.drop(layer, 0.5)
    with torch.no_grad():
        layer.own.copy_(torch.tensor([[9.0], [9.0], [3.0], [4.0]]))
    shared.drop(layer, 0.5)
    assert layer.kept.tolist() == [False, False, True, True]
    shared.drop(layer, 0.75)
    assert layer.kept.tolist() == [False, False, False, True]
    shared.drop(layer, 0.0)
    assert layer.kept.tolist() == [False, False, False, True]
    layer = part([3.0, 1.0, 2.0, 4.0], [0] * 4)
    shared.drop(layer, 0.25)
    with torch.no_grad():
        layer.own[0] = 0.0  # as small as the one that is gone
    shared.drop(layer, 0.25)
    assert layer.kept.tolist() == [True, False, True, True]


def test_a_channel_keeps_the_largest_where_that_is_asked_for():
    small, large = [0.1, 0.3, 0.2, 0.1], [5.0, 6.0, 7.0, 8.0]
    for least, kept in ((0, [6, 7]), (1, [1, 7]), (2, [1, 2, 6, 7])):
        layer = part(small + large, [0] * 8, channels=2)
        shared.drop(layer, 0.75, least)
        assert torch.nonzero(layer.kept).flatten().tolist() == kept
        assert shared.empty_channels(layer) == (least == 0)


def test_a_channel_that_reads_an_earlier_task_is_not_empty():
    layer = part([0.1, 0.1, 5.0, 5.0], [0, 1, 0, 0], channels=2)
    shared.drop(layer, 0.4)
    assert layer.kept.tolist() == [False, True, True] and shared.empty_channels(layer) == 0
    with torch.no_grad():
        layer.scores.zero_()
    assert shared.empty_channels(layer) == 1


def test_cubic_schedule():
    expected = [0, 0.4046875, 0.6125, 0.6890625, 0.7]
    assert [cubic(p, 0.7) for p in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx(expected, abs=1e-12)
    assert [cubic(p, 0.6, 0.4) for p in (0, 0.5, 1)] == pytest.approx([0.4, 0.575, 0.6])


@pytest.mark.parametrize("gradual", [True, False])
def test_the_dropped_share_rises_every_ten_steps_and_ends_where_it_is_to(gradual):
    layer = part(torch.arange(1.0, 201).tolist(), [0] * 200)
    made = Parting(_Around(layer), Phase("compact", 1, end=0.7, gradual=gradual), 40 + 3)
    gone = []
    for step in range(43):
        made.after_step(step)
        gone.append(int((~layer.kept).sum()))
    wanted = [math.floor(200 * cubic(p / 43, 0.7)) for p in (10, 20, 30, 40, 43)]
    assert [gone[i] for i in (8, 9, 18, 19, 29, 39, 42)] == (
        [0, wanted[0], wanted[0], *wanted[1:]] if gradual else [0] + [140] * 6
    )


class _Around(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.network = layer


# --- reading: by selection, straight through (oracle 8)


def test_straight_through():
    """W = (2, -3), x = (1, 1), pick = (.01, .002), L = y^2 / 2: y = 2, dL/dpick = (4, -6)."""
    scores = torch.tensor([0.01, 0.002], requires_grad=True)
    y = shared.pick(scores, torch.tensor([2.0, -3.0])) @ torch.ones(2)
    (y**2 / 2).backward()
    assert y.item() == 2 and scores.grad.tolist() == [4, -6]


def test_gradient_of_own_weights_and_of_scores():
    weight, owner = torch.randn(12, dtype=torch.float64).tolist(), [0, 1, 2] * 4
    layer, x = part(weight, owner, channels=2).double(), torch.randn(2, 1, 9, dtype=torch.float64)
    with torch.no_grad():
        layer.scores[::3] = 0.0
    plain = layer.effective().detach().clone().requires_grad_(True)
    F.conv1d(x, plain).square().sum().backward()
    layer(x).square().sum().backward()
    assert torch.equal(layer.own.grad.flatten(), plain.grad.flatten()[layer.own_at])
    assert torch.equal(layer.scores.grad, plain.grad.flatten()[layer.old_at] * layer.old)
    own = layer.own.detach().clone().requires_grad_(True)
    del layer.own

    def loss(given):
        layer.own = given
        return layer(x).square().sum()

    assert torch.autograd.gradcheck(loss, (own,))


@pytest.mark.parametrize("restore", [False, True])
def test_a_part_computes_as_the_plain_layer_with_its_effective_weight(restore):
    encoder, ledger = Toy(4), of_tasks(0.7, 0.5)
    shared.claim(encoder, ledger, restore=restore)
    train(encoder, adamw(encoder), 2)
    drop_all(encoder, 0.5, give_back=False)
    conv, matrix = encoder.stages[1], encoder.last
    x, h = torch.randn(2, 4, 9), torch.randn(2, 6)
    assert torch.equal(conv(x), F.conv1d(x, conv.effective(), conv.bias))
    assert torch.equal(matrix(h), F.linear(h, matrix.effective(), matrix.bias))


@pytest.mark.parametrize("odd", [math.nan, math.inf, -0.0])
def test_a_weight_that_is_not_read_reaches_nothing(odd):
    layer = part([odd, 1.0, 2.0], [1, 1, 0])
    with torch.no_grad():
        layer.scores[0] = 0.0
    weight = layer.effective().detach().flatten()
    assert same({"": weight}, {"": torch.tensor([0.0, 1.0, 2.0])})
    assert torch.isfinite(layer(torch.ones(1, 1, 3))).all()
    shared.give_back(layer)
    assert same({"": layer.effective().detach().flatten()}, {"": weight})


def test_a_dropped_weight_that_is_no_number_reaches_nothing():
    layer = part([0.5, 1.0], [0, 0])
    shared.drop(layer, 0.5)
    with torch.no_grad():
        layer.own[0] = math.nan
    assert same({"": layer.effective().detach().flatten()}, {"": torch.tensor([0.0, 1.0])})


def test_later_weights_change_nothing_of_an_earlier_task():
    ledger = of_tasks(0.7)
    encoder, tensors = learnt(ledger, 0.5, seed=1)
    before = copy.deepcopy(ledger)
    ledger.enter(tensors)
    later = learnt(ledger, 0.0, seed=2)[1]
    ledger.enter(later | {OWN: torch.full_like(later[OWN], math.nan)})
    read = {name: value.flatten() for name, value in before.read(tensors).items()}
    assert same(read, weights(encoder, before))
    for name, value in read.items():
        own = ledger.owner[name] == 2
        assert same({"": ledger.values[name][own]}, {"": value[own]})
