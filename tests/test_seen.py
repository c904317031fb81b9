"""A graft is not scored on what it has learnt from: the same samples, the same patient, the same shape."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

import ecgraft
from ecgraft.commands import _seen
from ecgraft.model import Model
from ecgraft.record import InputError, UsageError
from ecgraft.store import Store, StoreWriter, splits
from ecgraft.store.shapes import PIECE

pytestmark = pytest.mark.slow

SMALL = {"widths": (8, 8, 8, 8), "stem": 8}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store, a model with a graft learnt from it, and 20 records that nobody has seen."""
    top = tmp_path_factory.mktemp("seen")
    given = {"seconds": 6.0, "rate": 250.0, "progress": False}
    ecgraft.simulate(to=top / "learnt", count=60, seed=1, **given)
    ecgraft.simulate(to=top / "new", count=20, seed=2, **given)
    Model.fresh("resnet18", SMALL).save(top / "model")
    options = {"adapter": "linear", "seconds": 6.0, "steps": 3, "batch": 8, "rare": "note", "progress": False}
    ecgraft.adapt(top / "learnt", task="findings", to=top / "model", **options)
    return top


def store_of(path, *records):
    with StoreWriter(path) as writer:
        for record in records:
            writer.add(record.but(split=None))
    return path


def learnt_records(made, count: int):
    store = Store(made / "learnt")
    rows = np.flatnonzero(splits.split(store) == "train")[:count]
    return [store.record(int(i)) for i in rows]


def new_records(made):
    store = Store(made / "new")
    return [store.record(i) for i in range(len(store))]


def evaluate(made, store, to, **given):
    options = {"replicates": 10, "gallery": 0, "subsets": False, "progress": False} | given
    return ecgraft.evaluate(store, model=str(made / "model"), task="findings", to=to, **options)


def parts_with(made, tmp_path, changed):
    """A store with 20 new records and some changed ones that lie in its test part, and how many these are."""
    store = Store(store_of(tmp_path / "mixed", *new_records(made), *changed))
    ids = {record.id for record in changed}
    test = np.flatnonzero(splits.split(store) == "test")
    return tmp_path / "mixed", sum(store.column("id")[int(i)] in ids for i in test), len(test)


def test_its_own_test_part_is_clean(made, tmp_path):
    summary = evaluate(made, made / "learnt", tmp_path)
    assert summary["leaks"] == {"rule": "refuse", "left out": 0}


def test_records_that_were_learnt_from_are_refused_left_out_or_allowed(made, tmp_path):
    path, planted, test = parts_with(made, tmp_path, learnt_records(made, 20))
    assert planted > 1 and test > planted
    with pytest.raises(InputError, match=rf"{planted} of {test} records were learnt from .*same samples.*: sim-1-"):
        evaluate(made, path, tmp_path / "r")
    dropped = evaluate(made, path, tmp_path / "r", leaks="drop")
    assert dropped["records"] == test - planted == test - dropped["leaks"]["left out"]
    allowed = evaluate(made, path, tmp_path / "r", leaks="allow")
    told = [allowed["leaks"].get(kind, []) for kind in ("same samples", "same patient")]  # stored twice: rounded twice
    assert allowed["records"] == test and sum(map(len, told)) == planted and told[0]
    assert json.loads((tmp_path / "r" / "report.json").read_text())["leaks"] == allowed["leaks"]
    page = (tmp_path / "r" / "report.html").read_text()
    assert "same samples" in page and f"{planted} of which were learnt from" in page
    with pytest.raises(UsageError, match="--leaks 'dropp': did you mean 'drop'"):
        evaluate(made, path, tmp_path / "r", leaks="dropp")


def test_a_rival_is_not_compared_on_what_it_has_learnt_from(made, tmp_path):
    path, planted, test = parts_with(made, tmp_path, learnt_records(made, 20))
    shutil.copytree(made / "model" / "grafts", tmp_path / "m" / "grafts")
    shutil.copy(made / "model" / "encoder.safetensors", tmp_path / "m")
    model = Model.load(tmp_path / "m")
    graft = model.graft("findings")
    graft.tensors = {name: t for name, t in graft.tensors.items() if not name.startswith("seen.")}
    model.save(tmp_path / "m")
    given = {"model": str(tmp_path / "m"), "task": "findings", "to": tmp_path / "r", "replicates": 10}
    given |= {"against": str(made / "model"), "subsets": False, "progress": False}
    with pytest.raises(InputError, match=rf"--against .*: {planted} of {test} records were learnt from"):
        ecgraft.evaluate(path, **given)
    dropped = ecgraft.evaluate(path, **given, leaks="drop")
    assert dropped["records"] == test and dropped["against"]["records"] == test - planted
    assert dropped["against"]["leaks"]["left out"] == planted and dropped["leaks"]["left out"] == 0
    allowed = ecgraft.evaluate(path, **given, leaks="allow")
    assert allowed["against"]["records"] == test and allowed["against"]["leaks"]["rule"] == "allow"


