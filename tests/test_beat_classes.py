"""Classes of beats from a graft, for contrast between heartbeats."""

from __future__ import annotations

import numpy as np
import pytest

from ecgraft.commands import _beat_classes
from ecgraft.commands.adapt import adapt
from ecgraft.commands.pretrain import pretrain
from ecgraft.commands.simulate import simulate
from ecgraft.model import Model
from ecgraft.record import UsageError
from ecgraft.signal.beats import measure_batch
from ecgraft.simulator import Config
from ecgraft.simulator import simulate as simulated
from ecgraft.store import Store
from ecgraft.store.beats import store_beats
from ecgraft.tasks import find

pytestmark = pytest.mark.slow

FEW = {"training": {"steps": 3}, "batch": 4, "progress": False}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store of 24 simulated ECGs and a model with a graft for beats, hardly trained."""
    place = tmp_path_factory.mktemp("beats")
    simulate(to=place / "store", count=24, progress=False)
    adapt(place / "store", task="beats", to=place / "model", adapter="linear", **FEW)
    return place


def test_each_beat_has_the_class_that_predict_would_give(place):
    store, (model, graft) = Store(place / "store"), _beat_classes.open_graft(f"{place / 'model'}:beats")
    table = store_beats(store.prepared(model.recipe))
    rows = np.array([3, 5])
    classed = _beat_classes.classed(table, rows, model, graft)
    assert (
        np.delete(classed.classes, np.r_[table.offsets[3] : table.offsets[4], table.offsets[5] : table.offsets[6]])
        == -1
    ).all()
    for i in rows:
        said = model.predict(store.record(int(i)), ["beats"])["beats"].beats
        mine = classed.classes[table.offsets[i] : table.offsets[i + 1]]
        assert [graft.task.labels[k] for k in mine] == said["symbol"].astype(str).tolist()
    batch = classed.batch(rows, np.array([0, 500]), 1000)
    assert batch["beat_class"].shape == batch["peaks"].shape
    assert np.array_equal(batch["beat_class"] >= 0, batch["peaks"] >= 0)


def test_simulated_beats_have_their_own_class(place):
    _, graft = _beat_classes.open_graft(str(place / "model"))
    made = simulated(5, range(30), Config(seconds=10, rate=250))
    x = made.x.numpy()
    peaks = measure_batch(x, x.any(2), 250, made.peaks.numpy())["peaks"]
    classes, labels = _beat_classes.simulated(made, peaks, graft), find("beats").codes
    for b in range(30):
        known = {
            int(at): chr(symbol) for at, symbol in zip(made.peaks[b].tolist(), made.symbols[b].tolist()) if at >= 0
        }
        for at, k in zip(peaks[b], classes[b]):
            assert k == -1 if at < 0 else known[int(at)] in labels[graft.task.labels[k]]
    assert len(np.unique(classes)) > 2


def test_pretraining_with_the_classes_of_a_graft(place):
    model = pretrain(
        [place / "store"], to=place / "encoder", objective="beat_ssl", steps=2, batch=6, simulated=0.34,
        beats=f"{place / 'model'}:beats", encoder_config={"stem": 8, "widths": [8, 8, 8, 16]}, progress=False,
    )  # fmt: skip
    assert model.card["settings"]["beats"].endswith(":beats") and Model.load(place / "encoder").fingerprint


def test_only_a_graft_for_beats_will_do(place):
    with pytest.raises(UsageError, match="ecgraft adapt makes one"):
        _beat_classes.open_graft("default")
    with pytest.raises(UsageError, match="no graft 'beat'"):
        _beat_classes.open_graft(f"{place / 'model'}:beat")
