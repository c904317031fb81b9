"""ecgraft extend: whatever goes wrong, what was there stays, and what was begun goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import ecgraft
from ecgraft.commands import _extension
from ecgraft.model import Model
from ecgraft.model.graft import CHECKSUM
from ecgraft.nn import files
from ecgraft.plugs import find
from ecgraft.record import InputError, UsageError
from ecgraft.training import loop
from made_extend import QUICK, SMALL, WORDS, begin, extend, file, free
from test_cli import run
from test_grafts import content

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return begin(tmp_path_factory.mktemp("extend"))


@pytest.fixture
def place(made):
    return made.parent


@pytest.fixture
def model(made, tmp_path):
    return shutil.copytree(made, tmp_path / "m")


def same_graft(one: Path, two: Path, name: str) -> bool:
    a, b = (files.load(file(folder, name))[0] for folder in (one, two))
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


WRONG = {
    "the name is taken": (["--task", "qrs"], ["'qrs' already", "--remove qrs", "--name"]),
    "others stand on it": (
        ["--task", "findings"],
        ["'findings' already", "later tasks", "(qrs)", "cannot be replaced"],
    ),
    "another rate": (["recipe.rate=500"], ["rate 500", "250 Hz and 0.5-40 Hz", "one time scale", "--encoder"]),
    "another filter": (["recipe.high=100"], ["high 100", "one time scale"]),
    "leads as of the recipe": (["recipe.leads=[I]"], ["leads=[I, II]"]),
    "a key of no recipe": (["recipe.hihg=9"], ["did you mean 'high'"]),
    "no such strategy": (["--strategy", "isolat"], ["did you mean 'isolate'"]),
    "one that forgets": (["--strategy", "ewc"], ["--strategy ewc", "answer otherwise", "graft, independent, isolate"]),
    "all at once": (["--strategy", "joint"], ["--strategy joint", "isolate"]),
    "an option that it lacks": (["--strategy", "piggyback", "--tasks", "3"], ["piggyback", "'tasks'"]),
    "a setting that it lacks": (["strategy_config.pik=all"], ["isolate", "did you mean 'pick'"]),
    "said twice": (["--tasks", "3", "strategy_config.tasks=4"], ["given twice"]),
    "no share": (["--sparsity", "1.5"], ["--sparsity 1.5", "a share below 1"]),
    "no number": (["--sparsity", "much"], ["--sparsity much", "search"]),
    "an adapter": (["adapter=lrc"], ["strategy_config.adapter=lrc"]),
    "records without labels": (["semi=fixmatch"], ["ecgraft adapt"]),
    "another stem": (["strategy_config.stem=shared"], ["stem=private"]),
    "neighbours": (["head.kind=knn"], ["head.kind=knn"]),
    "a blank encoder": (["--strategy", "graft"], ["no weights of its own", "isolate"]),
    "too many tasks": (["--tasks", "2"], ["this is task 3", "divided for 2", "piggyback"]),
    "more tasks than can be": (["--tasks", "20"], ["tasks = 20", "at most 19", "less than 5%", "piggyback"]),
    "no such task": (["--task", "findigns"], ["did you mean 'findings'"]),
    "another encoder": (["--encoder", "multires"], ["a blank resnet18", "leave --encoder away"]),
    "a lead twice": (["leads=[I, I]"], ["each only once"]),
    "a new folder twice": (["--encoder", "resnet18", "--to", "x"], ["leave --to away"]),
    "a name that is a path": (["--name", "../x"], ["letters, digits"]),
}
FAILED = {
    "no such labels": (["--task", "rhythm3"], ["rhythm3", "no record carries"]),
    "no such lead": (["leads=[V9]"], ["none of", "a lead of V9", "leads=[...]"]),
}


@pytest.mark.parametrize("case", [*WRONG, *FAILED])
def test_what_cannot_be_is_said_in_a_line_and_nothing_is_written(place, model, capsys, case):
    words, hints = (WRONG | FAILED)[case]
    before = content(model)
    task = [] if "--task" in words else ["--task", "beats"]
    given = ["extend", str(place / "store"), "--model", str(model), *task, *WORDS, *words]
    status, text = run(capsys, *given)
    assert status == (1 if case in FAILED or case == "another encoder" else 2), text
    assert len(text.splitlines()) == 1 and not [hint for hint in hints if hint not in text], text
    assert content(model) == before


@pytest.mark.parametrize(
    "model, more, hint",
    [
        ("nowhere", {}, "no model there. Begin one with --encoder"),
        ("default", {}, "stays as it is: --model default --to FOLDER"),
        ("store", {}, "no model; give a new folder"),
        ("nowhere", {"encoder": "resnet18", "strategy": "graft"}, "ecgraft pretrain, or with ecgraft adapt --encoder"),
        ("nowhere", {"encoder": "resnet81"}, "did you mean 'resnet18'"),
        ("model/encoder.safetensors", {}, "this is a file; give a folder for the model with --to"),
    ],
)
def test_where_no_task_can_go(place, made, model, more, hint):
    name = model if model == "default" else str(place / model)
    with pytest.raises(InputError, match=hint):
        ecgraft.extend(place / "store", model=name, task="beats", **(QUICK | more))
    assert not (place / "nowhere").exists()


def test_no_room_says_so_and_nothing_is_written(place, tmp_path):
    folder = shutil.copytree(place / "blank", tmp_path / "m")
    extend(place, folder, "findings", sparsity="0.02", steps=2)
    before = content(folder)
    with pytest.raises(UsageError, match=r"% of the weights are free, and a further task needs 5%: the tasks findings"):
        extend(place, folder, "qrs")
    assert content(folder) == before and 0 < free(folder) < 0.05


def test_the_last_task_can_be_taken_away_and_put_back(made, model):
    with pytest.raises(UsageError, match=r"'findings': later tasks read its weights \(qrs\)"):
        ecgraft.grafts(str(model), remove="findings")
    before, kept = free(model), file(model, "qrs").read_bytes()
    ecgraft.grafts(str(model), remove="qrs")
    assert free(model) == pytest.approx(before + 1 / 3, abs=0.01)
    ecgraft.grafts(str(model), add=file(made, "qrs"))
    assert file(model, "qrs").read_bytes() == kept and free(model) == before


def test_a_task_of_another_model_is_refused(place, made, model, tmp_path):
    ecgraft.grafts(str(model), remove="qrs")
    other = shutil.copytree(place / "blank", tmp_path / "other")
    extend(place, other, "findings", tasks=3, steps=2, seed=1)
    before = content(other)
    with pytest.raises(InputError, match=r"'qrs' stands on weights .* of graft 'findings', which are .* another model"):
        ecgraft.grafts(str(other), add=file(made, "qrs"))
    with pytest.raises(InputError, match="stands on graft 'findings', but there is none here"):
        ecgraft.grafts(str(place / "blank"), add=file(made, "qrs"))
    assert content(other) == before


def test_a_graft_of_another_recipe_is_refused(model):
    loaded = Model.load(model)
    graft = loaded.remove("qrs")
    for key, value in (("rate", 500.0), ("high", 30.0), ("normalise", "none")):
        with pytest.raises(InputError, match=f"'qrs': it was made for {key} {value} .this model: .*one rate, filter"):
            loaded.add(replace(graft, recipe=replace(graft.recipe, **{key: value})))
    loaded.add(replace(graft, recipe=replace(graft.recipe, seconds=3.0)))


def edited(path: Path, tensor: str) -> None:
    """Another value, with a checksum as if it had been written so."""
    tensors, head = files.load(path)
    tensors[tensor].view(-1)[0] += 0.5
    head.pop(CHECKSUM)
    files.save(path, tensors, head | {CHECKSUM: files.fingerprint(tensors, head)})


def test_a_weight_that_was_changed_by_hand_is_found(place, model, capsys):
    edited(file(model, "findings"), "shared.own")
    given = ["extend", str(place / "store"), "--model", str(model), "--task", "beats", *WORDS]
    for words in (given, ["verify", str(model)], ["grafts", str(model), "--remove", "qrs"]):
        status, text = run(capsys, *words)
        assert status == 1 and str(file(model, "findings")) in text and "not those that were written" in text


@pytest.mark.slow
def test_a_head_that_was_changed_by_hand_is_noted(place, model, capsys):
    edited(file(model, "findings"), "head.linear.bias")
    with pytest.raises(InputError, match="not as written: findings"):
        ecgraft.verify(str(model), progress=False)
    capsys.readouterr()
    extend(place, model, "beats", progress=True)
    assert "graft findings does not answer as when it was written" in capsys.readouterr().err


def test_another_task_meanwhile_stops_it(model):
    place = _extension.opened(str(model), None, "", find("continual", "isolate"), {})
    graft = replace(place.base.graft("qrs"), name="later")
    ecgraft.grafts(str(model), remove="qrs")
    before = content(model)
    with pytest.raises(InputError, match="one was added or taken away meanwhile"):
        place.put(graft)
    assert file(model, "later").exists() is False and content(model).keys() - before.keys() <= {"training/extend.lock"}


class Killed(BaseException):
    """The end of a process, as far as one can have it in a test."""


def kill_at_step(monkeypatch, number: int) -> None:
    real, calls = loop._Run.take_step, []

    def step(*args):
        calls.append(1)
        if len(calls) == number:
            raise Killed
        return real(*args)

    monkeypatch.setattr(loop._Run, "take_step", step)


def kill_at_file(monkeypatch, name: str) -> None:
    real = os.replace

    def replaced(source, target):
        if str(target).endswith(name):
            raise Killed
        real(source, target)

    monkeypatch.setattr(os, "replace", replaced)


KILLS = {"train": (kill_at_step, 3), "compact": (kill_at_step, 6), "retrain": (kill_at_step, 8)}
KILLS |= {"graft": (kill_at_file, "beats.safetensors"), "listing": (kill_at_file, "model.json")}


@pytest.mark.slow
@pytest.mark.parametrize("phase", KILLS)
def test_killed_it_goes_on_to_the_same_graft(place, model, tmp_path, phase, monkeypatch):
    whole = shutil.copytree(model, tmp_path / "whole")
    extend(place, whole, "beats", sparsity="0.5")
    before, (kill, where) = content(model), KILLS[phase]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill(patch, where)
        extend(place, model, "beats", sparsity="0.5")
    now = content(model)
    assert all(now[name] == before[name] for name in before)
    assert set(Model.load(model).grafts) == {"findings", "qrs"} | ({"beats"} if phase == "listing" else set())
    for row in ecgraft.verify(str(model), progress=False):
        assert row["state"] == "same" and row["listed"] == (row["graft"] != "beats")
    taken = []
    monkeypatch.setattr(loop._Run, "take_step", (lambda f: lambda *a: taken.append(1) or f(*a))(loop._Run.take_step))
    extend(place, model, "beats", sparsity="0.5")
    assert same_graft(model, whole, "beats") and len(taken) == {"train": 8, "compact": 4, "retrain": 2}.get(phase, 0)
    assert all(content(model)[name] == before[name] for name in before if name != "model.json")
    assert sorted(json.loads((model / "model.json").read_text())["grafts"]) == ["beats", "findings", "qrs"]
    assert len(ecgraft.verify(str(model), progress=False)) == 3


@pytest.mark.slow
def test_another_command_after_an_interruption_begins_anew(place, model, tmp_path, monkeypatch):
    """Other settings of the strategy: what was learnt with the first ones is not taken."""
    whole = shutil.copytree(model, tmp_path / "whole")
    extend(place, whole, "beats", sparsity="0.6")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at_file(patch, "model.json")
        extend(place, model, "beats", sparsity="0.3")
    extend(place, model, "beats", sparsity="0.6")
    assert same_graft(model, whole, "beats")


KILL = """
import os, sys
real = os.replace
os.replace = lambda a, b: os._exit(9) if str(b).endswith("model.json") else real(a, b)
from ecgraft import cli
cli.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_first_task_that_is_killed_between_its_files(place, tmp_path, capsys):
    """For good: the process ends without another word. The folder begins with the task, on another's encoder."""
    fresh, to = tmp_path / "fresh", tmp_path / "m"
    Model.fresh("resnet18", SMALL).save(fresh)
    given = ["extend", str(place / "store"), "--model", str(fresh), "--to", str(to), "--task", "qrs", *WORDS]
    done = subprocess.run([sys.executable, "-c", KILL, *given], env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 9 and set(Model.load(to).grafts) == {"qrs"} and not (to / "model.json").exists()
    status, text = run(capsys, *given)
    assert status == 0, text
    whole = tmp_path / "whole"
    assert run(capsys, *[str(whole) if word == str(to) else word for word in given])[0] == 0
    if torch.get_num_threads() == 1:
        assert same_graft(to, whole, "qrs")
    assert len(ecgraft.verify(str(to), progress=False)) == 1 and run(capsys, *given)[0] == 2
