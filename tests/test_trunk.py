"""What frozen layers compute is kept: the answers and the graft are those of the whole way."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import ecgraft
from ecgraft import adapters, plugs, tasks
from ecgraft.commands import _kept, _score, _trunk
from ecgraft.commands._examples import Corpus, window_recipe
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings, with_defaults
from ecgraft.model import Model, infer
from ecgraft.nn.network import HeadConfig, Network, build_head
from ecgraft.record import InputError
from ecgraft.store import Store
from ecgraft.training import Sampler

pytestmark = pytest.mark.slow

SMALL = {
    "convtransformer": {"width": 16, "depth": 2, "heads": 2},
    "inception": {"width": 4, "depth": 1},
    "multires": {"width": 8},
    "net1d": {"stem": 16, "widths": (16, 16, 32), "depths": (1, 1, 2)},
    "resnet18": {"stem": 8, "widths": (8, 8, 16, 16)},
    "vgg": {"groups": ((4,), (4,), (8,)), "branches": "shared"},
    "xresnet101": {"stem": (8, 8, 8), "width": 8, "depths": (1, 1, 2)},
}
ENCODERS = plugs.names("encoders")
HOW = {
    "linear": {},
    "lrc": {"place": "last-1", "rank": 2},
    "rd_lora": {"place": "last-1", "rank": 2},
    "norm": {"place": "last-2", "norm": "batch"},
    "bias": {"place": "last-2"},
}
SECONDS = 4.0


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    path = tmp_path_factory.mktemp("trunk") / "store"
    ecgraft.simulate(to=path, count=40, seed=2, seconds=11.0, rate=250.0, progress=False)
    return Store(path)


@pytest.fixture(scope="module")
def model() -> Model:
    return _model("resnet18")


def _model(encoder: str, seed: int = 0) -> Model:
    """A small one; the statistics of its norms are not at their trivial start."""
    torch.manual_seed(seed)
    model = Model.fresh(encoder, SMALL.get(encoder, {}), seed=seed)
    for layer in model.encoder.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.8, 1.2)
    return model


def _network(model: Model, adapter: str, config: dict, task: str, **head) -> Network:
    torch.manual_seed(1)
    encoder = copy.deepcopy(model.encoder)
    adapters.attach(encoder, adapter, config)
    with torch.no_grad():  # as if it had learnt
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    recipe = window_recipe(model.recipe, SECONDS)
    return Network(encoder, {task: build_head(tasks.find(task), encoder, HeadConfig(**head))}, recipe)


def _both(store: Store, model: Model, network: Network, task: str, rows: np.ndarray):
    """The examples of the whole way, and what is kept of them."""
    cache = store.prepared(network.recipe, progress=False)
    return Corpus.open(store, tasks.find(task)).examples(rows, cache), _kept.keep(
        network, model.fingerprint, cache, rows
    )


@pytest.mark.parametrize("task", ("waves", "findings"))
@pytest.mark.parametrize("adapter", HOW)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_logits_are_those_of_the_whole_network_to_the_bit(store, encoder, adapter, task):
    """In training (statistics of batches, parts left out) and in inference, and so are the gradients."""
    model, rows = _model(encoder), np.arange(6)
    fitting = (
        {"place": "last-2"} if (encoder, adapter) == ("convtransformer", "lrc") else {}
    )  # it has no ConvNorm above
    network = _network(model, adapter, HOW[adapter] | fitting, task)
    examples, kept = _both(store, model, network, task, rows)
    batch = examples.batch(rows, np.zeros(6, int), network.recipe.samples) | {"seed": 0, "step": 3}
    trunk, x = kept.cache.trunk, _trunk.signal(network.recipe, batch)
    with torch.no_grad():  # a window's numbers depend on how many are computed together, in the last bit
        x = trunk.pack(_trunk.outputs(network.encoder.eval(), x, batch["present"], trunk.first), 6)
    x = x.view(6, trunk.rows, trunk.samples)
    own = replace(examples, cache=kept.cache).batch(rows, np.zeros(6, int), network.recipe.samples)
    near = 1e-5 * float(x.abs().max())  # the maps of an untrained encoder may be large
    assert torch.allclose(own["x"], x, atol=max(1e-4, near)) and torch.equal(own["length"], batch["length"])
    batches = batch, batch | {"x": x}
    state = copy.deepcopy(network.state_dict())
    assert list(kept.network.state_dict()) == list(state), "a checkpoint of one is a checkpoint of the other"
    for training in (True, False):
        said, slopes = [], []
        for which, batch in zip((network, kept.network), batches):
            network.load_state_dict(state)
            logits = which.train(training)(batch)[task]
            which.zero_grad()
            logits.square().mean().backward()
            said.append(logits.detach())
            slopes.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
        assert torch.equal(*said)
        assert len(slopes[0]) and all(torch.equal(a, b) for a, b in zip(*slopes, strict=True))


@pytest.mark.parametrize("task", ("waves", "findings", "beats"))
def test_windows_of_long_records_are_those_of_inference(store, model, task):
    network = _network(model, "lrc", HOW["lrc"], task)
    rows = np.arange(5, 12)
    corpus = Corpus.open(store, tasks.find(task))
    examples, kept = _both(store, model, network, task, rows)
    whole = list(infer.run(network, examples, network.recipe.samples, batch=4))
    onward = list(infer.run(kept.network, replace(examples, cache=kept.cache), network.recipe.samples, batch=4))
    for (i, one), (j, two) in zip(whole, onward, strict=True):
        assert i == j and np.allclose(one[task], two[task], atol=1e-4)
    one, two = (_score.answer(n, corpus, rows, c) for n, c in ((network, examples.cache), (kept.network, kept.cache)))
    assert np.allclose(one.features, two.features, atol=1e-4)
    assert _score.main_score(corpus, one, {}) == pytest.approx(_score.main_score(corpus, two, {}), abs=1e-3)


def test_what_a_batch_has_per_sample_is_cut_where_the_window_is(store, model):
    network = _network(model, "linear", {}, "waves")
    rows = np.arange(8)
    examples, kept = _both(store, model, network, "waves", rows)
    samples = network.recipe.samples
    batch = Sampler(replace(examples, cache=kept.cache), 8, samples, seed=4)(0)
    drawn = Sampler(examples, 8, samples, seed=4)(0)
    assert torch.equal(batch["index"], drawn["index"]) and torch.equal(batch["length"], drawn["length"])
    starts = infer.window_starts(int(examples.cache.length[0]), samples, infer.OVERLAP)
    found = set()
    for b, row in enumerate(batch["index"].tolist()):
        cuts = [examples.batch(np.array([row]), np.array([start]), samples) for start in starts]
        same = [n for n, cut in enumerate(cuts) if torch.equal(cut["waves"][0], batch["waves"][b])]
        with torch.no_grad():
            levels = [kept.network.encoder(batch["x"][b : b + 1], batch["present"][b : b + 1])]
            levels += [network.encoder(_trunk.signal(network.recipe, cuts[n]), cuts[n]["present"]) for n in same]
        assert len(same) == 1 and all(torch.allclose(p, q, atol=1e-4) for p, q in zip(*levels))
        found |= set(same)
    assert len(found) > 1, "more than one window of a record is drawn"


def test_the_window_nearest_to_a_place_is_taken():
    """Windows of 10: one of 7 samples has one, one of 25 begins at 0, 10 and 15."""
    windows = _kept.Windows(np.array([7, 25, 30]), 10, 0.0)
    assert windows.count.tolist() == [1, 3, 3] and windows.total == 7
    number, start = windows.near(np.array([0, 1, 1, 1, 1, 1, 2]), np.array([0, 0, 4, 6, 12, 13, 20]))
    assert start.tolist() == [0, 0, 0, 10, 10, 15, 20] and number.tolist() == [0, 1, 1, 2, 2, 3, 6]
    assert [each.tolist() for each in windows.of(np.array([1]))] == [[1, 1, 1], [0, 10, 15], [1, 2, 3]]
    for length in range(1, 80):
        for overlap in (0.0, 0.25):
            _, begins, _ = _kept.Windows(np.array([length]), 10, overlap).of(np.array([0]))
            assert begins.tolist() == infer.window_starts(length, 10, overlap)


@pytest.mark.parametrize(
    "adapter, config, first",
    [
        ("linear", {}, 5),
        ("full", {}, 0),
        ("lrc", {"rank": 1}, 0),
        ("lrc", {"rank": 1, "place": "last-2"}, 3),
        ("lrc", {"rank": {"stages.4.*": 2}}, 4),
        ("lrc", {"rank": {"stages.4.*": 2}, "norm": "batch"}, 0),
        ("rd_lora", {"rank": 1, "place": "last-1"}, 4),
        ("norm", {"place": "last-3", "norm": "batch"}, 2),
        ("bias", {"place": "last-1"}, 4),
    ],
)
def test_the_first_stage_that_changes(model, adapter, config, first):
    assert _trunk.first_stage(_network(model, adapter, config, "findings")) == first


def test_only_levels_that_are_read_are_kept(store, model):
    rows = np.arange(3)
    for adapter, task, head, kept in (
        ("lrc", "findings", {}, (3,)),
        ("lrc", "findings", {"kind": "decoder"}, (0, 1, 2, 3)),
        ("lrc", "waves", {}, (0, 1, 2, 3)),
        ("linear", "findings", {}, (4,)),
    ):
        network = _network(model, adapter, HOW[adapter], task, **head)
        assert _both(store, model, network, task, rows)[1].cache.trunk.kept == kept


class Another(nn.Module):
    """An outsider's encoder whose levels are not what its stages give."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.stages, self.pool = encoder.stages, encoder.pool
        self.leads, self.width, self.widths, self.strides = (
            encoder.leads,
            encoder.width,
            encoder.widths,
            encoder.strides,
        )

    def forward(self, x, present):
        y = x
        return [2 * (y := stage(y)) for stage in self.stages]


