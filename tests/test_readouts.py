"""Nearest neighbours as a head, by votes counted by hand and by scikit-learn; and the read-outs of an encoder."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.neighbors import KNeighborsClassifier

import ecgraft
from ecgraft import cli, tasks
from ecgraft.commands import _probe, _readouts, _score, _seen
from ecgraft.commands import bench as bench_command
from ecgraft.commands._bench import reading
from ecgraft.commands._examples import Corpus
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings, with_defaults
from ecgraft.model import Graft, Model
from ecgraft.nn import Neighbours
from ecgraft.nn.network import HeadConfig, build_head
from ecgraft.record import InputError, UsageError
from ecgraft.store import Store
from made_protocols import written

pytestmark = pytest.mark.slow

SMALL = {"widths": (8, 8, 8, 8), "stem": 8}
RHYTHM = "kind: multiclass\nlabels:\n  AF: [scp:AFIB]\n  SR: [scp:SR]\n  SB: [scp:SBRAD]\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a store of records of two windows and more, a task of three classes, and an untrained model."""
    folder = tmp_path_factory.mktemp("readouts")
    ecgraft.simulate(to=folder / "store", count=120, seed=2, seconds=7.0, rate=250.0, progress=False)
    (folder / "rhythm.yaml").write_text(RHYTHM)
    Model.fresh("resnet18", SMALL, seed=4).save(folder / "model")
    return folder


def filled(h, y, known=None, **changes) -> Neighbours:
    h, y = torch.tensor(h, dtype=torch.float32), torch.tensor(y)
    head = Neighbours(h.shape[1], y.shape[1], **changes)
    head.fill(h, y, torch.ones(y.shape, dtype=torch.bool) if known is None else torch.tensor(known))
    return head


def test_a_vote_counted_by_hand():
    """Two of three vote, with cosines 1 and 0.8 at temperature 0.5; the third vote is that of all records together."""
    head = filled([[2, 0], [0.8, 0.6], [-1, 0]], [[1, 0], [0, 0], [0, 1]], neighbours=2, temperature=0.5)
    near, far = np.exp(2.0), np.exp(1.6)
    first = (2 * near / (near + far) + (1 + 0.5) / 4) / 3
    second = (0 + (1 + 0.5) / 4) / 3
    assert np.allclose(expit(head(torch.tensor([[5.0, 0.0]])).numpy()), [[first, second]], atol=1e-6)


def test_only_those_vote_whose_label_is_known():
    """The nearest record does not know the first label, so the next two vote on it; nobody knows the third."""
    known = [[0, 1, 0], [1, 1, 0], [1, 1, 0]]
    y = [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    head = filled([[1, 0], [0.6, 0.8], [0, 1]], y, np.array(known, bool), neighbours=2, temperature=1.0)
    one, two, three = np.exp([1.0, 0.6, 0.0])
    expected = [(2 * two / (two + three) + 1.5 / 3) / 3, (2 * one / (one + two) + 1.5 / 4) / 3, 0.5]
    assert np.allclose(expit(head(torch.tensor([[1.0, 0.0]])).numpy()), [expected], atol=1e-6)


def test_the_share_of_votes_is_that_of_scikit_learn():
    random, K, k, temperature = np.random.default_rng(0), 4, 7, 0.07
    h, asked = (random.standard_normal((n, 6)).astype(np.float32) for n in (600, 50))
    classes = random.integers(K, size=len(h))
    head = filled(h, np.eye(K, dtype=np.int8)[classes], neighbours=k, exclusive=True)
    unit, other = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (h, asked))
    oracle = KNeighborsClassifier(k, metric="cosine", weights=lambda d: np.exp((1 - d) / temperature))
    share = oracle.fit(unit, classes).predict_proba(other)
    usual = (np.bincount(classes) + 1 / K) / (len(h) + 1)
    logits = head(torch.from_numpy(asked)).numpy()
    assert np.allclose(softmax(logits, axis=1), (k * share + usual) / (k + 1), atol=1e-4)
    assert np.allclose(np.exp(logits).sum(1), 1, atol=1e-5), "log probabilities"


def test_answers_are_finite_whoever_agrees():
    for y in ([[1, 0]] * 30, [[0, 1]] * 30):
        for exclusive in (False, True):
            head = filled(np.eye(30), y, neighbours=50, temperature=1e-3, exclusive=exclusive)
            assert torch.isfinite(head(torch.eye(30)[:3])).all() and torch.isfinite(head(torch.zeros(1, 30))).all()


def job(corpus, **changes) -> Job:
    options = {"adapter": "linear", "seconds": 4.0, "rare": "note", "head": HeadConfig(kind="knn")} | changes
    train, validation = corpus.few(1, 0)
    model = Model.fresh("resnet18", SMALL, seed=4)
    options = with_defaults(Settings(**options), 30, 0)
    return Job(model, corpus, train, validation, options, corpus.task.name, progress=False)


