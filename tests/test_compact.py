"""Inner channels of residual modules: dropped whole by a task, and taken out of a model that has learnt."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ecgraft
from ecgraft import encoders
from ecgraft.commands import _compact
from ecgraft.encoders._inner import narrowed
from ecgraft.model import Graft, Model
from ecgraft.nn import ConvNorm, compact, files, shared
from ecgraft.nn.network import HeadConfig, build_head
from ecgraft.record import Record, UsageError
from ecgraft.store import Store
from ecgraft.tasks import Task

GOLDEN = Path(__file__).parent / "golden"
SMALL = {
    "multires": {"width": 8, "leads": ("I", "II")},
    "resnet18": {"stem": 4, "widths": (4, 6, 6, 8), "leads": ("I", "II")},
}


class Block(nn.Module):
    """A residual module of four inner channels, and nothing around it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = ConvNorm(2, 4, 3), ConvNorm(4, 2, 3, activation=None)

    def forward(self, x):
        return x + self.second(self.first(x))


def learning(owned: dict[int, int] | None = None) -> Block:
    """The block inside a module, as a task learns it; `owned`: filters of the first convolution of an earlier task."""
    torch.manual_seed(0)
    holder = nn.Sequential(Block())
    ledger = shared.Ledger.empty({n: tuple(m.weight.shape) for n, m in holder.named_modules() if type(m) is nn.Conv1d})
    ledger.owner["0.first.conv"].view(4, -1)[list(owned or {})] = 1
    first = holder[0].first.conv.weight.data
    for number, value in enumerate((3.0, -1.0, 1.0, 2.0)):
        first[number] = value
    shared.claim(holder, ledger)
    return holder


def kept(layer: nn.Module) -> torch.Tensor:
    """The weight's shape, bool: what the task owns and has not dropped."""
    there = torch.zeros(layer.weight.numel(), dtype=torch.bool)
    there[layer.own_at[layer.kept]] = True
    return there.view(layer.weight.shape)


@pytest.mark.parametrize(
    "share, gone", [(0, []), (0.24, []), (0.25, [1]), (0.5, [1, 2]), (0.74, [1, 2]), (0.75, [1, 2, 3])]
)
def test_the_smallest_filters_go_of_equal_ones_the_first(share, gone):
    layer = learning()[0].first.conv
    assert compact.drop_filters(layer, share).nonzero().flatten().tolist() == gone
    expected = torch.ones(4, 2, 3, dtype=torch.bool)
    expected[gone] = False
    assert torch.equal(kept(layer), expected) and torch.equal(layer.effective() != 0, expected)


def test_what_was_dropped_stays_so_whatever_becomes_of_the_weights():
    layer = learning()[0].first.conv
    compact.drop_filters(layer, 0.25)
    layer.own.data.view(4, -1)[1] = 100.0
    assert compact.drop_filters(layer, 0.5).tolist() == [False, True, True, False]
    assert compact.drop_filters(layer, 0.0).tolist() == [False, True, True, False]


def test_the_share_is_of_the_filters_in_which_the_task_has_weights():
    layer = learning({1: 1, 2: 1})[0].first.conv
    assert compact.drop_filters(layer, 0.5).tolist() == [False, False, False, True]


@pytest.mark.parametrize("share", [0.25, 0.3, 0.5, 0.75])
def test_what_reads_a_dropped_filter_goes_first_and_the_count_is_exact(share):
    block = learning()[0]
    own, second = block.second.conv.own.detach().flatten().abs(), block.second.conv
    compact.drop(block, share, filters=True)
    gone = ~kept(block.first.conv).flatten(1).any(1)
    assert gone.sum() == math.floor(4 * share) and not kept(second)[:, gone].any()
    assert int((~second.kept).sum()) == math.floor(24 * share)
    rest = torch.nonzero(~kept(second)[:, ~gone].flatten()).flatten()  # the smallest of the others, if any
    others = own.view(2, 4, 3)[:, ~gone].flatten()
    assert set(rest.tolist()) == set(torch.argsort(others)[: len(rest)].tolist())


def test_without_filters_it_is_the_dropping_of_each_layer():
    one, other = learning(), learning()
    compact.drop(one, 0.4, 1)
    for layer in shared.parts(other).values():
        shared.drop(layer, 0.4, 1)
    for a, b in zip(shared.parts(one).values(), shared.parts(other).values(), strict=True):
        assert torch.equal(a.kept, b.kept)


