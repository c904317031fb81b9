"""Learning curves against points from known ones, what is said of coverage against simulated scores, and the verb."""

from __future__ import annotations

import json

import numpy as np
import pytest

import ecgraft
from ecgraft import cli, tasks
from ecgraft.commands import _expected, _trials
from ecgraft.commands import plan as planning
from ecgraft.commands._examples import Corpus
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings
from ecgraft.metrics import curve
from ecgraft.model import Model
from ecgraft.record import InputError, UsageError
from ecgraft.store import Store

pytestmark = pytest.mark.slow

SMALL = {"widths": (8, 8, 8, 8), "stem": 8}
SEEN = np.array([10, 20, 40, 67])


@pytest.mark.parametrize("a, b, c, bound", [(0.9, 1.5, 0.6, 1.0), (0.75, 3.0, 1.2, 1.0), (-4.0, 20.0, 0.4, 0.0)])
def test_a_curve_through_exact_points_is_found_again(a, b, c, bound):
    n = np.array([10, 20, 40, 80, 160])
    found = curve.fit(n, a - b * n**-c, np.full(5, 1e-6), bound)
    assert np.allclose(found, (a, b, c), rtol=1e-3)
    assert np.allclose(found.at([1000, 5000]), a - b * np.array([1000.0, 5000.0]) ** -c, rtol=1e-3)


def test_points_that_fall_give_a_flat_curve_and_none_rises_above_the_bound():
    flat = curve.fit([10, 20, 40], [0.7, 0.6, 0.5], np.full(3, 0.01))
    assert np.allclose(flat.at([10, 10_000]), 0.6, atol=1e-3)
    steep = curve.fit([10, 20, 40], [0.3, 0.6, 0.9], np.full(3, 0.01))
    assert steep.at(1e9) <= 1.0


def test_a_curve_needs_two_points():
    with pytest.raises(InputError, match="two numbers of labels"):
        curve.fit([10], [0.5])


def made_scores(rng, a=0.85, b=1.6, c=0.55, splits=8, replicates=40, held=0.04, one=0.3) -> np.ndarray:
    """(N, S, 1 + R) scores of grafts: one error that all splits share, as their records do, and one of each graft.

    one: the SD of a graft's score is one / sqrt(n). The replicates vary about a score as the shared error did.
    """
    mean = a - b * SEEN[:, None] ** -c + held * rng.standard_normal()  # (N, 1)
    score = mean + one / np.sqrt(SEEN[:, None]) * rng.standard_normal((len(SEEN), splits))
    drawn = score[:, :, None] + held * rng.standard_normal(replicates)
    return np.concatenate([score[:, :, None], drawn], axis=2)


def test_intervals_hold_what_they_promise_on_simulated_scores_and_widen_beyond_what_was_seen():
    rng, at, inside, width = np.random.default_rng(0), np.array([50, 200, 1000, 5000]), [], []
    for seed in range(25):
        found = _expected.of_scores(SEEN, made_scores(rng), at, seed=seed).asked
        came = 0.85 - 1.6 * at**-0.55 + 0.3 / np.sqrt(at) * rng.standard_normal(len(at))
        inside.append((found[:, 1] <= came) & (came <= found[:, 2]))
        width.append(found[:, 2] - found[:, 1])
        assert (np.diff(found[:, 0]) > -0.02).all(), "more labels are not worse"
    assert (np.mean(inside, axis=0) >= 0.8).all()
    assert np.all(np.diff(np.mean(width, axis=0)[1:]) > 0)


def test_errors_are_turned_round():
    """Of an error lower is better; the interval stays in order, and above 0."""
    scores = -10 * (made_scores(np.random.default_rng(1)) ** -1)
    found = _expected.of_scores(SEEN, scores, np.array([200]), bounded=False)
    said = _expected.as_estimate(found.asked[0], -1)
    assert 0 <= said.low < said.value < said.high


def test_the_spread_of_one_graft_is_told_from_that_of_the_records():
    rng = np.random.default_rng(2)
    table = np.empty((2, 4000, 65))
    for k, n in enumerate((25, 100)):
        true = 2 / np.sqrt(n) * rng.standard_normal(4000)
        table[k, :, 0] = true + 0.1 * rng.standard_normal(4000)
        table[k, :, 1:] = table[k, :, :1] + 0.1 * rng.standard_normal((4000, 64))
    assert _expected.spread_of_one(np.array([25, 100]), table) == pytest.approx(2, rel=0.05)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "store"
    ecgraft.simulate(to=path, count=90, seed=2, seconds=7.0, rate=250.0, progress=False)
    return Corpus.open(Store(path), tasks.find("findings"))


def job(corpus) -> Job:
    none = np.zeros(0, np.int64)
    options = Settings(adapter="linear", seconds=4.0, batch=8, training={"steps": 30})
    return Job(Model.fresh("resnet18", SMALL), corpus, none, none, options, corpus.task.name, progress=False)


