"""Files of every format that ecgraft ever wrote are read, say what they said, and answer as they did."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from ecgraft.commands import _trained
from ecgraft.model import Graft, Model, chain, graft, model, reference
from ecgraft.nn import files
from ecgraft.record import InputError

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent / "golden"
EXPECTED = json.loads((HERE / "expected.json").read_text())
GRAFTS = sorted(path.stem for path in HERE.glob("*.safetensors") if not path.stem.startswith("encoder"))


def _made():
    """tests/golden/make.py, which is no module of the tests."""
    spec = importlib.util.spec_from_file_location("golden_make", HERE / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = _made()


def close(now, then, where: str) -> None:
    """Equal, numbers to 1e-5."""
    if isinstance(then, dict):
        assert now.keys() >= then.keys(), where
        for key, value in then.items():
            close(now[key], value, f"{where}.{key}")
    elif isinstance(then, list) and isinstance(now, list):
        assert len(now) == len(then), where
        for index, value in enumerate(then):
            close(now[index], value, f"{where}[{index}]")
    elif isinstance(then, float):
        assert now == pytest.approx(then, rel=1e-5, abs=1e-5), where
    else:
        assert now == then, where


@pytest.fixture(scope="module")
def encoder() -> Model:
    return Model.load(HERE / "encoder-1.safetensors")


def test_every_format_has_its_files():
    """A new format asks for new golden files; what is committed stays."""
    versions = {int(name[0]) for name in GRAFTS}
    assert versions == set(range(1, graft.FORMAT + 1))
    for name in GRAFTS:
        assert files.load(HERE / f"{name}.safetensors")[1]["format_version"] == int(name[0])
    assert {path.stem for path in HERE.glob("encoder-*")} == {f"encoder-{n}" for n in range(1, model.FORMAT + 1)}
    assert set(EXPECTED) == {*GRAFTS, "encoder-1"} == {*make.GRAFTS, "encoder-1"}
    assert sum(path.stat().st_size for path in HERE.iterdir() if path.is_file()) < 300_000
    assert _trained.NEWEST == {"graft": graft.FORMAT, "encoder": model.FORMAT}


def test_the_encoder_is_what_it_was(encoder):
    then = EXPECTED["encoder-1"]
    assert encoder.fingerprint == then["fingerprint"]
    assert np.allclose(make.features(encoder), then["features"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", GRAFTS)
def test_a_graft_says_what_it_said(encoder, name):
    close(make.answers(encoder, Graft.load(HERE / f"{name}.safetensors")), EXPECTED[name], name)


@pytest.mark.parametrize("name", [name for name in GRAFTS if int(name[0]) >= 5])
def test_a_graft_answers_the_reference_ecg_as_it_did(encoder, name):
    there = Graft.load(HERE / f"{name}.safetensors")
    kept, now = there.part("reference"), reference.of(make.on(encoder, there), name)
    assert kept["digest"].shape == (32,) and kept["digest"].dtype == torch.uint8
    assert torch.allclose(kept["values"], now["reference.values"], rtol=1e-5, atol=1e-5)


def test_weights_in_common_are_read_in_their_order(encoder):
    """The file of a first task says what it said, whatever came later; a later one asks for those before it."""
    names = list(make.CHAIN)
    first, second = (Graft.load(HERE / f"{name}.safetensors") for name in names)
    both = make.on(encoder, second)
    assert [each.name for each in chain.order(both.grafts)] == names and second.recipe.leads == ("I",)
    shares = chain.shares(both)
    assert shares[second.name]["reads"] > shares[second.name]["owns"] > 0.2 and shares["(free)"]["owns"] > 0.1
    close(make.logits(both, first.name).tolist(), EXPECTED[first.name]["outputs"], first.name)
    with pytest.raises(InputError, match=f"stands on graft '{first.name}', but there is none here"):
        make.before(encoder, "").add(second)


@pytest.mark.parametrize("name", GRAFTS)
def test_a_graft_that_is_written_again_stays_what_it_is(encoder, name, tmp_path):
    old = Graft.load(HERE / f"{name}.safetensors")
    old.save(tmp_path / "g.safetensors")
    new = Graft.load(tmp_path / "g.safetensors")
    for field in dataclasses.fields(old):
        if field.name != "tensors":
            assert getattr(old, field.name) == getattr(new, field.name), field.name
    assert all(np.array_equal(old.tensors[key].numpy(), value.numpy()) for key, value in new.tensors.items())


@pytest.mark.parametrize("name", GRAFTS)
def test_info_and_the_list_of_grafts_read_them(name):
    told = _trained.describe(HERE / f"{name}.safetensors")
    assert told[0][0].startswith("graft ")
    shown = io.StringIO()
    Console(file=shown, width=300).print(told[0][1])
    assert ("an older format" in shown.getvalue()) == (name[0] != str(graft.FORMAT))


def test_making_them_again_changes_nothing():
    before = {path.name: path.read_bytes() for path in HERE.iterdir() if path.is_file()}
    make.main()
    assert {path.name: path.read_bytes() for path in HERE.iterdir() if path.is_file()} == before
