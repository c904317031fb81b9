"""What earlier tasks say stays, bit for bit: in folders, with other leads, on every encoder, over interruptions."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

import ecgraft
from ecgraft import plugs
from ecgraft.commands._course import Course
from ecgraft.commands._job import Job
from ecgraft.model import Model, chain, infer
from ecgraft.nn import shared
from ecgraft.record import UsageError
from ecgraft.store import Store
from ecgraft.training import Examples, Result, Sampler
from ecgraft.training.loop import CHECKPOINT
from made_tasks import SMALL, answers, job, logits, start

pytestmark = pytest.mark.slow

SEQUENCE = (  # strategy, its settings, task, name, leads
    ("isolate", {}, "findings", "one", ("I",)),
    ("isolate", {"pick": "learned", "min_per_channel": 1}, "waves", "two", ("I", "II")),
    ("isolate", {"isolation": "restore"}, "qrs", "three", None),
    ("piggyback", {}, "findings", "four", ("V1", "I", "II")),
    ("graft", {"adapter": "lrc", "adapter_config": {"rank": 2}}, "findings", "five", None),
    ("packnet", {}, "waves", "six", ("II",)),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("keeps") / "store"
    ecgraft.simulate(to=path, count=40, seed=5, seconds=3.0, rate=250.0, progress=False)
    return path


def said(model: Model) -> dict[str, torch.Tensor]:
    return {name: logits(model.network(name), len(graft.recipe.leads)) for name, graft in model.grafts.items()}


def files(folder) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.rglob("*.safetensors")}


# --- one folder, task after task (oracle 1)


def test_every_task_answers_as_before_whatever_comes_after_it(store, tmp_path):
    """Each task is learnt on the model as it was loaded; files that were written are never written again."""
    Model.fresh("resnet18", SMALL["resnet18"]).save(tmp_path)
    before, written = {}, files(tmp_path)
    for strategy, values, task, name, leads in SEQUENCE:
        model = Model.load(tmp_path)
        Course(model, strategy, values).learn(job(store, task, name, leads=leads))
        model.save(tmp_path)
        now, loaded = said(model), said(Model.load(tmp_path))
        assert now.keys() == loaded.keys() == {*before, name}
        assert all(torch.equal(now[key], loaded[key]) for key in now)
        assert all(torch.equal(now[key], before[key]) for key in before)
        there = files(tmp_path)
        assert all(there[file] == content for file, content in written.items())
        before, written = now, there
    assert_accounts(Model.load(tmp_path))


def assert_accounts(model: Model) -> None:
    """Tasks by their order; what they own and what is free are all; weights of later ones are read by none."""
    order = [graft.name for graft in chain.order(model.grafts)]
    assert order == ["one", "two", "three", "four", "six"]
    shares = chain.shares(model)
    assert sum(share["owns"] for share in shares.values()) == pytest.approx(1)
    assert shares["four"]["owns"] == 0 and shares["four"]["reads"] > 0
    assert [round(shares[name]["owns"], 2) for name in ("one", "two", "three")] == pytest.approx(
        [0.3, 0.35, 0.175], abs=0.03
    )
    whole = chain.ledger(model)
    for name in order:
        before = chain.ledger(model, name)
        for layer, weight in before.read(model.grafts[name].tensors).items():
            mine = [k for k, other in enumerate(order, 1) if other == name]
            assert not weight.flatten()[(whole.owner[layer] > mine[0]) | (whole.owner[layer] == 0)].any()


def test_weights_of_later_tasks_and_numbers_that_are_none_reach_no_earlier_task(store):
    course = start("isolate")
    for task in ("findings", "waves"):
        course.learn(job(store, task))
    before = answers(course)["findings"]
    later = course.model.grafts["waves"]
    spoilt = {
        key: torch.full_like(value, torch.nan) if key == shared.OWN else value for key, value in later.tensors.items()
    }
    course.model.grafts["waves"] = replace(later, tensors=spoilt)
    assert torch.equal(logits(course.model.network("findings")), before)
    assert not torch.isfinite(logits(course.model.network("waves"))).all()


def test_no_room_is_said_before_anything_is_learnt(store):
    course = start("isolate", values={"sparsity": 0.0})
    course.learn(job(store, "findings"))
    with pytest.raises(UsageError, match=r"0.0% of the weights are free, .* findings hold the others"):
        course.learn(job(store, "waves"))
    Course(course.model, "piggyback").learn(job(store, "waves"))
    with pytest.raises(UsageError, match="this is task 3, but the model was divided for 2"):
        Course(course.model, "isolate", {"tasks": 2}).learn(job(store, "qrs"))


def test_a_stem_that_is_shared_fixes_the_leads(store):
    course = start("isolate", values={"stem": "shared"})
    course.learn(job(store, "findings"))
    with pytest.raises(UsageError, match="leads I, II: weights that all tasks share depend on the leads here"):
        course.learn(job(store, "waves", leads=("I", "II")))
    course.learn(job(store, "waves"))


def test_free_weights_of_an_encoder_that_has_learnt_nothing_start_small(store):
    """As those of a blank one: a tenth of the usual spread, from the second task on."""
    from ecgraft.commands._strategies.sharing import LATER_START, Sharing

    for blank in (True, False):
        course = start("isolate", blank=blank)
        course.learn(job(store, "findings"))
        made = Sharing(course.model, "isolate", {})
        encoder, fresh = made.encoder(course.model.recipe.leads, 7), Model.fresh("resnet18", SMALL["resnet18"], seed=7)
        for name, layer in shared.parts(encoder).items():
            expected = LATER_START * fresh.encoder.get_submodule(name).weight.flatten()[layer.own_at]
            assert torch.equal(layer.own.flatten(), expected)
    course.model.card = {"pretraining": "simclr"}
    encoder = Sharing(course.model, "isolate", {}).encoder(course.model.recipe.leads, 7)
    for name, layer in shared.parts(encoder).items():
        assert torch.equal(layer.own.flatten(), course.model.encoder.get_submodule(name).weight.flatten()[layer.own_at])


# --- how much is given back


@pytest.mark.parametrize("strategy", ["isolate", "packnet"])
def test_a_declared_number_of_tasks_shares_the_encoder_out(store, strategy):
    course = start(strategy, values={"tasks": 3})
    for task in ("findings", "waves", "qrs"):
        course.learn(job(store, task, steps=3))
    shares = [share["owns"] for share in chain.shares(course.model).values()]
    assert shares == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=0.01)
    for graft in course.grafts.values():
        told = graft.card["weights"]
        assert told["owns"] == pytest.approx(1 / 3, abs=0.01) and len(told["phases"]) in (1, 2, 3)


@pytest.mark.parametrize("strategy, compact", [("isolate", [("compact", 10, 1.0, "last", 0)]), ("packnet", [])])
def test_phases_follow_on_each_other(store, monkeypatch, strategy, compact):
    """Their batches are those of one run; weights from before the dropping are none to go back to."""
    seen, batches = [], []

    def fit(self, objective, draw, how, folder, title="adapt", validate=True):
        seen.append((title, how.steps, round(how.rate / 5e-3, 6), how.keep, how.patience))
        batches.extend((draw(0)["step"], draw(how.steps - 1)["step"]))
        return Result(score=0.5)

    monkeypatch.setattr(Job, "fit", fit)
    how = {"keep": "best", "patience": 3}
    start(strategy).learn(job(store, "findings", steps=40, training=how))
    ends = [20, 30, 40] if compact else [27, 40]
    train, retrain = ("train", ends[0], 1.0, "best", 3), ("retrain", 40 - ends[-2], 1.0 if compact else 0.1, "best", 3)
    assert seen == [train, *compact, retrain]
    assert batches == [number for begin, end in zip([0, *ends], ends) for number in (begin, end - 1)]


def test_the_search_gives_back_the_most_with_which_the_score_stays(store, monkeypatch):
    """A score that falls when more than half is dropped: half is found, and the weights from before the fall stand."""

    def score(self, calibration):
        def of(network):
            kept = torch.cat([layer.kept for layer in shared.parts(network.encoder).values()] or [torch.ones(1)])
            return 0.9 if kept.float().mean() > 0.45 else 0.8

        return of

    monkeypatch.setattr(Job, "_score", score)
    found = {}
    for tolerance in (0.05, 0.2):
        course = start("isolate", values={"sparsity": "search", "tolerance": tolerance})
        told = course.learn(job(store, "findings", steps=4)).card["weights"]
        found[told["sparsity found"]] = told["owns"]
        assert [phase["phase"] for phase in told["phases"]] == ["train", "compact", "retrain"]
    assert found == {0.5: pytest.approx(0.5, abs=0.01), 0.9: pytest.approx(0.1, abs=0.02)}


def test_the_search_asks_for_validation_records_before_it_begins(store, monkeypatch):
    course, made = start("isolate", values={"sparsity": "search"}), job(store, "findings")
    made.validation = made.validation[:0]
    monkeypatch.setattr(Sampler, "__call__", lambda self, number: pytest.fail("it has begun to train"))
    with pytest.raises(UsageError, match="sparsity=search: it asks validation records"):
        course.learn(made)


def test_a_graft_without_validation_is_written_once(store, tmp_path):
    """What is not known of it is no number that differs from itself."""
    course, made = start("isolate"), job(store, "findings")
    made.validation = made.validation[:0]
    graft = course.learn(made)
    assert all(phase["score"] is None for phase in graft.card["weights"]["phases"])
    course.model.save(tmp_path)
    assert course.model.grafts["findings"].is_in(tmp_path / "grafts" / "findings.safetensors")


# --- interruptions


@pytest.mark.parametrize("strategy", ["isolate", "packnet", "sequential", "lwf"])
def test_a_task_that_was_interrupted_goes_on_to_the_same_bits(store, tmp_path, monkeypatch, strategy):
    """Ctrl-C while it trains and while it compacts (steps 12 to 15), and a break while it retrains, with no time to
    write."""
    whole = second(store, strategy, None)
    for stop, kind in ((5, signal.SIGINT), (9, signal.SIGINT), (4, None)):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            second(store, strategy, tmp_path, lambda patch=patch, how=(stop, kind): interrupt(patch, *how))
        assert list(tmp_path.rglob(CHECKPOINT))
    resumed = second(store, strategy, tmp_path)
    assert not list(tmp_path.rglob(CHECKPOINT))
    assert whole.tensors.keys() == resumed.tensors.keys()
    assert all(torch.equal(value, resumed.tensors[key]) for key, value in whole.tensors.items())
    assert whole.thresholds == resumed.thresholds and whole.shared == resumed.shared


def test_another_strategy_or_setting_starts_over_in_the_same_folder(store, tmp_path, monkeypatch):
    """What an interrupted run has left is not for it."""
    how = {"steps": 10}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 5, signal.SIGINT)
        start("isolate").learn(job(store, "waves", **how), tmp_path)
    for values in ({"sparsity": 0.2}, {"sparsity": 0.2, "min_per_channel": 2}):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            interrupt(patch, 6, signal.SIGINT)
            start("isolate", values=values).learn(job(store, "waves", **how), tmp_path)
    found, wanted = (start("packnet").learn(job(store, "waves", **how), folder) for folder in (tmp_path, None))
    assert all(torch.equal(value, found.tensors[key]) for key, value in wanted.tensors.items())


def second(store, strategy: str, folder, before=lambda: None):
    """The second task of a course whose first is always the same; `before` is called between them."""
    course = start(strategy)
    course.learn(job(store, "findings", steps=2))
    before()
    return course.learn(job(store, "waves", steps=20, training={"average": 0.9}), folder)


def interrupt(patch, stop: int, kind) -> None:
    """Breaks in when batch `stop` is drawn from now on: as Ctrl-C does, or (None) at once."""
    drawn, call = [], Sampler.__call__

    def counted(self, number):
        drawn.append(number)
        if len(drawn) == stop and kind is None:
            raise KeyboardInterrupt
        if len(drawn) == stop:
            signal.raise_signal(kind)
        return call(self, number)

    patch.setattr(Sampler, "__call__", counted)


# --- every encoder


@pytest.mark.parametrize("encoder", plugs.names("encoders"))
def test_two_tasks_on_every_encoder_alone_and_in_one_pass(store, encoder):
    course = start("isolate", encoder)
    for task in ("findings", "qrs"):
        course.learn(job(store, task, steps=2))
        if task == "findings":
            before = answers(course)
    assert torch.equal(answers(course)["findings"], before["findings"])
    assert 0 < chain.shares(course.model)["qrs"]["owns"] < chain.shares(course.model)["findings"]["owns"] * 2
    assert_together(course.model, Store(store).record(0))


def assert_together(model: Model, record) -> None:
    """All tasks in one pass say what each says alone, to 1e-5; one alone the same bits every time."""
    ((recipe, made),) = model.ready(list(model.grafts))
    examples = Examples(infer.Memory([record], recipe), np.arange(1))
    ((_, together),) = infer.run(made, examples, recipe.samples)
    for name in model.grafts:
        ((_, alone),) = infer.run(model.network(name), examples, recipe.samples)
        size = max(1.0, np.abs(alone[name]).max())
        assert np.abs(together[name] - alone[name]).max() <= 1e-5 * size
    both = model.predict(record)
    for name in model.grafts:
        one, again = (model.predict(record, [name])[name].to_dict() for _ in range(2))
        assert one == again and both[name].to_dict().keys() == one.keys()
    assert both.keys() == model.grafts.keys()
