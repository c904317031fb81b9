"""CETP: the oracles of its specification, by number, then records without reports, soft targets, several processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ecgraft import encoders
from ecgraft.metrics import ranking
from ecgraft.objectives import cetp
from ecgraft.objectives._look import Seen
from ecgraft.record import LEADS, Record
from ecgraft.signal.recipe import Recipe

SMALL = {"widths": (8, 8, 8, 16), "stem": 8, "leads": ("I", "II")}
TEXT = 6


def made(**values) -> cetp.CETP:
    torch.manual_seed(0)
    encoder = encoders.build("resnet18", SMALL)
    return cetp.build(cetp.Config(text_width=TEXT, **values), encoder, Recipe(leads=("I", "II"), seconds=2.0))


def features(objective, N: int, seed: int = 1) -> list[Seen]:
    """One view, of which only the pooled features are there."""
    h = torch.randn(N, objective.encoder.width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return [Seen({}, torch.empty(0), [], h.requires_grad_(), None)]


def reports(keys: list[int]) -> dict:
    """The same embedding for the same key; -1 is a record without a report."""
    rows = {k: torch.randn(TEXT, generator=torch.Generator().manual_seed(100 + k)).double() for k in set(keys) - {-1}}
    text = torch.stack([rows.get(k, torch.zeros(TEXT, dtype=torch.float64)) for k in keys])
    return {"text": text, "text_known": torch.tensor(keys) >= 0, "text_key": torch.tensor(keys), "step": 1}


def loss_of(logits: torch.Tensor) -> float:
    return float(sum(cetp.clip(logits)) / 2)


@pytest.mark.parametrize(("B", "scale", "expected"), [(4, 1.0, 0.743668), (2, 1 / 0.07, 6.2487e-7)])
def test_loss_of_orthonormal_pairs(B, scale, expected):
    """Oracle 9: ln(1 + (B - 1) exp(-s))."""
    assert loss_of(scale * torch.eye(B, dtype=torch.float64)) == pytest.approx(expected, rel=1e-4)


def test_loss_where_all_are_equal_and_the_bounds_of_t():
    """Oracle 9: ln B; t from ln(1 / 0.07) to at most ln 100, at least 0."""
    assert loss_of(torch.full((5, 5), 3.0)) == pytest.approx(np.log(5), rel=1e-6)
    objective = made()
    assert float(objective.side.t.detach()) == pytest.approx(2.659260, abs=1e-6)
    for value, expected in ((9.0, 4.605170), (-1.0, 0.0), (3.0, 3.0)):
        objective.side.t.data.fill_(value)
        objective.after_step(0)
        assert float(objective.side.t.detach()) == pytest.approx(expected, abs=1e-6)


def test_two_equal_texts_give_ln_2_whatever_the_ecgs_are():
    """Oracle 10, first part."""
    objective = made().double()
    with torch.no_grad():
        out = objective.compare(features(objective, 2), reports([3, 3]))
    assert float(out["to text"]) == pytest.approx(0.693147, abs=1e-6) and float(out["accuracy"]) == 1


def test_repeats_need_nothing():
    """Oracle 10, second part: identity targets and targets spread over equal strings, loss and gradients to 1e-12."""
    keys = [0, 1, 0, 2, 1, 0, 3]
    same = torch.tensor([[float(a == b) for b in keys] for a in keys], dtype=torch.float64)

    def run(target):
        objective = made(ecg_projection="none").double()
        seen, batch = features(objective, len(keys)), reports(keys)
        v, w = objective.side.of_ecg(seen[0].h), objective.side.of_text(batch["text"])
        loss = sum(cetp.clip(objective.side.t.exp() * v @ w.T, target)) / 2
        loss.backward()
        side = objective.side
        return loss.detach(), [seen[0].h.grad, side.text.weight.grad, side.text.bias.grad, side.t.grad]

    one, other = run(None), run(same / same.sum(1, keepdim=True))
    assert abs(one[0] - other[0]) < 1e-12
    assert all((a - b).abs().max() < 1e-12 and a.abs().max() > 1e-6 for a, b in zip(one[1], other[1]))


def test_leads_go_by_name():
    """Oracle 12: MIMIC-IV-ECG stores aVF before aVL."""
    x = np.random.default_rng(0).normal(size=(12, 1000)).astype(np.float32)
    order = [0, 1, 2, 3, 5, 4, *range(6, 12)]
    recipe = Recipe(leads=LEADS, rate=100.0)
    one = recipe.prepare(Record(x, 100.0, LEADS))
    other = recipe.prepare(Record(x[order], 100.0, tuple(LEADS[k] for k in order)))
    mapped = [np.empty_like(p.signal) for p in (one, other)]
    for to, p in zip(mapped, (one, other)):
        to[p.slots] = p.signal
    assert np.array_equal(*mapped) and order == [LEADS.index(LEADS[k]) for k in order]


def test_classes_are_ranked_by_their_own_logit():
    """Oracle 13: a softmax over the labels would turn the order around."""
    logits, y = np.array([[2.0, 0.0], [3.0, 5.0]]), np.array([[0, 0], [1, 1]])
    soft = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert soft[:, 0] == pytest.approx([0.881, 0.119], abs=1e-3)
    assert ranking.auroc(y, logits)[0] == 1 and ranking.auroc(y, soft)[0] == 0


def test_records_without_a_report_count_for_nothing():
    objective = made().double()
    keys, have = [0, -1, 1, -1, 2], [0, 2, 4]
    seen = features(objective, len(keys))
    out = objective.compare(seen, reports(keys))
    out["loss"].backward()
    assert (seen[0].h.grad[[1, 3]] == 0).all() and (seen[0].h.grad[have] != 0).any(1).all()
    alone = [Seen({}, torch.empty(0), [], seen[0].h.detach()[have], None)]
    expected = objective.compare(alone, reports([0, 1, 2]))["loss"]
    assert float(out["loss"].detach()) == pytest.approx(float(expected.detach()), abs=1e-12)


@pytest.mark.parametrize("keys", [[-1, -1, -1], [4, -1, -1]])
def test_fewer_than_two_reports_teach_nothing(keys):
    objective = made(ecg_projection="mlp", outputs=5).double()
    seen = features(objective, 3)
    loss = objective.compare(seen, reports(keys))["loss"]
    loss.backward()
    assert float(loss.detach()) == 0 and (seen[0].h.grad == 0).all()
    assert all(p.grad is not None and (p.grad == 0).all() for p in objective.side.parameters())


def test_soft_targets_by_hand():
    """Three texts about the mean (1, 0): two alike, one opposite; softmax of cosines over 0.1."""
    u, mean = torch.tensor([[1.0, 2.0], [1.0, 5.0], [1.0, -1.0]]), torch.tensor([1.0, 0.0])
    row = torch.tensor([1.0, 1.0, -1.0]).div(0.1).softmax(0)
    target = cetp.soft_targets(u, mean)
    assert torch.allclose(target[:2], row.expand(2, 3))
    assert torch.allclose(target[2], torch.tensor([-1.0, -1.0, 1.0]).div(0.1).softmax(0))
    objective = made(target="similarity").double()
    batch = reports([0, 1, 2])
    objective.fit_texts(batch["text"].mean(0))
    seen = [Seen({}, torch.empty(0), [], features(objective, 3)[0].h.detach(), None)]
    out = {name: value.detach() for name, value in objective.compare(seen, batch).items()}
    v, w = objective.side.of_ecg(seen[0].h), objective.side.of_text(batch["text"])
    log = F.log_softmax(objective.side.t.exp() * v @ w.T, 1)
    expected = -(cetp.soft_targets(batch["text"], batch["text"].mean(0)) * log).sum(1).mean()
    assert float(out["to text"]) == pytest.approx(float(expected.detach()), abs=1e-9)
    assert "text_mean" in objective.state_dict()


def test_accuracy_takes_an_equal_string_for_a_hit():
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 1.0], [0.0, 0.0, 9.0]])
    assert float(cetp.accuracy(logits, torch.tensor([7, 7, 8]))) == 1
    assert float(cetp.accuracy(logits, torch.tensor([6, 7, 8]))) == pytest.approx(1 / 3)


def test_a_step_moves_encoder_map_and_temperature():
    objective = made()
    batch = {name: value.float() if value.is_floating_point() else value for name, value in
             reports([0, 1, 2, 1]).items() if name != "step"}  # fmt: skip
    batch |= {"x": torch.randn(4, 2, 500), "present": torch.ones(4, 2, dtype=torch.bool)}
    batch |= {"length": torch.full((4,), 500), "seed": 0, "step": 49}
    out = objective(batch)
    out["loss"].backward()
    assert all(p.grad is not None for p in objective.parameters()) and out["rank"] >= 1
    assert {"to text", "to ecg", "t", "accuracy", "deviation", "alignment"} <= out.keys()


WORKER = """
import sys
import torch, torch.distributed as dist
from ecgraft.nn import ranks
import test_objectives_cetp as t
dist.init_process_group("gloo", rank=int(sys.argv[1]), world_size=2)
print(t.shares(ranks.rank()))
dist.barrier()
dist.destroy_process_group()
"""


def shares(rank: int | None) -> list[float]:
    """The loss, and the gradients of what a process holds, averaged as the loop does it. None: all in one process."""
    from ecgraft.nn import ranks

    objective, keys = made().double(), [0, -1, 1, 2, 0, 2]
    whole, batch = features(objective, 6)[0].h.detach(), reports(keys)
    mine = slice(None) if rank is None else slice(3 * rank, 3 * rank + 3)
    h = torch.nn.Parameter(whole[mine].clone())
    part = {name: value[mine] if torch.is_tensor(value) else value for name, value in batch.items()}
    loss = objective.compare([Seen({}, torch.empty(0), [], h, None)], part)["loss"]
    loss.backward()
    ranks.average_gradients(objective.side.parameters())
    side = objective.side
    found = [float(loss.detach()), float(side.t.grad), *side.text.weight.grad.flatten()[:20].tolist()]
    return found + side.text.bias.grad.tolist()


@pytest.mark.slow
def test_two_processes_are_one_with_the_whole_batch():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": os.path.dirname(__file__)}
    command = [sys.executable, "-c", WORKER]
    both = [
        subprocess.Popen([*command, str(r)], env=os.environ | where, stdout=subprocess.PIPE, text=True) for r in (0, 1)
    ]
    said = [process.communicate(timeout=120)[0] for process in both]
    expected = shares(None)
    for text in said:
        numbers = [float(word) for word in text.strip().splitlines()[-1].strip("[]").split(",")]
        assert np.allclose(numbers, expected, atol=1e-12)
