"""ecgraft verify: what was changed in a model folder by hand is found; and encoders without weights of their own."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ecgraft
from ecgraft import adapters, cli
from ecgraft.commands import _graft_files, _trained
from ecgraft.commands.adapt import open_base
from ecgraft.model import Graft, Model, blank, reference
from ecgraft.model.graft import CHECKSUM
from ecgraft.nn import files
from ecgraft.nn.network import HeadConfig, build_head
from ecgraft.record import InputError, UsageError
from ecgraft.signal.recipe import Recipe
from ecgraft.tasks import Task
from ecgraft.training.loop import CHECKPOINT

pytestmark = pytest.mark.slow

SMALL = {"leads": ("I", "II"), "stem": 4, "stem_kernel": 3, "widths": (4, 4, 4, 6), "kernels": (3, 3, 3, 3)}
RECIPE = Recipe(leads=("I", "II"), seconds=2.0)
CODES = {"red": ("own:red",), "green": ("own:green",)}
TASKS = (Task("colours", "multilabel", tuple(CODES), CODES), Task("waves", "waves", ("none", "P", "QRS", "T")))
SIGNAL = "507a464703b281367cd6988a958986407bfc77b3ecd3a8d2ef28f2bafef71f6a"


def graft(model: Model, task: Task, adapter: str = "linear", config: dict | None = None) -> Graft:
    torch.manual_seed(1)
    encoder = copy.deepcopy(model.encoder)
    adapters.attach(encoder, adapter, config)
    for value in adapters.saved(encoder).values():
        value.data += 0.1 * torch.rand(value.shape) if value.is_floating_point() else 3
    tensors = {f"encoder.{key}": value.clone() for key, value in adapters.saved(encoder).items()}
    head = build_head(task, encoder, HeadConfig())
    tensors |= {f"head.{key}": value.detach().clone() for key, value in head.state_dict().items()}
    return Graft(
        task.name, task, model.recipe, adapter, {}, model.fingerprint, tensors, adapter_config=config or {},
        card={"date": "2026-11-26"},
    )  # fmt: skip


@pytest.fixture
def model(tmp_path) -> Path:
    """A folder with a graft per record and one per sample."""
    made = Model.fresh("resnet18", SMALL, RECIPE)
    for task, adapter in zip(TASKS, ("rd_lora", "linear")):
        made.add(graft(made, task, adapter, {"rank": 2} if adapter == "rd_lora" else None))
    made.save(tmp_path / "m")
    return tmp_path / "m"


def file(folder: Path, name: str = "colours") -> Path:
    return folder / "grafts" / f"{name}.safetensors"


def edited(path: Path, tensor: str, step: float = 0.5, **header) -> None:
    """Another value of a tensor, with a checksum as if it had been written so."""
    tensors, head = files.load(path)
    tensors[tensor].view(-1)[0] += step
    head |= header
    head.pop(CHECKSUM, None)
    files.save(path, tensors, head | {CHECKSUM: files.fingerprint(tensors, head)})


def states(folder: Path, **options) -> dict[str, str]:
    return {row["graft"]: row["state"] for row in ecgraft.verify(str(folder), progress=False, **options)}


def stripped(path: Path) -> None:
    """The file of an earlier version: without a reference."""
    reference.without(Graft.load(path)).save(path)


def run(capsys, *args) -> tuple[int, str]:
    try:
        cli.main(list(map(str, args)))
        status = 0
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    return status, " ".join((printed.out + printed.err).split())


def test_the_reference_signal_never_changes():
    x = reference.signal(12, 250.0, 2500)
    assert x.shape == (2, 12, 2500) and x.dtype == np.int16
    assert hashlib.sha256(x.astype("<i2").tobytes()).hexdigest() == SIGNAL
    assert np.array_equal(reference.signal(12, 250.0, 100), reference.signal(12, 250.0, 100))
    assert x.std(-1).min() > 10 and len(np.unique(x.reshape(24, -1), axis=0)) == 24


def test_its_noise_is_that_of_the_generator():
    state, expected = 1, []
    for _ in range(100):
        expected.append(state)
        state = (1103515245 * state + 12345) % 2**31
    assert reference._noise(100).tolist() == expected


def test_a_folder_that_was_just_written_answers_as_written(model, capsys):
    assert states(model) == {"colours": "same", "waves": "same"}
    status, said = run(capsys, "verify", model)
    assert status == 0 and said.count("same, bit for bit") == 2 and "is whole" in said


def test_what_is_kept_of_an_answer(model):
    loaded, (colours, waves) = Model.load(model), TASKS
    for task, size in ((colours, 4), (waves, 256)):
        kept = loaded.graft(task.name).part("reference")
        assert kept["values"].shape == (size,) and kept["values"].dtype == torch.float32
        assert kept["digest"].shape == (32,) and kept["digest"].dtype == torch.uint8
    network = loaded.network("colours")
    assert torch.equal(reference.answer(network, RECIPE).flatten(), loaded.graft("colours").part("reference")["values"])
    assert loaded.graft("waves").card["reference"] == reference.environment()
    assert not {n for n in _trained.read(file(model)).shapes if "reference" in n} - {f"reference.{key}" for key in kept}
    assert _trained.read(file(model)).values == sum(
        t.numel() for n, t in loaded.graft("colours").tensors.items() if n.startswith(("encoder.", "head."))
    )


def test_the_number_of_threads_does_not_matter_and_comes_back(model):
    loaded, before = Model.load(model), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(
            reference.of(loaded, "waves")["reference.digest"], loaded.graft("waves").part("reference")["digest"]
        )
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_saving_again_writes_no_graft_again(model):
    made = Model.load(model)
    stripped(file(model))
    before = {path.name: path.read_bytes() for path in (model / "grafts").iterdir()}
    made.save(model)  # has a reference that the file lacks
    Model.load(model).save(model)  # has none
    assert {path.name: path.read_bytes() for path in (model / "grafts").iterdir()} == before


def test_a_graft_in_two_models_stays_as_it_is(tmp_path):
    one, other = Model.fresh("resnet18", SMALL, RECIPE), Model.fresh("resnet18", SMALL, RECIPE)
    shared = graft(one, TASKS[0])
    for model in (one, other):
        model.add(shared)
        model.save(tmp_path / str(id(model)))
    assert not shared.part("reference") and "reference" not in shared.card
    assert one.graft("colours").part("reference") and states(tmp_path / str(id(other))) == {"colours": "same"}


def test_another_graft_of_the_same_name_gets_its_own_reference(model):
    made = Model.load(model)
    made.add(graft(made, TASKS[0]))
    made.save(model)
    assert states(model)["colours"] == "same"


def test_a_merged_model_has_a_reference_of_its_own(model, tmp_path):
    merged = _graft_files.merged(Model.load(model), "colours")
    assert not merged.graft("colours").part("reference") and "reference" not in merged.graft("colours").card
    merged.save(tmp_path / "merged")
    assert states(tmp_path / "merged") == {"colours": "same"}


@pytest.mark.parametrize("name", ["encoder.safetensors", "grafts/colours.safetensors"])
def test_flipped_bytes_are_found(model, name, capsys):
    content = bytearray((model / name).read_bytes())
    content[-40] ^= 0x01
    (model / name).write_bytes(content)
    status, said = run(capsys, "verify", model)
    assert status == 1 and "damaged" in said and name in said


def test_a_weight_with_a_right_checksum_is_found_by_the_answer(model, capsys):
    edited(file(model), "head.linear.weight")
    status, said = run(capsys, "verify", model)
    assert status == 1 and "moved by" in said and "not as written: colours (" in said and "same, bit for bit" in said
    assert "Restore the folder" in said


def test_another_encoder_with_right_fingerprints_is_found_by_the_answer(model):
    changed = Model.load(model)
    next(iter(changed.encoder.parameters())).data.view(-1)[0] += 0.5
    _, header = files.load(model / "encoder.safetensors")
    made = Model(changed.encoder, changed.recipe, changed.card)
    files.save(
        model / "encoder.safetensors", made.encoder.state_dict(), header | {"fingerprint": made.fingerprint}
    )  # as written
    for name in changed.grafts:
        replace(changed.graft(name), encoder=made.fingerprint).save(file(model, name))
    listing = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(listing | {"encoder": made.fingerprint}))
    with pytest.raises(InputError, match="not as written: colours, waves"):
        ecgraft.verify(str(model), progress=False)


@pytest.mark.parametrize("where, state", [("another", "close"), ("here", "moved")])
def test_little_is_forgiven_on_another_machine_alone(model, where, state):
    card = Graft.load(file(model, "waves")).card
    if where == "another":
        card["reference"]["torch"] = "1.0"
    edited(file(model, "waves"), "head.out.bias", 1e-6, card=card)
    if state == "close":
        assert states(model) == {"colours": "same", "waves": "close"}
    else:
        with pytest.raises(InputError, match="waves"):
            states(model)
    edited(file(model, "waves"), "head.out.bias", 0.5)
    with pytest.raises(InputError, match="waves"):
        states(model)


def test_files_and_listing_must_agree(model, capsys):
    shutil.copy(file(model), model / "kept.safetensors")
    file(model).unlink()
    status, said = run(capsys, "verify", model)
    assert status == 1 and "'colours' is listed in model.json" in said and "restore it from a copy" in said
    replace(Graft.load(model / "kept.safetensors"), name="other").save(file(model, "other"))
    shutil.copy(model / "kept.safetensors", file(model))
    status, said = run(capsys, "verify", model)
    assert status == 1 and "grafts/other.safetensors is there, and not listed" in said


def interrupted(folder: Path, name: str) -> Path:
    """The folder as a command leaves it that was killed after the file of its graft; the state of its training."""
    listing = json.loads((folder / "model.json").read_text())
    del listing["grafts"][name]
    (folder / "model.json").write_text(json.dumps(listing))
    card = Graft.load(file(folder, name)).card | {"command": "ecgraft extend"}
    edited(file(folder, name), "head.linear.bias", 0.0, card=card)
    state = folder / "training" / name / "retrain" / CHECKPOINT
    state.parent.mkdir(parents=True)
    state.touch()
    return state


def test_a_graft_of_an_interrupted_command_is_noted(model, capsys):
    state = interrupted(model, "colours")
    status, said = run(capsys, "verify", model)
    assert status == 0 and "1 grafts (colours left out)" in said and said.count("same, bit for bit") == 2
    assert "note: graft 'colours' was being added when that was interrupted: run the same ecgraft extend again" in said
    assert f"ecgraft grafts {model} --remove colours" in said
    assert {row["graft"]: row["listed"] for row in ecgraft.verify(str(model))} == {"colours": False, "waves": True}
    (model / "model.json").rename(model / "kept.json")  # it was the first one of its folder
    assert states(model) == {"colours": "same", "waves": "same"}
    state.unlink()
    assert run(capsys, "verify", model)[0] == 1
    (model / "kept.json").rename(model / "model.json")
    assert "not listed in model.json: move it out" in run(capsys, "verify", model)[1]


def test_it_excuses_nothing_else(model, capsys):
    interrupted(model, "colours")
    edited(file(model, "waves"), "head.out.bias")
    status, said = run(capsys, "verify", model)
    assert status == 1 and "not as written: waves (" in said and "'colours' was being added" in said
    assert run(capsys, "grafts", model, "--remove", "colours")[0] == 0
    assert not (model / "training" / "colours").exists() and "colours" not in run(capsys, "verify", model)[1]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"grafts": [1]}'])
def test_a_damaged_listing_is_said(model, content):
    (model / "model.json").write_text(content)
    with pytest.raises(InputError, match=r"model\.json"):
        ecgraft.verify(str(model), progress=False)


def test_update_gives_references_to_those_that_have_none(model, capsys):
    stripped(file(model))
    waves = file(model, "waves").read_bytes()
    status, said = run(capsys, "verify", model)
    assert status == 0 and "no reference: written by an earlier version (--update writes one)" in said
    assert states(model, update=True) == {"colours": "written", "waves": "same"}
    assert states(model, update=True) == {"colours": "same", "waves": "same"}
    assert file(model, "waves").read_bytes() == waves


def test_update_replaces_no_reference(model):
    stripped(file(model))
    edited(file(model, "waves"), "head.out.bias")
    before = {path.name: path.read_bytes() for path in (model / "grafts").iterdir()}
    with pytest.raises(InputError, match="not as written: waves"):
        ecgraft.verify(str(model), update=True, progress=False)
    assert {path.name: path.read_bytes() for path in (model / "grafts").iterdir()} == before


def test_what_verify_cannot_take(model, capsys):
    assert run(capsys, "verify", "default", "--update")[0] == 2
    assert run(capsys, "verify", model / "encoder.safetensors")[0] == 2
    assert run(capsys, "verify", model / "nowhere")[0] == 1


def test_a_reference_that_fits_nothing_has_moved(model):
    damaged = Graft.load(file(model))
    damaged.tensors["reference.digest"] = torch.zeros(3)
    damaged.tensors["reference.values"] = torch.zeros(2, 2)
    damaged.save(file(model))
    with pytest.raises(InputError, match="colours"):
        ecgraft.verify(str(model), progress=False)


@pytest.mark.slow
def test_the_packaged_model_is_whole():
    assert not {row["state"] for row in ecgraft.verify(progress=False)} - {"same", "close", "none"}


def test_a_blank_model_comes_back(tmp_path):
    made = Model.empty("resnet18")
    assert made.blank and made.card == {"pretraining": "none", "blank": True}
    made.save(tmp_path / "m")
    made.save(tmp_path / "m")
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 20_000
    again = Model.load(tmp_path / "m")
    assert again.blank and again.fingerprint == made.fingerprint and again.card == made.card
    assert again.recipe == made.recipe and again.encoder.config == made.encoder.config
    assert states(tmp_path / "m") == {} and not Model.fresh("resnet18", SMALL).blank
    assert "none of its own" in str(
        list(_trained.describe(tmp_path / "m" / "encoder.safetensors")[0][1].columns[1].cells)
    )


def test_a_task_that_brings_all_weights_stands_on_a_blank_encoder(tmp_path):
    made = Model.empty("resnet18", SMALL, RECIPE)
    made.add(graft(made, TASKS[0], "full"))
    made.save(tmp_path / "m")
    assert states(tmp_path / "m") == {"colours": "same"}
    merged = _graft_files.merged(Model.load(tmp_path / "m"), "colours")
    assert not merged.blank and "blank" not in merged.card


@pytest.mark.parametrize("widths", [(4096,) * 4, (10**9,) * 4])
def test_a_blank_header_that_claims_too_much_is_refused(tmp_path, monkeypatch, widths):
    Model.empty("resnet18", SMALL, RECIPE).save(tmp_path / "m")
    path = tmp_path / "m" / "encoder.safetensors"
    tensors, header = files.load(path)
    files.save(path, tensors, header | {"config": header["config"] | {"widths": widths}})
    monkeypatch.setattr(blank, "zero", None)  # it never comes to that
    with pytest.raises(InputError, match=r"encoder\.safetensors.*(it may have|cannot be read)"):
        Model.load(tmp_path / "m")


def test_a_blank_header_is_right_or_refused(tmp_path):
    Model.empty("resnet18", SMALL, RECIPE).save(tmp_path / "m")
    path = tmp_path / "m" / "encoder.safetensors"
    _, header = files.load(path)
    files.save(path, {"stages.0.conv.weight": torch.zeros(1)}, header)
    with pytest.raises(InputError, match="blank, and has tensor"):
        Model.load(path)
    files.save(path, {}, header | {"fingerprint": "0" * 16})
    with pytest.raises(InputError, match="damaged: its fingerprint"):
        Model.load(path)
    del header["blank"]
    files.save(path, {}, header)
    with pytest.raises(InputError, match="damaged"):
        Model.load(path)


def test_nothing_is_learnt_on_a_blank_encoder_but_by_extend(tmp_path):
    folder = tmp_path / "m"
    Model.empty("resnet18", SMALL, RECIPE).save(folder)
    for ask in (
        lambda: Model.base(folder),
        lambda: open_base(folder, "", "", 0),
        lambda: open_base(tmp_path / "new", str(folder), "", 0),
        lambda: ecgraft.pretrain(to=tmp_path / "p", model=str(folder), objective="byol", simulated=1, progress=False),
    ):
        with pytest.raises(UsageError, match=r"no weights of its own.*--strategy isolate; or name a model with"):
            ask()


@pytest.mark.slow
def test_no_command_takes_features_of_a_blank_encoder(tmp_path, capsys):
    folder, store = tmp_path / "m", tmp_path / "store"
    Model.empty("resnet18", SMALL, RECIPE).save(folder)
    ecgraft.simulate(to=store, count=6, seconds=4.0, rate=250.0, progress=False)
    for words in (
        ("embed", store, "--to", tmp_path / "x.npz"),
        ("adapt", store, "--task", "findings", "--to", tmp_path / "new"),
        ("plan", store, "--task", "findings"),
    ):
        status, said = run(capsys, *words, "--model", folder)
        assert status == 2 and "has no weights of its own" in said, words
    protocol = tmp_path / "p.yaml"
    tables = "tables: {t: {database: ptb_xl, task: superclass}}"
    protocol.write_text(f"name: p\nversion: 1\nreference: r\n{tables}\nrows:\n  r: {{model: '{folder}'}}\n")
    status, said = run(capsys, "bench", protocol, "--to", tmp_path / "b", "--no-progress")
    assert status == 2 and "has no weights of its own" in said
