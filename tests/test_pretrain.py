"""ecgraft pretrain from end to end: every objective, what is written, resuming, several processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import ecgraft
from ecgraft.commands import _text_side
from ecgraft.commands import pretrain as command
from ecgraft.model import Model
from ecgraft.nn import files
from ecgraft.record import InputError, UsageError
from ecgraft.store import Store, splits
from made_pretraining import ENCODER, OBJECTIVES, QUICK, pretrain, records, stores, written
from test_cli import run as call

pytestmark = pytest.mark.slow

FOLDER = command.FOLDER


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return stores(tmp_path_factory.mktemp("pretrain"))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(two, tmp_path_factory):
    """Objective -> the folder of its model and what the call gave back; made when it is asked for."""
    top, found = tmp_path_factory.mktemp("models"), {}

    def make(objective):
        if objective not in found:
            found[objective] = top / objective, pretrain(*two, to=top / objective, objective=objective, simulated=0.25)
        return found[objective]

    return make


def weights(model: Model) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in model.encoder.state_dict().values()])


def same(a: Model, b: Model) -> bool:
    return torch.equal(weights(a), weights(b))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_makes_a_model_and_a_report(made, objective):
    folder, given = made(objective)
    model = Model.load(folder)
    assert model.fingerprint == given.fingerprint and not same(model, Model.fresh("resnet18", ENCODER))
    assert model.recipe.seconds == 2.0 and model.encoder.leads == model.recipe.leads
    card = model.card
    assert (card["pretraining"], card["simulated"], card["last"]["step"]) == (objective, 0.25, 3)
    assert card["records"] == {"twelve": 32, "single": 24} and card["left out"]["test"] == 14
    assert np.isfinite(card["last"]["loss"]) and card["step ms"] > 0 and 0 <= card["waited for data"] <= 1
    assert card["settings"]["training"]["steps"] == 3 and card["versions"]["ecgraft"] == ecgraft.__version__
    page = (folder / "report.html").read_text()
    assert f"pretraining: {objective}" in page and "not a medical device" in page and page.count("<svg") >= 1
    assert ("view 1" in page) == (objective != "supervised") and len(page) < 3_000_000
    assert not (folder / FOLDER / "checkpoint.safetensors").exists() and (folder / FOLDER / "log.jsonl").exists()
    assert set(model.grafts) == ({"text"} if objective == "cetp" else set())


def test_reports_leave_a_text_side(made, two, tmp_path):
    settings = {"objective_config": {"parts": {"simclr": {}, "cetp": {"weight": 0.5}}}}
    pretrain(*two, to=tmp_path / "m", objective="joint", **settings)
    for folder in (made("cetp")[0], tmp_path / "m"):
        side = _text_side.open_side(Model.load(folder), str(folder))
        found = side.of_texts(side.encoder.embed(["sinus rhythm", "Vorhofflimmern"]))
        assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    log = [json.loads(line) for line in (tmp_path / "m" / FOLDER / "log.jsonl").read_text().splitlines()]
    parts = log[-1]["simclr loss"] + 0.5 * log[-1]["cetp loss"]
    assert log[-1]["loss"] == pytest.approx(parts, rel=1e-5)


def test_records_of_the_pool_are_not_tested_on(made, two, tmp_path):
    """Refused where they stand in the test part of another store; the pool's own test part is clean."""
    folder = shutil.copytree(made("simclr")[0], tmp_path / "m")
    ecgraft.adapt(
        two[0], task="findings", to=folder, adapter="linear", steps=2, batch=8, seconds=2.0, rare="note", progress=False
    )
    given = {"model": str(folder), "task": "findings", "replicates": 5, "gallery": 0, "subsets": False}
    clean = ecgraft.evaluate(two[0], **given, to=tmp_path / "a", progress=False)
    assert clean["leaks"] == {"rule": "refuse", "left out": 0} and clean["records"] == 8
    learnt = np.flatnonzero(splits.split(Store(two[0])) != "test")
    moved = [records(two[0])[i].but(split="test", id=f"x{i}", patient=None) for i in learnt[:9]]
    other = written(tmp_path / "other", moved)
    with pytest.raises(InputError, match=r"9 of 9 records were learnt from"):
        ecgraft.evaluate(other, **given, to=tmp_path / "b", progress=False)


def test_the_same_command_again_only_loads(made, two, monkeypatch):
    folder, first = made("simclr")
    monkeypatch.setattr(command, "fit", lambda *_, **__: pytest.fail("trained again"))
    again = pretrain(*two, to=folder, objective="simclr", simulated=0.25)
    assert again.fingerprint == first.fingerprint


@pytest.mark.parametrize(
    "change, told",
    [
        ({"seed": 1}, "options.training.seed was 0, is 1"),
        ({"objective": "byol"}, "objective was simclr, is byol"),
        ({"batch": 6}, "options.batch was 8, is 6"),
        ({"objective_config": {"tau": 0.2}}, "options.objective_config.tau was None, is 0.2"),
    ],
)
def test_another_config_in_the_same_folder_is_told(made, two, change, told):
    folder, _ = made("simclr")
    with pytest.raises(InputError, match=rf"another config: .*{told}.*Choose another --to"):
        pretrain(*two, to=folder, **({"simulated": 0.25} | change))


def test_other_records_in_the_same_folder_are_told(made, two):
    with pytest.raises(InputError, match=r"another config: records.single .* was 24, is None"):
        pretrain(two[0], to=made("simclr")[0], simulated=0.25)