def test_needed_channels():
    torch.manual_seed(0)
    block = Block().eval()
    assert compact.inner(block)[""].tolist() == [0, 1, 2, 3]
    block.second.conv.weight.data[:, 0] = 0  # nothing reads it
    block.first.conv.weight.data[1:] = 0
    block.first.norm.bias.data[:] = torch.tensor([1.0, -1.0, 0.5, 0.0])
    assert compact.inner(block)[""].tolist() == [2]  # a constant that is read, and not at the ends
    block.first.norm.bias.data[2] = -0.5
    assert compact.inner(block)[""].tolist() == [0]  # one is left


def test_a_block_without_some_channels():
    torch.manual_seed(0)
    block, smaller = nn.Sequential(Block()).eval(), nn.Sequential(Block()).eval()
    block[0].second.conv.weight.data[:, [0, 2]] = 0
    smaller[0].first, smaller[0].second = ConvNorm(2, 2, 3).eval(), ConvNorm(2, 2, 3, activation=None).eval()
    smaller.load_state_dict(compact.cut(block.state_dict(), compact.inner(block)))
    x = torch.randn(3, 2, 50)
    assert torch.allclose(block(x), smaller(x), atol=1e-6)


def emptied(name: str, every: int = 2, **settings) -> nn.Module:
    """An encoder whose residual modules do not read some of their inner channels."""
    torch.manual_seed(0)
    encoder = encoders.build(name, SMALL[name] | settings).train()
    for _ in range(20):
        encoder(torch.randn(4, 2, 256), torch.ones(4, 2, dtype=torch.bool))
    for block in compact.residuals(encoder).values():
        block.second.conv.weight.data[:, ::every] = 0
    return encoder.eval()


