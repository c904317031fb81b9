"""The grafts of a model as files: listed, compared, put in, taken away, merged; and files that are no good."""

from __future__ import annotations

import copy
import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ecgraft
from ecgraft import adapters
from ecgraft.commands import _graft_files, _seen
from ecgraft.model import Graft, Model
from ecgraft.model.graft import CHECKSUM, FORMAT
from ecgraft.nn import files
from ecgraft.nn.network import HeadConfig, build_head
from ecgraft.record import InputError, Record, UsageError
from ecgraft.tasks import Task

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parent / "golden"
TASK = Task("colours", "multilabel", ("red", "green"), {"red": ("own:red",), "green": ("own:green",)})


def graft(model: Model, name: str, adapter: str = "linear", config: dict | None = None, seed: int = 1) -> Graft:
    encoder, random = copy.deepcopy(model.encoder), torch.Generator().manual_seed(seed)
    adapters.attach(encoder, adapter, config)
    for value in adapters.saved(encoder).values():
        value.data += 0.1 * torch.randn(value.shape, generator=random).abs() if value.is_floating_point() else 3
    torch.manual_seed(seed)
    head = build_head(TASK, encoder, HeadConfig())
    tensors = {f"encoder.{key}": value.clone() for key, value in adapters.saved(encoder).items()}
    tensors |= {f"head.{key}": value.detach().clone() for key, value in head.state_dict().items()}
    card = {"date": "2026-11-26", "trained parameters": 7, "settings": {"adapter": adapter, "batch": 8 * seed}}
    return Graft(
        name, TASK, model.recipe, adapter, {}, model.fingerprint, tensors, adapter_config=config or {}, card=card,
        metrics={"macro auroc": {"value": 0.8, "low": 0.7, "high": 0.9}, "of": "made"},
    )  # fmt: skip


@pytest.fixture
def model(tmp_path) -> Path:
    """A folder with a graft of each adapter, on the small encoder of the golden files."""
    made = Model.load(GOLDEN / "encoder-1.safetensors")
    made.add(graft(made, "a", "rd_lora", {"rank": 2}))
    made.add(graft(made, "b", "rd_lora", {"rank": 3}, seed=2))
    made.add(graft(made, "l", "lrc", {"rank": 2}))
    made.add(graft(made, "head"))
    made.save(tmp_path / "m")
    return tmp_path / "m"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def answers(folder: Path, name: str) -> dict:
    record = Record(np.random.default_rng(0).standard_normal((2, 700)), 250.0, ("I", "II"), id="r")
    return Model.load(folder).predict(record, [name])[name].probability


