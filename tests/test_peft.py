"""Grafts of adapter rd_lora as LoRA folders: peft loads them onto the plain encoder, with the same outputs."""

from __future__ import annotations

import copy
import json
import os

import pytest
import torch
from safetensors.torch import load_file

import ecgraft
from ecgraft import adapters
from ecgraft.commands import _peft
from ecgraft.model import Graft, Model
from ecgraft.nn.network import HeadConfig, build_head
from ecgraft.record import UsageError
from ecgraft.tasks import Task

pytestmark = pytest.mark.slow

TASK = Task("colours", "multilabel", ("red", "green"), {"red": ("own:red",), "green": ("own:green",)})
SMALL = {
    "resnet18": {"widths": (8, 8, 16, 16), "stem": 8},
    "xresnet101": {"width": 8, "depths": (1, 1, 2, 1)},
    "convtransformer": {"width": 32, "depth": 2},
    "inception": {"width": 8},
    "net1d": {},
}


def trained(model: Model, config: dict, seed: int = 3) -> Graft:
    """A graft whose every tensor, the statistics of norms among them, is another one than the encoder's."""
    encoder, random = copy.deepcopy(model.encoder), torch.Generator().manual_seed(seed)
    adapters.attach(encoder, "rd_lora", config)
    for value in adapters.saved(encoder).values():
        value.data += 0.1 * torch.rand(value.shape, generator=random) if value.is_floating_point() else 5
    torch.manual_seed(seed)
    head = build_head(TASK, encoder, HeadConfig())
    tensors = {f"encoder.{key}": value.clone() for key, value in adapters.saved(encoder).items()}
    tensors |= {f"head.{key}": value.detach().clone() for key, value in head.state_dict().items()}
    return Graft("c", TASK, model.recipe, "rd_lora", {}, model.fingerprint, tensors, adapter_config=config)


def folder(tmp_path, encoder: str, config: dict) -> tuple[Model, dict]:
    """A model with such a graft, in tmp_path / "m", and what its export to tmp_path / "lora" said."""
    model = Model.fresh(encoder, SMALL[encoder]) if encoder in SMALL else Model.load(encoder)
    model.add(trained(model, config))
    model.save(tmp_path / "m")
    return model, ecgraft.grafts(str(tmp_path / "m"), export="c", to=tmp_path / "lora")


@torch.inference_mode()
def features(encoder, model: Model) -> list[torch.Tensor]:
    C = len(model.encoder.leads)
    x = torch.randn(2, C, 500, generator=torch.Generator().manual_seed(0))
    levels = encoder(x, torch.ones(2, C, dtype=torch.bool))
    return [*levels, encoder.pool(levels, torch.tensor([500, 300]))]


def same(found: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float = 1e-5) -> None:
    for now, then in zip(found, expected, strict=True):
        assert (now - then).abs().max() <= tolerance * then.abs().max()


@pytest.mark.parametrize(
    "encoder, config",
    [
        ("default", {"rank": 8}),  # with dilation in its last stage
        ("resnet18", {"rank": 4}),
        ("resnet18", {"rank": {"*.first.conv": 3, "*.shortcut.conv": 5}, "scaling": "inverted", "p": 0.5}),
        ("resnet18", {"rank": 2, "place": "last-2", "norm": "frozen", "biases": False}),
        ("xresnet101", {"rank": 4}),
        ("convtransformer", {"rank": 4}),
        ("convtransformer", {"rank": {"*.qkv": 2, "hidden": 3}, "norm": "frozen"}),
        ("inception", {"rank": 2}),
        ("net1d", {"rank": 2, "place": "last-1"}),  # groups
    ],
)
def test_peft_computes_the_same(tmp_path, encoder, config):
    peft = pytest.importorskip("peft")
    model, _ = folder(tmp_path, encoder, config)
    expected, plain = features(model.network("c").encoder, model), features(model.encoder, model)
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(model.encoder), str(tmp_path / "lora")).eval()
    same(features(loaded, model), expected)
    assert not torch.allclose(plain[-1], expected[-1], rtol=1e-2)
    same(features(loaded.merge_and_unload(), model), expected)


