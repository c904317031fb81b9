"""What goes wrong in a pretraining: a message that names the file or the option and says what to do."""

from __future__ import annotations

import math

import pytest
import torch

import ecgraft
from ecgraft.commands import _texts
from ecgraft.commands import pretrain as command
from ecgraft.model import Model
from ecgraft.nn import files
from ecgraft.record import InputError, UsageError
from made_pretraining import flat, pretrain, records, stores, written
from test_cli import run

pytestmark = pytest.mark.slow

FOLDER = command.FOLDER


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return stores(tmp_path_factory.mktemp("bad"))


@pytest.mark.parametrize(
    "given, hint",
    [
        ({"objective": "simclrr"}, "did you mean 'simclr'"),
        ({"objective": "bell", "encoder": "resnet81"}, "did you mean 'resnet18'"),
        ({"bacth": 4}, "did you mean 'batch'"),
        ({"batch": 1}, "batch of one compares nothing; give batch=2"),
        ({"objective_config": {"tua": 1}}, "objective simclr: unknown key 'tua'; did you mean 'tau'"),
        ({"objective_config": {"tau": -1}}, "tau = -1: Input should be greater than 0"),
        ({"objective": "supervised", "objective_config": {"smooth": 1}}, "did you mean 'smoothing'"),
        ({"encoder_config": {"stems": 8}}, "did you mean 'stem'"),
        ({"training": {"setps": 5}}, "training: unknown key 'setps'; did you mean 'steps'"),
        ({"recipe": {"rate": 100}}, "recipe.rate: that is the encoder's"),
        ({"recipe": {"highh": 30}}, "did you mean 'high'"),
        ({"simulated": 1.5}, "simulated = 1.5"),
        ({"simulated": 0.05}, "simulated=0.05 of a batch of 8 is none; take larger batches"),
        ({"simulator": {"prevalance": {}}}, "simulator: unknown key 'prevalance'; did you mean 'prevalence'"),
        ({"simulator": {"rate": 100}}, "simulator.rate: simulated ECGs have the encoder's rate"),
        ({"records": -1}, "records -1: how many"),
        ({"seed": -1}, "seed -1: it must be at least 0"),
        ({"objective_config": {"views": {"crob": None}}}, "did you mean 'crop'"),
        ({"objective": "cetp", "text": "wrods"}, "did you mean 'words'"),
        ({"objective": "joint", "objective_config": {"parts": {"byoll": {}}}}, "did you mean 'byol'"),
        ({"objective": "joint", "objective_config": {"parts": {"byol": {"wieght": 2}}}}, "objective byol: unknown key"),
        ({"objective": "joint", "objective_config": {"parts": {"byol": {"weight": "x"}}}}, "byol.weight is 'x'"),
        ({"objective": "joint", "objective_config": {"parts": {"byol": {"weight": -1}}}}, "it must be a number"),
        ({"objective": "joint", "objective_config": {"parts": {}}}, "give it parts"),
        ({"objective": "joint", "objective_config": {"parts": {"supervised": {}}}}, "supervised compares no views"),
        ({"objective": "joint", "objective_config": {"parts": {"joint": {}}}}, "joint compares no views"),
    ],
)
def test_wrong_names_and_values_are_wrong_use_and_can_be_mended_in_the_same_folder(two, tmp_path, given, hint):
    with pytest.raises(UsageError) as told:
        pretrain(two[1], to=tmp_path / "m", **given)
    assert hint in str(told.value), told.value
    assert not (tmp_path / "m" / "model.json").exists()
    if "views" in str(given) or "text" in given:  # seen late, when the folder is there
        assert pretrain(two[1], to=tmp_path / "m", simulated=0.5).card["records"]


@pytest.mark.parametrize("simulated", [0.0, 0.5])
def test_no_store_and_not_all_simulated(tmp_path, simulated):
    with pytest.raises(UsageError, match="give a store with records outside its test part, or simulated=1"):
        pretrain(to=tmp_path / "m", simulated=simulated)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("simulated", [0.0, 0.5])
