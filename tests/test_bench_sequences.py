"""Sequences in a protocol: every strategy learns the tasks in order, and what that came to stands in the report."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

import ecgraft
from ecgraft import plugs
from ecgraft.commands._bench import courses, matrices, reading
from ecgraft.commands._bench.cells import Cell
from ecgraft.record import UsageError
from made_protocols import TINY

STRATEGIES = plugs.names("continual")
SETTINGS = {"isolate": {"tasks": 3}, "packnet": {"tasks": 3}, "ewc": {"records": 4}}
CLASSES = ("sinus rhythm", "atrial fibrillation")


def table(task: str, **more) -> dict:
    made = {"database": "simulated", "task": task, "budgets": [24], "steps": [2, 2]}
    return made | {"standin": {"count": 80, "seconds": 4.0}} | more


def protocol(**changes) -> dict:
    """Two rhythms, then waves; the rhythms asked for together."""
    content = {
        "name": "tasks", "version": 1, "reference": "independent", "seeds": 2, "replicates": 16,
        "settings": {"batch": 4, "seconds": 4.0, "augment": {}},
        "tables": {
            **{name: table(f"rhythms/{name}", metrics=["macro auroc"]) for name in CLASSES},
            "waves": table("waves", split="folds", folds=2),
            "normal": table(f"rhythms/{CLASSES[0]}"), "fibrillation": table(f"rhythms/{CLASSES[1]}"),
            "both": table(f"rhythms/{'+'.join(CLASSES)}", metrics=["accuracy"]),
        },
        "rows": {name: {**TINY, "strategy": name, "strategy_config": SETTINGS.get(name, {})} for name in STRATEGIES}
        | {"at once": TINY},
        "sequences": {
            "three": {"tables": [*CLASSES, "waves"], "forward": ["isolate", "sequential"]},
            "classes": {"tables": ["normal", "fibrillation"], "union": "both", "rows": ["isolate", "independent"]},
        },
    }  # fmt: skip
    return content | changes


def written(path, **changes):
    path.write_text(yaml.safe_dump(protocol(**changes), sort_keys=False))
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    file = written(folder / "tasks.yaml")
    return folder / "out", file, ecgraft.bench(file, to=folder / "out", jobs=1, progress=False)


def of(rows: list[dict], row: str, sequence: str = "three", seed: int = 0) -> list[dict]:
    found = [r for r in rows if (r["row"], r.get("sequence"), r["seed"]) == (row, sequence, seed)]
    return sorted((r for r in found if r["position"] >= 0), key=lambda r: r["position"])


@pytest.mark.slow
@pytest.mark.parametrize("row", STRATEGIES)
def test_every_strategy_learns_a_sequence(done, row):
    learnt = of(done[2], row)
    assert [r["table"] for r in learnt] == [*CLASSES, "waves"]
    for position, r in enumerate(learnt):
        after = json.loads(r["scores after"])
        known = [value is not None for value in after[position:]]
        assert known[-1] and (all(known) or row == "joint")
        assert r["test"] > 0 and r["seconds"] > 0 and r["bytes"] > 0


@pytest.mark.slow
def test_answers_stay_where_weights_have_owners(done):
    for row in ("isolate", "packnet", "piggyback", "graft", "independent"):
        first = of(done[2], row)[0]
        after = json.loads(first["scores after"])
        assert first["same answers"] and len(set(after)) == 1
    assert not of(done[2], "sequential")[0]["same answers"]


@pytest.mark.slow
def test_a_row_is_scored_by_what_it_answers_in_the_end(done):
    for row in ("isolate", "sequential"):
        for r in of(done[2], row):
            metric = "mean f1" if r["table"] == "waves" else "macro auroc"
            assert r[metric] == json.loads(r["scores after"])[-1]


@pytest.mark.slow
def test_forward_transfer_is_measured_where_it_was_asked_for(done):
    for row, measured in (("isolate", True), ("sequential", True), ("independent", False)):
        learnt = of(done[2], row)
        before = [json.loads(r["scores after"])[position] for position, r in enumerate(learnt[1:])]
        assert [value is not None for value in before] == [measured] * 2
        assert [r["score before"] is not None for r in learnt] == [measured] * 3


@pytest.mark.slow
def test_folds_go_round_with_the_seeds(done):
    folds = {r["seed"]: r["fold"] for r in done[2] if r["table"] == "waves" and r["row"] == "isolate"}
    assert folds == {0: 0, 1: 1}


@pytest.mark.slow
def test_a_union_is_answered_by_all_heads(done):
    rows = [r for r in done[2] if r["table"] == "both"]
    assert {(r["row"], r["seed"]) for r in rows} == {
        (n, s) for n in ("isolate", "independent", "at once") for s in (0, 1)
    }
    assert all(0 <= r["accuracy"] <= 1 for r in rows)


@pytest.mark.slow
def test_the_report_has_the_sequences(done):
    text, page = ((done[0] / f"report.{kind}").read_text() for kind in ("md", "html"))
    assert "Sequence: three" in text and "| isolate | 2 |" in text and "Sequence: classes" in page
    assert page.count("<svg") >= 2


@pytest.mark.slow
def test_a_finished_course_is_not_run_again(done, monkeypatch):
    monkeypatch.setattr("ecgraft.commands._bench.follow._Followed.learn", None)
    again = ecgraft.bench(done[1], to=done[0], jobs=1, progress=False)
    assert [r["key"] for r in again] == [r["key"] for r in done[2]]


@pytest.mark.slow
def test_isolation_takes_less_room_than_models_of_their_own(done):
    sizes = {row: of(done[2], row)[-1]["bytes in all"] for row in ("isolate", "independent")}
    assert sizes["isolate"] < sizes["independent"]


def test_a_key_depends_on_the_whole_course(tmp_path):
    def keys(**changes) -> list[str]:
        read = reading.read(written(tmp_path / "p.yaml", **changes))
        course = courses.Course("three", "isolate", 0)
        grounds = {name: Ground() for name in read.tables}
        stores = {name: Store(name) for name in read.tables}
        return courses.keys(course, read, "stand", stores, grounds)

    class Ground:
        withheld = ()

    class Store:
        codes, labels = [], np.zeros((0, 0))

        def __init__(self, name):
            self.fingerprint = name

    base = keys()
    assert len(set(base)) == 3 and base == keys()
    other = protocol()["tables"]
    other["waves"]["steps"] = [3, 3]
    assert not set(base) & set(keys(tables=other))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tables": ["waves"]}, "at least two tables"),
        ({"tables": ["waves", "wave"]}, "did you mean 'waves'"),
        ({"tables": ["waves", "waves"]}, "none of them twice"),
        ({"tables": [*CLASSES], "rows": ["at once"]}, "no row has a strategy"),
        ({"tables": [*CLASSES], "forward": ["isolat"]}, "did you mean 'isolate'"),
        ({"tables": [*CLASSES], "speed": 1}, "unknown key 'speed'"),
        ({"tables": ["normal", "waves"]}, "give it another name there"),
    ],
)
def test_a_sequence_that_cannot_be_is_refused(tmp_path, change, says):
    sequences = protocol()["sequences"] | {"three": change}
    with pytest.raises(UsageError, match=says):
        reading.read(written(tmp_path / "p.yaml", sequences=sequences))


def test_a_strategy_is_checked_with_its_settings(tmp_path):
    rows = protocol()["rows"] | {"odd": {**TINY, "strategy": "isolate", "strategy_config": {"taskss": 3}}}
    with pytest.raises(UsageError, match="did you mean 'tasks'"):
        reading.read(written(tmp_path / "p.yaml", rows=rows))


def row(seed: int, position: int, after: list, **more) -> dict:
    told = {"key": f"{more.get('row', 'a')} {seed} {position}", "row": "a", "sequence": "s", "seed": seed}
    told |= {"position": position, "scores after": json.dumps(after), "score before": 0.5, "same answers": True}
    return told | {"bytes in all": 100.0, "free": 0.0, "seconds": 2.0, "test seconds": 1.0} | more


def test_the_summary_of_a_course_by_hand(tmp_path):
    """Oracle 10 of the method: ACC .8, BWT -.125, FWT -.025, mean forgetting .125."""
    content = protocol(sequences={"s": {"tables": [*CLASSES, "waves"], "reference": "b"}})
    content["rows"] = {name: {**TINY, "strategy": "isolate"} for name in ("a", "b", "independent")}
    read = reading.read(written(tmp_path / "p.yaml", sequences=content["sequences"], rows=content["rows"]))
    columns = [[0.9, 0.8, 0.7], [0.5, 0.85, 0.8], [0.4, 0.45, 0.9]]
    rows = [row(0, k, column) for k, column in enumerate(columns)]
    rows += [row(0, k, [None] * k + [0.75] * (3 - k), row="b", **{"bytes in all": 400.0}) for k in range(3)]
    wanted = {r["key"]: Cell("t", r["row"], 1.0, 0, 0) for r in rows}
    a, b = matrices.strategies(read, "s", rows, wanted)
    found = [a.scores[key].value for key in ("acc", "bwt", "fwt", "mean forgetting", "later")]
    assert np.allclose(found, [0.8, -0.125, -0.025, 0.125, 0.125])
    assert b.scores["bwt"].value == 0.0 and a.relative == 0.25 and a.seconds == 6.0 and a.tested == 3.0
    heads, sizes = matrices.growth(read, "s", [a])
    assert heads[1] == f"after {CLASSES[0]}" and sizes == [["a", "0 (0%)", "0 (0%)", "0 (0%)"]]
    assert not matrices.strategies(read, "s", rows[:2], wanted)  # a course that is not done
