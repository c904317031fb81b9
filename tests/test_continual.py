"""The contract of strategies, on every file in continual/, and an oracle for each of them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import ecgraft
from ecgraft import continual, plugs
from ecgraft.commands._course import Course, check_keeps
from ecgraft.commands._strategies.following import Following
from ecgraft.continual import Past, _parts, ewc, isolate, joint, lwf
from ecgraft.model import Model
from ecgraft.nn import shared
from ecgraft.plugs import configure
from ecgraft.record import UsageError
from made_tasks import SMALL, answers, job, logits, start

NAMES = plugs.names("continual")
FOLLOWING = [name for name in NAMES if plugs.find("continual", name).START == continual.LAST]
KEEPING = [name for name in NAMES if plugs.find("continual", name).START in continual.KEEPS]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("continual") / "store"
    ecgraft.simulate(to=path, count=40, seed=5, seconds=3.0, rate=250.0, progress=False)
    return path


def values(name: str) -> dict:
    """Settings that make a strategy quick."""
    return {"records": 5} if name == "ewc" else {}


# --- contract


@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_says_what_it_is(name):
    plug = plugs.find("continual", name)
    assert plug.__doc__ and plug.START in (continual.SHARED, continual.BASE, continual.LAST, continual.TOGETHER)
    assert dataclasses.is_dataclass(plug.Config) and plug.Config.__doc__ and plug.Config() == plug.Config()
    with pytest.raises(UsageError, match="unknown key 'no_such'"):
        plugs.configure(plug.Config, {"no_such": 1}, name)
    if plug.START == continual.BASE:
        assert plugs.find("adapters", plug.Config().adapter)
    elif plug.START == continual.SHARED:
        for position in (1, 2, 3):
            phases = plug.plan(plug.Config(), position).phases
            assert sum(phase.share for phase in phases) == pytest.approx(1)
            shares = [share for phase in phases for share in (phase.start, phase.end)]
            assert shares == sorted(shares) and shares[0] == 0 and shares[-1] < 1
    else:
        assert callable(plug.around)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_tasks(store, name):
    """With strategies that keep answers the first task says the same, bit for bit, after the second."""
    course, found = start(name, values=values(name)), []
    for task in ("findings", "waves"):
        graft = course.learn(job(store, task))
        found.append(answers(course))
        assert graft is None or graft.name == task
    together = course.finish()
    assert list(course.grafts) == ["findings", "waves"] and bool(together) == (course.plug.START == continual.TOGETHER)
    after = answers(course)
    assert all(torch.isfinite(said).all() for said in after.values())
    assert after["findings"].ndim == 2 and after["waves"].shape == (2, 12, 4, 500)
    if found[0]:
        assert torch.equal(found[0]["findings"], after["findings"]) == course.keeps
        assert torch.equal(found[1]["waves"], after["waves"])


def test_strategies_that_change_what_is_there_are_for_comparisons():
    assert {"isolate", "packnet", "piggyback", "graft", "independent"} == set(KEEPING)
    for name in NAMES:
        assert start(name).keeps == (name in KEEPING)
        if name in KEEPING:
            check_keeps(name)
        else:
            with pytest.raises(UsageError, match=f"--strategy {name}: earlier tasks would answer otherwise"):
                check_keeps(name)


@pytest.mark.parametrize("name", [name for name in NAMES if plugs.find("continual", name).START != continual.SHARED])
def test_an_encoder_without_weights_is_for_tasks_that_share_them(name):
    with pytest.raises(UsageError, match=f"strategy {name}: the encoder has no weights of its own"):
        Course(Model.empty("resnet18", SMALL["resnet18"]), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_learnt_once(store, name):
    course = start(name, values=values(name))
    course.learn(job(store, "findings", steps=1))
    with pytest.raises(UsageError, match="task 'findings' is learnt already"):
        course.learn(job(store, "qrs", "findings", steps=1))


@pytest.mark.parametrize("strategy", ["isolate", "packnet"])
def test_tasks_are_declared_as_many_as_there_is_room_for(strategy):
    """In the layers of multires the last of so many tasks finds enough weights; of one more it would not."""
    plug, most = plugs.find("continual", strategy), _parts.MOST_TASKS
    shapes = shared.shapes(Model.empty("multires").encoder)
    for count in (most, most + 1):
        free = sizes = [math.prod(shape) for shape in shapes.values()]
        for position in range(1, count):
            share = _parts.sparsity(position, count, None)
            free = [math.floor(share * size + 1e-9) for size in free]
        assert (sum(free) / sum(sizes) >= _parts.LEAST_FREE) == (count == most)
    assert plugs.configure(plug.Config, {"tasks": most}, strategy).tasks == most
    with pytest.raises(UsageError, match=f"{strategy}: tasks = {most + 1}: .*at most {most}: .*less than 5%"):
        plugs.configure(plug.Config, {"tasks": most + 1}, strategy)


# --- one task alone (oracle 9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoder, task", [("resnet18", "waves"), ("multires", "findings"), ("net1d", "findings"), ("vgg", "qrs")]
)
def test_a_task_that_owns_all_is_ordinary_training(store, encoder, task):
    """Bit for bit: weights, norms, head, thresholds; whether it stands on no weights or on untrained ones."""
    how = {"training": {"average": 0.9, "keep": "best"}, "augment": {"gain": {}, "noise": {}}, "steps": 8, "seed": 3}
    plain = job(store, task, **how)
    plain.model = Model.fresh(encoder, SMALL[encoder], seed=3)
    ordinary = plain.run()
    plain.model.add(ordinary)
    network = plain.model.network(task)
    for given, blank in (({"tasks": 1}, True), ({"sparsity": 0.0, "pick": "all", "isolation": "restore"}, False)):
        course = start("isolate", encoder, given, blank)
        graft = course.learn(job(store, task, **how))
        now, was = course.network(task).state_dict(), network.state_dict()
        assert now.keys() == was.keys() and all(torch.equal(now[key], was[key]) for key in was)
        assert graft.thresholds == ordinary.thresholds and graft.calibration == ordinary.calibration
        assert torch.equal(logits(course.network(task)), logits(network))


# --- elastic weight consolidation (oracle 11)


class Line(nn.Module):
    """A linear model in the place of an encoder: half the squared error of single records."""

    leads = ("I", "II", "III")

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stages, self.last = nn.ModuleList([nn.Identity()]), nn.Linear(3, 1, bias=False)

    @property
    def encoder(self):
        return self

    @property
    def network(self):
        return self

    def forward(self, batch):
        return {"loss": (self.last(batch["x"]) - batch["y"]).square().sum() / 2}


def test_springs_by_hand():
    """F = 2, deviation .5, lambda 10: 10 / 2 * 2 * .25 = 2.5. Of two earlier tasks the sum."""
    line = Line()
    was = line.last.weight.detach().clone()
    kept = {"last.weight": (torch.tensor([[2.0, 0.0, 0.0]]), was)}
    made = ewc.around(line, [Past(None, None, None, kept)], ewc.Config(weight=10))
    still = made.penalty()
    assert still.item() == 0 and not torch.autograd.grad(still, line.last.weight)[0].any()
    with torch.no_grad():
        line.last.weight.add_(0.5)
    batch = {"x": torch.zeros(1, 3), "y": torch.ones(1, 1)}
    assert 10 * made.penalty().item() == pytest.approx(2.5, abs=1e-6)
    assert made(batch)["loss"].item() == pytest.approx(0.5 + 2.5) and made(batch)["springs"].item() == 2.5
    assert torch.autograd.grad(made(batch)["springs"], line.last.weight)[0].tolist() == [[10.0, 0.0, 0.0]]
    twice = ewc.around(line, [Past(None, None, None, kept)] * 2, ewc.Config(weight=10))
    assert twice(batch)["springs"].item() == 5.0
    assert "springs" not in ewc.around(line, [], ewc.Config())(batch)


def test_importance_of_a_linear_model_in_closed_form():
    """d/dw of (w x - y)^2 / 2 is (w x - y) x; F is the mean of its square over single records."""
    line, random = Line(), torch.Generator().manual_seed(1)
    x, y = torch.randn(7, 3, generator=random), torch.randn(7, 1, generator=random)
    line.last.weight.requires_grad_(False)
    kept = ewc.remember(line, lambda i: {"x": x[i : i + 1], "y": y[i : i + 1]}, ewc.Config(records=7))
    fisher, was = kept["last.weight"]
    expected = (((x @ line.last.weight.T) - y) * x).square().mean(0, keepdim=True)
    torch.testing.assert_close(fisher, expected)
    assert torch.equal(was, line.last.weight) and was.data_ptr() != line.last.weight.data_ptr()
    assert not line.last.weight.requires_grad and line.last.weight.grad is None


@pytest.mark.slow
def test_springs_hold_the_weights_that_tasks_share(store):
    course = start("ewc", values={"records": 5, "weight": 1e4})
    course.learn(job(store, "findings"))
    kept = course.kept["findings"]
    assert {name.removesuffix(".weight") for name in kept} == set(shared.layers(course.model.encoder))
    state = course.network("findings").encoder.state_dict()
    assert all(torch.equal(was, state[name]) and f.shape == was.shape for name, (f, was) in kept.items())
    assert sum(float(f.sum()) for f, _ in kept.values()) > 0


# --- learning without forgetting (oracle 11)


@pytest.mark.parametrize("kind, shape", [("multilabel", (5, 3)), ("multiclass", (5, 3)), ("waves", (2, 3, 4, 9))])
def test_equal_answers_are_not_apart_and_pull_nowhere(kind, shape):
    before = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    now = before.clone().requires_grad_(True)
    apart = lwf.answers_apart(now, before, kind, 2.0)
    assert apart.item() == pytest.approx(0, abs=1e-15)
    assert torch.autograd.grad(apart, now)[0].abs().max() < 1e-15
    way = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    further = [lwf.answers_apart(before + step * way, before, kind, 2.0) for step in (0.1, 0.2, 0.4)]
    assert 0 < further[0] < further[1] < further[2]


def test_answers_apart_by_hand():
    now, before = torch.tensor([[0.3, -1.0, 2.0]]), torch.tensor([[1.0, 0.0, 2.0]])
    p, q = (before / 2).softmax(1), (now / 2).softmax(1)
    divergence = 4 * (p * (p / q).log()).sum()
    torch.testing.assert_close(lwf.answers_apart(now, before, "multiclass", 2.0), divergence)
    dense = [each[:, None, :, None].expand(1, 2, 3, 5) for each in (now, before)]
    torch.testing.assert_close(lwf.answers_apart(*dense, "waves", 2.0), divergence)
    p, q = before.sigmoid(), now.sigmoid()
    binary = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    torch.testing.assert_close(lwf.answers_apart(now, before, "multilabel", 2.0), binary)
    assert lwf.answers_apart(now, before, "regression", 2.0).item() == pytest.approx((0.49 + 1) / 3)


@pytest.mark.slow
@pytest.mark.parametrize("leads", [None, ("II", "I")], ids=["same leads", "other leads"])
@pytest.mark.parametrize("bank", ["private", "shared"])
def test_a_task_begins_with_nothing_to_recall(store, bank, leads):
    """Zero and without a gradient, on the weights that are learnt; also where the earlier task reads other leads."""
    course = start("lwf", values={"bank": bank})
    course.learn(job(store, "findings"))
    course.learn(job(store, "waves", leads=("I", "V1")))
    following = job(store, "qrs", leads=leads)
    following.model, plug = course.model, course.plug
    following.strategy = made = Following(course.model, plug, course.config, course.grafts, course.kept)
    network = following.begin()
    past = [made._past(graft, network.encoder, "cpu") for graft in course.grafts.values()]
    objective, draw = plug.around(following.supervised(network), past, course.config), following._batches
    for number, old in enumerate(past):
        assert_lent(old.network.encoder, network.encoder, bank)
        batch = draw(following.examples)(number)
        recalled = lwf.distance(old, batch, network.recipe.leads, 2.0)
        assert abs(recalled.item()) < 1e-6
        weights = [layer.weight for layer in shared.layers(old.network.encoder).values()]
        pull = [g for g in torch.autograd.grad(recalled, weights, allow_unused=True) if g is not None]
        assert pull and all(g.abs().max() < 1e-5 for g in pull)
        if bank == "private":
            assert abs(objective.train()(batch)["recalled"].item()) < 1e-6


def assert_lent(encoder: nn.Module, learning: nn.Module, bank: str) -> None:
    """Weights are the very tensors that learn; norms are where the bank is shared, stems never."""
    found, own = dict(learning.named_parameters()), dict(encoder.named_parameters())
    weights = {f"{name}.weight" for name in shared.layers(encoder)}
    norms = {name for name in own if ".norm." in name}
    stems = {f"{name}.weight" for name in shared.stems(encoder)}
    assert weights | norms | stems == own.keys()
    assert {name for name in own if own[name] is found[name]} == (weights | norms if bank == "shared" else weights)


# --- what tasks that follow each other share


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLLOWING)
@pytest.mark.parametrize("bank", ["private", "shared"])
def test_whose_norms_a_task_reads(store, name, bank):
    course = start(name, values=values(name) | {"bank": bank})
    course.learn(job(store, "findings"))
    before = course.network("findings").encoder.state_dict()
    course.learn(job(store, "waves"))
    first, last = (course.network(task).encoder.state_dict() for task in ("findings", "waves"))
    weights = {f"{layer}.weight" for layer in shared.layers(course.model.encoder)}
    stems = {f"{layer}.weight" for layer in shared.stems(course.model.encoder)}
    for key, value in first.items():
        own = key in stems or (bank == "private" and key not in weights)
        assert torch.equal(value, (before if own else last)[key]), key
    assert any(not torch.equal(last[key], before[key]) for key in weights)


@pytest.mark.slow
def test_weights_are_one_tensor_while_tasks_learn_together(store, monkeypatch):
    seen, around = [], joint.around

    def spied(parts, config):
        seen.extend(parts)
        return around(parts, config)

    monkeypatch.setattr(joint, "around", spied)
    course = start("joint")
    for task, leads in (("findings", None), ("waves", ("I",)), ("qrs", ("I", "II"))):
        assert course.learn(job(store, task, leads=leads)) is None and not course.grafts
    assert [graft.name for graft in course.finish()] == ["findings", "waves", "qrs"] and not course.finish()
    encoders = [part.network.encoder for part in seen]
    for name in shared.layers(encoders[0]):
        assert len({id(encoder.get_submodule(name).weight) for encoder in encoders}) == 1
    states = [course.network(task).encoder.state_dict() for task in course.grafts]
    fresh = course.model.encoder.state_dict()
    shares = {f"{name}.weight" for name in shared.layers(encoders[0])}
    for key in shares:
        assert all(torch.equal(state[key], states[0][key]) for state in states)
    assert any(not torch.equal(states[0][key], fresh[key]) for key in shares)
    norms = [key for key in fresh if key.endswith("running_mean")]
    assert norms and not any(torch.equal(states[0][key], states[1][key]) for key in norms)
    assert {name: said.shape[0] for name, said in answers(course).items()} == {"findings": 2, "waves": 2, "qrs": 2}


def test_each_batch_is_of_the_task_whose_turn_it_is():
    class Says(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = nn.Parameter(torch.tensor(float(value)))

        def forward(self, batch):
            return {"loss": self.value * batch["x"]}

    made = joint.around([Says(1), Says(10)], joint.Config())
    assert [made({"turn": turn, "x": 3.0})["loss"].item() for turn in (0, 1)] == [3, 30]


# --- adapters on an encoder


@pytest.mark.slow
def test_the_first_task_of_an_untrained_encoder_trains_it_and_later_ones_stand_on_it(store):
    course = start("graft", values={"adapter": "lrc", "adapter_config": {"rank": 2}})
    fresh = course.model.fingerprint
    course.learn(job(store, "findings"))
    trained = course.model.fingerprint
    course.learn(job(store, "waves"))
    assert fresh != trained == course.model.fingerprint
    assert [graft.adapter for graft in course.grafts.values()] == ["linear", "lrc"]
    again = Course(course.model, "graft", {"adapter": "norm"})
    before = answers(course)
    again.learn(job(store, "qrs"))
    assert again.model is course.model and set(again.model.grafts) == {"findings", "waves", "qrs"}
    assert all(torch.equal(said, before[name]) for name, said in answers(course).items())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("graft", "independent")])
def test_settings_of_an_adapter_are_none_of_a_strategy(store, name):
    """A job that was set up for a probe learns all the same."""
    course = start(name, values=values(name))
    made = job(store, "findings", steps=2)
    made.options = replace(made.options, adapter="linear")
    course.learn(made)
    course.finish()
    weights = course.network("findings").encoder.state_dict()
    key = "stages.1.0.first.conv.weight"
    assert weights[key].any() and not torch.equal(weights[key], course.model.encoder.state_dict()[key])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["isolate", "sequential", "joint"])
def test_branches_for_each_lead_fix_the_leads(store, name):
    course = start(name, "vgg")
    course.learn(job(store, "findings", steps=1))
    with pytest.raises(UsageError, match="leads I, II: weights that all tasks share depend on the leads here"):
        course.learn(job(store, "qrs", steps=1, leads=("I", "II")))
        course.finish()


def test_the_phases_take_all_steps():
    with pytest.raises(UsageError, match=r"shares = .*1 together, not 0\.9"):
        configure(isolate.Config, {"shares": [0.5, 0.2, 0.2]}, "strategy isolate")
