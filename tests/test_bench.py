"""ecgraft bench on small stand-ins: what is kept, what is computed again, what tables say."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as parquet
import pytest

import ecgraft
from ecgraft import tasks
from ecgraft.commands import bench as bench_command
from ecgraft.commands._bench import protocol as protocols
from ecgraft.commands._bench import reading, results, standins, tables
from ecgraft.commands._bench.cells import Cell
from ecgraft.metrics import bootstrap
from ecgraft.record import InputError, UsageError
from ecgraft.store import StoreWriter
from made_protocols import run, written

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished bench: its folder, protocol file and rows."""
    folder = tmp_path_factory.mktemp("bench")
    file = written(folder / "small.yaml")
    return folder / "out", file, run(folder / "out", file)


@pytest.fixture
def copy(done, tmp_path):
    """A copy of it that may be spoilt."""
    shutil.copytree(done[0], tmp_path / "out")
    return tmp_path / "out", done[1], done[2]


def numbers(rows) -> dict:
    """What must not depend on when and how often a bench was run."""
    loose = ("step ms", "peak MB", "seconds", "date")
    return {row["key"]: {k: str(v) for k, v in row.items() if k not in loose and v is not None} for row in rows}


def test_a_row_for_every_method_budget_seed_and_fold(done):
    folder, _, rows = done
    cells = {(r["table"], r["row"], r["budget"], r["seed"], r["fold"]) for r in rows}
    expected = {("rhythm", row, budget, s, 0) for row in ("scratch", "probe") for budget in (0.5, 1.0) for s in (0, 1)}
    expected |= {("waves", row, 8.0, s, fold) for row in ("scratch", "probe") for s in (0, 1) for fold in (0, 1)}
    assert cells == expected and len(rows) == len(expected)
    table = parquet.read_table(folder / "results.parquet").to_pylist()
    assert numbers(table) == numbers(rows)
    for row in table:
        assert row["standin"] and row["bytes"] > 1000 and row["peak MB"] > 50 and row["step ms"] > 0
        assert row["trained parameters"] > 0 and row["seconds"] > 0 and row["steps"] >= 2 and row["test"] > 0
    by_row = {row["row"]: row["trained parameters"] for row in table if row["table"] == "rhythm"}
    assert by_row["probe"] == 3 * (16 + 1) < by_row["scratch"]


def test_the_report_marks_stand_ins_and_holds_every_column(done):
    text = (done[0] / "report.md").read_text()
    assert text.count("SIMULATED STAND-IN") == 2 and "not a medical device" in text and "winners" in text
    for column in ("difference to scratch", "p (Holm)", "trained", "KiB", "ms a step", "peak MB", "seeds"):
        assert column in text
    page = (done[0] / "report.html").read_text()
    assert "SIMULATED STAND-IN" in page and "labelled records" in page and page.count("<svg") == 2


def test_what_is_done_is_not_run_again(done, monkeypatch):
    folder, file, rows = done
    monkeypatch.setattr(bench_command.Runner, "_run", lambda *_: pytest.fail("computed again"))
    assert numbers(run(folder, file)) == numbers(rows)
    assert {row["row"] for row in run(folder, file, only="probe")} == {"probe"}
    assert {row["seed"] for row in run(folder, file, seeds=1)} == {0}


def test_only_what_changed_is_run(copy, tmp_path):
    folder, _, rows = copy
    file = written(tmp_path / "other.yaml", rows__probe__settings={"training": {"rate": 0.01}})
    after = run(folder, file)
    same = {row["key"] for row in after} & {row["key"] for row in rows}
    assert same == {row["key"] for row in rows if row["row"] == "scratch"} and len(after) == len(rows)


def test_another_version_is_refused(copy, tmp_path):
    with pytest.raises(InputError, match="holds results of protocol 'small', version 1; this is 'small', version 2"):
        run(copy[0], written(tmp_path / "new.yaml", version=2))