def test_a_store_of_test_records_alone(two, tmp_path, simulated):
    store = written(tmp_path / "s", [record.but(split="test") for record in records(two[1])])
    with pytest.raises(UsageError, match="records outside its test part"):
        pretrain(store, to=tmp_path / "m", simulated=simulated)


def test_what_may_not_be_meant_is_said(capsys, tmp_path, two):
    """It is done all the same."""
    words = ["--steps", "1", "batch=40", "seconds=2", "encoder_config.stem=8", "encoder_config.widths=[8,8,8,16]"]
    words = ["pretrain", str(two[1]), str(two[1]), *words]
    noise = ["noise=" + str(tmp_path), "--objective", "byol", "--to", str(tmp_path / "m")]
    status, text = run(capsys, *words, *noise)
    assert status == 0 and "byol has no view of this name; give it one with views.noise" in " ".join(text.split())
    assert "24 records are fewer than a batch" in " ".join(text.split())
    status, text = run(capsys, *words, "simulated=1", "--objective", "simclr", "--to", str(tmp_path / "n"))
    assert status == 0 and "nothing of the stores is used" in " ".join(text.split())


def test_a_store_that_is_none(capsys, tmp_path):
    words = ["pretrain", str(tmp_path / "s"), "--to", str(tmp_path / "m"), "--objective", "simclr"]
    status, text = run(capsys, *words)
    assert status == 1 and "no such folder" in text and not (tmp_path / "m").exists()


@pytest.mark.parametrize("objective, settings", [("cetp", {}), ("joint", {"parts": {"cetp": {}, "simclr": {}}})])
def test_no_reports(two, tmp_path, objective, settings, monkeypatch):
    monkeypatch.setattr(_texts, "BLOCK", 16)  # simulated reports that a mean is taken of
    given = {"objective": objective, "objective_config": settings}
    with pytest.raises(InputError, match=r"single: no record to learn from has a report; .* simulated=0.5"):
        pretrain(two[1], to=tmp_path / "m", **given)
    made = pretrain(two[1], to=tmp_path / "m", simulated=0.5, **given)  # as it says; in the same folder
    assert math.isfinite(made.card["last"]["loss"])


def test_records_shorter_than_half_a_window(two, tmp_path):
    with pytest.raises(InputError, match=r"twelve: no record to learn from: .* shorter than 5 s, half a window"):
        pretrain(two[0], to=tmp_path / "m", seconds=10.0)
    made = pretrain(*two, to=tmp_path / "m", seconds=9.0)  # 4.5 s: those of 5 s are taken and padded
    assert made.card["records"] == {"twelve": 0, "single": 24} and made.card["left out"]["short or without leads"] == 32


def test_an_encoder_whose_leads_no_record_has(two, tmp_path):
    leads = {"stem": 8, "widths": [8, 8, 8, 16], "leads": ["V5", "V6"]}
    with pytest.raises(
        InputError, match=r"single: no record to learn from: .* without a lead of the encoder \(V5, V6\)"
    ):
        pretrain(two[1], to=tmp_path / "m", encoder_config=leads)
    strange = leads | {"leads": ["CM5"]}
    with pytest.raises(UsageError, match="simulator has the leads I, II"):
        pretrain(to=tmp_path / "m", encoder_config=strange, simulated=1)
    assert pretrain(*two, to=tmp_path / "m", encoder_config=leads).card["records"]["single"] == 0


@pytest.mark.parametrize("objective", ["simclr", "beat_ssl"])
def test_the_dipole_is_not_turned_where_no_record_has_its_leads(two, tmp_path, objective):
    """Of an encoder with all twelve, and of one that reads two: the other views do."""
    for leads in (None, ["I", "II"]):
        config = {"stem": 8, "widths": [8, 8, 8, 16]} | ({"leads": leads} if leads else {})
        to = tmp_path / f"m{len(leads or ())}"
        made = pretrain(two[1], to=to, objective=objective, encoder_config=config, simulated=0.5 if leads else 0)
        assert math.isfinite(made.card["last"]["loss"])


