"""The choice of an adapter: the rule on answers made by hand, the time that it may take, and what it looks at."""

from __future__ import annotations

import json

import numpy as np
import pytest

import ecgraft
from ecgraft import tasks
from ecgraft.commands import _choose, _score, _trials
from ecgraft.commands._examples import Corpus
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings, training, with_defaults
from ecgraft.model import Model
from ecgraft.record import InputError, UsageError
from ecgraft.store import Store

pytestmark = pytest.mark.slow

SMALL = {"widths": (8, 8, 8, 8), "stem": 8}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("choose") / "store"
    ecgraft.simulate(to=path, count=60, seed=2, seconds=5.0, rate=250.0, progress=False)
    return Corpus.open(Store(path), tasks.find("findings"))


def job(corpus, **changes) -> Job:
    train, validation = corpus.few(1, 0)
    options = with_defaults(Settings(adapter="linear", seconds=4.0, batch=8, **changes), 3, 0)
    return Job(Model.fresh("resnet18", SMALL), corpus, train, validation, options, "findings", progress=False)


def answers(corpus, rows, quality: dict):
    """Stands for `trial`: logits that are the labels, but for noise that is larger for adapters of less quality."""

    def trial(job, candidate, train, validation, held):
        noise = np.random.default_rng(held[0]).standard_normal((len(held), corpus.y.shape[1]))
        said = corpus.y[held] + noise * quality[candidate.adapter, bool(candidate.config)]
        return _trials.Trial(_score.Answers(held, logits=said), 10)

    return trial


QUALITY = {("linear", False): 0.3, ("lrc", True): 0.3, ("norm", False): 5.0, ("lrc", False): 5.0}
QUALITY |= {("rd_lora", False): 5.0, ("full", False): 5.0}


def test_the_cheapest_within_one_standard_error_of_the_difference_is_taken():
    rng = np.random.default_rng(0)
    shared = 0.1 * rng.standard_normal(2000)  # patients who are easy for all: it does not blur the difference
    drawn = np.array([0.70 + shared + 0.02 * rng.standard_normal(2000), 0.80 + shared])
    assert _trials.cheapest([0.70, 0.80], drawn) == (1, 1)
    assert _trials.cheapest([0.785, 0.80], drawn) == (0, 1)
    assert _trials.cheapest([0.775, 0.80], drawn) == (1, 1), "0.025 is more than the error of 0.02"
    assert _trials.cheapest([0.80, 0.80], drawn) == (0, 0)
    assert _trials.cheapest([np.nan, 0.80], drawn) == (1, 1)


def test_what_cannot_be_told_from_the_best_is_not_paid_for(corpus, monkeypatch):
    made = job(corpus)
    monkeypatch.setattr(_trials, "trial", answers(corpus, None, QUALITY))
    same = _choose.choose(made)
    assert (same.name, same.adapter_config) == ("linear", {}) and len(same.table) == len(_trials.CANDIDATES)
    monkeypatch.setattr(_trials, "trial", answers(corpus, None, QUALITY | {("linear", False): 8.0}))
    better = _choose.choose(made)
    assert (better.adapter, better.adapter_config) == ("lrc", {"place": "last-1"})
    assert json.loads(json.dumps(better.card()))["name"] == "lrc-last"
    better.show()


def test_the_choice_is_made_with_the_settings_that_were_tried(corpus, monkeypatch):
    monkeypatch.setattr(_trials, "trial", answers(corpus, None, QUALITY))
    made = job(corpus)
    options = _choose.choose(made).applied(made.options)
    assert options.augment == {} and training(options).rate == 0.005
    assert options.training["steps"] == 3
    own = job(corpus, training={"rate": 0.01})
    assert _choose.choose(own).applied(own.options).training["rate"] == 0.01
    full = _trials.CANDIDATES["full"].settings(made.options)
    assert full.augment == made.options.augment and full.training == made.options.training


@pytest.mark.parametrize("minutes, tried", [(0.0, 1), (1.9, 1), (2.5, 2), (1000.0, 6)])
def test_the_time_is_kept_to_by_a_clock_made_by_hand(corpus, monkeypatch, minutes, tried):
    """Each fit takes 20 s, so each candidate 60 s: after the first one another begins where 60 s are left."""
    now, real = [0.0], answers(corpus, None, QUALITY)

    def trial(*given):
        now[0] += 20
        return real(*given)

    monkeypatch.setattr(_trials, "monotonic", lambda: now[0])
    monkeypatch.setattr(_trials, "trial", trial)
    choice = _choose.choose(job(corpus), minutes)
    assert sum(one.score is not None for one in choice.table) == tried
    assert now[0] <= max(60 * minutes, 60)
    assert all(one.score or "left" in one.why_not for one in choice.table)