def test_an_encoder_that_does_more_than_its_stages_and_leads_read_alone_are_left_out(store, model):
    notes = []
    network = _network(model, "linear", {}, "waves")
    network.encoder = Another(network.encoder)
    adapters.hold(network.encoder)
    cache = store.prepared(network.recipe, progress=False)
    assert _kept.keep(network, "x", cache, np.arange(2), note=notes.append) is None
    alone = _network(model, "linear", {}, "waves", leads="each")
    assert _kept.keep(alone, "x", cache, np.arange(2), note=notes.append) is None
    assert ["stages in order" in notes[0], "read alone" in notes[1]] == [True, True]


def _folders(store: Store) -> set[str]:
    return {path.name for path in (store.path / "cache").glob("maps-*")}


def test_much_lies_on_disk_and_is_made_for_one_encoder_and_recipe(store, model, monkeypatch):
    rows, passes, notes = np.arange(4, 10), [], []
    real = _kept.outputs
    monkeypatch.setattr(_kept, "outputs", lambda e, x, *rest: passes.append(len(x)) or real(e, x, *rest))
    network = _network(model, "lrc", HOW["lrc"], "findings")
    _, in_memory = _both(store, model, network, "findings", rows)
    assert not _folders(store) and not isinstance(in_memory.cache.table, np.memmap)
    monkeypatch.setattr(_kept, "MEMORY", 1000)
    before = sum(passes)
    _, on_disk = _both(store, model, network, "findings", rows)
    assert isinstance(on_disk.cache.table, np.memmap) and sum(passes) - before == 3 * len(rows), "three windows of each"
    one, two = (kept.cache.batch(rows, np.full(6, 10**4), 1000) for kept in (in_memory, on_disk))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    _both(store, model, network, "findings", rows[::-1])
    assert sum(passes) - before == 3 * len(rows), "they are read again"
    _both(store, model, _network(model, "bias", {"place": "last-1"}, "findings"), "findings", np.arange(9, 12))
    assert sum(passes) - before == 3 * (len(rows) + 2) and len(_folders(store)) == 1, "what another adapter needs, too"
    other = _model("resnet18", seed=5)
    _both(store, other, _network(other, "lrc", HOW["lrc"], "findings"), "findings", rows)
    assert len(_folders(store)) == 2
    network.recipe = replace(network.recipe, normalise="record")
    _both(store, model, network, "findings", rows)
    assert len(_folders(store)) == 3
    monkeypatch.setattr(_kept, "DISK", 2000)
    cache = store.prepared(network.recipe, progress=False)
    assert _kept.keep(network, model.fingerprint, cache, rows, note=notes.append) is None
    assert "not kept" in notes[0]


