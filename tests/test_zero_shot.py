"""A model pretrained with reports and asked with words: predict --prompts, evaluate --zero-shot and --retrieval."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
import yaml
from scipy.special import expit

import ecgraft
from ecgraft import cli, formats, simulator, tasks
from ecgraft.commands import _retrieval, _seen, _text_side, _texts, _zero_shot
from ecgraft.commands._features import features
from ecgraft.model import Model
from ecgraft.nn import text
from ecgraft.objectives import cetp
from ecgraft.record import InputError, UsageError
from ecgraft.simulator.text import phrases, prompts
from ecgraft.store import Store, StoreWriter
from ecgraft.tasks import _prompts
from ecgraft.training import Config, Examples, Sampler, fit

pytestmark = pytest.mark.slow

SMALL = {"widths": (8, 8, 8, 8), "stem": 8}
TOLD = [
    "Respiratory sinus arrhythmia - premature atrial complexes - ST depression - T wave inversion. QRS 95 ms.",
    "Normofrequenter Sinusrhythmus, normales EKG.",
    "ECG: Typical atrial flutter, low voltage; heart rate 133/min.",
]  # reports as they were before wordings could be chosen
MORE = {"prevalence": {"AFIB": 0.3, "CLBBB": 0.2}}
QUICK = {"replicates": 20, "progress": False, "part": "all"}
PROMPTS = {
    "atrial fibrillation": {"present": ["atrial fibrillation", "Vorhofflimmern"], "absent": ["sinus rhythm"]},
    "left bundle branch block": {"present": ["LBBB"]},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("zero") / "store"
    ecgraft.simulate(to=path, count=48, seed=5, seconds=4.0, rate=250.0, german=0.0, progress=False, **MORE)
    return path


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """A tiny CETP after a few steps: its folder, the objective and the loss at each step."""
    from dataclasses import replace

    base, encoder, opened = Model.fresh("resnet18", SMALL), text.build("words"), Store(store)
    recipe = replace(base.recipe, seconds=4.0)
    objective = cetp.build(cetp.Config(text_width=384), base.encoder.train(), recipe)
    kept = _texts.kept_texts(encoder, opened)
    examples = Examples(opened.prepared(recipe), np.arange(24), more=(kept,))
    losses = []

    def batches(number):
        return Sampler(examples, 24, recipe.samples)(number % 2)

    torch.manual_seed(0)
    result = fit(objective, batches, Config(steps=30, rate=3e-3), progress=False)
    losses += [row["loss"] for row in result.log if "loss" in row]
    model = Model(base.encoder, recipe, {"pretraining": "cetp"})
    model.add(_text_side.text_graft(objective, model, encoder.identity, {"command": "ecgraft pretrain"}))
    folder = tmp_path_factory.mktemp("zero") / "model"
    model.save(folder)
    return folder, objective, losses


@pytest.fixture(scope="module")
def model(trained):
    return str(trained[0])


@pytest.fixture
def asked(tmp_path):
    return written(tmp_path / "two.yaml", PROMPTS)


def written(path, labels, **more) -> str:
    path.write_text(yaml.safe_dump({"version": 1, "labels": labels, **more}))
    return str(path)


@pytest.fixture
def file(store, tmp_path):
    record = Store(store).record(3)
    path = tmp_path / "one.csv"
    rows = [",".join(record.leads), *(",".join(f"{v:.6f}" for v in column) for column in record.signal.T)]
    path.write_text("\n".join(rows) + "\n")
    return path


# --- the text side as a graft


def test_training_brings_ecgs_and_reports_together(trained):
    losses = trained[2]
    assert losses[-1] < losses[0] - 0.3


def test_the_file_holds_all_and_gives_it_back(trained, model):
    objective, loaded = trained[1], Model.load(model)
    graft = loaded.graft("text")
    assert set(graft.tensors) == {"head.text.weight", "head.text.bias", "head.t"} and not graft.answers
    assert graft.text == text.build("words").identity and graft.encoder == loaded.fingerprint
    side = _text_side.open_side(loaded, model)
    assert all(torch.equal(value, objective.side.state_dict()[name]) for name, value in side.space.state_dict().items())
    assert side.scale == pytest.approx(float(objective.side.t.detach().exp()))
    assert _text_side.fits(graft, text.build("words").identity)
    assert not _text_side.fits(graft, graft.text | {"revision": "0"})


def test_a_projector_is_kept_with_its_statistics(tmp_path):
    base = Model.fresh("resnet18", SMALL)
    objective = cetp.build(cetp.Config(text_width=384, ecg_projection="mlp", outputs=5), base.encoder, base.recipe)
    objective.side.of_ecg(torch.randn(9, base.encoder.width))
    base.add(_text_side.text_graft(objective, base, text.build("words").identity))
    base.save(tmp_path)
    h = torch.randn(3, base.encoder.width)
    with torch.no_grad():
        expected = objective.eval().side.of_ecg(h).numpy()
    assert np.allclose(_text_side.open_side(Model.load(tmp_path), "m").of_ecgs(h.numpy()), expected, atol=1e-6)
    with pytest.raises(InputError, match="not of 16 numbers"):
        _text_side.text_graft(objective, base, {"width": 16})
    with pytest.raises(InputError, match="no text side"):
        _text_side.text_graft(torch.nn.Linear(2, 2), base, {"width": 16})


def test_info_says_what_it_is(model, capsys):
    ecgraft.info(model)
    said = " ".join(capsys.readouterr().out.split())
    assert "joins ECGs and reports" in said and "kind words" in said and "outputs of task" not in said


def test_other_grafts_go_on_beside_it(store, model, tmp_path, file):
    given = {"adapter": "linear", "steps": 2, "rare": "note", "progress": False}
    ecgraft.adapt(store, task="findings", to=tmp_path / "m", model=model, **given)
    both = Model.load(tmp_path / "m")
    assert set(both.grafts) == {"findings", "text"}
    record = formats.read(file, unit="mV", rate=250)
    assert set(both.predict(record)) == {"findings"}
    rows = ecgraft.predict([file], model=str(tmp_path / "m"), unit="mV", rate=250, to=tmp_path / "said.json")
    assert [row["graft"] for row in rows] == ["findings"]
    with pytest.raises(UsageError, match="text side of this model"):
        both.predict(record, ["text"])
    both = ecgraft.predict(
        [file],
        model=str(tmp_path / "m"),
        unit="mV",
        rate=250,
        to=tmp_path / "s.csv",
        prompts="findings",
        task=["findings"],
    )
    assert [row["kind"] for row in both] == ["zero-shot", "multilabel"]


# --- prompts


def test_a_score_is_the_formula(model, asked, file):
    """score_c = v^ . w_c+ - v^ . w_c-, by hand from the tensors of the file."""
    loaded = Model.load(model)
    record = formats.read(file, unit="mV", rate=250)
    said = _zero_shot.ask(loaded, model, asked).predict(record)
    G, b = (loaded.graft("text").tensors[f"head.text.{name}"].numpy() for name in ("weight", "bias"))

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    def prototype(texts):
        return unit(unit(text.build("words").embed(texts) @ G.T + b).mean(0))

    prepared = loaded.recipe.prepare(record)
    x = torch.zeros(1, 12, loaded.recipe.samples)
    x[0, prepared.slots] = torch.from_numpy(prepared.signal)[:, : loaded.recipe.samples]
    with torch.no_grad():
        present, length = torch.ones(1, 12, dtype=torch.bool), torch.tensor([1000])
        levels = loaded.encoder(loaded.recipe.normalise_batch(x, present, length), present)
        v = unit(loaded.encoder.pool(levels, length)[0].numpy())
    fibrillation = v @ prototype(["atrial fibrillation", "Vorhofflimmern"]) - v @ prototype(["sinus rhythm"])
    assert said.score["atrial fibrillation"] == pytest.approx(fibrillation, abs=1e-5)
    assert said.score["left bundle branch block"] == pytest.approx(v @ prototype(["LBBB"]), abs=1e-5)
    scale = float(loaded.graft("text").tensors["head.t"].exp())
    assert said.uncalibrated["atrial fibrillation"] == pytest.approx(expit(scale * fibrillation), abs=1e-4)
    assert not said.answer and not said.probability and said.notes[-1] == _zero_shot.UNCALIBRATED


def test_predict_writes_scores_and_calls_nothing_a_yes(model, asked, file, tmp_path):
    for ending in ("json", "csv", "html"):
        ecgraft.predict([file], model=model, prompts=asked, unit="mV", rate=250, to=tmp_path / f"said.{ending}")
    (row,) = json.loads((tmp_path / "said.json").read_text())
    assert row["kind"] == "zero-shot" and "answer" not in row and set(row["score"]) == set(PROMPTS)
    lines = list(csv.DictReader((tmp_path / "said.csv").open()))
    assert [line["what"] for line in lines] == list(PROMPTS) and {line["answer"] for line in lines} == {""}
    assert float(lines[0]["score"]) == pytest.approx(row["score"]["atrial fibrillation"], abs=1e-6)
    assert "not calibrated" in (tmp_path / "said.html").read_text()


@pytest.mark.parametrize("name", ["findings", "superclass"])
def test_prompts_of_ecgraft_cover_their_tasks(name):
    said, task = _prompts.find(name), tasks.find(name)
    assert said.task(task) == task
    every = [(label, text) for label, phrases in said.labels.items() for text in phrases.present]
    assert len({text.casefold() for _, text in every}) == len(every)  # no wording stands for two labels
    assert all(len(phrases.present) >= 3 for phrases in said.labels.values())


FAULTS = {
    "labels: 3": "mapping with version and labels",
    "version: 1": "mapping with version and labels",
    "version: 1\nlabels: {a: {present: [x], absnt: [y]}}": "label a: unknown key 'absnt'; did you mean 'absent'",
    "version: 1\nlabels: {a: {absent: [y]}}": "label a: it has no present prompts",
    "version: 1\nlabels: {a: {present: [3]}}": "label a: present must be a list of texts",
    "version: 1\nlabels: {a: [x]}": "label a: give its prompts",
    "version: 1\nlabel: {}": "unknown key 'label'; did you mean 'labels'",
    "[1": "cannot be read as YAML",
}


@pytest.mark.parametrize("content", FAULTS)
def test_a_prompts_file_with_a_fault(tmp_path, content):
    path = tmp_path / "p.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        _prompts.find(str(path))
    assert FAULTS[content] in str(caught.value) and "p.yaml" in str(caught.value)


# --- zero-shot


def test_zero_shot_scores_are_those_of_sklearn(store, model, tmp_path, asked):
    from sklearn.metrics import average_precision_score, roc_auc_score

    summary = ecgraft.evaluate(store, model=model, task="findings", zero_shot=True, prompts=asked, to=tmp_path, **QUICK)
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(summary))
    loaded, opened = Model.load(model), Store(store)
    h = features(loaded.encoder, loaded.recipe, opened.prepared(loaded.recipe), np.arange(len(opened)))
    score = _zero_shot.ask(loaded, model, asked).scores(h)
    y = opened.labels[:, [opened.codes.index(code) for code in ("scp:AFIB", "scp:CLBBB")]]
    for k, label in enumerate(PROMPTS):
        assert summary["scores"]["auroc"][label]["value"] == pytest.approx(
            roc_auc_score(y[:, k], score[:, k]), abs=1e-6
        )
        expected = average_precision_score(y[:, k], score[:, k])
        assert summary["scores"]["ap"][label]["value"] == pytest.approx(expected, abs=1e-6)
    assert summary["mode"] == "zero-shot" and len(summary["without prompts"]) == 27 and summary["records"] == len(y)
    assert "thresholds" not in summary and "Vorhofflimmern" in (tmp_path / "report.html").read_text()


def test_a_task_of_the_prompts_own(store, model, tmp_path):
    labels = {"fast": {"present": ["tachycardia"], "codes": ["scp:STACH", "scp:SVTAC"]}}
    given = written(tmp_path / "own.yaml", labels)
    summary = ecgraft.evaluate(store, model=model, zero_shot=True, prompts=given, to=tmp_path / "r", **QUICK)
    assert summary["task"] == "own" and set(summary["scores"]["auroc"]) == {"fast"}
    bare = written(tmp_path / "bare.yaml", {"fast": {"present": ["tachycardia"]}})
    with pytest.raises(UsageError, match="has no codes"):
        ecgraft.evaluate(store, model=model, zero_shot=True, prompts=bare, to=tmp_path / "r", **QUICK)


def test_on_the_command_line(store, model, tmp_path, capsys):
    words = ["--model", model, "--to", str(tmp_path), "--replicates", "5", "--no-progress"]
    cli.main(["evaluate", str(store), *words, "--task", "superclass", "--zero-shot"])
    assert json.loads((tmp_path / "report.json").read_text())["task"] == "superclass"
    cli.main(["evaluate", str(store), *words, "--retrieval"])
    assert json.loads((tmp_path / "report.json").read_text())["mode"] == "retrieval"


def test_what_was_learnt_from_is_refused(store, model, tmp_path, asked):
    loaded, opened = Model.load(model), Store(store)
    learnt = Model(loaded.encoder, loaded.recipe, seen=_seen.tensors(opened, np.arange(len(opened))))
    learnt.add(loaded.graft("text"))
    learnt.save(tmp_path / "m")
    given = {"model": str(tmp_path / "m"), "to": tmp_path / "r", "replicates": 5, "progress": False}
    for mode in ({"task": "findings", "zero_shot": True, "prompts": asked}, {"retrieval": True}):
        with pytest.raises(InputError, match="were learnt from"):
            ecgraft.evaluate(store, **mode, **given)
        summary = ecgraft.evaluate(store, **mode, **given, leaks="allow")
        assert len(summary["leaks"]["same samples"]) == summary["records"]


# --- retrieval


def test_retrieval_finds_what_was_learnt(store, model, tmp_path):
    """On records that it was trained on, and on which chance finds one in ten."""
    loaded, opened = Model.load(model), Store(store)
    side = _text_side.open_side(loaded, model)
    rows = np.arange(24)
    v = side.of_ecgs(features(loaded.encoder, loaded.recipe, opened.prepared(loaded.recipe), rows))
    told = _texts.kept_texts(side.encoder, opened, rows).batch(rows)
    found, by_chance = _retrieval.measure(v, side.of_texts(told["text"]), told["text_key"], rows, 20, 0)
    for way in ("to report", "to ecg"):
        assert found[way]["recall@5"].value > 1.5 * by_chance[way]["recall@5"]
        assert found[way]["median rank"].value < by_chance[way]["median rank"]
    summary = ecgraft.evaluate(store, model=model, retrieval=True, to=tmp_path, **QUICK)
    assert summary["records"] == 48 and summary["scores"]["to ecg"]["recall@10"]["low"] is not None
    assert summary["chance"]["to ecg"]["recall@10"] == pytest.approx(10 / 48, abs=0.05)
    assert "by chance" in (tmp_path / "report.html").read_text()


# --- what cannot be


def test_what_does_not_go_together_is_said(store, model, tmp_path, asked, file):
    def evaluate(**given):
        ecgraft.evaluate(store, **{"model": model, "to": tmp_path / "r", **QUICK} | given)

    for given, said in (
        ({}, "--task is missing"),
        ({"task": "text"}, "is the model's text side"),
        ({"task": "findings", "prompts": asked}, "--prompts goes with --zero-shot"),
        ({"zero_shot": True, "retrieval": True}, "one at a time"),
        ({"task": "findings", "retrieval": True}, "reads reports"),
        ({"task": "waves", "zero_shot": True, "prompts": asked}, "kind waves has no labels"),
        ({"task": "waves", "zero_shot": True}, "no prompts for 'waves'"),
        ({"task": "own.yaml", "zero_shot": True}, "own.yaml: say how the labels"),
        ({"task": "superclass", "zero_shot": True, "prompts": asked}, "has no label 'atrial fibrillation'"),
        ({"task": "findings", "zero_shot": True, "against": model}, "--against"),
    ):
        with pytest.raises(UsageError) as caught:
            evaluate(**given)
        assert said in str(caught.value)
    with pytest.raises(UsageError, match="--text goes with --prompts"):
        ecgraft.predict([file], model=model, text="folder")
    with pytest.raises(InputError, match="no graft yet"):
        ecgraft.predict([file], model=model)


def test_a_model_without_a_text_side(store, tmp_path, asked, file):
    Model.fresh("resnet18", SMALL).save(tmp_path / "m")
    with pytest.raises(InputError, match="has no text side"):
        ecgraft.predict([file], model=str(tmp_path / "m"), prompts=asked)
    with pytest.raises(InputError, match="has no text side"):
        ecgraft.evaluate(store, model=str(tmp_path / "m"), retrieval=True, to=tmp_path / "r", **QUICK)


def test_a_store_without_reports(store, model, tmp_path):
    with StoreWriter(tmp_path / "bare") as writer:
        for i in range(4):
            writer.add(Store(store).record(i).but(report=None))
    with pytest.raises(InputError, match="no record has a report"):
        ecgraft.evaluate(tmp_path / "bare", model=model, retrieval=True, to=tmp_path / "r", **QUICK)


def test_a_text_encoder_of_another_identity(store, model, tmp_path, asked, file):
    loaded = Model.load(model)
    for change, said in (
        ({"revision": "0"}, "its revision is '1'"),
        ({"kind": "folder", "model": "bert"}, "--text FOLDER"),
    ):
        loaded.graft("text").text = text.build("words").identity | change
        loaded.save(tmp_path / "m")
        with pytest.raises(InputError, match=said):
            ecgraft.predict([file], model=str(tmp_path / "m"), prompts=asked)


# --- wordings kept apart


def test_wordings_of_simulated_reports_are_kept_apart():
    one, other = (
        simulator.simulate(3, range(24), simulator.Config(1.0, 100.0, wording=w)) for w in ("first", "second")
    )
    both = simulator.simulate(3, range(24), simulator.Config(1.0, 100.0))
    names = [finding.name for finding in simulator.FINDINGS]
    for german in (False, True):
        for name in names:
            halves = [phrases(name, german, half) for half in ("first", "second")]
            assert not set(halves[0]) & set(halves[1]) and halves[0] + halves[1] == phrases(name, german)
    assert all("KG: " not in one.text(i) and "CG: " not in one.text(i) for i in range(24))
    assert any("KG: " in other.text(i) for i in range(24))
    assert torch.equal(one.x, both.x) and torch.equal(other.x, both.x)
    assert [both.text(i) for i in range(3)] == TOLD
    codes = {"fibrillation": ("scp:AFIB",), "nothing": ("own:x",)}
    expected = ["irregular rhythm without P waves, atrial fibrillation", "absolute Arrhythmie bei Vorhofflimmern"]
    assert prompts(codes, "second") == {"fibrillation": expected}