def test_the_command_line_takes_none_one_or_several_stores(capsys, tmp_path, two, made):
    words = ["--objective", "simclr", "--steps", "2", "batch=4", "seconds=2", "encoder_config.stem=8"]
    words += ["encoder_config.widths=[8,8,8,16]"]
    status, text = call(capsys, "pretrain", "--to", str(tmp_path / "none"), *words, "simulated=1")
    assert status == 0 and "encoder and report are in" in text and "next: ecgraft evaluate" in text
    assert Model.load(tmp_path / "none").card["records"] == {} and not Model.load(tmp_path / "none").seen
    status, text = call(capsys, "pretrain", *map(str, two), "--to", str(tmp_path / "two"), *words, "--records", "20")
    assert status == 0 and sum(Model.load(tmp_path / "two").card["records"].values()) == 20
    one = ecgraft.pretrain(two[1], to=tmp_path / "one", objective="simclr", **QUICK)
    assert one.card["records"] == {"single": 24}


def test_it_goes_on_from_a_model_and_what_that_has_seen_is_kept(made, two, tmp_path):
    folder, before = made("simclr")
    options = {key: value for key, value in QUICK.items() if key != "encoder_config"}
    after = ecgraft.pretrain([two[1]], to=tmp_path / "m", objective="byol", model=str(folder), **options)
    assert not same(after, before) and after.recipe == before.recipe
    assert set(before.seen["seen.samples"].tolist()) <= set(after.seen["seen.samples"].tolist())
    assert after.card["goes on from"]["pretraining"] == "simclr"
    with pytest.raises(UsageError, match="encoder_config: these are those of the model"):
        ecgraft.pretrain([two[1]], to=tmp_path / "n", objective="byol", model=str(folder), **QUICK)
    with pytest.raises(UsageError, match=r"seconds=3: the window of .* is 2 s"):
        ecgraft.pretrain([two[1]], to=tmp_path / "n", objective="byol", model=str(folder), **options | {"seconds": 3.0})


def test_a_killed_save_is_finished(two, tmp_path, monkeypatch):
    """Between the encoder's file and the text side's: the folder is not taken for a finished one."""
    from ecgraft.model import Graft

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Graft, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        pretrain(two[0], to=tmp_path / "m", objective="cetp")
    assert (tmp_path / "m" / "encoder.safetensors").exists()
    model = pretrain(two[0], to=tmp_path / "m", objective="cetp")
    assert set(Model.load(tmp_path / "m").grafts) == {"text"} and model.card["last"]["step"] == 3


SCRIPT = """
import sys, time, torch
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
from made_pretraining import pretrain
from ecgraft.training import Mixture
if {slow}:
    call = Mixture.__call__
    Mixture.__call__ = lambda *given: time.sleep(0.02) or call(*given)
pretrain({store!r}, to={to!r}, objective={objective!r}, simulated=0.25, steps={steps}, training={training})
"""


def script(store, to, objective="byol", steps=40, slow=False, **training) -> str:
    """A program that pretrains."""
    tests = os.path.dirname(__file__)
    return SCRIPT.format(
        tests=tests, store=str(store), to=str(to), steps=steps, slow=slow, objective=objective, training=training
    )


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_killed_run_goes_on_to_the_same_weights(two, tmp_path, objective="joint"):
    """Of BYOL, whose target follows, and Beat-SSL, which keeps constants of the corpus."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    program = script(two[0], tmp_path / "m", objective, slow=True, checkpoint_every=0.01, precision="fp32")
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    kept, until = tmp_path / "m" / FOLDER / "checkpoint.safetensors", time.monotonic() + 60
    while not (kept.exists() and files.load(kept)[1]["step"] > 5) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) != 0 and not (tmp_path / "m" / "model.json").exists()
    assert 5 < files.load(kept)[1]["step"] < 40
    given = {"objective": objective, "simulated": 0.25, "steps": 40}
    training = {"checkpoint_every": 0.01, "precision": "fp32"}
    resumed = pretrain(two[0], to=tmp_path / "m", **given, training=training)
    whole = pretrain(two[0], to=tmp_path / "whole", **given, training={"precision": "fp32"})
    assert same(resumed, whole) and same(Model.load(tmp_path / "m"), whole)
    steps = [json.loads(line)["step"] for line in (tmp_path / "m" / FOLDER / "log.jsonl").read_text().splitlines()]
    assert steps == [10, 20, 30, 40]


@pytest.mark.slow
def test_two_processes_write_one_model(two, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    program = script(two[0], tmp_path / "m", "joint", steps=10)
    for _ in range(2):  # the second time it is only loaded
        both = [
            subprocess.Popen(
                [sys.executable, "-c", program], env=os.environ | world | {"RANK": str(rank)}, stderr=subprocess.PIPE
            )
            for rank in range(2)
        ]
        told = [process.communicate(timeout=120) for process in both]
        assert [process.returncode for process in both] == [0, 0], told
    model = Model.load(tmp_path / "m")
    assert model.card["last"]["step"] == 10 and weights(model).isfinite().all()
    assert json.loads((tmp_path / "m" / FOLDER / "run.json").read_text())["processes"] == 2
    assert (tmp_path / "m" / "report.html").exists()
    with pytest.raises(InputError, match="processes was 2, is 1"):
        pretrain(two[0], to=tmp_path / "m", objective="joint", simulated=0.25, steps=10)