def test_a_filling_that_was_interrupted_goes_on(store, monkeypatch):
    model, passes = _model("resnet18", seed=11), []
    network = _network(model, "lrc", HOW["lrc"], "findings")
    monkeypatch.setattr(_kept, "MEMORY", 0)
    monkeypatch.setattr(_kept, "AT_ONCE", 4)
    monkeypatch.setattr(_kept, "BLOCK", 2)
    real = _kept.outputs

    def breaking(encoder, x, *rest):
        passes.append(len(x))
        if len(passes) == 4:  # the first two passes are noted, the third is not
            raise KeyboardInterrupt
        return real(encoder, x, *rest)

    monkeypatch.setattr(_kept, "outputs", breaking)
    rows = np.arange(10)
    with pytest.raises(KeyboardInterrupt):
        _both(store, model, network, "findings", rows)
    _, kept = _both(store, model, network, "findings", rows)
    assert sum(passes[4:]) == 30 - 8
    monkeypatch.setattr(_kept, "MEMORY", 10**9)
    whole = _both(store, model, network, "findings", rows)[1]
    index, start, _ = whole.cache.windows.of(rows)
    one, two = (each.cache.batch(index, start, network.recipe.samples)["x"] for each in (kept, whole))
    assert np.allclose(one, two, atol=1e-5)
    (folder,) = (path for path in (store.path / "cache").glob("maps-*") if np.load(path / "done.npy").sum() == 30)
    (folder / "maps.npy").write_bytes(b"nothing")
    monkeypatch.setattr(_kept, "MEMORY", 0)
    with pytest.raises(InputError, match="delete this folder"):
        _both(store, model, network, "findings", rows)


