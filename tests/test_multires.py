"""The encoder and the decoders of ECG-CL against the oracles of its specification, and heads that read all levels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import ecgraft
from ecgraft import adapters, encoders, plugs, tasks
from ecgraft.commands._examples import Corpus
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings, with_defaults
from ecgraft.encoders.multires import Merge, Up, pack, unpack
from ecgraft.model import Graft, Model
from ecgraft.nn import Cascade, Segmentation, upsample
from ecgraft.nn.heads import Features, ask
from ecgraft.nn.network import HeadConfig, build_head, is_dense
from ecgraft.record import InputError, UsageError
from ecgraft.store import Store
from ecgraft.tasks import waves

WIDTHS, STRIDES = [32, 16, 8, 8], [2, 4, 8, 16]


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _levels(B: int = 2, T: int = 320, widths=WIDTHS) -> list[torch.Tensor]:
    return [torch.randn(B, width, -(-T // stride)) for width, stride in zip(widths, STRIDES)]


# --- the encoder


def test_counts():
    """Oracle 5."""
    encoder = encoders.build("multires")
    assert _count(encoder) == 301_760 and _count(encoders.build("multires", {"leads": ("II",)})) == 296_832
    assert _count(encoders.build("multires", {"width": 128})) == 1_190_400
    convolutions = sum(_count(layer) for layer in encoder.modules() if isinstance(layer, nn.Conv1d))
    assert convolutions == 298_816 and convolutions - _count(encoder.stages[0].conv) == 293_440
    norms = [layer for layer in encoder.modules() if isinstance(layer, nn.BatchNorm1d)]
    assert sum(_count(layer) for layer in norms) == 2_944 == 301_760 - convolutions
    assert sum(layer.running_mean.numel() + layer.running_var.numel() for layer in norms) == 2_944


def test_every_convolution_is_one_that_adapters_and_pruning_find():
    encoder = encoders.build("multires")
    weights = {name for name, value in encoder.named_parameters() if value.ndim > 1}
    assert weights == {f"{name}.weight" for name, layer in encoder.named_modules() if type(layer) is nn.Conv1d}
    assert all(layer.bias is None for layer in encoder.modules() if isinstance(layer, nn.Conv1d))


@torch.inference_mode()
def test_samples_without_padding():
    """Oracle 12: 4992 samples need none; 5000 are refused by the stages, and padded by the encoder."""
    encoder = encoders.build("multires", {"width": 8}).eval()
    x, present = torch.randn(1, 12, 5000), torch.ones(1, 12, dtype=torch.bool)
    y = x[..., :4992]
    for stage in encoder.stages:
        y = stage(y)
    assert [part.shape[-1] for part in unpack(y, encoder.widths)] == [2496, 1248, 624, 312]
    assert all(torch.equal(a, b) for a, b in zip(unpack(y, encoder.widths), encoder(x[..., :4992], present)))
    with pytest.raises(InputError, match="a multiple of 16 samples, not 5000"):
        encoder.stages[1](encoder.stages[0](x))
    assert [level.shape[-1] for level in encoder(x, present)] == [2500, 1250, 625, 313]


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_up_is_a_transposed_convolution(factor):
    up = Up(5, 3, factor).double().eval()
    transposed = nn.ConvTranspose1d(5, 3, factor, factor, bias=False, dtype=torch.float64)
    with torch.no_grad():  # (in, out, taps) -> (out taps, in, 1)
        up.conv.weight.copy_(transposed.weight.permute(1, 2, 0).reshape(3 * factor, 5, 1))
    x = torch.randn(2, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(up(x), up.norm(transposed(x)))


def test_packing_loses_nothing():
    xs = _levels(widths=[3, 1, 2, 4])
    y = pack(xs)
    assert y.shape == (2, sum(x[0].numel() for x in xs))
    assert all(torch.equal(a, b) for a, b in zip(xs, unpack(y, [3, 1, 2, 4]), strict=True))


@torch.inference_mode()
def test_a_merge_by_hand():
    """Three branches of one channel, all weights 1, norms the identity: sums over what a step stands for."""
    merge = Merge([1, 1, 1]).eval()
    for layer in merge.modules():
        if isinstance(layer, nn.Conv1d):
            nn.init.ones_(layer.weight)
        if isinstance(layer, nn.BatchNorm1d):
            layer.eps = 0.0  # mean 0, variance 1
    fine, mid, low = (torch.tensor([[values]]) for values in ([1.0, 2, 3, 4], [10.0, 20], [100.0]))
    a, b, c = merge([fine, mid, low])
    assert a.flatten().tolist() == [111, 112, 123, 124]  # a coarse step is held
    assert b.flatten().tolist() == [10 + 100 + 1 + 2, 20 + 100 + 2 + 3 + 4]  # kernel 3, stride 2
    assert c.flatten().tolist() == [100 + 1 + 2 + 3 + 4 + 10 + 20]  # kernel 7, stride 4; kernel 3, stride 2
    kernels = {(i, j): way.kernel for j, row in enumerate(merge.ways) for i, way in enumerate(row) if i < j}
    assert kernels == {(0, 1): 3, (1, 2): 3, (0, 2): 7}


@torch.inference_mode()
def test_pooled_are_the_means_of_all_branches():
    encoder = encoders.build("multires").eval()
    levels = _levels()
    h = encoder.pool(levels, torch.tensor([320, 100]))
    assert h.shape == (2, encoder.width) == (2, 64)
    torch.testing.assert_close(h[0], torch.cat([level[0].mean(-1) for level in levels]))
    torch.testing.assert_close(h[1, -8:], levels[3][1, :, :7].mean(-1))  # 100 samples are 7 steps of 16


def test_widths():
    wide = encoders.build("multires", {"width": 8, "widths": "hrnet"})
    assert wide.widths == [8, 16, 32, 64] and wide.width == 120
    assert encoders.build("multires", {"width": 8}).widths == [4, 2, 1, 1]
    with pytest.raises(UsageError, match="multiple of 8"):
        encoders.build("multires", {"width": 12})


# --- the decoders


def test_decoder_counts():
    """Oracle 5."""
    assert _count(Cascade(WIDTHS, STRIDES, 9)) == 33_737
    assert _count(Cascade(WIDTHS, STRIDES, 9, "lowest")) == 2_225
    assert _count(Segmentation(WIDTHS, STRIDES, 1, 1)) == 8_353


@torch.inference_mode()
def test_cascade_by_hand():
    """Weights 1, biases 0: y_2 is 3 times y_1, at the left end twice, plus x_2; 7 samples are 2 steps."""
    head = Cascade([1, 1], [2, 4], 1, width=1).eval()
    for name, value in head.named_parameters():
        nn.init.zeros_(value) if name.endswith("bias") else nn.init.ones_(value)
    levels = [torch.full((1, 1, 8), 2.0), torch.tensor([[[1.0, 3.0, 100.0, 100.0]]])]
    assert head(levels, torch.tensor([7])).item() == ((4 + 1) + (6 + 3)) / 2


@pytest.mark.parametrize("width", [5, "lowest"])
@torch.inference_mode()
def test_cascade_reads_no_step_beyond_the_length(width):
    head = Cascade(WIDTHS, STRIDES, 3, width).eval()
    levels, length = _levels(), torch.tensor([160, 320])
    other = [level.clone() for level in levels]
    other[-1][0, :, 10:] = 7.0
    assert torch.equal(head(levels, length), head(other, length))
    assert not torch.allclose(head(levels, length)[0], head(levels, torch.tensor([320, 320]))[0])


@torch.inference_mode()
def test_segmentation_by_hand():
    """Interpolated, joined, convolved, and each step spread over `stride` samples."""
    head = Segmentation(WIDTHS, STRIDES, leads=2, classes=3).eval()
    levels = _levels(T=317)
    joined = torch.cat([upsample(x, s // 2, 159) for x, s in zip(levels, STRIDES)], 1)
    y = torch.relu(head.join.norm(head.join.conv(joined)))
    spread = torch.einsum("bdn,dek->benk", y, head.up.weight).flatten(2) + head.up.bias[:, None]
    expected = torch.einsum("bdt,od->bot", torch.relu(spread), head.out.weight[..., 0]) + head.out.bias[:, None]
    said = head(levels, 317)
    assert said.shape == (2, 2, 3, 317)
    torch.testing.assert_close(said, expected[..., :317].unflatten(1, (2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", plugs.names("encoders"))
@torch.inference_mode()
def test_decoders_fit_every_encoder(name):
    encoder = encoders.build(name).eval()
    x, present, length = torch.randn(2, 12, 501), torch.ones(2, 12, dtype=torch.bool), torch.tensor([501, 300])
    levels = encoder(x, present)
    for task, config, shape in (
        ("findings", HeadConfig(kind="decoder"), (2, len(tasks.find("findings").labels))),
        ("findings", HeadConfig(kind="decoder", cascade="lowest"), (2, len(tasks.find("findings").labels))),
        ("age", HeadConfig(kind="decoder", cascade=3), (2, 1)),
        ("waves", HeadConfig(kind="decoder"), (2, 12, 4, 501)),
        ("qrs", HeadConfig(kind="decoder", leads="each"), (2, 1, 2, 501)),
    ):
        head = build_head(tasks.find(task), encoder, config).eval()
        said = ask(head, levels, None, length, 501)
        assert said.shape == shape and said.isfinite().all() and is_dense(head) == (len(shape) == 4)


def test_a_decoder_needs_two_levels():
    encoder = encoders.build("vgg", {"groups": ((4,),)})
    with pytest.raises(UsageError, match="has only one"):
        build_head(waves.TASK, encoder, HeadConfig(kind="decoder"))


def test_what_heads_are_asked():
    levels, h, length = _levels(), torch.randn(2, 64), torch.tensor([320, 320])
    assert torch.equal(ask(Features(), levels, h, length, 320), h)
    assert ask(Features(), levels, h.bfloat16(), length, 320).dtype == torch.float32


# --- grafts


@pytest.mark.parametrize("adapter", plugs.names("adapters"))
def test_adapters_attach(adapter):
    encoder = encoders.build("multires", {"width": 16})
    saved = adapters.attach(encoder, adapter)
    assert (adapter == "linear") == (not saved)
    adapters.detach(encoder)
    if hasattr(plugs.find("adapters", adapter).Config, "place"):
        last = adapters.attach(encoder, adapter, {"place": "last-1"})
        assert last and all(name.startswith("stages.4.") for name in last)


def _graft(task: str, **head) -> tuple[Model, Graft]:
    model = Model.fresh("multires", {"width": 16})
    config = {"kind": "decoder"} | head
    built = build_head(tasks.find(task), model.encoder, HeadConfig(**config))
    tensors = {f"head.{name}": value for name, value in built.state_dict().items()}
    return model, Graft("a", tasks.find(task), model.recipe, "linear", config, model.fingerprint, tensors)


@pytest.mark.parametrize(
    ("task", "head"), [("waves", {}), ("findings", {"cascade": 8}), ("age", {"cascade": "lowest"})]
)
def test_a_graft_with_a_decoder_is_read_again(tmp_path, task, head):
    model, graft = _graft(task, **head)
    graft.save(tmp_path / "a.safetensors")
    model.add(Graft.load(tmp_path / "a.safetensors"))
    network = model.network("a")
    assert all(torch.equal(value, graft.tensors[f"head.{n}"]) for n, value in network.heads["a"].state_dict().items())


@pytest.mark.parametrize(
    ("task", "head", "said"),
    [
        ("findings", {"cascade": 10**9}, "its head says cascade 1000000000"),
        ("findings", {"kind": "linear"}, "findings|head"),
        ("waves", {"kind": "linear"}, "is missing"),
        ("age", {"kind": "decoder", "cascade": "lowest"}, "head"),
    ],
)
def test_a_head_that_is_not_what_its_settings_say_is_refused(tmp_path, task, head, said):
    model, graft = _graft(task, cascade=8) if task != "waves" else _graft(task)
    graft.head = graft.head | head
    graft.save(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=said):
        model.add(Graft.load(tmp_path / "a.safetensors"))
        model.network("a")


@pytest.mark.parametrize(("task", "name"), [("waves", "out.weight"), ("findings", "linear.weight")])
def test_a_decoder_without_its_tensors_is_refused(tmp_path, task, name):
    _, graft = _graft(task)
    del graft.tensors[f"head.{name}"]
    graft.save(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=f"'head.{name}' is missing"):
        Graft.load(tmp_path / "a.safetensors")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    path = tmp_path_factory.mktemp("multires") / "store"
    ecgraft.simulate(to=path, count=48, seed=3, seconds=5.0, rate=250.0, progress=False)
    return Store(path)


@pytest.mark.slow
@pytest.mark.parametrize(("adapter", "config"), [("linear", {}), ("lrc", {"rank": 1, "place": "last-1"}), ("full", {})])
@pytest.mark.parametrize("task", ["waves", "findings"])
def test_a_decoder_is_adapted(tmp_path, store, task, adapter, config):
    """From the settings to the report; it is no probe on pooled features."""
    Model.fresh("multires", {"width": 16}).save(tmp_path / "m")
    model, corpus = Model.load(tmp_path / "m"), Corpus.open(store, tasks.find(task))
    options = Settings(
        adapter=adapter, adapter_config=config, augment={}, seconds=4.0, batch=8, rare="note",
        head=HeadConfig(kind="decoder", cascade=8),
    )  # fmt: skip
    job = Job(model, corpus, np.arange(32), np.arange(32, 40), with_defaults(options, 20, 0), "new", progress=False)
    assert not job.probing
    graft = job.run()
    assert graft.head["kind"] == "decoder" and np.isfinite(job.result.score)
    model.add(graft)
    model.save(tmp_path / "m")
    assert list(Model.load(tmp_path / "m").predict(store.record(0))) == ["new"]
    ecgraft.evaluate(
        store.path, model=str(tmp_path / "m"), task="new", to=tmp_path / "r", part="all", leaks="allow", replicates=20,
    )  # fmt: skip
    assert (tmp_path / "r" / "report.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["simclr", "bell", "beat_ssl", "byol"])
def test_multires_is_pretrained(tmp_path, store, objective):
    ecgraft.pretrain(
        [store.path], objective=objective, encoder="multires", to=tmp_path / "m", encoder_config={"width": 8},
        steps=2, batch=4, progress=False,
    )  # fmt: skip
    assert Model.load(tmp_path / "m").encoder.name == "multires"
