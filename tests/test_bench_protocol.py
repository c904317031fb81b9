"""What a protocol may say, the stand-ins of databases, and means over seeds."""

from __future__ import annotations

import numpy as np
import pytest

from ecgraft import tasks
from ecgraft.commands._bench import cost, reading, standins, tables
from ecgraft.record import InputError, UsageError
from made_protocols import run, written


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seedz": 3}, "unknown key 'seedz'; did you mean 'seeds'"),
        ({"reference": "scratsh"}, "reference 'scratsh' is not known; did you mean 'scratch'"),
        ({"tables__rhythm__database": "cinc2018"}, "table 'rhythm': database 'cinc2018' is not known"),
        ({"tables__rhythm__metrics": ["macro auroq"]}, "metric 'macro auroq' is not known; did you mean 'macro auroc'"),
        ({"tables__rhythm__rows": ["prob"]}, "row 'prob' is not known; did you mean 'probe'"),
        ({"tables__rhythm__task": "rythm"}, "no 'rythm'"),
        ({"tables__rhythm__budgets": [2.5]}, "budget 2.5"),
        ({"tables__rhythm__budgets": [1, 0.5, 1.0]}, "none of them twice"),
        ({"tables__rhythm__budgets": []}, "at least one"),
        ({"tables__rhythm__task": "own"}, "table 'rhythm': task own is of a store of your own"),
        ({"tables__rhythm__task": "sinus.yaml"}, "metric cinc2017 needs the classes N, A, O"),
        ({"tables__rhythm__task": "brier.yaml", "tables__rhythm__metrics": []}, "metric 'brier' is not known"),
        ({"settings": {"training": None}}, "settings: training is None, not a mapping"),
        ({"rows__probe__settings": {"start": "graft"}}, "settings: start stands in a row itself"),
        ({"tables__rhythm__steps": [9, 3]}, "steps 9, 3"),
        ({"rows__probe__adapter": "lineal"}, "no 'lineal'"),
        ({"rows__probe__model": "default"}, "row 'probe': give it an encoder"),
        ({"rows__probe__settings": {"bach": 3}}, "unknown key 'bach'; did you mean 'batch'"),
        ({"rows__probe__settings": {"training": {"rat": 3}}}, "unknown key 'rat'"),
        (
            {"published": [{"table": "rhytm", "what": "", "metric": "", "value": 0, "source": ""}]},
            "'rhytm' is not known",
        ),
        ({"version": 0}, "version"),
    ],
)
def test_a_protocol_with_a_slip(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    for name, more in (("sinus", ""), ("brier", "metric: brier\n")):
        text = f"kind: multiclass\nlabels:\n  AF: [scp:AFIB]\n  SR: [scp:SR]\n{more}"
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        reading.read(written(tmp_path / "p.yaml", **change))


def test_a_file_that_is_no_protocol(tmp_path):
    (tmp_path / "p.yaml").write_text("- a\n- b\n")
    with pytest.raises(InputError, match=r"p.yaml: a protocol is a mapping"):
        reading.read(tmp_path / "p.yaml")
    with pytest.raises(InputError, match=r"q.yaml: cannot be read"):
        reading.read(tmp_path / "q.yaml")
    with pytest.raises(UsageError, match="--only 'prob': no such row; did you mean 'probe'"):
        run(tmp_path / "out", written(tmp_path / "p.yaml"), only="prob")


def test_memory_is_told_where_the_mark_cannot_be_reset(tmp_path, monkeypatch):
    """As in containers that forbid it, and whose status does not name the largest size."""
    monkeypatch.setattr(cost, "CLEAR", tmp_path)
    (tmp_path / "status").write_text("VmRSS: 10 kB\n")
    monkeypatch.setattr(cost, "STATUS", tmp_path / "status")
    with cost.Cost() as found:
        pass
    assert found.peak > 10 and found.seconds >= 0


def test_means_over_drawn_seeds():
    """One seed stays as it is; of two constant seeds a replicate is 0, 1/2 or 1, on average 1/2."""
    one = np.random.default_rng(0).random((1, 3, 50))
    assert np.array_equal(tables.over_seeds(one), one[0])
    two = np.stack([np.zeros(4000), np.ones(4000)])
    drawn = tables.over_seeds(two)
    assert set(np.unique(drawn)) == {0.0, 0.5, 1.0} and abs(drawn.mean() - 0.5) < 0.03
    assert drawn.var() == pytest.approx(1 / 8, abs=0.01)  # half of the variance of one draw
    undefined = np.stack([np.full(4000, np.nan), np.ones(4000)])
    assert np.nanmin(tables.over_seeds(undefined)) == 1


@pytest.mark.parametrize(
    "database", ["cinc2017", "cpsc2018", "code15", "ludb", "cpsc2019", "qtdb", "ptb_xl", "georgia"]
)
def test_stand_ins_have_the_leads_and_labels_of_their_database(tmp_path, database):
    store = standins.make(database, tmp_path / "s", {"count": 30, "seconds": 3.0})
    names = {"cinc2017": "rhythm", "ludb": "waves", "cpsc2019": "qrs", "qtdb": "waves", "ptb_xl": "superclass"}
    task = tasks.find(names.get(database, database if database != "georgia" else "snomed26"))
    assert len(store) == 30 and store.column("source")[0] == f"stand-in for {database}"
    if task.kind in ("multiclass", "multilabel"):
        _, known = tasks.targets(task, store.codes, store.labels)
        assert known.any(0).sum() >= 0.5 * len(task.labels)
    else:
        assert store.has("waves").all() and store.has("beats").all()
    leads = standins.SHAPES.get(database, {}).get("leads", standins.LEADS)
    assert all(set(store.leads(i)) <= set(leads) for i in range(30) if len(store.leads(i)) == len(leads))


def test_the_committed_protocols_can_be_read(request):
    folder = request.config.rootpath / "benchmarks" / "protocols"
    files = sorted(folder.glob("*.yaml"))
    assert files and all(reading.read(file).name == file.stem for file in files)