def test_the_list(model, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    found = ecgraft.grafts(str(model))
    assert list(found) == ["a", "b", "head", "l"]
    a = found["a"]
    assert (a["task"], a["kind"], a["adapter"], a["labels"]) == ("colours", "multilabel", "rd_lora", ["red", "green"])
    assert a["trained"] == 7 and a["bytes"] == (model / "grafts" / "a.safetensors").stat().st_size
    assert a["score"] == {"value": 0.8, "low": 0.7, "high": 0.9} and a["date"] == "2026-11-26"
    assert set(a["ranks"].values()) == {2} and found["l"]["ranks"] and not found["head"]["ranks"]
    assert json.loads(json.dumps(found)) == found
    assert "macro auroc 0.8 (0.7 to 0.9)" in capsys.readouterr().out


def test_a_damaged_graft_is_in_the_list_too(model):
    (model / "grafts" / "b.safetensors").write_bytes(b"no")
    found = ecgraft.grafts(str(model))
    assert "damaged" in found["b"]["damaged"] and found["a"]["kind"] == "multilabel"


def test_two_side_by_side(model, capsys):
    found = ecgraft.grafts(str(model), compare="a,b")
    assert found["settings"]["adapter_config.rank"] == [2, 3] and found["settings"]["batch"] == [8, 16]
    assert found["metrics"] == {"macro auroc": [0.8, 0.8]}
    loaded, changes = Model.load(model), []
    for name in "ab":
        encoder = loaded.network(name).encoder
        adapters.merge(encoder)
        changes.append((encoder.stages[0].conv.weight - loaded.encoder.stages[0].conv.weight).detach().flatten())
    expected = torch.cosine_similarity(*changes, dim=0).item()
    assert found["cosine"]["stages.0.conv.weight"] == pytest.approx(expected, abs=1e-5)
    assert "cosine of what" in capsys.readouterr().out
    assert ecgraft.grafts(str(model), compare="a, head")["cosine"] == {}
    assert all(_graft_files.cosines(loaded, name, name)["all"] == pytest.approx(1) for name in "al")


def test_one_is_taken_away(model):
    (model / "training" / "a").mkdir(parents=True)
    (model / "training" / "a" / "run.txt").write_text("x")
    (model / "training" / "b").mkdir()
    changed(model / "grafts" / "b.safetensors", format_version=1)  # an older file stays one
    before = content(model)
    said = ecgraft.grafts(str(model), remove="a")
    after = content(model)
    assert said["removed"] == "a" and not {name for name in after if "/a" in name}
    assert set(before) - set(after) == {"grafts/a.safetensors", "training/a/run.txt"}
    assert all(after[name] == before[name] for name in after if name != "model.json")
    assert list(json.loads(after["model.json"])["grafts"]) == ["b", "head", "l"] == list(Model.load(model).grafts)


def test_one_of_somebody_elses_is_put_in(model, tmp_path):
    there = Model.load(model)
    replace(there.graft("a"), name="theirs").save(tmp_path / "file.safetensors")
    before = content(model)
    said = ecgraft.grafts(str(model), add=tmp_path / "file.safetensors")
    assert said["added"] == "theirs" and said["kind"] == "multilabel"
    after = content(model)
    assert set(after) - set(before) == {"grafts/theirs.safetensors"}
    assert all(after[name] == value for name, value in before.items() if name != "model.json")
    assert answers(model, "theirs") == answers(model, "a")
    with pytest.raises(UsageError, match="already"):
        ecgraft.grafts(str(model), add=tmp_path / "file.safetensors")


@pytest.mark.parametrize("name", ["a", "head"])
def test_merged_it_answers_alike(model, tmp_path, name):
    loaded = Model.load(model)
    seen = {"seen.samples": torch.tensor([3, 9]), "seen.shapes": torch.zeros(1, 2, dtype=torch.int64)}
    loaded.grafts[name].tensors |= seen
    loaded.save(model)
    for part, keys in ((_seen.PRETRAINING, [5]), (name, [4, 5])):
        (model / "training" / part).mkdir(parents=True)
        np.save(model / "training" / part / _seen.PERSONS, np.array(keys, np.uint64))
    before = content(model)
    said = ecgraft.grafts(str(model), merge=name, to=tmp_path / "new")
    merged = Model.load(tmp_path / "new")
    only = merged.graft(name)
    assert list(merged.grafts) == [name] and only.adapter == "linear" and not only.own_trunk
    assert (merged.fingerprint == loaded.fingerprint) == (name == "head") and said["encoder"] == merged.fingerprint
    assert answers(tmp_path / "new", name) == pytest.approx(answers(model, name), abs=1e-5)
    assert merged.card["merged from"]["encoder"] == loaded.fingerprint == only.card["merged from"]["encoder"]
    assert merged.seen["seen.samples"].tolist() == [3, 9]
    persons = np.load(tmp_path / "new" / "training" / _seen.PRETRAINING / _seen.PERSONS)
    assert persons.tolist() == [4, 5] and content(model) == before and not list(tmp_path.glob("*.part"))


def test_what_cannot_be_merged_says_why(model, tmp_path):
    with pytest.raises(UsageError, match=r"'l'.*'lrc' cannot be merged"):
        ecgraft.grafts(str(model), merge="l", to=tmp_path / "new")
    assert not list(tmp_path.glob("new*"))


@pytest.mark.parametrize(
    "given, said",
    [
        ({"compare": "a"}, "give two grafts"),
        ({"compare": "a,a"}, "give two grafts"),
        ({"compare": "a,x"}, "no graft 'x'"),
        ({"remove": "heat"}, "did you mean 'head'"),
        ({"remove": "../encoder"}, "no graft"),
        ({"merge": "a"}, "--to"),
        ({"compare": "a,b", "to": "x"}, "--to"),
        ({"compare": "a,b", "remove": "a"}, "one thing at a time"),
    ],
)
def test_wrong_use(model, given, said):
    before = content(model)
    with pytest.raises(UsageError, match=said):
        ecgraft.grafts(str(model), **given)
    assert content(model) == before


def test_the_model_of_ecgraft_is_not_changed(tmp_path):
    for given in ({"remove": "waves"}, {"add": GOLDEN / "4-linear-peaks.safetensors"}):
        with pytest.raises(UsageError, match="stays as it is"):
            ecgraft.grafts(**given)
    with pytest.raises(InputError, match="no model folder"):
        ecgraft.grafts(str(tmp_path))


def test_a_graft_of_another_encoder_is_refused_with_both_names(model, tmp_path):
    other = Model.fresh("resnet18", {"widths": (4, 4, 4, 4), "stem": 4})
    graft(other, "x").save(tmp_path / "x.safetensors")
    before = content(model)
    with pytest.raises(InputError, match=f"{other.fingerprint}.*{Model.load(model).fingerprint}"):
        ecgraft.grafts(str(model), add=tmp_path / "x.safetensors")
    assert content(model) == before


def changed(path: Path, tensors: dict | None = None, without: str = "", **header) -> None:
    """Rewrites a graft file as somebody else's tool would: without a checksum."""
    own, head = files.load(path)
    own = {key: value for key, value in (own | (tensors or {})).items() if key != without}
    files.save(path, own, {key: value for key, value in (head | header).items() if key != CHECKSUM})


def huge(path: Path) -> None:
    """A tensor of a shape that the file does not hold."""
    head = {"head.linear.weight": {"dtype": "F32", "shape": [1 << 40, 12], "data_offsets": [0, 48 << 40]}}
    raw = json.dumps(head | {"__metadata__": {"ecgraft": json.dumps({"kind": "graft"})}}).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(48))


