"""Many grafts in one pass: what they say together is what each says alone."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

import ecgraft
from ecgraft import adapters
from ecgraft.model import Graft, Model, infer, predict, together
from ecgraft.model.together import Together
from ecgraft.nn.network import HeadConfig, build_head
from ecgraft.record import LEADS, Record, UsageError
from ecgraft.signal.recipe import Recipe
from ecgraft.tasks import Task, qrs, waves
from ecgraft.training import Examples
from made_files import save

pytestmark = pytest.mark.slow

COLOURS = Task("colours", "multilabel", ("red", "green"), {"red": ("own:red",), "green": ("own:green",)})
SHAPES = Task("shapes", "multiclass", ("round", "flat", "long"), {k: (f"own:{k}",) for k in ("round", "flat", "long")})
SMALL = {
    "resnet18": {"widths": (8, 8, 16, 16), "stem": 8},
    "convtransformer": {"width": 32, "depth": 2, "heads": 4, "rate": 250.0},
    "vgg": {"groups": ((4, 4), (8,), (8, 8)), "rate": 250.0},
    "vgg shared": {"groups": ((4, 4), (8,), (8, 8)), "rate": 250.0, "branches": "shared"},
    "inception": {"width": 4, "rate": 250.0},
    "multires": {"width": 16},
    "net1d": {"stem": 16, "widths": (16, 16, 32), "depths": (1, 2, 1), "kernel": 4, "group": 8, "rate": 250.0},
    "xresnet101": {"stem": (4, 4, 8), "width": 4, "depths": (1, 1, 2, 1), "rate": 250.0},
}
KINDS = {
    "linear": ("linear", {}),
    "lrc": ("lrc", {"rank": 2}),
    "lrc on top": ("lrc", {"rank": 2, "place": "last-1"}),
    "lrc by pattern": ("lrc", {"rank": {"stages.1.*": 3, "*": 2}}),
    "lrc batch": ("lrc", {"rank": 2, "norm": "batch"}),
    "lrc affine": ("lrc", {"rank": 2, "norm": "affine"}),
    "rd_lora": ("rd_lora", {"rank": 2}),
    "rd_lora frozen": ("rd_lora", {"rank": 2, "norm": "frozen", "biases": False, "place": "last-1"}),
    "norm": ("norm", {}),
    "norm batch": ("norm", {"norm": "batch", "place": "last-2"}),
    "bias": ("bias", {}),
    "full": ("full", {}),
}
HEADS = {
    "pooled": (COLOURS, HeadConfig()),
    "knn": (SHAPES, HeadConfig(kind="knn", neighbours=3)),
    "waves": (waves.TASK, HeadConfig(width=8)),
    "peaks": (qrs.TASK, HeadConfig(width=8)),
    "each lead": (waves.TASK, HeadConfig(width=8, leads="each")),
    "cascade": (COLOURS, HeadConfig(kind="decoder", cascade=8)),
    "lowest": (SHAPES, HeadConfig(kind="decoder", cascade="lowest")),
    "segmentation": (waves.TASK, HeadConfig(kind="decoder")),
    "segmentation of each lead": (qrs.TASK, HeadConfig(kind="decoder", leads="each")),
}


def fresh(encoder: str = "resnet18", seed: int = 0) -> Model:
    """A model whose norms are not the identity, and keep its values small."""
    model = Model.fresh(encoder.split()[0], SMALL[encoder], seed=seed)
    settle(model.encoder, torch.Generator().manual_seed(seed))
    flat = [name for name, value in model.encoder.state_dict().items() if value.ndim == 1]
    stir(model.encoder, flat, torch.Generator().manual_seed(seed))
    return model


@torch.no_grad()
def settle(encoder, generator) -> None:
    """Gives the norms the statistics of noise, as training would: else the values of many branches add up."""
    norms = [layer for layer in encoder.modules() if isinstance(layer, torch.nn.BatchNorm1d)]
    for layer in norms:
        layer.momentum = 1.0
    x = torch.randn(8, len(encoder.leads), 500, generator=generator)
    encoder.train()(x, torch.ones(x.shape[:2], dtype=torch.bool))
    encoder.eval()
    for layer in norms:
        layer.momentum = 0.1


def stir(encoder, names: list[str], generator, size: float = 0.05) -> None:
    """Moves these tensors of an encoder at random, as training would; variances stay positive."""
    state = encoder.state_dict()
    for name in names:
        if state[name].is_floating_point():
            noise = size * torch.randn(state[name].shape, generator=generator)
            state[name].mul_(1 + noise.abs()) if name.endswith("running_var") else state[name].add_(noise)


def graft(
    model: Model, name: str, kind: str, head: str = "pooled", seed: int = 0, recipe: Recipe | None = None
) -> Graft:
    """A graft as `adapt` packs it, with random tensors in the place of training."""
    adapter, config = KINDS[kind]
    task, settings = HEADS[head]
    encoder, generator = copy.deepcopy(model.encoder), torch.manual_seed(seed + 1)
    names = adapters.attach(encoder, adapter, config)
    stir(encoder, names, generator)
    built = build_head(task, encoder, settings)
    if settings.kind == "knn":
        h = torch.randn(9, encoder.width, generator=generator)
        built.fill(h, torch.eye(3).repeat(3, 1), torch.ones(9, 3, dtype=torch.bool))
    else:
        stir(built, list(built.state_dict()), generator, 0.02)
    tensors = {f"encoder.{key}": value for key, value in adapters.saved(encoder).items()}
    tensors |= {f"head.{key}": value for key, value in built.state_dict().items()}
    tensors = {key: value.detach().clone() for key, value in tensors.items()}
    return Graft(name, task, recipe or model.recipe, adapter, asdict(settings), model.fingerprint, tensors, config)


def ecg(seconds: float = 3.0, leads=LEADS, seed: int = 0, rate: float = 250.0) -> Record:
    random = np.random.default_rng(seed)
    return Record(random.standard_normal((len(leads), round(seconds * rate))), rate, leads, id="r1")


def outputs(made, record: Record, recipe: Recipe) -> dict[str, np.ndarray]:
    ((_, said),) = infer.run(made, Examples(infer.Memory([record], recipe), np.arange(1)), recipe.samples)
    return said


def assert_alike(model: Model, *records: Record) -> None:
    """Logits, probabilities and features of all grafts together are those of each alone."""
    made, recipe = infer.ready(Together(model, list(model.grafts.values())), fused=True), model.recipe
    for record in records:
        said = outputs(made, record, recipe)
        for name in model.grafts:
            alone = outputs(infer.with_features(model.network(name)), record, recipe)
            close(said[name], alone[name])
            if infer.features_of(name) in said:
                close(said[infer.features_of(name)], alone[infer.FEATURES])


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape and np.isfinite(wanted).all()
    assert np.abs(found - wanted).max() <= 1e-5 * max(1.0, np.abs(wanted).max())


def with_distance(graft: Graft) -> Graft:
    """The graft with what `adapt` keeps of its training records: makes its features an output."""
    graft.tensors["distance.mean"] = torch.zeros(1)
    return graft


PAIRS = [pair for pair in itertools.product(SMALL, KINDS) if pair != ("convtransformer", "lrc on top")]  # no ConvNorm


@pytest.mark.parametrize(("encoder", "kind"), PAIRS)
def test_grafts_of_a_kind_say_together_what_they_say_alone(encoder, kind):
    model = fresh(encoder)
    for i in range(3):
        model.add(with_distance(graft(model, f"g{i}", kind, seed=i)))
    assert_alike(model, ecg(), ecg(leads=("I", "V5")))


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["resnet18", "vgg shared", "multires"])
def test_grafts_of_every_kind_and_head_in_one_pass(encoder):
    model = fresh(encoder)
    heads = list(HEADS)
    for i, kind in enumerate([*KINDS, *KINDS]):
        made = graft(model, f"g{i}", kind, heads[i % len(heads)], seed=i)
        model.add(with_distance(made) if i % 2 else made)
    assert_alike(model, ecg(), ecg(14.0, LEADS[:8]))


def test_batches_of_windows():
    model = fresh()
    for i, kind in enumerate(("lrc", "lrc", "rd_lora", "rd_lora", "linear")):
        model.add(graft(model, f"g{i}", kind, seed=i))
    made, records = infer.ready(Together(model, list(model.grafts.values())), fused=True), [ecg(2.0), ecg(31.0)]
    examples = Examples(infer.Memory(records, model.recipe), np.arange(2))
    assert made.copies == 2
    for batch in (1, 3, 32):
        for (_, said), record in zip(infer.run(made, examples, 1000, batch=batch), records):
            for name in model.grafts:
                network, one = model.network(name), Examples(infer.Memory([record], model.recipe), np.arange(1))
                close(said[name], next(infer.run(network, one, 1000))[1][name])


def test_every_stage_below_a_change_runs_once():
    """Of 5 stages and 13 grafts: a trunk once, then one pass of each group from its first change on."""
    model, count = fresh(), {}
    kinds = ["linear"] * 3 + ["lrc on top"] * 4 + ["norm batch"] * 2 + ["lrc"] * 4
    for i, kind in enumerate(kinds):
        model.add(graft(model, f"g{i}", kind, seed=i))
    ((_, made),) = model.ready(list(model.grafts))
    stages = {f"trunk {i}": stage for i, stage in enumerate(made.network.trunk.stages)}
    for group in made.network.groups:
        stages |= {f"{group.outputs[0][0]} {i}": stage for i, stage in enumerate(group.encoder.stages)}
    for name, stage in stages.items():
        stage.register_forward_hook(lambda *_, name=name: count.__setitem__(name, count.get(name, 0) + 1))
    model.predict(ecg())
    expected = [*(f"trunk {i}" for i in range(5)), "g3 4", "g7 3", "g7 4", *(f"g9 {i}" for i in range(5))]
    assert count == dict.fromkeys(expected, 1)


def test_what_grafts_share_is_held_once():
    model = fresh()
    for i, kind in enumerate(["lrc on top"] * 3 + ["bias"]):
        model.add(graft(model, f"g{i}", kind, seed=i))
    made = Together(model, list(model.grafts.values()))
    trunk = {p.data_ptr() for p in made.trunk.parameters()}
    ours = {p.data_ptr() for p in made.groups[0].encoder.parameters()}
    assert ours < trunk


def test_predictions_are_those_of_the_one_task_path():
    model = fresh()
    for i, (kind, head) in enumerate([("lrc", "pooled"), ("lrc", "knn"), ("linear", "waves"), ("norm", "peaks")]):
        model.add(graft(model, head, kind, head, seed=i))
    for record in (ecg(10.0, rate=500.0), ecg(14.0, ("II", "V1"))):
        said = model.predict(record)
        assert list(said) == list(model.grafts)
        for name, found in said.items():
            alone = predict(model, name, record)
            assert found.probability == pytest.approx(alone.probability, abs=1e-5)
            assert found.answer == alone.answer and found.notes == alone.notes and found.leads == alone.leads
            for rows, wanted in ((found.waves, alone.waves), (found.beats, alone.beats)):
                assert (rows is None) == (wanted is None) and (rows is None or np.array_equal(rows, wanted))


def test_one_task_gives_the_same_bits_every_time():
    model = fresh()
    model.add(graft(model, "one", "lrc", "pooled"))
    model.add(graft(model, "two", "lrc", "waves", 1))
    for name in model.grafts:
        first = outputs(model.network(name), ecg(), model.recipe)[name]
        ((_, made),) = model.ready([name])
        again = [outputs(made, ecg(), model.recipe)[name] for _ in range(2)]
        assert all(np.array_equal(first, each) for each in again)


def test_grafts_with_other_windows_keep_them():
    model = fresh()
    model.add(graft(model, "ten", "lrc"))
    model.add(graft(model, "two", "lrc", seed=1, recipe=Recipe(seconds=2.0)))
    model.add(graft(model, "more", "linear", "waves", recipe=Recipe(seconds=2.0)))
    assert len(model.ready(["ten", "two", "more"])) == 2
    said = model.predict(ecg(7.0))
    for name in model.grafts:
        assert said[name].probability == pytest.approx(predict(model, name, ecg(7.0)).probability, abs=1e-5)


def test_what_is_ready_is_kept_until_a_graft_changes():
    model = fresh()
    model.add(graft(model, "a", "lrc"))
    model.add(graft(model, "b", "lrc", seed=1))
    names, before = ["a", "b"], model.predict(ecg())
    kept = model.ready(names)
    assert model.ready(names) is kept
    model.predict(ecg(seed=1))
    assert model.ready(names) is kept
    model.add(graft(model, "b", "lrc", seed=2))
    after = model.predict(ecg())
    assert model.ready(names) is not kept
    assert after["a"].probability == pytest.approx(before["a"].probability, abs=1e-6)
    assert after["b"].probability != pytest.approx(before["b"].probability, abs=1e-3)
    kept = model.ready(names)
    model.grafts["a"] = graft(model, "a", "lrc", seed=3)  # behind the model's back
    assert model.ready(names) is not kept
    model.remove("a")
    assert list(model.predict(ecg())) == ["b"]


def test_the_command_makes_its_grafts_ready_once_for_many_files(tmp_path, monkeypatch):
    model, made = fresh(), []
    for i, head in enumerate(("pooled", "waves")):
        model.add(graft(model, head, "lrc", head, seed=i))
    model.save(tmp_path / "m")
    files = [save(tmp_path / f"{i}.npz", np.asarray(ecg(seed=i).signal)) for i in range(3)]
    monkeypatch.setattr(together, "ready", lambda *given, make=together.ready: made.append(1) or make(*given))
    for tasks, rows in ((None, 6), (["pooled"], 3), (["waves", "pooled"], 6)):
        made.clear()
        said = ecgraft.predict(files, model=str(tmp_path / "m"), task=tasks, to=tmp_path / "said.json")
        assert len(said) == rows and len(made) == 1


def test_the_models_encoder_is_left_alone():
    model = fresh()
    before = {key: value.clone() for key, value in model.encoder.state_dict().items()}
    for i, kind in enumerate(KINDS):
        model.add(graft(model, f"g{i}", kind, seed=i))
    free = [p.requires_grad for p in model.encoder.parameters()]
    model.predict(ecg())
    assert all(torch.equal(before[key], value) for key, value in model.encoder.state_dict().items())
    assert [p.requires_grad for p in model.encoder.parameters()] == free


def test_a_removed_graft_leaves_the_folder(tmp_path):
    model = fresh()
    for name in ("a", "b"):
        model.add(graft(model, name, "lrc"))
    model.save(tmp_path)
    loaded = Model.load(tmp_path)
    assert loaded.remove("a").name == "a"
    with pytest.raises(UsageError, match="no graft 'a'"):
        loaded.remove("a")
    assert (tmp_path / "grafts" / "a.safetensors").exists()
    loaded.save(tmp_path)
    assert [file.name for file in (tmp_path / "grafts").iterdir()] == ["b.safetensors"]
    assert (
        list(json.loads((tmp_path / "model.json").read_text())["grafts"]) == ["b"] == list(Model.load(tmp_path).grafts)
    )
    loaded.add(graft(loaded, "a", "lrc"))
    loaded.save(tmp_path)
    assert Model.load(tmp_path).grafts.keys() == {"a", "b"}
