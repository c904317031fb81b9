"""ecgraft extend: tasks are added one after another, and nothing that was there changes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import ecgraft
from ecgraft.commands import _extension, _graft_files
from ecgraft.commands._strategies import sharing
from ecgraft.model import Model, chain, reference
from ecgraft.nn import files
from ecgraft.plugs import find
from ecgraft.record import InputError
from made_extend import SMALL, WORDS, begin, extend, file, free
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


def test_each_task_owns_its_part_and_stands_on_the_one_before(made):
    loaded = Model.load(made)
    first, second = chain.order(loaded.grafts)
    assert (first.name, second.name) == ("findings", "qrs") and second.shared["after"]["graft"] == "findings"
    owned = chain.shares(loaded)
    assert all(owned[name]["owns"] == pytest.approx(1 / 3, abs=0.01) for name in ("findings", "qrs", "(free)"))
    assert second.adapter_config["tasks"] == 3  # as the first one said
    assert second.card["weights"]["further tasks"] == 1 and second.recipe.leads == ("II",)
    assert {"seen.samples", "reference.digest"} <= second.tensors.keys() and second.card["budget"] == 1.0
    listed = json.loads((made / "model.json").read_text())["grafts"]
    assert listed["qrs"] == {"task": "peaks", "adapter": "isolate"}
    assert {row["state"] for row in ecgraft.verify(str(made), progress=False)} == {"same"}


def test_a_further_task_is_one_new_file(place, model, capsys, monkeypatch):
    before, answers = content(model), _extension.answers(Model.load(model))
    status, text = run(capsys, "extend", str(place / "store"), "--model", str(model), "--task", "beats", *WORDS[:-1])
    said = " ".join(text.split())
    assert status == 0, text
    assert "owns 33" in said and "room for 0 more tasks like it" in said and "reads" in said
    assert "checked: findings, qrs answer as before, bit for bit" in said and "next: ecgraft evaluate" in said
    after = content(model)
    new = {name for name in after.keys() - before.keys() if not name.startswith("training/")}
    assert new == {"grafts/beats.safetensors"}
    assert all(after[name] == before[name] for name in before if name != "model.json")
    now = _extension.answers(Model.load(model))
    assert all(now[name] == answers[name] for name in answers) and len(now) == 3


def test_room_by_hand():
    """0.7 free after the first task, and each further one gives half back: .7, .35, .175, .0875 are at least 0.05."""
    plug = find("continual", "isolate")
    made = sharing.Sharing(Model.empty("resnet18", SMALL), "isolate", {})
    assert made.more(0.7) == 4 and made.more(0.049) == 0
    assert sharing.Sharing(Model.empty("resnet18", SMALL), "isolate", {"tasks": 4}).more(0.75) == 3
    assert sharing.Sharing(Model.empty("resnet18", SMALL), "piggyback", {}).more(0.0) is None
    assert plug.plan(made.config, 2).phases[-1].end == 0.5


def test_info_shows_who_owns_what(made, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    ecgraft.info(made)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    owned, size = chain.shares(Model.load(made)), chain.ledger(Model.load(made)).size
    for number, name in enumerate(("findings", "qrs"), 1):
        count = len(Model.load(made).graft(name).tensors["shared.own"])
        assert count == round(owned[name]["owns"] * size)
        shares = f"{count:,} {100 * owned[name]['owns']:.1f} {100 * owned[name]['reads']:.1f}"
        assert f"{name} isolate {number} {shares} {file(made, name).stat().st_size / 1024:,.0f}" in lines
    assert any(line.startswith(f"free {100 * owned['(free)']['owns']:.1f} ") for line in lines)
    assert "weights in common, room for 1 more task" in lines
    first = Model.load(made).graft("findings").shared["fingerprint"]
    assert (
        f"stands on graft findings, fingerprint {first}" in lines and "stands on nothing: it is the first task" in lines
    )
    assert any(line.startswith("phases train 4 steps") for line in lines)
    code = "import sys; from ecgraft.commands.info import info; info(sys.argv[1]); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code, str(made)], capture_output=True).returncode == 0


def test_info_of_a_graft_with_a_strange_header(model):
    tensors, head = files.load(file(model, "qrs"))
    files.save(file(model, "qrs"), {k: v for k, v in tensors.items() if k != "shared.reads"}, head)
    with pytest.raises(InputError, match=r"qrs\.safetensors"):
        ecgraft.info(file(model, "qrs"))


def test_grafts_lists_and_compares_them(made, capsys):
    found = ecgraft.grafts(str(made))
    assert {name: row["adapter"] for name, row in found.items()} == {"findings": "isolate", "qrs": "isolate"}
    assert all(row["trained"] > 0 for row in found.values())
    cosine = ecgraft.grafts(str(made), compare="findings,qrs")["cosine"]
    assert -1 <= cosine["all"] < 1 and len(cosine) > 5
    assert _graft_files.cosines(Model.load(made), "qrs", "qrs")["all"] == pytest.approx(1)


@pytest.mark.parametrize("name", ["findings", "qrs"])
def test_one_task_becomes_a_model_of_its_own(made, tmp_path, name):
    ecgraft.grafts(str(made), merge=name, to=tmp_path / "one")
    alone, whole = Model.load(tmp_path / "one"), Model.load(made)
    graft = alone.graft(name)
    assert not graft.shared and graft.adapter == "linear" and not [n for n in graft.tensors if n.startswith("shared.")]
    assert alone.encoder.leads == alone.recipe.leads == graft.recipe.leads == whole.graft(name).recipe.leads
    one, two = (reference.of(model, name)["reference.digest"] for model in (alone, whole))
    assert torch.equal(one, two) and not alone.blank  # bit for bit
    x = ecgraft.Record(np.random.default_rng(0).standard_normal((3, 500)), 250.0, ("I", "II", "V1"), id="r")
    assert str(alone.predict(x)[name]) == str(whole.predict(x, [name])[name])


@pytest.mark.slow
def test_a_copy_begins_with_the_tasks_that_share_weights(place, model, tmp_path):
    """A new folder has the encoder and what its task reads; the first model stays as it is."""
    before, to = content(model), tmp_path / "copy"
    extend(place, model, "beats", to=to)
    assert list(Model.load(to).grafts) == ["beats", "findings", "qrs"] and content(model) == before
    assert all(file(to, name).read_bytes() == file(model, name).read_bytes() for name in ("findings", "qrs"))
    other = Model.empty("resnet18", SMALL | {"stem": 8})
    other.save(tmp_path / "other")
    with pytest.raises(InputError, match="stands on another encoder"):
        extend(place, tmp_path / "other", "waves", to=to)


@pytest.mark.slow
def test_a_pretrained_encoder_and_every_strategy_that_keeps(place, tmp_path):
    """Grafts with adapters and grafts that share weights live in one model; what is asked for twice is said."""
    start = Model.fresh("resnet18", SMALL)
    start.card["pretraining"] = "somehow"
    start.save(tmp_path / "start")
    to, answers = tmp_path / "m", {}
    steps = [("graft", "beats", {"strategy_config": {"adapter": "lrc", "adapter_config": {"rank": 2}}})]
    steps += [("independent", "qrs", {}), ("isolate", "waves", {}), ("packnet", "findings", {"sparsity": 0.5})]
    steps += [("piggyback", "findings", {"name": "again"})]
    for strategy, task, more in steps:
        graft = extend(place, tmp_path / "start", task, to=to, strategy=strategy, **more)
        now = _extension.answers(Model.load(to))
        assert all(now[name] == answer for name, answer in answers.items())
        answers = now
        assert graft.adapter == {"graft": "lrc", "independent": "full"}.get(strategy, strategy)
    chained = [graft.name for graft in chain.order(Model.load(to).grafts)]
    assert chained == ["waves", "findings", "again"] and chain.shares(Model.load(to))["again"]["owns"] == 0
    assert len(ecgraft.verify(str(to), progress=False)) == 5


@pytest.mark.slow
def test_a_new_model_has_the_recipe_that_is_asked_for(place, tmp_path, capsys):
    folder = tmp_path / "new"
    given = ["extend", str(place / "store"), "--model", str(folder), "--encoder", "multires", "--sparsity", "search"]
    more = ["recipe.rate=100", "recipe.high=30", "leads=[I, II]"]
    status, text = run(capsys, *given, *more, "--task", "qrs", *WORDS)
    assert status == 0, text
    made = Model.load(folder)
    assert made.blank and (made.recipe.rate, made.recipe.high, made.encoder.rate) == (100, 30, 100)
    found = made.graft("qrs").card["weights"]["sparsity found"]
    assert 0 <= found <= 0.9 and free(folder) == pytest.approx(found, abs=0.01)
    status, text = run(capsys, *given[:-2], *more, "--task", "waves", *WORDS)  # the same words for the next one
    assert status == (0 if found >= 0.05 else 2), text
