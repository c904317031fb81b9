"""The loop against a bare PyTorch loop, resume against an uninterrupted run, schedules against closed forms."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from ecgraft.record import InputError
from ecgraft.training import Config, Examples, Sampler, fit
from ecgraft.training.loop import CHECKPOINT, LOG
from ecgraft.training.optimizer import build_optimizer, rate_at


class Line(nn.Module):
    """Least squares with dropout and a norm, so that random numbers and buffers matter."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, batch):
        return {"loss": (self.body(batch["x"]).squeeze(1) - batch["y"]).square().mean()}


def batches(number: int) -> dict:
    random = np.random.default_rng(number)
    x = torch.from_numpy(random.standard_normal((16, 4)).astype(np.float32))
    return {"x": x, "y": x.sum(1)}


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([t.reshape(-1).float() for t in module.state_dict().values()])


def train(folder=None, **changes) -> tuple[nn.Module, object]:
    line = Line()
    config = Config(**({"steps": 20, "precision": "fp32", "rate": 1e-2} | changes))
    return line, fit(line, batches, config, folder=folder, progress=False)


def test_equals_a_bare_loop():
    line, result = train()
    bare = Line()
    optimizer = build_optimizer(bare.parameters(), 1e-2, 0.01)
    for step in range(20):
        torch.manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, 20, 1e-2, 0.05, "cosine")
        optimizer.zero_grad()
        loss = bare.train()(batches(step))["loss"]
        loss.backward()
        nn.utils.clip_grad_norm_(bare.parameters(), 1.0)
        optimizer.step()
    assert torch.equal(weights(line), weights(bare))
    assert result.log[-1]["loss"] == pytest.approx(float(loss.detach()), rel=1e-6)


def test_accumulation_is_the_mean_of_the_gradients():
    """Two half batches of a model without batch statistics give the step of the whole batch."""

    def half(number):
        whole = batches(number // 2)
        part = slice(0, 8) if number % 2 == 0 else slice(8, 16)
        return {name: value[part] for name, value in whole.items()}

    def plain():
        torch.manual_seed(0)
        module = Line()
        module.body = nn.Sequential(nn.Linear(4, 1))
        return module

    one, two = plain(), plain()
    fit(one, batches, Config(steps=5, precision="fp32"), progress=False)
    fit(two, half, Config(steps=5, precision="fp32", accumulate=2), progress=False)
    assert torch.allclose(weights(one), weights(two), atol=1e-6)


def test_rates():
    rates = [rate_at(step, 100, 1.0, 0.1, "cosine") for step in range(101)]
    assert rates[0] == 0.1 and rates[9] == 1.0 and rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5) and rates[100] == pytest.approx(0, abs=1e-12)
    assert rate_at(55, 100, 1.0, 0.1, "linear") == pytest.approx(0.5)
    assert rate_at(99, 100, 2.0, 0.1, "constant") == 2.0


def test_norms_and_biases_are_not_decayed():
    groups = build_optimizer(Line().parameters(), 1e-3, 0.5).param_groups
    assert [(g["weight_decay"], len(g["params"])) for g in groups] == [(0.5, 2), (0.0, 4)]


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_resumed_run_equals_an_uninterrupted_one(tmp_path, average):
    options = {"average": average, "evaluate_every": 4, "keep": "last"}
    whole = Line()
    fit(whole, batches, Config(steps=20, **options), validate=_score, progress=False)

    def killed(number):
        if number == 11:
            raise ConnectionError
        return batches(number)

    config = Config(steps=20, checkpoint_every=1e-9, **options)
    with pytest.raises(ConnectionError):
        fit(Line(), killed, config, validate=_score, folder=tmp_path, progress=False)
    again = Line()
    result = fit(again, batches, config, validate=_score, folder=tmp_path, progress=False)
    assert torch.equal(weights(whole), weights(again))
    steps = [row["step"] for row in result.log if "loss" in row]
    assert steps == [10, 20] and (tmp_path / LOG).read_text().count("\n") == len(result.log)