def test_peft_writes_the_same_again(tmp_path):
    """Names and shapes are those that peft itself gives its files."""
    peft = pytest.importorskip("peft")
    model, _ = folder(tmp_path, "convtransformer", {"rank": 4})
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(model.encoder), str(tmp_path / "lora"))
    loaded.save_pretrained(str(tmp_path / "again"))
    one, two = (load_file(tmp_path / each / "adapter_model.safetensors") for each in ("lora", "again"))
    assert one.keys() == two.keys() and all(torch.equal(value, two[key]) for key, value in one.items())


def test_three_matrices_in_one_become_a_block_diagonal(tmp_path):
    model, said = folder(tmp_path, "convtransformer", {"rank": {"*.0.qkv": 2}, "scaling": "inverted", "norm": "frozen"})
    name = "stages.3.layers.0.qkv"
    assert said["ranks"] == {name: 6}
    tensors = load_file(tmp_path / "lora" / "adapter_model.safetensors")
    low, up = (tensors[f"{_peft.PREFIX}{name}.lora_{which}.weight"] for which in "AB")
    assert low.shape == (6, 32) and up.shape == (96, 6)
    expected = torch.zeros(96, 6)
    own = model.graft("c").tensors[f"encoder.{name}.up"]
    for part in range(3):
        expected[32 * part : 32 * part + 32, 2 * part : 2 * part + 2] = own[32 * part : 32 * part + 32]
    assert torch.equal(up, expected)


def test_layers_with_dilation_are_written_whole_and_the_others_are_not(tmp_path):
    model, said = folder(tmp_path, "resnet18", {"rank": 4, "norm": "frozen", "biases": False})
    dilated = [name for name, layer in model.encoder.named_modules() if getattr(layer, "dilation", (1,)) != (1,)]
    assert said["whole"] == dilated and len(dilated) == 3
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config["modules_to_save"] == dilated and not set(dilated) & set(config["target_modules"])


def test_the_readme_of_the_folder_says_how_to_load_it(tmp_path, monkeypatch):
    pytest.importorskip("peft")
    model, _ = folder(tmp_path, "resnet18", {"rank": 4})
    text = (tmp_path / "lora" / "README.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0].replace("MODEL", os.fspath(tmp_path / "m"))
    monkeypatch.chdir(tmp_path / "lora")
    torch.manual_seed(5)
    made: dict = {}
    exec(compile(code, "README.md", "exec"), made)
    network = model.network("c")
    with torch.inference_mode():
        present, length = torch.ones(1, 12, dtype=torch.bool), torch.tensor([model.recipe.samples])
        h = network.encoder.pool(network.encoder(made["x"], present), length)
        same([made["logits"]], [network.heads["c"](h)])


@pytest.mark.parametrize("adapter", ["linear", "lrc", "full"])
def test_other_adapters_are_refused(tmp_path, adapter):
    model = Model.fresh("resnet18", SMALL["resnet18"])
    encoder = copy.deepcopy(model.encoder)
    adapters.attach(encoder, adapter)
    tensors = {f"encoder.{key}": value.detach().clone() for key, value in adapters.saved(encoder).items()}
    tensors |= {f"head.{key}": v for key, v in build_head(TASK, encoder, HeadConfig()).state_dict().items()}
    model.add(Graft("c", TASK, model.recipe, adapter, {}, model.fingerprint, tensors))
    model.save(tmp_path / "m")
    with pytest.raises(UsageError, match=r"only rd_lora.*--merge"):
        ecgraft.grafts(str(tmp_path / "m"), export="c", to=tmp_path / "lora")
    assert not list(tmp_path.glob("lora*"))


def test_an_encoder_that_peft_cannot_load_is_named(tmp_path):
    """vgg has a branch for each lead: all of its convolutions go by groups."""
    model = Model.fresh("vgg")
    model.add(trained(model, {"rank": 2}))
    model.save(tmp_path / "m")
    with pytest.raises(UsageError, match="--merge NAME"):
        ecgraft.grafts(str(tmp_path / "m"), export="c", to=tmp_path / "lora")
    assert not list(tmp_path.glob("lora*"))


def test_the_folder_must_be_new(tmp_path):
    _, _ = folder(tmp_path, "resnet18", {"rank": 4})
    before = {path.name: path.read_bytes() for path in (tmp_path / "lora").iterdir()}
    with pytest.raises(UsageError, match="something is there already"):
        ecgraft.grafts(str(tmp_path / "m"), export="c", to=tmp_path / "lora")
    assert {path.name: path.read_bytes() for path in (tmp_path / "lora").iterdir()} == before
