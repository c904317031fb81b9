"""adapt, evaluate, predict and embed on a small store of simulated ECGs, against what the parts say by themselves."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

import ecgraft
from ecgraft import formats, tasks
from ecgraft.commands import _score
from ecgraft.commands._examples import Corpus
from ecgraft.commands._settings import fitting_steps
from ecgraft.model import Model
from ecgraft.record import InputError, UsageError
from ecgraft.store import Store

pytestmark = pytest.mark.slow

SMALL = {"widths": (8, 8, 8, 8), "stem": 8}
QUICK = {"steps": 4, "batch": 8, "rare": "note", "progress": False}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("commands") / "store"
    ecgraft.simulate(to=path, count=80, seed=5, seconds=4.0, rate=250.0, progress=False)
    return path


@pytest.fixture(scope="module")
def model(store, tmp_path_factory):
    """A model with a graft of each kind that the simulator has labels for."""
    folder = tmp_path_factory.mktemp("commands") / "model"
    Model.fresh("resnet18", SMALL).save(folder)
    for task, adapter in (("findings", "linear"), ("waves", "full"), ("beats", "linear"), ("qrs", "full")):
        ecgraft.adapt(store, task=task, to=folder, adapter=adapter, seconds=4.0, **QUICK)
    return folder


def test_a_linear_graft_leaves_the_encoder_as_it_was_and_a_full_one_carries_its_own(model):
    loaded = Model.load(model)
    assert loaded.fingerprint == Model.fresh("resnet18", SMALL).fingerprint
    linear, full = loaded.graft("findings"), loaded.graft("waves")
    assert not linear.own_trunk and set(linear.part("head")) == {"linear.weight", "linear.bias"}
    assert {name.partition(".")[0] for name in linear.tensors} == {"head", "distance", "seen", "reference"}
    assert {name.removeprefix("encoder.") for name in full.tensors if name.startswith("encoder.")} == set(
        loaded.encoder.state_dict()
    )
    moved = loaded.network("waves").encoder.state_dict()
    assert any(not torch.equal(moved[key], value) for key, value in loaded.encoder.state_dict().items())


def test_the_same_command_gives_the_same_graft(store, tmp_path):
    def tensors(folder):
        Model.fresh("resnet18", SMALL).save(folder)
        return ecgraft.adapt(store, task="findings", to=folder, seconds=4.0, **QUICK).tensors

    one, two = tensors(tmp_path / "a"), tensors(tmp_path / "b")
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_another_budget_starts_over_in_the_same_folder(store, tmp_path):
    Model.fresh("resnet18", SMALL).save(tmp_path)
    options = {"task": "findings", "to": tmp_path, "seconds": 4.0, **QUICK}
    few = ecgraft.adapt(store, budget=20, **options)
    all_of_them = ecgraft.adapt(store, **options)
    assert few.card["records"] == {"train": 16, "validation": 4}
    assert all_of_them.card["records"]["train"] > 40
    assert not torch.equal(few.tensors["head.linear.weight"], all_of_them.tensors["head.linear.weight"])


def test_evaluate_says_what_the_metrics_say(store, model, tmp_path):
    from sklearn.metrics import roc_auc_score

    summary = ecgraft.evaluate(store, model=str(model), task="findings", to=tmp_path, replicates=20, progress=False)
    loaded = Model.load(model)
    graft = loaded.graft("findings")
    corpus = Corpus.open(Store(store), graft.task)
    rows = corpus.rows("test")
    found = _score.answer(loaded.network("findings"), corpus, rows, corpus.store.prepared(graft.recipe))
    written = json.loads((tmp_path / "report.json").read_text())["scores"]["auroc"]
    k = int(np.argmax((corpus.y[rows].mean(0) > 0.2) & (corpus.y[rows].mean(0) < 0.8)))
    expected = roc_auc_score(corpus.y[rows, k], found.logits[:, k])
    assert written[graft.task.labels[k]]["value"] == pytest.approx(expected, abs=1e-6)
    assert summary["records"] == len(rows) == 16
    kept = Model.load(model).graft("findings").metrics
    assert kept["macro auroc"] == summary["scores"]["macro auroc"] and "test part" in kept["of"]
    page = (tmp_path / "report.html").read_text()
    assert len(page) < 3_000_000 and "not a medical device" in page and "Training loss" in page


@pytest.mark.parametrize("task", ["waves", "beats", "qrs"])
def test_every_kind_of_task_has_its_report(store, model, tmp_path, task):
    summary = ecgraft.evaluate(store, model=str(model), task=task, to=tmp_path, replicates=20, progress=False)
    assert 0 <= summary["scores"][tasks.find(task).metric]["value"] <= 1
    assert (tmp_path / "report.html").stat().st_size > 5000


def test_age_is_learnt_in_years(tmp_path):
    rows = [f"e{i},{30 + i}" for i in range(20)]
    (tmp_path / "labels.csv").write_text("id,age\n" + "\n".join(rows))
    folder = tmp_path / "files"
    folder.mkdir()
    for i in range(20):
        np.save(folder / f"e{i}.npy", np.random.default_rng(i).standard_normal((2, 1000)).astype(np.float32))
    given = {"rate": 250.0, "unit": "mV", "leads": "I,II"}
    ecgraft.ingest(folder, to=tmp_path / "s", labels=tmp_path / "labels.csv", progress=False, **given)
    Model.fresh("resnet18", SMALL).save(tmp_path / "m")
    graft = ecgraft.adapt(tmp_path / "s", task="age", to=tmp_path / "m", adapter="linear", seconds=4.0, **QUICK)
    assert 35 < graft.calibration["mean"] < 45
    record = formats.read(folder / "e3.npy", rate=250.0, unit="mV", leads=("I", "II"))
    assert -100 < Model.load(tmp_path / "m").predict(record)["age"].value < 200


def test_predict_writes_json_csv_and_html(store, model, tmp_path, capsys):
    record = Store(store).record(0)
    file = tmp_path / "ecg.npz"
    np.savez(file, signal=record.signal, rate=record.rate, leads=np.array(record.leads), unit="mV")
    for name in ("a.json", "a.csv", "a.html"):
        said = ecgraft.predict([file], model=str(model), to=tmp_path / name)
    assert [row["graft"] for row in said] == ["beats", "findings", "qrs", "waves"]
    assert json.loads((tmp_path / "a.json").read_text()) == said
    table = list(csv.DictReader((tmp_path / "a.csv").open()))
    answers = [row for row in table if row["graft"] == "findings"]
    assert {row["what"]: float(row["probability"]) for row in answers} == said[1]["probability"]
    for wave in said[3]["waves"]:
        assert 0 <= wave["onset"] <= wave["peak"] <= wave["offset"] <= 4.0 and wave["lead"] in record.leads
    assert "<svg" in (tmp_path / "a.html").read_text()
    with pytest.raises(UsageError, match="the ending says the format"):
        ecgraft.predict([file], model=str(model), to=tmp_path / "a.txt")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 .npy")  # one of several: the others have their answers all the same
    with pytest.raises(InputError, match=r"1 of 2 files have no answer: .*bad\.npz"):
        ecgraft.predict([tmp_path / "bad.npz", file], model=str(model), to=tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == said


def test_embeddings_are_the_encoders_pooled_features(store, model, tmp_path):
    embedding = ecgraft.embed(store, model=str(model), to=tmp_path / "e.npz", progress=False)
    loaded, corpus = Model.load(model), Store(store)
    cache = corpus.prepared(loaded.recipe)
    batch = cache.batch(np.array([7]), np.array([0]), loaded.recipe.samples)
    x = torch.from_numpy(batch["x"]).float() * 1e-3
    present, length = torch.from_numpy(batch["present"]), torch.from_numpy(batch["length"])
    with torch.inference_mode():
        levels = loaded.encoder(loaded.recipe.normalise_batch(x, present, length), present)
        expected = loaded.encoder.pool(levels, length)[0].numpy()
    assert np.allclose(embedding[7], expected, atol=1e-4)
    saved = np.load(tmp_path / "e.npz", allow_pickle=False)
    assert saved["embedding"].shape == (80, loaded.encoder.width) and saved["id"][7] == corpus.column("id")[7]


def test_few_labels_are_cut_four_to_one_and_keep_away_from_the_test_part(store):
    corpus = Corpus.open(Store(store), tasks.find("findings"))
    train, validation = corpus.few(0.5, seed=3)
    assert len(train) + len(validation) == 32 and len(validation) == 6
    assert not set(corpus.rows("test")) & {*train, *validation} and not set(train) & set(validation)


def test_a_task_without_labels_says_what_to_do(store):
    with pytest.raises(InputError, match="import it with --labels"):
        Corpus.open(Store(store), tasks.find("rhythm"))


def test_steps_fit_the_records():
    assert [fitting_steps(n, 32) for n in (1, 320, 1_000_000)] == [200, 400, 3000]