@pytest.mark.parametrize("task", ["findings", "rhythm.yaml"])
def test_a_graft_of_neighbours_comes_back_and_answers_alike(place, tmp_path, task):
    """A record is asked for once, by the mean features of its windows, by whatever way."""
    store = Store(place / "store")
    corpus = Corpus.open(store, tasks.find(place / task if task.endswith("yaml") else task))
    made = job(corpus)
    graft = made.run()
    graft.save(tmp_path / "g.safetensors")
    again = Graft.load(tmp_path / "g.safetensors")
    made.model.add(again)
    assert again.head == graft.head and len(again.tensors["head.features"]) == len(made.train)
    assert graft.card["trained parameters"] == 0 and "training records" in graft.card["neighbours"]
    rows, network = corpus.rows("test"), made.model.network(corpus.task.name)
    by_features = made.answer(network, rows).logits
    assert np.allclose(by_features, _score.answer(network, corpus, rows, made.cache).logits, atol=1e-3)
    said = made.model.predict(store.record(int(rows[0])))[corpus.task.name]
    p = _score.probabilities(corpus.task, made.answer(network, rows[:1]), graft.calibration)[0]
    assert np.allclose(list(said.probability.values()), p, atol=1e-2) and np.isfinite(by_features).all()


def test_a_large_store_keeps_some_of_its_records(place, monkeypatch):
    monkeypatch.setattr(_probe, "MOST", 20)
    made = job(Corpus.open(Store(place / "store"), tasks.find("findings")))
    graft = made.run()
    assert len(graft.tensors["head.features"]) == len(graft.tensors["head.targets"]) == 20
    assert graft.card["neighbours"] == f"20 of {len(made.train)} training records, by chance"
    rows = _probe.voters(made.train, 0)
    assert np.array_equal(rows, _probe.voters(made.train, 0)) and not np.array_equal(rows, _probe.voters(made.train, 1))


@pytest.mark.parametrize(
    "task, changes, message",
    [
        ("findings", {"adapter": "full"}, "adapter 'full' changes it; take --adapter linear"),
        ("waves", {}, "task 'waves': head.kind=knn is a vote on classes, and a waves task has none"),
        ("qrs", {}, "a peaks task has none to vote on; take head.kind=linear"),
    ],
)
def test_where_neighbours_cannot_be_asked(place, task, changes, message):
    with pytest.raises(UsageError, match=message):
        job(Corpus.open(Store(place / "store"), tasks.find(task)), **changes).run()
    with pytest.raises(UsageError, match="a regression task has none to vote on"):
        build_head(tasks.find("age"), Model.fresh("resnet18", SMALL).encoder, HeadConfig(kind="knn"))


def test_a_file_whose_records_and_targets_differ_is_damaged(place):
    made = job(Corpus.open(Store(place / "store"), tasks.find("findings")))
    graft = made.run()
    graft.tensors["head.targets"] = graft.tensors["head.targets"][:-1]
    made.model.add(graft)
    with pytest.raises(InputError, match="features of training records, but"):
        made.model.network("findings")
    graft.tensors["head.features"] = graft.tensors["head.features"][:-1, :-1]
    with pytest.raises(InputError, match="size mismatch"):
        made.model.network("findings")


def test_from_the_command_line(place, tmp_path, capsys):
    store, to = str(place / "store"), str(tmp_path / "m")
    given = ["--model", str(place / "model"), "--task", "findings", "--adapter", "linear", "--to", to, "--no-progress"]
    cli.main(["adapt", store, *given, "head.kind=knn", "head.neighbours=5", "seconds=4", "rare=note"])
    network = Model.load(to).network("findings")
    assert isinstance(network.heads["findings"], Neighbours) and network.heads["findings"].neighbours == 5
    found = ecgraft.evaluate(store, model=to, task="findings", to=tmp_path / "r", replicates=10, progress=False)
    assert 0 <= found["scores"]["macro auroc"]["value"] <= 1


def probe(place, to, seeds=1, **changes):
    given = {"task": "findings", "probe": True, "seeds": seeds, "jobs": 1, "replicates": 20, "progress": False}
    return ecgraft.evaluate(place / "store", to=to, **{"model": str(place / "model")} | given | changes)