def test_damaged_results_are_named(copy):
    (copy[0] / "results.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match=r"results.parquet: not the results of a bench, or damaged"):
        run(copy[0], copy[1])


def test_two_at_once_on_one_file(copy):
    with (
        results.Results(copy[0], reading.read(copy[1])),
        pytest.raises(InputError, match="another bench writes its results here"),
    ):
        run(copy[0], copy[1])


def test_a_cell_whose_row_was_not_written_is_taken_up(copy, monkeypatch):
    """Killed between the evidence and the row; and evidence that was deleted is computed again."""
    folder, file, rows = copy
    (folder / "results.parquet").unlink()
    (folder / "runs" / rows[0]["key"]).mkdir(parents=True)
    gone = rows[3]["key"]
    (folder / "evidence" / f"{gone}.npz").unlink()
    real, ran = bench_command.Runner._run, []
    monkeypatch.setattr(bench_command.Runner, "_run", lambda self, cell, key: ran.append(key) or real(self, cell, key))
    assert numbers(run(folder, file)) == numbers(rows)
    assert ran == [gone] and not list((folder / "runs").glob("*"))


def test_no_more_threads_than_were_allowed(done):
    import torch

    before = torch.get_num_threads()
    run(done[0], done[1], rescore=True)
    assert torch.get_num_threads() <= before


def test_a_killed_bench_goes_on_to_the_same_numbers(done, tmp_path):
    _, file, rows = done
    command = f"import ecgraft; ecgraft.bench({str(file)!r}, to={str(tmp_path / 'out')!r}, jobs=1, progress=False)"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", command], env=environment)
    until = time.monotonic() + 90
    while len(list((tmp_path / "out" / "evidence").glob("*.npz"))) < 3:
        assert child.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    after = run(tmp_path / "out", file)
    assert numbers(after) == numbers(rows)
    assert not list((tmp_path / "out" / "runs").glob("*"))


def test_scores_are_computed_again_from_what_was_kept(copy):
    folder, file, _ = copy
    table = parquet.read_table(folder / "results.parquet").to_pylist()
    with results.Results(folder, reading.read(file)) as found:
        for row in found.rows:
            row["macro auroc"] = -1.0
        found.write()
    assert {row["macro auroc"] for row in run(folder, file)} == {-1.0}
    again = {row["key"]: row for row in run(folder, file, rescore=True)}
    for row in table:
        if row["table"] == "rhythm":
            assert again[row["key"]]["macro auroc"] == pytest.approx(row["macro auroc"], abs=1e-9)
            assert again[row["key"]]["scores"] == row["scores"]


def own_store(folder, records):
    """A store whose records say their part themselves, in the place of the stand-in of cpsc2018."""
    with StoreWriter(folder) as writer:
        for record in records:
            writer.add(record)


def simulated(count: int, **labels):
    made = standins.make("cpsc2018", labels.pop("to"), {"count": count, "seconds": 4.0})
    return [made.record(i) for i in range(count)]


def test_a_patient_in_both_parts_is_named(tmp_path, monkeypatch):
    records = simulated(20, to=tmp_path / "made")
    parted = [r.but(split="test" if i < 8 else "train", patient=f"p{i % 10}") for i, r in enumerate(records)]
    table = {"database": "cpsc2018", "task": "af", "split": "own", "steps": [2, 2]}
    file = written(tmp_path / "p.yaml", tables={"own": table}, published=[])
    monkeypatch.setattr(standins, "make", lambda *_: None)
    own_store(tmp_path / "out" / "stores" / "cpsc2018-simulated", parted)
    with pytest.raises(InputError, match=r"8 patients are in the test part and in another one, such as p0, p1, p2"):
        run(tmp_path / "out", file)


def test_a_class_without_positives_is_said_and_the_other_cells_are_computed(tmp_path, monkeypatch):
    """Nobody in the first table has an infarction that can be learnt; the second one is not held up by it."""
    records = simulated(24, to=tmp_path / "made")
    healthy = [r.but(labels={"scp:AFIB": 0, "scp:NORM": int(i % 2)}, patient=None) for i, r in enumerate(records)]
    tables_ = {
        "none": {"database": "cpsc2018", "task": "af", "steps": [2, 2]},
        "norm": {"database": "cpsc2018", "task": "findings", "steps": [2, 2], "metrics": ["macro auroc"]},
    }
    file = written(tmp_path / "p.yaml", tables=tables_, published=[], seeds=1)
    monkeypatch.setattr(standins, "make", lambda *_: None)
    own_store(tmp_path / "out" / "stores" / "cpsc2018-simulated", healthy)
    with pytest.raises(InputError, match=r"2 of 4 cells could not be computed.*a label needs 2 positive records"):
        run(tmp_path / "out", file)
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## Not computed" in text and "not defined in every test part: AV block I," in text
    assert len(parquet.read_table(tmp_path / "out" / "results.parquet")) == 2


def test_copies_across_parts_are_left_out(tmp_path, monkeypatch):
    """A record under another patient's name, at another gain: it goes from the test part."""
    records = simulated(24, to=tmp_path / "made")
    parted = [r.but(split="test" if i < 8 else "train", patient=f"p{i}") for i, r in enumerate(records)]
    parted[2] = parted[15].but(signal=-1.5 * parted[15].signal, id="copy", patient="p2", split="test")
    table = {"database": "cpsc2018", "task": "findings", "split": "own", "steps": [2, 2]}
    file = written(tmp_path / "p.yaml", tables={"own": table}, published=[], seeds=1)
    monkeypatch.setattr(standins, "make", lambda *_: None)
    own_store(tmp_path / "out" / "stores" / "cpsc2018-simulated", parted)
    rows = run(tmp_path / "out", file)
    assert {row["copies left out"] for row in rows} == {1} and {row["test"] for row in rows} == {7}
    assert "2 test records left out as copies of learnt ones" in (tmp_path / "out" / "report.md").read_text()


def made_lines(done):
    folder, file, rows = done
    protocol = reading.read(file)
    wanted = {r["key"]: Cell(r["table"], r["row"], r["budget"], r["seed"], r["fold"]) for r in rows}
    found = {name: tasks.find(protocol.table(name).task) for name in protocol.tables}
    return tables.lines(protocol, rows, wanted, found, folder)


def test_a_line_is_the_mean_of_its_cells_and_the_difference_is_that_of_means(done):
    for name, lines in made_lines(done).items():
        for line in lines:
            metric = next(iter(line.scores))
            per_seed = [np.mean([c[metric] for c in line.cells if c["seed"] == s]) for s in line.seeds]
            assert line.scores[metric].value == pytest.approx(np.mean(per_seed), abs=1e-6)
            assert line.scores[metric].low <= line.scores[metric].high
        for budget in {line.budget for line in lines}:
            scratch, probe = (next(x for x in lines if (x.row, x.budget) == (r, budget)) for r in ("scratch", "probe"))
            metric = next(iter(scratch.scores))
            expected = probe.scores[metric].value - scratch.scores[metric].value
            assert probe.difference.value == pytest.approx(expected, abs=1e-6) and scratch.difference is None, name
            assert probe.difference.low <= probe.difference.high and 0 <= probe.p <= probe.adjusted <= 1


def test_an_interval_of_one_seed_is_the_bootstrap_over_its_patients(done):
    folder, file, rows = done
    one = [row for row in rows if row["seed"] == 0 and row["table"] == "rhythm" and row["budget"] == 1]
    line = next(x for x in made_lines((folder, file, one))["rhythm"] if x.row == "probe")
    (cell,) = line.cells
    kept = results.kept(folder, cell["key"], tasks.find("rhythm3"))
    score = tables.scorer(kept, kept.found, kept.calibration, kept.thresholds)
    expected = bootstrap.estimate(lambda w: {"x": score(w)["macro auroc"]}, kept.person, 64)["x"]
    assert line.scores["macro auroc"] == pytest.approx(tuple(map(float, expected)), abs=1e-6)


def test_every_metric_that_a_protocol_may_name_is_there(done):
    """METRICS against what scorers give."""
    folder, _, rows = done
    for name, task in (("rhythm", "rhythm3"), ("waves", "waves")):
        key = next(row["key"] for row in rows if row["table"] == name)
        kept = results.kept(folder, key, tasks.find(task))
        scores = tables.scorer(kept, kept.found, kept.calibration, kept.thresholds)(np.ones(len(kept.person)))
        assert set(protocols.METRICS[kept.task.kind]) <= set(scores)


def test_another_row_can_be_the_reference(tmp_path):
    with pytest.raises(UsageError, match=r"--reference 'prob'.*did you mean 'probe'"):
        ecgraft.bench(written(tmp_path / "p.yaml"), to=tmp_path, reference="prob", progress=False)