@pytest.mark.parametrize("name, modules", [("multires", 20), ("resnet18", 8)])
@torch.inference_mode()
def test_a_smaller_encoder_gives_the_same(name, modules):
    encoder = emptied(name)
    smaller = narrowed(encoder)
    widths = [block.first.conv.out_channels for block in compact.residuals(encoder).values()]
    assert smaller.config.inner == tuple(max(1, width // 2) for width in widths) and len(widths) == modules
    x, present = torch.randn(2, 2, 333), torch.ones(2, 2, dtype=torch.bool)
    for a, b in zip(encoder(x, present), smaller(x, present), strict=True):
        assert (a - b).abs().max() < 1e-5 * a.abs().max()
    assert sum(p.numel() for p in smaller.parameters()) < 0.75 * sum(p.numel() for p in encoder.parameters())
    assert narrowed(smaller) is smaller


def test_where_all_are_needed_it_is_the_same_encoder():
    encoder = encoders.build("resnet18", SMALL["resnet18"]).eval()
    assert narrowed(encoder) is encoder


def test_an_encoder_without_the_setting_is_refused():
    with pytest.raises(UsageError, match="its Config has no `inner`"):
        narrowed(encoders.build("xresnet101", {"leads": ("I",)}).eval())


@pytest.mark.parametrize("inner", [(3, 3), (0,) * 8])
def test_wrong_inner_widths(inner):
    with pytest.raises(UsageError, match="inner"):
        encoders.build("resnet18", SMALL["resnet18"] | {"inner": inner})


def test_a_setting_that_is_none_changes_no_fingerprint(tmp_path):
    for name in SMALL:
        model = Model.fresh(name, SMALL[name])
        model.save(tmp_path / name)
        header = files.load(tmp_path / name / "encoder.safetensors")[1]
        assert "inner" in asdict(model.encoder.config) and "inner" not in header["config"]
    old = Model.load(GOLDEN / "encoder-1.safetensors")
    assert Model(old.encoder, old.recipe).fingerprint == old.fingerprint


TASK = Task("colours", "multilabel", ("red", "green"), {"red": ("own:red",), "green": ("own:green",)})


def with_graft(encoder: nn.Module) -> Model:
    base = Model.fresh("resnet18", SMALL["resnet18"])
    model = Model(encoder, base.recipe, {"pretraining": "none"})
    torch.manual_seed(1)
    head = build_head(TASK, encoder, HeadConfig()).state_dict()
    tensors = {f"head.{key}": value.clone() for key, value in head.items()}
    model.add(Graft("g", TASK, model.recipe, "linear", {}, model.fingerprint, tensors))
    return model


def test_the_command_writes_a_smaller_model_that_answers_the_same(tmp_path, capsys):
    model = with_graft(emptied("resnet18"))
    model.save(tmp_path / "m")
    found = ecgraft.grafts(str(tmp_path / "m"), merge="g", compact=True, to=tmp_path / "new")
    told = found["compact"]
    assert told["inner channels"] == [48, 24] and told["weights"][1] < 0.75 * told["weights"][0]
    assert told["bytes"][1] < told["bytes"][0] and min(told["ms"]) > 0 and told["largest difference"] < 1e-5
    said = capsys.readouterr().err.replace("\n", " ")
    assert "24 of 48 inner channels compute nothing" in said and json.loads(json.dumps(found)) == found
    new = Model.load(tmp_path / "new")
    assert new.fingerprint == found["encoder"] != model.fingerprint
    assert new.encoder.config.inner == (2, 2, 3, 3, 3, 3, 4, 4)
    assert new.card["compact"]["inner channels"] == [24, 48]
    record = Record(np.random.default_rng(0).standard_normal((2, 700)), 250.0, ("I", "II"), id="r")
    one, other = (each.predict(record)["g"].probability for each in (model, new))
    assert list(one.values()) == pytest.approx(list(other.values()), abs=1e-5)


def test_where_nothing_can_be_taken_out_the_command_says_so(tmp_path, capsys):
    model = with_graft(encoders.build("resnet18", SMALL["resnet18"]))
    model.save(tmp_path / "m")
    ecgraft.grafts(str(tmp_path / "m"), merge="g", to=tmp_path / "merged")
    found = ecgraft.grafts(str(tmp_path / "m"), merge="g", compact=True, to=tmp_path / "new")
    assert "nothing can be taken out" in capsys.readouterr().err.replace("\n", " ")
    assert found["encoder"] == Model.load(tmp_path / "merged").fingerprint == Model.load(tmp_path / "new").fingerprint


def test_compact_goes_with_merge():
    with pytest.raises(UsageError, match="--compact goes with --merge"):
        ecgraft.grafts("m", compact=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    place = tmp_path_factory.mktemp("simulated") / "s"
    ecgraft.simulate(to=place, count=64, rate=250.0, seconds=2.0, progress=False)
    return Store(place)


@pytest.mark.slow
@pytest.mark.parametrize("granularity, leads", [("filters", None), ("filters", ("I",)), ("weights", None)])
def test_tasks_that_gave_filters_back_become_smaller_models(tmp_path, store, granularity, leads):
    """Of K = 3 tasks the first needs a third of the inner channels at most, the second two thirds."""
    from ecgraft.commands._course import Course
    from ecgraft.commands._examples import Corpus
    from ecgraft.commands._graft_files import merged
    from ecgraft.commands._job import Job
    from ecgraft.commands._settings import Settings, with_defaults

    course = Course(Model.empty("multires", {"width": 24}), "isolate", {"tasks": 3, "granularity": granularity})
    for name, code in (("a", "NORM"), ("b", "SR"), ("c", "AFIB")):
        corpus = Corpus.open(store, Task(name, "multilabel", (name,), {name: (f"scp:{code}",)}))
        options = Settings(batch=4, seconds=2, leads=leads, augment={}, rare="note", training={"keep": "last"})
        rows = corpus.rows("all")
        options = with_defaults(options, 16, 0)
        course.learn(Job(None, corpus, rows[:48], rows[48:], options, name, None, progress=False))
    for number, name in enumerate(course.grafts, 1):
        whole = merged(course.model, name)
        small = _compact.compacted(whole)
        told = _compact.compare(whole, small, name, 1)
        assert (small is not whole) == (granularity == "filters" and number < 3)
        if small is not whole:
            assert told["inner channels"][1] <= math.ceil(number / 3 * told["inner channels"][0])
        assert told["largest difference"] <= 1e-5 * max(1, told["largest logit"])
        assert small.encoder.leads == (leads or course.model.encoder.leads) == small.graft(name).recipe.leads
        small.save(tmp_path / name)
        assert Model.load(tmp_path / name).predict(store.record(0))[name].probability
