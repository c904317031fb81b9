"""The main job, shortened: the same code with fewer ECGs and steps."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ecgraft.commands import demo
from ecgraft.model import Model
from ecgraft.record import InputError


def shortened(chapter: demo.Chapter, steps: int) -> demo.Chapter:
    training = chapter.settings["training"] | {"steps": steps}
    return replace(chapter, settings=chapter.settings | {"training": training, "batch": 4, "seconds": 10.0})


@pytest.mark.slow
def test_demo_on_simulated_ecgs(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "SIMULATED", 60)
    monkeypatch.setattr(demo, "ON_SIMULATED", tuple(shortened(c, 3) for c in demo.ON_SIMULATED))
    summary = demo.demo(to=tmp_path, progress=False)
    assert set(summary["tasks"]) == {"findings", "waves"}
    assert json.loads((tmp_path / "report.json").read_text()) == summary
    page = (tmp_path / "report.html").read_text()
    assert len(page) < 3_000_000 and "not a medical device" in page and page.count("<svg") > 8
    assert summary["tasks"]["waves"]["scores"]["mean f1"]["value"] > 0.9  # the packaged model knows waves
    again = demo.demo(to=tmp_path, progress=False)
    assert again["tasks"] == summary["tasks"], "the same command must give the same numbers"
    assert set(Model.load(tmp_path / "model").grafts) == {"findings", "waves", "qrs"}


@pytest.mark.slow
def test_demo_on_real_ecgs(tmp_path, monkeypatch, shared_data):
    monkeypatch.setattr(demo, "ON_DATA", {"ludb": shortened(demo.ON_DATA["ludb"], 2)})
    summary = demo.demo(to=tmp_path, data=shared_data, progress=False)
    assert summary["tasks"]["waves"]["scores"]["mean f1"]["value"] > 0.95


def test_demo_without_databases_says_which_it_wants(tmp_path):
    with pytest.raises(InputError, match="cinc2017"):
        demo.demo(to=tmp_path / "to", data=tmp_path, progress=False)