@pytest.fixture(scope="module")
def quick():
    """Few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_readouts, "STEPS", (2, 3))
        patch.setattr(_readouts, "BUDGETS", (0.05, 0.5, 1.0))
        yield


@pytest.mark.slow
def test_read_outs_from_beginning_to_end(place, quick, tmp_path, monkeypatch):
    summary = probe(place, tmp_path / "out", seeds=2)
    rows = parquet.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    names = ["linear", "knn", "random linear", "random knn", "scratch"]
    assert {(r["row"], r["budget"], r["seed"]) for r in rows} == {
        (n, b, s) for n in names for b in (0.5, 1) for s in (0, 1)
    }
    assert {r["database"] for r in rows} == {"store"} and {r["split"] for r in rows} == {"official"}
    assert {r["steps"] for r in rows if "knn" in r["row"]} == {0} and not any(r["standin"] for r in rows)
    assert [line["row"] for line in summary["lines"]] == names * 2
    assert "difference to scratch" in summary["lines"][0] and summary["left out"][0].startswith("5% of the labels left")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "5% of the labels left out: 5 records, fewer than 29" in text and "| random knn |" in text
    assert "random knn" in (tmp_path / "out" / "report.html").read_text()
    by_seed = {r["seed"]: r["macro auroc"] for r in rows if r["row"] == "random knn" and r["budget"] == 1}
    same = {r["seed"]: r["macro auroc"] for r in rows if r["row"] == "knn" and r["budget"] == 1}
    assert by_seed[0] != by_seed[1] and same[0] == same[1], "the untrained encoder is another one for every seed"
    monkeypatch.setattr(bench_command.Runner, "_run", lambda *_: pytest.fail("computed again"))
    again = probe(place, tmp_path / "out", seeds=2)
    assert again == summary and probe(place, tmp_path / "out")["lines"][0]["seeds"] == [0]


@pytest.mark.slow
def test_records_that_the_encoder_has_seen(place, quick, tmp_path, monkeypatch):
    """Three of the test part: refused, left out or scored, as --leaks says."""
    monkeypatch.setattr(_readouts, "BUDGETS", (1.0,))
    store, model = Store(place / "store"), Model.load(place / "model")
    test = Corpus.open(store, tasks.find("findings")).rows("test")
    model.seen = _seen.tensors(store, test[:3])
    model.save(tmp_path / "model")
    given = {"model": str(tmp_path / "model"), "to": tmp_path / "out"}
    with pytest.raises(InputError, match=r"3 of .* records were learnt from"):
        probe(place, **given)
    for rule, count in (("drop", len(test) - 3), ("allow", len(test))):
        found = probe(place, **given, leaks=rule)
        assert found["leaks"]["left out"] == len(test) - count
        text = (tmp_path / "out" / "report.md").read_text()
        assert f"{count} test records of" in text and "3 same samples" in text


def test_tasks_without_classes_have_no_neighbours(place):
    store, model = Store(place / "store"), Model.load(place / "model")
    options = _readouts.Options("refuse", 1, 1, 20, "cpu", False)
    for task in ("waves", "age", "qrs", "beats"):
        made = _readouts.read_outs(model, "default", store, task, tasks.find(task), (1.0,), "", options)
        assert list(made.rows) == ["linear", "random linear", "scratch"]


def test_an_untrained_encoder_has_the_recipe_of_the_one_that_is_read(place):
    model = Model.fresh("resnet18", SMALL)
    recipe = type(model.recipe)(seconds=5.0, low=None, normalise="record")
    options = _readouts.Options("refuse", 1, 1, 20, "cpu", False)
    store = Store(place / "store")
    made = _readouts.read_outs(
        Model(model.encoder, recipe), "default", store, "findings", tasks.find("findings"), (1.0,), "", options
    )
    base = bench_command.cell_tools.base(made.row("scratch"), 3)
    assert base.recipe == recipe and base.encoder.config == model.encoder.config


@pytest.mark.parametrize(
    "given, message",
    [
        ({"zero_shot": True}, "evaluate: --probe scores an encoder"),
        ({"against": "default"}, "--probe brings its own comparisons"),
        ({"part": "validation"}, "--part validation goes without it"),
        ({"task": ""}, "--task is missing"),
        ({"seeds": 0}, "--seeds 0: it must be at least 1"),
        ({"leaks": "forget"}, "--leaks 'forget'"),
    ],
)
def test_what_does_not_go_with_read_outs(place, tmp_path, given, message):
    with pytest.raises(UsageError, match=message):
        probe(place, tmp_path / "out", **given)


def test_too_few_labels_for_any_budget(place, tmp_path, monkeypatch):
    monkeypatch.setattr(_readouts, "BUDGETS", (0.05,))
    with pytest.raises(InputError, match="5 labelled records to learn from; 29 are needed"):
        probe(place, tmp_path / "out")


def test_a_protocol_may_name_a_store(place, tmp_path):
    table = {"store": str(place / "store"), "task": "findings", "split": "official", "metrics": ["macro auroc"]}
    file = written(tmp_path / "p.yaml", tables={"own": table}, published=[])
    assert reading.read(file).table("own").store == str(place / "store")
    for change in ({"database": "ludb"}, {"store": ""}):
        file = written(tmp_path / "p.yaml", tables={"own": table | change}, published=[])
        with pytest.raises(UsageError, match="table 'own': give it a database, or a store by its path; one of them"):
            reading.read(file)
    knn = {"settings": {"head": {"kind": "knn"}}, "encoder": "resnet18"}
    file = written(tmp_path / "p.yaml", tables={"own": table}, rows={"scratch": knn}, published=[])
    with pytest.raises(UsageError, match="take --adapter linear"):
        reading.read(file)