TASK_OF = {"name": "colours", "kind": "multilabel", "metric": "", "value": None}
BAD = {
    "newer format": lambda path: changed(path, format_version=FORMAT + 1),
    "format that is no number": lambda path: changed(path, format_version="four"),
    "missing tensor of the head": lambda path: changed(path, without="head.linear.weight"),
    "missing tensor of the encoder": lambda path: changed(path, without="encoder.stages.0.conv.down"),
    "renamed tensor": lambda path: changed(path, {"encoder.stages.9.conv.up": torch.zeros(1)}),
    "wrong shape": lambda path: changed(path, {"encoder.stages.0.conv.down": torch.zeros(3, 3)}),
    "wrong shape of the head": lambda path: changed(path, {"head.linear.weight": torch.zeros(2, 5)}),
    "head without dimensions": lambda path: changed(path, {"head.linear.weight": torch.tensor(1.0)}),
    "huge shape": huge,
    "fewer labels": lambda path: changed(path, task=TASK_OF | {"labels": ["red"], "codes": {"red": ["own:red"]}}),
    "unknown kind of task": lambda path: changed(path, task=TASK_OF | {"kind": "x", "labels": ["red"]}),
    "task that is no mapping": lambda path: changed(path, task=["red"]),
    "recipe that is none": lambda path: changed(path, recipe={"rate": -1}),
    "name elsewhere": lambda path: changed(path, name="../../encoder"),
    "no name": lambda path: changed(path, name=None),
    "unknown adapter": lambda path: changed(path, adapter="lora"),
    "adapter that is a module": lambda path: changed(path, adapter="os.path"),
    "adapter that is no name": lambda path: changed(path, adapter=["lrc"]),
    "huge rank": lambda path: changed(path, adapter_config={"rank": 10**12}),
    "huge head": lambda path: changed(
        path, {"head.out.weight": torch.zeros(8, 4, 1), "head.laterals.0.weight": torch.zeros(4, 4, 1)},
        head={"width": 10**9}, task=TASK_OF | {"kind": "waves", "labels": ["none", "P"], "codes": {}},
    ),
    "conformal limits of other labels": lambda path: changed(path, conformal={"coverage": 0.9, "limits": [[0.1, 0.2]]}),
    "thresholds that are none": lambda path: changed(path, thresholds={"red": "high"}),
    "header that is a list": lambda path: files.save(path, {"x": torch.zeros(1)}, ["graft"]),
    "header without end": lambda path: _raw_header(path, "[" * 200_000),
    "an encoder": lambda path: shutil.copy(GOLDEN / "encoder-1.safetensors", path),
}  # fmt: skip