@pytest.mark.parametrize("objective", ["simclr", "byol", "beat_ssl"])
def test_flat_records(tmp_path, objective):
    """Nothing can be learnt from them, but nothing breaks down in a way that cannot be read."""
    store = flat(tmp_path / "flat")
    if objective == "beat_ssl":
        with pytest.raises(InputError, match="not a single heartbeat"):
            pretrain(store, to=tmp_path / "m", objective=objective)
    else:
        assert math.isfinite(pretrain(store, to=tmp_path / "m", objective=objective).card["last"]["loss"])


def test_a_loss_that_is_not_finite_leaves_the_step_before(two, tmp_path, monkeypatch):
    from ecgraft.objectives.simclr import SimCLR

    real = SimCLR.forward

    def spoilt(self, batch):
        out = real(self, batch)
        return out | {"loss": out["loss"] * (float("nan") if batch["step"] == 4 else 1)}

    whole = pretrain(two[1], to=tmp_path / "whole", steps=4, training={"schedule": "constant", "warmup": 0})
    monkeypatch.setattr(SimCLR, "forward", spoilt)
    given = {"steps": 8, "training": {"schedule": "constant", "warmup": 0}}
    with pytest.raises(
        InputError, match=r"the loss is nan at step 4, .*; the weights before it are in .*checkpoint.*rate="
    ):
        pretrain(two[1], to=tmp_path / "m", **given)
    tensors, state = files.load(tmp_path / "m" / FOLDER / "checkpoint.safetensors")
    assert state["step"] == 4 and not (tmp_path / "m" / "model.json").exists()
    for name, value in whole.encoder.named_parameters():
        assert torch.equal(tensors[f"weights/encoder.{name}"], value.detach())
    with pytest.raises(InputError, match=r"options.training.rate was 0.001, is 0.0001"):
        pretrain(two[1], to=tmp_path / "m", steps=8, training=given["training"] | {"rate": 1e-4})


def test_a_rate_that_is_far_too_high(two, tmp_path):
    given = {"rate": 1e30, "clip": 0, "warmup": 0, "schedule": "constant"}
    with pytest.raises(InputError, match=r"the loss is \S+ at step \d+, .*; the weights before it are in"):
        pretrain(two[1], to=tmp_path / "m", steps=20, training=given)


def test_something_else_is_in_the_folder(two, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.txt").write_text("mine")
    Model.fresh("resnet18", {"stem": 8}).save(tmp_path / "model")
    (tmp_path / "file").write_text("mine")
    for name in ("m", "model", "file"):
        with pytest.raises(UsageError, match=rf"{name}: there is something else in this place; give a new folder"):
            pretrain(two[1], to=tmp_path / name)
    assert (tmp_path / "m" / "thesis.txt").read_text() == "mine" == (tmp_path / "file").read_text()
    with pytest.raises(UsageError, match="there is something else"):
        pretrain(two[1], to=two[0])


def test_a_folder_of_noise_that_is_none(two, tmp_path):
    with pytest.raises(InputError, match="nstdb"):
        pretrain(two[1], to=tmp_path / "m", noise=str(tmp_path / "nstdb"))


def test_half_of_torchrun(two, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UsageError, match="WORLD_SIZE is 2, but nothing else of torchrun is set"):
        pretrain(two[1], to=tmp_path / "m")


def test_a_model_that_is_none(two, tmp_path):
    with pytest.raises(InputError, match="nowhere: no model there"):
        ecgraft.pretrain(two[1], to=tmp_path / "m", objective="simclr", model=str(tmp_path / "nowhere"), progress=False)
