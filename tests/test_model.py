"""Grafts as files, the model folder, and answers on records of any length."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from ecgraft import simulator
from ecgraft.model import Graft, Model, infer
from ecgraft.model.graft import FORMAT
from ecgraft.model.predict import decide
from ecgraft.nn import files
from ecgraft.nn.network import HeadConfig, Network, build_head
from ecgraft.record import LEADS, InputError, Record, UsageError
from ecgraft.signal.recipe import Recipe
from ecgraft.tasks import Task, waves
from ecgraft.training import Examples

COLOURS = Task("colours", "multilabel", ("red", "green"), {"red": ("own:red",), "green": ("own:green",)})


def fresh(seed=0) -> Model:
    return Model.fresh("resnet18", {"widths": (8, 8, 8, 8), "stem": 8}, seed=seed)


def graft_on(model: Model, task: Task = COLOURS, name: str = "colours") -> Graft:
    torch.manual_seed(1)
    head = build_head(task, model.encoder, HeadConfig())
    tensors = {f"head.{key}": value for key, value in head.state_dict().items()}
    thresholds = dict.fromkeys(task.labels, 0.25)
    return Graft(name, task, model.recipe, "linear", {"width": 32}, model.fingerprint, tensors, thresholds=thresholds)


def ecg(seconds=10.0, rate=500.0, leads=LEADS, seed=0) -> Record:
    random = np.random.default_rng(seed)
    return Record(random.standard_normal((len(leads), round(seconds * rate))), rate, leads, id="r1")


def test_a_graft_comes_back_as_it_was(tmp_path):
    model = fresh()
    graft = graft_on(model)
    graft.save(tmp_path / "g.safetensors")
    again = Graft.load(tmp_path / "g.safetensors")
    assert again.task == graft.task and again.recipe == graft.recipe and again.thresholds == graft.thresholds
    assert all(torch.equal(again.tensors[key], value) for key, value in graft.tensors.items())


def test_a_model_folder_comes_back_and_answers_alike(tmp_path):
    model = fresh()
    model.add(graft_on(model))
    model.add(graft_on(model, waves.TASK, "waves"))
    model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    one, two = model.predict(ecg()), again.predict(ecg())
    assert one["colours"].probability == two["colours"].probability
    assert np.array_equal(one["waves"].waves, two["waves"].waves)
    assert json.loads((tmp_path / "m" / "model.json").read_text())["grafts"].keys() == {"colours", "waves"}
    assert not list(tmp_path.rglob("*.part"))


def test_a_graft_of_another_encoder_is_refused():
    with pytest.raises(InputError, match="stands on encoder"):
        fresh(seed=1).add(graft_on(fresh(seed=0)))


def test_one_bit_changes_the_fingerprint(tmp_path):
    model = fresh()
    before = model.fingerprint
    model.save(tmp_path / "m")
    tensors, header = files.load(tmp_path / "m" / "encoder.safetensors")
    name = next(iter(tensors))
    flat = tensors[name].view(-1)
    flat[0] = torch.nextafter(flat[0], torch.tensor(9.0))
    files.save(tmp_path / "m" / "encoder.safetensors", tensors, header)
    assert header["fingerprint"] == before
    with pytest.raises(InputError, match="damaged"):
        Model.load(tmp_path / "m")


def test_another_encoder_is_never_written_over_one_that_is_there(tmp_path):
    fresh(0).save(tmp_path / "m")
    with pytest.raises(InputError, match="choose a new folder"):
        fresh(1).save(tmp_path / "m")


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0not json at all!", b"RIFF" * 10])
def test_foreign_and_truncated_files_are_input_errors(tmp_path, content):
    (tmp_path / "g.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"g\.safetensors"):
        Graft.load(tmp_path / "g.safetensors")


def test_newer_formats_and_other_kinds_are_refused(tmp_path):
    files.save(tmp_path / "a", {"x": torch.zeros(1)}, {"kind": "graft", "format_version": FORMAT + 1})
    with pytest.raises(InputError, match="upgrade ecgraft"):
        Graft.load(tmp_path / "a")
    files.save(tmp_path / "b", {"x": torch.zeros(1)}, {"kind": "encoder"})
    with pytest.raises(InputError, match="not 'graft'"):
        Graft.load(tmp_path / "b")


def test_an_unknown_graft_name_suggests_the_nearest():
    model = fresh()
    model.add(graft_on(model))
    with pytest.raises(UsageError, match="did you mean 'colours'"):
        model.graft("colour")


def test_windows_cover_a_record():
    assert infer.window_starts(5, 10, 0.0) == [0] == infer.window_starts(10, 10, 0.5)
    assert infer.window_starts(25, 10, 0.0) == [0, 10, 15]
    assert infer.window_starts(20, 10, 0.5) == [0, 5, 10]


class Here(nn.Module):
    """An encoder without context: what it says of a sample depends on that sample alone."""

    leads, rate, widths, strides, width = ("I", "II"), 250.0, [2], [1], 2

    def forward(self, x, present):
        return [x]

    def pool(self, levels, length):
        return levels[0].mean(-1)


def test_blended_windows_equal_one_pass_where_there_is_no_context():
    encoder = Here()
    torch.manual_seed(0)
    head = build_head(waves.TASK, encoder, HeadConfig(width=4))
    recipe = Recipe(leads=("I", "II"), normalise="none", low=None, high=None)
    network = Network(encoder, {"waves": head}, recipe).eval()
    record = ecg(7.3, 250.0, ("I", "II"))
    memory = infer.Memory([record, record], recipe)
    examples = Examples(memory, np.arange(2))
    whole = next(infer.run(network, examples, 4000))[1]["waves"]
    pieces = [output["waves"] for _, output in infer.run(network, examples, 300, batch=4)]
    assert len(pieces) == 2 and pieces[0].shape == (2, 4, 1825)
    assert np.abs(pieces[0] - whole[..., :1825]).max() < 1e-5 and np.allclose(pieces[0], pieces[1], atol=1e-6)


def test_record_logits_are_the_mean_over_windows():
    network = Network(Here(), {"h": build_head(COLOURS, Here(), HeadConfig())}, Recipe(
        leads=("I", "II"), normalise="none", low=None, high=None))  # fmt: skip
    record = ecg(4.0, 250.0, ("I", "II"))
    examples = Examples(infer.Memory([record], network.recipe), np.arange(1))
    ((_, output),) = infer.run(network, examples, 500)
    halves = torch.from_numpy(np.stack([record.signal[:, :500].mean(1), record.signal[:, 500:].mean(1)]))
    expected = network.heads["h"].linear(halves).mean(0).detach().numpy()
    assert np.allclose(output["h"], expected, atol=1e-6)


def test_each_lead_alone_equals_a_record_of_that_lead():
    model = fresh()
    torch.manual_seed(2)
    head = build_head(waves.TASK, model.encoder, HeadConfig(leads="each"))
    network = Network(model.encoder, {"waves": head}, model.recipe).eval()
    record = ecg(2.0, 250.0)
    one = record.but(signal=record.signal[[7]], leads=("V2",))
    (_, whole), (_, single) = infer.run(network, Examples(infer.Memory([record, one], model.recipe), np.arange(2)), 500)
    whole, single = whole["waves"], single["waves"]
    assert whole.shape == (12, 4, 500) and np.allclose(whole[7], single[7], atol=1e-5)
    assert not np.allclose(whole[7], whole[8], atol=1e-3)


def test_leads_that_are_not_there_do_not_matter():
    model = fresh()
    model.add(graft_on(model))
    two = ecg(leads=("I", "V5"))
    zeros = Record(np.full((12, two.signal.shape[1]), np.nan), two.rate, LEADS, id="r1")
    zeros.signal[[0, 10]] = two.signal
    one, other = model.predict(two)["colours"], model.predict(zeros)["colours"]
    assert one.probability == pytest.approx(other.probability, abs=1e-6)


def simulated(rate: float) -> Record:
    """An ECG that has all waves."""
    return simulator.simulate(1, range(1), simulator.Config(rate=rate, lead_loss=0.0, flat=0.0)).record(0)


def test_wave_times_are_in_the_records_own_samples():
    said = Model.load().predict(simulated(rate=1000.0), ["waves"])["waves"]
    assert said.rate == 1000.0 and said.waves["offset"].max() > 5000 and said.waves["offset"].max() < 10000


def test_decisions_take_scores_at_the_threshold():
    graft = graft_on(fresh())
    assert decide(np.array([[0.25, 0.2], [0.1, 0.9]]), graft) == [["red"], ["green"]]


def test_predicting_changes_nothing_in_the_model():
    model = fresh()
    before = {key: value.clone() for key, value in model.encoder.state_dict().items()}
    model.add(graft_on(model))
    model.network("colours").train()
    model.predict(ecg())
    assert all(torch.equal(before[key], value) for key, value in model.encoder.state_dict().items())