def _score(objective) -> float:
    return -float(weights(objective).square().sum())


def test_best_weights_are_kept_and_patience_ends_the_run():
    line, seen = Line(), []

    def validate(objective):
        seen.append(weights(objective))
        return [1.0, 3.0, 2.0, 2.5, 9.0][len(seen) - 1]

    result = fit(line, batches, Config(steps=50, evaluate_every=5, patience=2), validate=validate, progress=False)
    assert (result.score, result.step, len(seen)) == (3.0, 10, 4)
    assert torch.equal(weights(line), seen[1])


def test_a_loss_that_is_not_finite_stops_with_a_hint():
    class Bad(Line):
        def forward(self, batch):
            return {"loss": super().forward(batch)["loss"] * float("nan")}

    with pytest.raises(InputError, match="Lower the learning rate"):
        fit(Bad(), batches, Config(steps=3), progress=False)


def test_a_damaged_checkpoint_is_an_input_error(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    with pytest.raises(InputError, match="delete it to start again"):
        fit(Line(), batches, Config(steps=3), folder=tmp_path, progress=False)


SCRIPT = """
import sys, time, torch
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_training import Line, batches, weights
from ecgraft.training import Config, fit
def slow(number):
    time.sleep(0.02)
    return batches(number)
line = Line()
fit(line, slow, Config(steps=60, precision="fp32", checkpoint_every=0.01), folder=Path({folder!r}), progress=False)
torch.save(weights(line), {folder!r} + "/weights.pt")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_goes_on_to_the_same_weights(tmp_path, by):
    script = SCRIPT.format(tests=os.path.dirname(__file__), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / CHECKPOINT).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(by)
    assert process.wait(60) != 0 and not (tmp_path / "weights.pt").exists()
    subprocess.run([sys.executable, "-c", script], check=True)
    whole = Line()
    fit(whole, batches, Config(steps=60, precision="fp32"), progress=False)
    assert torch.equal(torch.load(tmp_path / "weights.pt", weights_only=True), weights(whole))


class Cache:
    """Records of 100, 101 ... samples whose sample values tell record and time."""

    length = np.arange(100, 110)

    def batch(self, index, start, samples):
        x = (index[:, None, None] * 1000 + start[:, None, None] + np.arange(samples)).astype(np.int16)
        return {"x": x, "present": np.ones((len(index), 1), bool), "length": np.full(len(index), samples, np.int32)}


def test_sampler_shows_every_record_once_an_epoch_and_repeats_by_number():
    sampler = Sampler(Examples(Cache(), np.arange(10)), batch=4, samples=90, seed=1)
    drawn = [sampler(k) for k in range(5)]  # two epochs of ten
    index = torch.cat([b["index"] for b in drawn]).tolist()
    assert sorted(index[:10]) == sorted(index[10:]) == list(range(10)) and index[:10] != index[10:]
    again = Sampler(Examples(Cache(), np.arange(10)), batch=4, samples=90, seed=1)(3)
    assert torch.equal(again["x"], drawn[3]["x"])
    start = (drawn[0]["x"][:, 0, 0] * 1000).round().long() - drawn[0]["index"] * 1000
    assert ((start >= 0) & (start <= torch.from_numpy(Cache.length)[drawn[0]["index"]] - 90)).all()


def test_balanced_sampler_draws_classes_alike():
    y = np.zeros((1000, 2), np.int8)
    y[:50, 0], y[50:, 1] = 1, 1

    class Many(Cache):
        length = np.full(1000, 100)

    sampler = Sampler(Examples(Many(), np.arange(1000), y, y >= 0), batch=1000, samples=90, balance=1.0)
    assert abs(sampler(0)["y"][:, 0].mean().item() - 0.5) < 0.06  # 4 standard errors