def test_one_that_turns_out_too_slow_is_given_up_after_its_first_fold(corpus, monkeypatch):
    now, real = [0.0], answers(corpus, None, QUALITY)

    def trial(job, candidate, *rows):
        now[0] += 100 if candidate.adapter == "full" else 1
        return real(job, candidate, *rows)

    monkeypatch.setattr(_trials, "monotonic", lambda: now[0])
    monkeypatch.setattr(_trials, "trial", trial)
    choice = _choose.choose(job(corpus), 2.0)
    assert now[0] == 5 * 3 + 100 and choice.table[-1].why_not.startswith("one fold of 3 took 100 s")


def test_what_cannot_be_fitted_is_left_out_with_the_reason(corpus, monkeypatch):
    real = answers(corpus, None, QUALITY | {("linear", False): 8.0})

    def trial(job, candidate, *rows):
        if candidate.adapter == "lrc":
            raise InputError("the weights grew beyond all bounds")
        return real(job, candidate, *rows)

    monkeypatch.setattr(_trials, "trial", trial)
    choice = _choose.choose(job(corpus))
    failed = {one.name: one.why_not for one in choice.table if one.score is None}
    assert failed == dict.fromkeys(("lrc-last", "lrc"), "the weights grew beyond all bounds")
    assert choice.adapter != "lrc"


def test_every_labelled_record_is_scored_once_and_no_test_record_is_looked_at(corpus, monkeypatch):
    seen, real = [], answers(corpus, None, QUALITY)

    def trial(job, candidate, train, validation, held):
        seen.append((candidate.adapter, train, validation, held))
        return real(job, candidate, train, validation, held)

    monkeypatch.setattr(_trials, "trial", trial)
    made = job(corpus)
    _choose.choose(made)
    linear = [parts for parts in seen if parts[0] == "linear"]
    labelled = np.union1d(made.train, made.validation)
    assert np.array_equal(np.sort(np.concatenate([held for *_, held in linear])), labelled)
    for _, train, validation, held in seen:
        assert not np.isin(corpus.patients(held), corpus.patients(np.union1d(train, validation))).any()
        assert not np.isin(np.concatenate([train, validation, held]), corpus.rows("test")).any()
        assert np.isin(train, made.train).all() and np.isin(validation, made.validation).all()


def test_too_few_records_give_linear_and_say_why(corpus):
    made = job(corpus)
    made.train, made.validation = made.train[:4], made.train[:0]
    choice = _choose.choose(made)
    assert choice.name == "linear" and "too few to compare" in choice.why
    made = job(corpus)
    none = np.flatnonzero((corpus.y == 0).all(1))
    rows = np.concatenate([none, corpus.rows("train")])[:12] if len(none) < 6 else none[:12]
    made.train = rows[(corpus.y[rows] == 0).all(1)]
    made.validation = made.train[:0]
    if len(made.train) >= _choose.FEWEST:
        assert "positive" in _choose.choose(made).why


def test_a_choice_that_was_kept_is_taken_again_but_not_for_other_records(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(_trials, "trial", answers(corpus, None, QUALITY))
    made, note = job(corpus), tmp_path / "training" / "choice.json"
    first = _choose.choose(made, 5, note)
    monkeypatch.setattr(_trials, "trial", None)
    assert _choose.choose(made, 5, note) == first
    made.train = made.train[1:]
    with pytest.raises(TypeError):
        _choose.choose(made, 5, note)


def test_answers_of_several_fits_are_put_together_in_order(corpus):
    parts = [_score.Answers(np.array(r), logits=np.array(r)[:, None] * 1.0) for r in ([5, 9], [2, 7])]
    both = _trials.pooled(parts)
    assert both.rows.tolist() == [2, 5, 7, 9] and both.logits[:, 0].tolist() == [2, 5, 7, 9]


def test_an_unknown_candidate_is_refused():
    assert list(_trials.named("full")) == ["linear", "full"]
    with pytest.raises(UsageError, match="lrc-last"):
        _trials.named("lrc-lst")


@pytest.mark.slow
def test_real_fits_are_the_same_every_time_and_leave_job_and_model_as_they_were(corpus, monkeypatch):
    few = {name: _trials.CANDIDATES[name] for name in ("linear", "lrc-last", "full")}
    monkeypatch.setattr(_choose, "CANDIDATES", few)
    made = job(corpus)
    before, options = made.model.fingerprint, made.options
    one, two = _choose.choose(made), _choose.choose(made)
    assert [t.score for t in one.table] == [t.score for t in two.table] and one.name == two.name
    assert all(t.score is not None for t in one.table), [t.why_not for t in one.table]
    assert made.model.fingerprint == before and not made.model.grafts and made.options is options
