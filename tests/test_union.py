"""One answer over the labels of several grafts: the rule by its oracle, and what predict writes of it."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit, softmax

import ecgraft
from ecgraft import cli
from ecgraft.metrics.calibrate import probability
from ecgraft.model import Graft, Model, union
from ecgraft.nn.network import HeadConfig, build_head
from ecgraft.record import Record, UsageError
from ecgraft.tasks import Task

GOLDEN = Path(__file__).parent / "golden"
CURVE = [[-4.0, 0.0, 4.0], [0.0, 0.5, 1.0]]
STEEP = [[-3.0, 0.0], [0.1, 0.9]]


def task(name: str, labels: tuple[str, ...], kind: str = "multilabel") -> Task:
    return Task(name, kind, labels, {label: (f"own:{label}",) for label in labels})


def test_log_odds_of_yes_or_no():
    a, z = task("a", ("x", "y")), np.array([[3.0, -1.0], [0.0, 900.0]])
    assert np.array_equal(union.log_odds(a, z, {}), z)
    assert np.allclose(union.log_odds(a, z, {"temperature": 2.0}), z / 2)
    found = union.log_odds(a, np.array([[2.0, 2.0]]), {"isotonic": [CURVE, None], "temperature": 4.0})
    assert np.allclose(found, [[np.log(3), 0.5]])  # the curve says 0.75
    certain = union.log_odds(a, np.array([[-9.0, 9.0]]), {"isotonic": [CURVE, CURVE]})
    assert np.allclose(certain, [[-np.log(999_999), np.log(999_999)]])


@pytest.mark.parametrize("calibration", [{}, {"temperature": 1.7}, {"isotonic": [STEEP, None, None]}])
def test_log_odds_of_classes_are_those_of_their_probability(calibration):
    a, z = task("a", ("x", "y", "z"), "multiclass"), np.random.default_rng(0).normal(size=(20, 3))
    p = probability(z, calibration, "multiclass")
    assert np.allclose(union.log_odds(a, z, calibration), np.log(p) - np.log(1 - p))


def test_log_odds_of_classes_stay_finite():
    found = union.log_odds(task("a", ("x", "y"), "multiclass"), np.array([[800.0, -800.0]]), {})
    assert found.tolist() == [[1600.0, -1600.0]]


def test_a_task_without_labels_of_a_record_is_refused():
    with pytest.raises(UsageError, match="waves task has no labels of a record"):
        union.log_odds(Task("w", "waves", ("none", "QRS")), np.zeros((1, 2)), {})


def test_the_softmax_is_the_probability_of_each_to_be_the_only_yes():
    """Oracle: all answers of independent labels, those with exactly one yes kept."""
    z = np.array([1.2, -0.4, 0.3, -2.0])
    p = expit(z)
    every = [np.array(answer) for answer in itertools.product([0, 1], repeat=4)]
    weight = {tuple(a): float(np.prod(np.where(a, p, 1 - p))) for a in every}
    single = np.array([weight[tuple(row)] for row in np.eye(4, dtype=int)])
    assert np.allclose(softmax(union.joined([z[None, :1], z[None, 1:]])[0]), single / single.sum())


def test_a_label_of_two_grafts_is_refused():
    with pytest.raises(UsageError, match="label 'x' is one of grafts a and c"):
        union.labels({"a": task("a", ("x",)), "b": task("b", ("y",)), "c": task("c", ("z", "x"))})


def chained(*names: str) -> SimpleNamespace:
    """A model that has learnt these one after another, and then a graft by itself."""
    shared = [{"after": {"graft": before} if before else {}} for before in (None, *names)]
    grafts = {n: SimpleNamespace(name=n, shared=s, task=task(n, (n,))) for n, s in zip(names, shared)}
    grafts = {"alone": SimpleNamespace(name="alone", shared={}, task=task("alone", ("alone",)))} | grafts
    return SimpleNamespace(grafts=grafts, graft=grafts.__getitem__)


def test_members_stand_in_the_order_of_learning():
    model = chained("c", "a", "b")
    assert union.members(model, ["alone", "a", "b", "c"]) == ["c", "a", "b", "alone"]
    assert union.members(model, ["b", "c"]) == ["c", "b"]


def graft(model: Model, name: str, labels: tuple[str, ...], bias: list[float], kind="multilabel", **fields) -> Graft:
    """Logits that are what its bias says, whatever the record."""
    head = build_head(task(name, labels, kind), model.encoder, HeadConfig())
    state = {key: value.zero_() for key, value in head.state_dict().items()}
    (last,) = (key for key in state if key.endswith("bias"))
    state[last] += type(state[last])(bias)
    tensors = {f"head.{key}": value.detach().clone() for key, value in state.items()}
    return Graft(name, task(name, labels, kind), model.recipe, "linear", {}, model.fingerprint, tensors, **fields)


@pytest.fixture(scope="module")
def model() -> Model:
    made = Model.load(GOLDEN / "encoder-1.safetensors")
    made.add(graft(made, "a", ("x",), [1.0], calibration={"temperature": 2.0}, thresholds={"x": 0.6}))
    made.add(graft(made, "b", ("y", "z"), [0.3, -1.0], thresholds={"y": 0.7, "z": 0.9}))
    made.add(graft(made, "c", ("p", "q", "r"), [0.1, 0.0, 0.0], "multiclass"))
    made.add(graft(made, "union", ("u",), [0.0]))
    made.add(graft(made, "twice", ("x", "w"), [0.0, 0.0]))
    return made


@pytest.fixture
def record() -> Record:
    return Record(np.random.default_rng(0).standard_normal((2, 700)), 250.0, ("I", "II"), id="r")


def test_the_surest_label_is_the_answer(model, record):
    said = model.predict(record, ["c"], union=["a", "b"])
    assert list(said) == ["c", "a", "b", "union"]
    one = said["union"]
    assert one.members == ["a", "b"] and one.kind == "union" and list(one.probability) == ["x", "y", "z"]
    assert np.allclose(list(one.probability.values()), softmax([0.5, 0.3, -1.0]), atol=1e-6)
    assert one.answer == ["x"] and said["a"].answer == ["x"] and one.unusual is None
    assert list(model.predict(record, union=["b", "c"])) == ["b", "c", "union"]


def test_none_of_these_where_no_label_reaches_its_threshold(model, record):
    one = model.predict(record, union=["b", "c"])["union"]  # y at 0.57 of 0.7; p at 0.36 of 0.5
    assert one.answer == [union.NONE] and sum(one.probability.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "names, hint",
    [
        (["a"], "name two grafts or more"), (["a", "a"], "each once"), (["a", "bb"], "no graft 'bb'"),
        (["a", "union"], "a graft is named 'union' itself"), (["a", "twice"], "label 'x' is one of grafts a and twice"),
    ],
)  # fmt: skip
def test_wrong_unions(model, record, names, hint):
    with pytest.raises(UsageError, match=hint):
        model.predict(record, union=names)


@pytest.fixture
def place(tmp_path, record, model, monkeypatch) -> Path:
    np.savez(tmp_path / "r.npz", signal=record.signal, rate=250.0, leads=np.array(record.leads), unit="mV")
    monkeypatch.setattr(Model, "load", lambda name: model)
    return tmp_path


def test_json_csv_and_page_say_it(place):
    rows = ecgraft.predict([place / "r.npz"], model="m", union="b, a", to=place / "a.json")
    assert json.loads((place / "a.json").read_text()) == rows and [row["graft"] for row in rows] == ["b", "a", "union"]
    assert (
        rows[-1]["members"] == ["b", "a"] and rows[-1]["answer"] == ["x"] and set(rows[-1]["probability"]) == set("xyz")
    )
    for name, answer in (("b,a", "x"), ("b,c", union.NONE)):
        ecgraft.predict([place / "r.npz"], model="m", union=name, to=place / "a.csv")
        table = [row for row in csv.DictReader((place / "a.csv").open()) if row["graft"] == "union"]
        assert [row["what"] for row in table if row["answer"] == "1"] == [answer]
        ecgraft.predict([place / "r.npz"], model="m", union=name, to=place / "a.html")
        text = (place / "a.html").read_text()
        assert f"union: {answer}" in text and f"union of {name.replace(',', ', ')}" in text


def test_wrong_use_is_status_2(place, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["predict", str(place / "r.npz"), "--model", "m", "--union", "a,twice"])
    assert end.value.code == 2 and "label 'x'" in capsys.readouterr().err
