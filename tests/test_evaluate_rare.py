"""Rare cases of a report and of an answer: one label alone, numbers that are too small, leads that are absent."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ecgraft
from ecgraft.commands import _certainty, _score
from ecgraft.commands._examples import Corpus
from ecgraft.commands._unseen import home_of
from ecgraft.model import Graft, Model
from ecgraft.model.predict import Prediction, _Beats, _read_beats
from ecgraft.record import Record, UsageError
from ecgraft.report import Page
from ecgraft.signal.recipe import Recipe
from ecgraft.tasks import Task


def test_a_single_label_has_its_row():
    """As of a user's own yes and no."""
    y, task = np.array([[1], [0], [1], [0]]), Task("t", "multilabel", ("a",), {"a": ("own:a",)})
    people = SimpleNamespace(number=lambda name: np.arange(4))
    corpus = Corpus(people, task, y, np.ones(4, bool), np.ones((4, 1), bool), np.full(4, "test"))
    logits = np.array([[2.0], [-2.0], [-2.0], [0.1]])
    found = _score.Answers(np.arange(4), logits=logits, features=np.zeros((4, 3)))
    conformal = {"coverage": 0.9, "limits": [[0.5, 0.5]]}
    graft = Graft("t", task, Recipe(), "linear", {}, "0", {}, conformal=conformal)
    certainty, page = _certainty.measure(graft, corpus, found, 10), Page("t", "")
    assert _certainty.plain(certainty, graft)["coverage"]["a"]["value"] == 0.5
    _certainty.add_certainty(page, graft, certainty)
    assert "right among answered" in page.html()


@pytest.mark.parametrize("name, value", [("gallery", -1), ("seed", -1), ("replicates", 0)])
def test_numbers_that_are_too_small_are_said_at_once(tmp_path, name, value):
    with pytest.raises(UsageError, match=f"--{name} {value}: it must be"):
        ecgraft.evaluate(tmp_path, model="nowhere", task="findings", to=tmp_path, **{name: value})


def test_a_folder_named_like_the_packaged_model_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").mkdir()
    assert home_of("default") is None and home_of("nowhere") is None
    assert home_of("./default") == Path("default") and home_of(str(tmp_path / "default")) == tmp_path / "default"


def test_beats_are_named_where_a_lead_is_absent():
    """The certain answers of a lead that is not there do not matter."""
    task = Task("t", "beats", ("N", "V"), {"N": ("N",), "V": ("V",)})
    time = np.arange(2500) / 250
    signal = np.exp(-((time % 0.8 - 0.4) ** 2) / 0.0002)[None].astype(np.float32)  # a spike every 0.8 s
    probability = np.tile(np.array([[0.2, 0.8], [1.0, 0.0]], np.float32)[..., None], 2500)  # (C, K, T)
    graft = Graft("t", task, Recipe(leads=("I", "II"), rate=250.0), "linear", {}, "0", {})
    memory = SimpleNamespace(prepared=[SimpleNamespace(signal=signal, slots=np.array([0]))])
    said, record = Prediction("r", "t", "beats", 250.0), Record(signal, 250.0, ("I",), id="r")
    collected = _Beats(graft, record, memory)
    for piece in (probability[..., :1000], probability[..., 1000:]):
        collected.add(piece)
    _read_beats(said, graft, record, memory, collected.end())
    assert len(said.beats) > 8 and set(said.beats["symbol"].tolist()) == {b"V"}


def test_waves_of_other_leads_are_not_compared(tmp_path):
    ecgraft.simulate(to=tmp_path / "s", count=12, seed=1, seconds=4.0, rate=250.0, progress=False)
    small = {"widths": (8, 8, 8, 8), "stem": 8}
    for name, leads in (("all", {}), ("two", {"leads": ("I", "II")})):
        Model.fresh("resnet18", small | leads).save(tmp_path / name)
        options = {"steps": 2, "batch": 4, "seconds": 4.0, "progress": False}
        ecgraft.adapt(tmp_path / "s", task="waves", to=tmp_path / name, **options)
    with pytest.raises(UsageError, match=r"reads the leads I, II, graft 'waves' I, II, III.*must read the same"):
        ecgraft.evaluate(
            tmp_path / "s", model=str(tmp_path / "all"), task="waves", to=tmp_path / "r", against=str(tmp_path / "two")
        )
