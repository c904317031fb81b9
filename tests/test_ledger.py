"""Who owns which weight: what a task's file says of it, files not to be trusted, and layers made plain again."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from ecgraft import encoders, plugs
from ecgraft.nn import shared
from ecgraft.nn.shared import OWN, READS, Ledger
from ecgraft.record import InputError
from made_tasks import SMALL, Toy, adamw, drop_all, learnt, train


def empty() -> Ledger:
    return Ledger.empty(shared.shapes(Toy()))


@pytest.fixture
def ledger() -> Ledger:
    """After one task."""
    made = empty()
    made.enter(learnt(made, 0.7)[1])
    return made


def hand() -> Ledger:
    """A layer of five weights: the second and third are those of task 1."""
    owner, values = torch.tensor([0, 1, 1, 0, 0], dtype=torch.uint8), torch.tensor([0.0, 2.0, 3.0, 0.0, 0.0])
    return Ledger({"a": owner}, {"a": values}, {"a": (5, 1)}, 1)


def test_reading_and_entering_by_hand():
    """It reads the second and not the third of the old weights, and takes the first and the last of the free ones."""
    ledger = hand()
    tensors = {READS: torch.from_numpy(np.packbits([1, 1, 0, 0, 1])), OWN: torch.tensor([7.0, -8.0])}
    assert ledger.read(tensors)["a"].tolist() == [[7.0], [2.0], [0.0], [0.0], [-8.0]]
    ledger.enter(tensors)
    assert ledger.tasks == 2 and ledger.owner["a"].tolist() == [2, 1, 1, 0, 2]
    assert ledger.values["a"].tolist() == [7.0, 2.0, 3.0, 0.0, -8.0]
    assert [ledger.owned(k) for k in range(3)] == [0.2, 0.4, 0.4]


@pytest.mark.parametrize("how", [{}, {"picked": False}, {"free": False}, {"restore": True}], ids=str)
def test_what_a_task_saves_reads_back_bit_for_bit(ledger, how):
    encoder, tensors = learnt(ledger, 0.0 if how.get("free") is False else 0.5, seed=2, **how)
    for name, weight in ledger.read(tensors).items():
        assert torch.equal(weight, encoder.get_submodule(name).weight)
    before = ledger.owned(0)
    ledger.enter(tensors)
    assert ledger.owned(2) == pytest.approx(len(tensors[OWN]) / ledger.size) and (ledger.owned(2) > 0) == bool(
        how.get("free", True)
    )
    assert ledger.owned(0) + ledger.owned(2) == pytest.approx(before)


def test_one_bit_for_each_weight(ledger):
    _, tensors = learnt(ledger, 0.5)
    assert tensors[READS].dtype == torch.uint8 and len(tensors[READS]) == -(-ledger.size // 8)
    assert tensors.keys() == {READS, OWN} and tensors[OWN].dtype == torch.float32


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop(READS), "missing, or of another type"),
        (lambda t: t.pop(OWN), "missing, or of another type"),
        (lambda t: t.update({READS: t[READS].short()}), "missing, or of another type"),
        (lambda t: t.update({READS: t[READS].bool()}), "missing, or of another type"),
        (lambda t: t.update({OWN: t[OWN].double()}), "missing, or of another type"),
        (lambda t: t.update({OWN: t[OWN].half()}), "missing, or of another type"),
        (lambda t: t.update({READS: t[READS][:-1]}), "not a bit for each of 90 weights"),
        (lambda t: t.update({READS: torch.cat([t[READS], t[READS][:1]])}), "not a bit for each of 90 weights"),
        (lambda t: t.update({READS: t[READS][None]}), "not a bit for each of 90 weights"),
        (lambda t: t.update({READS: torch.zeros(0, dtype=torch.uint8)}), "not a bit for each of 90 weights"),
        (lambda t: t.update({OWN: t[OWN][:-1]}), r"has \d+ values for \d+ weights"),
        (lambda t: t.update({OWN: torch.cat([t[OWN], t[OWN]])}), r"has \d+ values for \d+ weights"),
        (lambda t: t.update({OWN: torch.zeros(0)}), r"has 0 values for \d+ weights"),
        (lambda t: t.update({OWN: t[OWN][:, None]}), "not one value after another"),
        (lambda t: t.update({READS: torch.full_like(t[READS], 255)}), r"has \d+ values for \d+ weights"),
    ],
)
def test_tensors_that_do_not_fit(ledger, change, message):
    _, tensors = learnt(ledger, 0.5)
    change(tensors)
    before = copy.deepcopy(ledger)
    for refuse in (ledger.read, ledger.enter):
        with pytest.raises(InputError, match=message):
            refuse(tensors)
    assert ledger.tasks == before.tasks
    assert all(torch.equal(ledger.owner[name], before.owner[name]) for name in before.owner)


def test_an_owner_is_one_byte():
    ledger = hand()
    nothing = {READS: torch.zeros(1, dtype=torch.uint8), OWN: torch.zeros(0)}
    ledger.tasks = shared.MOST - 1
    ledger.enter(nothing | {READS: torch.from_numpy(np.packbits([1, 0, 0, 0, 0])), OWN: torch.ones(1)})
    assert ledger.owner["a"].tolist() == [shared.MOST, 1, 1, 0, 0]
    with pytest.raises(InputError, match="255 tasks share the weights"):
        ledger.enter(nothing)


def test_layers_of_which_nothing_is_free_or_nothing_is_left():
    """A task that takes all, then one that can only read, then one that takes what is not there."""
    ledger = empty()
    ledger.enter(learnt(ledger, 0.0)[1])
    assert ledger.owned(0) == 0
    for how in ({"free": False}, {"free": True}, {"restore": True}):
        encoder, tensors = learnt(ledger, 0.9, seed=1, **how)
        assert len(tensors[OWN]) == 0
        for name, weight in ledger.read(tensors).items():
            assert torch.equal(weight, encoder.get_submodule(name).weight)
    assert Ledger.empty({}).owned(0) == 0 and Ledger.empty({}).size == 0


def test_a_layer_so_small_that_nothing_is_dropped():
    made = nn.Module()
    made.one = nn.Linear(1, 1)
    ledger = Ledger.empty({"one": (1, 1)})
    shared.claim(made, ledger)
    drop_all(made, 0.99)
    assert made.one.kept.tolist() == [True] and len(shared.saved(made, ledger)[OWN]) == 1


def test_the_encoders_own_weights_as_those_of_a_first_task():
    encoder = Toy()
    ledger = empty().of_encoder(encoder)
    assert ledger.tasks == 1 and ledger.owned(1) == 1 and ledger.owned(0) == 0
    every = {READS: torch.full((-(-ledger.size // 8),), 255, dtype=torch.uint8), OWN: torch.zeros(0)}
    for name, weight in ledger.read(every).items():
        assert torch.equal(weight, encoder.get_submodule(name).weight)
    with torch.no_grad():
        encoder.last.weight.zero_()
    assert ledger.values["last"].any()


# --- layers


@pytest.mark.parametrize("restore", [False, True])
def test_settled_layers_are_plain_ones(ledger, restore):
    encoder, plain = Toy(), Toy()
    x = torch.randn(2, 2, 16)
    shared.claim(encoder, ledger, restore=restore)
    train(encoder, adamw(encoder), 2)
    drop_all(encoder, 0.5)
    with torch.no_grad():
        before = encoder(x)
    shared.settle(encoder)
    assert list(encoder.state_dict()) == list(plain.state_dict())
    assert [type(m) for m in encoder.modules()] == [type(m) for m in plain.modules()]
    assert [name for name, _ in encoder.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert not encoder.last.weight.requires_grad and not shared.parts(encoder)
    assert torch.equal(encoder(x), before)
    assert encoder.last.__dict__.keys() == plain.last.__dict__.keys()
    plain.load_state_dict(encoder.state_dict())
    assert torch.equal(plain(x), before)


def test_layers_can_be_claimed_again_and_copied(ledger):
    encoder = Toy()
    shared.claim(encoder, ledger)
    again = copy.deepcopy(encoder)
    shared.claim(again, ledger)
    for name, layer in shared.parts(encoder).items():
        assert torch.equal(layer.effective(), shared.parts(again)[name].effective())


def test_own_weights_decay_as_kernels_do_and_scores_learn_more_slowly(ledger):
    from ecgraft.training.optimizer import build_optimizer

    encoder = Toy()
    shared.claim(encoder, ledger)
    layers = shared.parts(encoder).values()
    groups = build_optimizer(encoder.parameters(), 1e-3, 0.1).param_groups
    where = {id(p): group for group in groups for p in group["params"]}
    assert all(where[id(layer.own)]["weight_decay"] == 0.1 and where[id(layer.own)]["factor"] == 1 for layer in layers)
    scores = [where[id(layer.scores)] for layer in layers]
    assert all(group["weight_decay"] == 0 and group["factor"] == shared.PICK_RATE for group in scores)
    assert not any(id(layer.weight) in where for layer in layers)


def test_what_a_new_task_begins_with(ledger):
    """All old weights are read, the free ones are as they stand in the encoder."""
    encoder = Toy(8)
    before = {name: encoder.get_submodule(name).weight.detach().flatten().clone() for name in ledger.owner}
    shared.claim(encoder, ledger)
    for name, layer in shared.parts(encoder).items():
        expected = torch.where(ledger.owner[name] > 0, ledger.values[name], before[name])
        assert torch.equal(layer.effective().flatten(), expected)
        assert layer.reads().all() and torch.equal(layer.scores, torch.full_like(layer.scores, shared.PICK))


@pytest.mark.parametrize("name", plugs.names("encoders"))
def test_the_layers_that_tasks_share_and_the_stems(name):
    """With or without the stem; what reads the signal depends on the leads, the rest does not, unless branches do."""
    encoder = encoders.build(name, SMALL.get(name))
    whole, without = (shared.layers(encoder, stem) for stem in ("shared", "private"))
    assert whole.keys() - without.keys() == shared.stems(encoder) > set() and without
    fewer = shared.shapes(encoders.build(name, SMALL.get(name, {}) | {"leads": ("I", "II")}))
    if name != "vgg":
        assert fewer == shared.shapes(encoder)
    assert all(type(layer) in (nn.Conv1d, nn.Linear) for layer in whole.values())


@pytest.mark.parametrize(
    "name, config, first",
    [
        ("vgg", {"branches": "shared", "groups": ((8, 8), (8,))}, "stages.0.0.conv"),
        ("vgg", {"branches": "joint", "groups": ((8, 8), (8,))}, "stages.0.0.conv"),
        ("xresnet101", {"stem": (8, 8, 8), "width": 4, "depths": (1, 1)}, "stages.0.0.conv"),
        ("multires", {"width": 8}, "stages.0.conv"),
    ],
)
def test_a_layer_as_wide_as_there_are_leads_is_no_stem(name, config, first):
    leads = ("II", "III", "V1", "V2", "V3", "V4", "V5", "V6")
    assert shared.stems(encoders.build(name, config | {"leads": leads})) == {first}