def test_other_records_of_a_patient_are_known_by_the_training_folder_alone(made, tmp_path):
    fresh = [
        r.but(patient=p.patient, id=f"x{i}")
        for i, (r, p) in enumerate(zip(new_records(made), learnt_records(made, 12)))
    ]
    path = store_of(tmp_path / "s", *fresh)
    with pytest.raises(InputError, match="same patient"):
        evaluate(made, path, tmp_path / "r", part="test")
    shutil.copytree(made / "model" / "grafts", tmp_path / "passed_on" / "grafts")
    shutil.copy(made / "model" / "encoder.safetensors", tmp_path / "passed_on")
    summary = ecgraft.evaluate(
        path, model=str(tmp_path / "passed_on"), task="findings", to=tmp_path / "r2", replicates=10, progress=False
    )
    assert summary["leaks"] == {"rule": "refuse", "left out": 0}


def test_a_likeness_is_told_but_not_refused(made, tmp_path, capsys):
    copies = [
        r.but(signal=-2.5 * r.signal, id=f"copy{i}", patient=f"other{i}")
        for i, r in enumerate(learnt_records(made, 12))
    ]
    path, planted, test = parts_with(made, tmp_path, copies)
    assert planted > 0
    summary = evaluate(made, path, tmp_path / "r", progress=True)
    assert len(summary["leaks"]["alike"]) == planted and summary["records"] == test
    assert f"{planted} alike" in capsys.readouterr().err
    assert evaluate(made, path, tmp_path / "r", leaks="drop")["records"] == test - planted


def test_the_records_of_an_encoder_travel_in_its_file(made, tmp_path):
    store = Store(made / "learnt")
    model = Model.fresh("resnet18", SMALL)
    model.seen = _seen.tensors(store, np.arange(10))
    model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    assert again.fingerprint == Model.fresh("resnet18", SMALL).fingerprint
    found = _seen.find([again.seen, {}], [], store, np.arange(5, 20))
    assert found.kinds[_seen.SAMPLES].tolist() == [5, 6, 7, 8, 9] and found.sure
    assert not len(found.kinds[_seen.PATIENT]) and not len(found.kinds[_seen.ALIKE])


def test_a_graft_that_goes_on_from_another_has_seen_what_that_has(made, tmp_path, monkeypatch):
    options = {"adapter": "linear", "seconds": 6.0, "steps": 3, "batch": 8, "rare": "note", "progress": False}
    monkeypatch.setattr(_seen, "KEYS", (2, 4))
    given = {"model": str(made / "model"), "task": "findings"}
    ecgraft.adapt(made / "new", to=tmp_path / "on", **given, **options)
    ecgraft.adapt(made / "new", to=tmp_path / "anew", start="new", **given, **options)
    for name, count in (("on", 1), ("anew", 0)):
        tensors = Model.load(tmp_path / name).graft("findings").tensors
        assert tensors["seen.shapes"].shape[1] == (8 if count else 4)
        for store, there in ((Store(made / "learnt"), count), (Store(made / "new"), 1)):
            learnt = np.flatnonzero(splits.split(store) != "test")
            found = _seen.find([tensors], [], store, learnt)
            assert len(found.kinds[_seen.SAMPLES]) == there * len(learnt)
            alike = {k: v for k, v in tensors.items() if k == "seen.shapes"}
            assert len(_seen.find([alike], [], store, learnt).rows) == there * len(learnt)


def test_a_sketch_of_many_records_gets_coarser(made, monkeypatch):
    store = Store(made / "learnt")
    assert _seen.tensors(store, np.arange(60))["seen.shapes"].shape[1] == 8
    monkeypatch.setattr(_seen, "BYTES", 60 * 8 * 3)
    coarse = _seen.tensors(store, np.arange(60))["seen.shapes"]
    assert coarse.shape == (60 * int(np.ceil(6.0 / PIECE)), 3) and coarse.dtype == torch.int64


def test_damaged_keys_of_patients_are_named(made, tmp_path):
    (tmp_path / "persons.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"persons.npy: damaged .* delete it to go on without this check"):
        _seen.find([], [tmp_path / "persons.npy"], Store(made / "new"), np.arange(5))
