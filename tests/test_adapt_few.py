"""ecgraft adapt with few labels: ranks, records without labels, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ecgraft
from ecgraft import tasks
from ecgraft.commands import _semi
from ecgraft.commands._examples import Corpus
from ecgraft.commands._settings import Settings
from ecgraft.commands._unlabelled import of_store, rest_of
from ecgraft.commands.adapt import with_rank
from ecgraft.model import Model
from ecgraft.record import InputError, UsageError
from ecgraft.store import Store, StoreWriter, splits

pytestmark = pytest.mark.slow

SMALL = {"widths": (8, 8, 8, 8), "stem": 8}
FEW = {"seconds": 4.0, "steps": 3, "batch": 4, "rare": "note", "progress": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two stores of 12 leads, the same records with lead II alone, and a model."""
    top = tmp_path_factory.mktemp("few")
    given = {"seconds": 4.0, "rate": 250.0, "progress": False}
    ecgraft.simulate(to=top / "learnt", count=60, seed=1, **given)
    ecgraft.simulate(to=top / "other", count=30, seed=2, **given)
    with StoreWriter(top / "single") as writer:
        for i in range(10):
            record = Store(top / "other").record(i)
            at = record.leads.index("II")
            writer.add(
                record.but(signal=record.signal[at : at + 1], leads=("II",), waves=None, scored=None, beats=None)
            )
    Model.fresh("resnet18", SMALL).save(top / "model")
    return top


@pytest.mark.parametrize(
    ("rank", "said"), [("", {}), ("4", {"rank": 4}), ("auto", {"rank": "auto"}), ("2.5%", {"budget": 0.025})]
)
def test_ranks_as_words(rank, said):
    assert with_rank(Settings(adapter="lrc"), rank).adapter_config == said


@pytest.mark.parametrize("rank", ["4.5", "-1", "%", "0%", "100%", "many"])
def test_ranks_that_are_none(rank):
    with pytest.raises(UsageError, match="number"):
        with_rank(Settings(adapter="lrc"), rank)
    with pytest.raises(UsageError, match="no ranks"):
        with_rank(Settings(adapter="norm"), "4")


def test_the_rest_of_a_store_is_without_labels(made):
    store = Store(made / "learnt")
    corpus = Corpus.open(store, tasks.find("findings"))
    labelled = np.concatenate(corpus.few(20, 0))
    rows = rest_of(corpus, labelled).rows
    assert not set(rows) & set(labelled) and not set(rows) & set(corpus.rows("test"))
    assert len(rows) + len(labelled) == (splits.split(store) != "test").sum()
    with pytest.raises(InputError, match=r"--unlabelled, or a smaller --budget"):
        rest_of(corpus, np.flatnonzero(corpus.part != "test"))


def test_unlabelled_records_of_another_store(made):
    corpus = Corpus.open(Store(made / "learnt"), tasks.find("findings"))
    found = of_store(made / "other", corpus)
    assert set(found.rows) == set(np.flatnonzero(splits.split(found.store) != "test"))
    recipe = Model.load(made / "model").recipe
    like = corpus.store.prepared(recipe, progress=False).present[:3]
    examples = found.examples(recipe, like)
    assert set(examples.index) <= set(found.rows) and examples.cache.present[examples.index].all()
    single = of_store(made / "single", corpus)
    with pytest.raises(InputError, match=r"leads of a labelled one .*here II\)"):
        single.examples(recipe, like)
    with pytest.raises(InputError, match="leave --unlabelled out"):
        of_store(made / "learnt", corpus)


def test_copies_of_test_records_are_not_learnt_from(made, tmp_path):
    store = Store(made / "learnt")
    corpus = Corpus.open(store, tasks.find("findings"))
    with StoreWriter(tmp_path / "copies") as writer:
        for i in corpus.rows("test"):
            writer.add(store.record(i))
    with pytest.raises(InputError, match="like one"):
        of_store(tmp_path / "copies", corpus)


@pytest.mark.slow
@pytest.mark.parametrize("semi", _semi.names())
@pytest.mark.parametrize("task", ["findings", "waves"])
def test_adapts_with_unlabelled_records(made, tmp_path, semi, task):
    given = {"task": task, "model": str(made / "model"), "adapter": "rd_lora", "rank": "2", "budget": 12, **FEW}
    given["semi_config"] = {"threshold": 0.5} if semi == "fixmatch" else {}  # an untrained network is sure of nothing
    graft = ecgraft.adapt(made / "learnt", to=tmp_path / "m", semi=semi, **given)
    assert graft.card["records"]["unlabelled"] > 12
    rest = graft.card["records"]["unlabelled"] + graft.card["records"]["train"] + graft.card["records"]["validation"]
    assert len(graft.tensors["seen.samples"]) >= rest - 1
    again = ecgraft.adapt(made / "learnt", to=tmp_path / "n", semi=semi, **given)
    assert all(torch.equal(value, again.tensors[name]) for name, value in graft.tensors.items())
    other = ecgraft.adapt(made / "learnt", to=tmp_path / "o", semi=semi, unlabelled=made / "other", **given)
    assert not all(
        torch.equal(value, other.tensors[name]) for name, value in graft.tensors.items() if "seen" not in name
    )
    assert set(Model.load(tmp_path / "m").grafts) == {task}


@pytest.mark.slow
def test_ranks_by_importance(made, tmp_path):
    graft = ecgraft.adapt(
        made / "learnt", task="findings", to=tmp_path, model=str(made / "model"), adapter="rd_lora", rank="auto",
        adapter_config={"allocation": {"high": 4, "low": 1, "share": 0.25}}, **FEW,
    )  # fmt: skip
    ranks = graft.adapter_config["rank"]
    assert set(ranks.values()) == {1, 4} and set(graft.card["allocation"]["importance"]) == set(ranks)
    assert Model.load(tmp_path).network("findings").encoder.attached.config.rank == ranks


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"semi": "fixmach"}, "did you mean 'fixmatch'"),
        ({"semi": "simclr"}, "no such objective"),
        ({"semi": "fixmatch", "semi_config": {"treshold": 0.9}}, "treshold"),
        ({"semi": "semi_bn", "adapter": "lrc"}, "adapter_config.norm=batch"),
        ({"adapter": "lrc", "rank": "999"}, "999"),
        ({"adapter": "lrc", "unlabelled": "here"}, "--semi"),
        ({"task": "qrs", "augment": {"cutmix": {}}}, "cutmix"),
        ({"semi": "fixmatch", "head": {"kind": "knn"}, "adapter": "linear"}, "knn"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_written(made, tmp_path, values, message):
    model = made / "model"
    with pytest.raises(UsageError, match=message):
        ecgraft.adapt(made / "learnt", to=tmp_path / "m", model=str(model), **(FEW | {"task": "findings"} | values))
    assert not (tmp_path / "m" / "encoder.safetensors").exists() and not (tmp_path / "m" / "grafts").exists()


def test_an_encoder_without_batchnorm_has_nothing_for_semi_bn(made, tmp_path, monkeypatch):
    model = Model.fresh("resnet18", SMALL)
    for layer in model.encoder.modules():
        if hasattr(layer, "norm"):
            layer.norm = torch.nn.Identity()
    monkeypatch.setattr("ecgraft.commands.adapt.open_base", lambda *args: (model, {}))
    with pytest.raises(UsageError, match="no BatchNorm"):
        ecgraft.adapt(made / "learnt", task="findings", to=tmp_path, adapter="full", semi="semi_bn", **FEW)