def test_splits_are_nested_by_patient_and_leave_the_held_ones_alone(corpus):
    rows = np.union1d(corpus.rows("train"), corpus.rows("validation"))
    split = planning.cut(corpus, rows, 3)
    assert list(split.few)[:2] == [10, 20] and len(split.held) == pytest.approx(len(rows) / 3, abs=1)
    for one, two in zip(list(split.few.values()), list(split.few.values())[1:]):
        assert np.isin(one, two).all()
    largest = list(split.few.values())[-1]
    assert not np.isin(corpus.patients(largest), corpus.patients(split.held)).any()
    assert len(largest) + len(split.held) == len(rows)


def test_too_few_records_and_too_few_positives_are_said(corpus):
    rows = np.union1d(corpus.rows("train"), corpus.rows("validation"))
    with pytest.raises(InputError, match="a plan needs 20"):
        planning.check(corpus, rows[:10])
    without = rows[(corpus.y[rows] == 0).all(1)]
    if len(without) < planning.LEAST:
        without = np.resize(without, planning.LEAST)
    with pytest.raises(InputError, match="4 positive patients"):
        planning.check(corpus, without)
    counts = _trials.positives(corpus, rows)
    rare = [label for label, n in zip(corpus.task.labels, counts) if n < planning.EACH]
    notes = planning.check(corpus, rows)
    assert all(label in notes[0] for label in rare) if rare else not notes


def test_wrong_use_is_said(corpus):
    for wrong in ({"labels": "ten"}, {"adapters": "lcr"}, {"adapter": "full"}, {"labels": "1"}):
        with pytest.raises(UsageError):
            ecgraft.plan(corpus.store.path, task="findings", progress=False, **wrong)


@pytest.mark.slow
def test_a_plan_never_looks_at_the_test_part(corpus, monkeypatch):
    seen, real = [], _trials.trial

    def trial(job, candidate, train, validation, held):
        seen.append(np.concatenate([train, validation, held]))
        assert not np.intersect1d(np.union1d(train, validation), held).size
        return real(job, candidate, train, validation, held)

    monkeypatch.setattr(_trials, "trial", trial)
    rows = np.union1d(corpus.rows("train"), corpus.rows("validation"))
    summary, _ = planning.measure(job(corpus), rows, _trials.named("linear"), np.array([20, 500]), 5, most=2)
    assert seen and not np.isin(np.concatenate(seen), corpus.rows("test")).any()
    assert [line["extrapolated"] for line in summary["expected"]] == [False, True]
    again, _ = planning.measure(job(corpus), rows, _trials.named("linear"), np.array([20, 500]), 5, most=2)
    assert summary["expected"] == again["expected"]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["age", "waves", "qrs"])
def test_every_kind_of_task_can_be_planned(corpus, task):
    if task == "age":  # nobody's age is known here
        y = 50 + 9 * corpus.y[:, :1].astype(np.float32)
        known = np.ones(y.shape, bool)
        other = Corpus(corpus.store, tasks.find(task), y, known[:, 0], known, corpus.part)
    else:
        other = Corpus.open(corpus.store, tasks.find(task))
    rows = np.union1d(other.rows("train"), other.rows("validation"))[:30]
    summary, _ = planning.measure(job(other), rows, _trials.named("linear"), np.array([100]), 5, most=1)
    said = summary["expected"][0]["scores"]["linear"]
    assert said["low"] <= said["value"] <= said["high"]


@pytest.mark.slow
def test_no_time_leaves_the_costly_ones_out_and_says_so(corpus):
    rows = np.union1d(corpus.rows("train"), corpus.rows("validation"))[:40]
    summary, _ = planning.measure(job(corpus), rows, _trials.named("full"), np.array([50]), 0.0)
    assert list(summary["adapters"]) == ["linear"] and summary["adapters"]["linear"]["splits"] == planning.SURE
    assert "full" in summary["left out"]


@pytest.mark.slow
def test_the_verb_writes_its_files(corpus, tmp_path, capsys):
    Model.fresh("resnet18", SMALL).save(tmp_path / "model")
    words = [str(corpus.store.path), "--task", "findings", "--model", str(tmp_path / "model"), "--to"]
    words += [str(tmp_path / "plan"), "--adapters", "linear", "--labels", "10,300", "seconds=4", "batch=8"]
    cli.main(["plan", *words])
    said = json.loads((tmp_path / "plan" / "plan.json").read_text())
    assert [line["labels"] for line in said["expected"]] == [10, 300]
    page = (tmp_path / "plan" / "plan.html").read_text()
    assert "extrapolated" in page and "<svg" in page
    assert "linear" in capsys.readouterr().out