def _raw_header(path: Path, text: str) -> None:
    raw = json.dumps({"__metadata__": {"ecgraft": text}}).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)


@pytest.mark.parametrize("damage", BAD)
def test_a_bad_file_is_refused_and_nothing_changes(model, tmp_path, damage):
    file = tmp_path / "bad.safetensors"
    replace(Model.load(model).graft("a"), name="bad").save(file)
    BAD[damage](file)
    before = content(model)
    with pytest.raises(InputError, match=r"bad|lora|os\.path") as caught:
        ecgraft.grafts(str(model), add=file)
    assert len(str(caught.value).splitlines()) == 1 and content(model) == before
    shutil.copy(file, model / "grafts" / "bad.safetensors")  # as if somebody had put it there by hand
    with pytest.raises(InputError):
        Model.load(model).network("bad")


@pytest.mark.parametrize("name", ["4-linear-peaks", "4-early-linear-knn", "2-linear-multiclass"])
def test_cut_or_flipped_anywhere(tmp_path, name):
    """Of a file with a checksum any bit that counts is missed; an older one is read, or refused, and nothing else."""
    good, encoder = (GOLDEN / f"{name}.safetensors").read_bytes(), Model.load(GOLDEN / "encoder-1.safetensors")
    expected = Graft.load(GOLDEN / f"{name}.safetensors")
    file, checked, read = tmp_path / "g.safetensors", CHECKSUM.encode() in good, 0
    for at in range(0, len(good), 64):
        for bad in (good[:at], good[:at] + bytes([good[at] ^ (1 << at // 64 % 8)]) + good[at + 1 :]):
            file.write_bytes(bad)
            try:
                found = Graft.load(file)
                encoder.grafts = {}
                encoder.add(found)
                encoder.network(found.name)
            except InputError as error:
                assert "\n" not in str(error)
                continue
            read += 1
            if checked:
                assert all(torch.equal(found.tensors[key], value) for key, value in expected.tensors.items())
                assert found.thresholds == expected.thresholds and found.task == expected.task
    assert read <= 1 or not checked


def test_info_says_what_is_wrong_or_old(model, tmp_path, capsys):
    ecgraft.info(GOLDEN / "1-linear-multilabel.safetensors")
    text = " ".join(capsys.readouterr().out.split())
    assert "an older format, 1 of" in text and "adapt the task again" in text
    ecgraft.info(model / "grafts" / "a.safetensors")
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "each label from its own probability on" in text
        and "adapter rd_lora:" in text
        and "rank layers which 2 " in text
    )
    assert "older" not in text and "stages.0.conv" in text
    changed(model / "grafts" / "a.safetensors", format_version=FORMAT + 1)
    ecgraft.info(model / "grafts" / "a.safetensors")
    assert "newer than this ecgraft reads" in " ".join(capsys.readouterr().out.split())
    for damage in ("header that is a list", "header without end", "huge shape"):
        shutil.copy(model / "grafts" / "b.safetensors", tmp_path / "g.safetensors")
        BAD[damage](tmp_path / "g.safetensors")
        with pytest.raises(InputError, match=r"g\.safetensors"):
            ecgraft.info(tmp_path / "g.safetensors")
