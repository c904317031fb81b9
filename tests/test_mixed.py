"""Learning from more than one store, and from simulated ECGs; artefacts; leads without a name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import ecgraft
from ecgraft import tasks, views
from ecgraft.commands import _mixed
from ecgraft.commands._examples import Corpus
from ecgraft.commands._job import Job
from ecgraft.commands._settings import Settings
from ecgraft.model import Model
from ecgraft.record import LEADS, UsageError
from ecgraft.signal.recipe import Recipe
from ecgraft.store import Store
from ecgraft.training import Simulated
from ecgraft.views import artefact, generator, lead_loss

SMALL = {"widths": (8, 8, 8, 8), "stem": 8}
TRAINING = {"steps": 3, "rate": 1e-3, "keep": "last"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    top = tmp_path_factory.mktemp("mixed")
    ecgraft.simulate(to=top / "one", count=12, seed=1, seconds=4.0, rate=250.0, progress=False)
    ecgraft.simulate(to=top / "two", count=5, seed=2, seconds=9.0, rate=250.0, progress=False)
    return top


def corpora(top, task: str) -> tuple[Corpus, Corpus]:
    return tuple(Corpus.open(Store(top / name), tasks.find(task)) for name in ("one", "two"))


def batches(top, task: str, simulated: float, batch: int = 8):
    one, two = corpora(top, task)
    recipe = Recipe(seconds=4.0)
    options = Settings(simulated=simulated, batch=batch)
    caches = [each.store.prepared(recipe, progress=False) for each in (one, two)]
    examples = one.examples(one.rows("all"), caches[0])
    return _mixed.batches(examples, [(two, caches[1])], recipe, options, 3, "cpu")


def test_simulated_ecgs_and_other_stores_are_in_a_step(made):
    """12 records of one window and 5 of two: an epoch has 22 windows."""
    source = batches(made, "waves", 0.5)
    try:
        batch, again = source(0), batches(made, "waves", 0.5)(0)
    finally:
        source.close()
    assert batch["x"].shape == (8, 12, 1000) and set(batch) >= {"waves", "scored", "present", "length"}
    assert all(torch.equal(batch[key], again[key]) for key in ("x", "waves", "scored"))
    simulated = Simulated(Recipe(seconds=4.0), _mixed.SEED + 3, waves=True).batch(0, 4)
    assert torch.equal(batch["x"][4:], simulated["x"]) and torch.equal(batch["waves"][4:], simulated["waves"])


def test_long_records_come_as_often_as_windows_fit_into_them(made):
    source = batches(made, "qrs", 0.0, batch=22)
    lengths = [int(source(number)["x"].shape[0]) for number in range(2)]
    source.close()
    _, two = corpora(made, "qrs")
    cache = two.store.prepared(Recipe(seconds=4.0), progress=False)
    repeated = _mixed._by_length(two.examples(two.rows("all"), cache), 1000)
    assert lengths == [22, 22] and np.bincount(repeated.index).tolist() == [2] * 5


def test_simulated_peaks_are_where_the_simulator_says(made):
    batch = Simulated(Recipe(seconds=4.0), 5, peaks=True).batch(0, 3)
    assert batch["peaks"].shape[0] == 3 and (batch["peaks"] >= 0).any(1).all()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["waves", "qrs"])
def test_a_graft_is_trained_from_both_and_says_so(made, task):
    one, two = corpora(made, task)
    settings = Settings(simulated=0.5, batch=4, seconds=4.0, training=TRAINING)
    rows = one.rows("all")
    jobs = [
        Job(Model.fresh("resnet18", SMALL), one, rows, rows[:0], settings, task, progress=False, also=[two])
        for _ in range(2)
    ]
    first, second = (job.run() for job in jobs)
    assert first.card["records"] == {"train": 12, "validation": 0, "of other stores": 5}
    assert all(torch.equal(value, second.tensors[name]) for name, value in first.tensors.items())


def test_what_cannot_be_mixed_is_refused(made):
    one, two = corpora(made, "waves")
    findings = dataclasses.replace(one, task=tasks.find("findings"))
    age = dataclasses.replace(one, task=tasks.find("age"))
    with pytest.raises(UsageError, match=r"simulated.*findings"):
        _mixed.check(Settings(simulated=0.5), findings, [])
    with pytest.raises(UsageError, match=r"--also.*age"):
        _mixed.check(Settings(), age, [two])
    for settings in (Settings(simulated=0.5, semi="fixmatch"), Settings(simulated=0.5, balance=1.0)):
        with pytest.raises(UsageError, match="together"):
            _mixed.check(settings, one, [])
    _mixed.check(Settings(simulated=0.5), one, [two])


def flat(B: int = 64, T: int = 2500) -> dict:
    present = torch.ones(B, 12, dtype=torch.bool)
    present[0, 3:] = False
    length = torch.full((B,), T)
    length[1] = 1000
    return {"x": torch.zeros(B, 12, T), "present": present, "length": length}


def test_artefacts_are_the_same_in_all_leads_but_for_a_factor_and_only_where_there_is_signal():
    batch = flat()
    x = artefact.build(artefact.Config(share=1.0))(batch, generator(1, 0))[0]["x"]
    assert not x[0, 3:].any() and not x[1, :, 1000:].any() and x[2].any()
    assert torch.linalg.matrix_rank(x[2] / x[2].abs().max()).item() == 1
    again = artefact.build(artefact.Config(share=1.0))(batch, generator(1, 0))[0]["x"]
    assert torch.equal(x, again)
    assert not artefact.build(artefact.Config(share=0.0))(batch, generator(1, 0))[0]["x"].any()


@pytest.mark.parametrize("kind", ["steps", "swings", "spikes", "bursts"])
def test_every_kind_of_artefact_stays_below_its_size(kind):
    """A spike of one sample loses height in the filter; nothing may gain more than the edges of the filter add."""
    none = dict.fromkeys(("steps", "swings", "spikes", "bursts"), 0)
    config = artefact.Config(**(none | {kind: 1}), share=1.0)
    x = artefact.build(config)(flat(256), generator(2, 0))[0]["x"]
    largest = {"steps": 4.0, "swings": 4.0, "spikes": 60.0, "bursts": 0.5 * 1.7 * 5}[kind]
    assert 0.01 < x.abs().max() < 1.5 * 1.6 * largest
    assert (x.abs().amax((1, 2)) > 0).float().mean() > 0.3


def test_artefacts_have_passed_the_recipes_filter():
    config = artefact.Config(steps=0, swings=0, bursts=0, share=1.0, low=0.5, high=20.0)
    x = artefact.build(config)(flat(64), generator(3, 0))[0]["x"][2:]
    power = torch.fft.rfft(x).abs().pow(2).sum((0, 1))
    f = torch.fft.rfftfreq(2500, 1 / 250)
    assert power[f > 60].sum() < 1e-2 * power.sum()


def test_a_lead_without_a_name_stands_in_its_place_with_its_waves():
    T = 40
    x = torch.arange(12.0)[None, :, None].expand(64, 12, T) + 1
    batch = {"x": x, "present": torch.ones(64, 12, dtype=torch.bool), "length": torch.full((64,), T)}
    batch |= {"waves": x.to(torch.uint8), "scored": torch.ones(64, 12, T, dtype=torch.bool)}
    view = views.build({"lead_loss": {"share": 0.0, "single": 0.5, "unnamed": 1.0}}, Recipe())
    new = view(batch, generator(4, 0))[0]
    single = new["present"].sum(1) == 1
    slot = LEADS.index("II")
    assert 10 < single.sum() < 54 and new["present"][single, slot].all() and new["present"][~single].all()
    value = new["x"][single, slot, 0]
    assert len(value.unique()) > 5 and torch.equal(new["waves"][single, slot, 0].float(), value)
    assert new["scored"][single].sum((1, 2)).eq(T).all() and not new["x"][single][:, [0, 5]].any()
    assert torch.equal(new["x"][~single], x[~single])
    with pytest.raises(UsageError, match="unnamed needs lead II"):
        lead_loss.build(lead_loss.Config(unnamed=0.5, leads=("I", "V1")))