@pytest.mark.slow
@pytest.mark.parametrize("task", ("waves", "findings"))
@pytest.mark.parametrize("adapter", HOW)
def test_a_job_makes_the_same_graft(tmp_path, model, adapter, task):
    """Records of one window: the batches are the same, so the weights agree to rounding."""
    ecgraft.simulate(to=tmp_path, count=40, seed=6, seconds=4.0, rate=250.0, progress=False)
    corpus = Corpus.open(Store(tmp_path), tasks.find(task))
    train, validation = corpus.few(1, 0)
    made = []
    for cache in (True, False):
        options = Settings(
            adapter=adapter, adapter_config=HOW[adapter], augment={}, seconds=4.0, batch=8, cache=cache, rare="note",
            training={"precision": "fp32", "evaluate_every": 10},
        )  # fmt: skip
        job = Job(model, corpus, train, validation, with_defaults(options, 30, 0), task, progress=False)
        made.append((job.run(), job.result))
        assert job.kept is None
    (one, first), (two, second) = made
    assert first.score == pytest.approx(second.score, abs=1e-4) and first.step == second.step
    for name, value in one.tensors.items():
        assert torch.allclose(value.float(), two.tensors[name].float(), rtol=1e-3, atol=1e-4), name


def test_what_is_random_below_needs_the_whole_way(store, model, monkeypatch):
    asked = []
    monkeypatch.setattr(_kept, "keep", lambda *given: asked.append(given))
    corpus = Corpus.open(store, tasks.find("waves"))
    rows = np.arange(4)
    for changes in ({}, {"augment": {}, "cache": False}, {"augment": {}}):
        options = with_defaults(Settings(adapter="linear", seconds=SECONDS, batch=4, **changes), 1, 0)
        Job(model, corpus, rows, np.arange(4, 6), options, "waves", progress=False).run()
    assert len(asked) == 1
