"""Beat-SSL: its beats, its targets and its loss against the oracles of beat-ssl.md 6."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch
import torch.distributed as dist

from ecgraft import encoders, plugs
from ecgraft.nn import ranks
from ecgraft.objectives import beat_ssl, simclr
from ecgraft.objectives._look import draw, look
from ecgraft.record import InputError, UsageError
from ecgraft.signal.beats import RECORD_FEATURES
from ecgraft.signal.leads import DOWER, INVERSE_DOWER
from ecgraft.signal.recipe import Recipe
from made_beats import RECIPE, SMALL, SOFT_BEATS, TINY, F, backward, built, corpus, gradients, made

# --- oracle 6 and 7: the views


def test_projection_of_the_dipole():
    P = DOWER @ INVERSE_DOWER
    assert np.abs(INVERSE_DOWER @ DOWER - np.eye(3)).max() < 1e-12
    assert np.abs(P - P.T).max() < 1e-12 and np.abs(P @ P - P).max() < 1e-12
    assert np.trace(P) == pytest.approx(3)
    assert np.diag(P) == pytest.approx([0.1536, 0.9297, 0.3073, 0.4257, 0.4097, 0.3154, 0.2696, 0.1890], abs=6e-5)


@pytest.mark.parametrize("preset", ["replica", "recommended"])
def test_views_of_a_preset(preset):
    objective = built(fitted=False, preset=preset)
    batch = made()
    seen, x, time = draw(batch, objective.view, objective.after, RECIPE, 1)[0]
    x_mv = seen["x"]
    if preset == "replica":
        assert torch.allclose(x_mv[:, 1] - x_mv[:, 0], x_mv[:, 2], atol=1e-5)
        assert torch.allclose(x_mv[:, 3:6].sum(1), torch.zeros(6, 1000), atol=1e-5)
        assert np.linalg.matrix_rank(x_mv[0].numpy(), tol=1e-3) == 3  # nothing is left but the dipole
    assert (time.cut.sum(-1) == 500 * seen["present"]).all()
    assert (x[time.cut] == 0).all()


def test_presets():
    replica, recommended = beat_ssl.Config(preset="replica"), beat_ssl.Config()
    assert (replica.similarity, replica.rows, replica.rhythm, replica.beat) == ("raw", "weighted", "soft", "hard")
    assert replica.views == {"vcg": {"residual": "drop"}}
    assert (recommended.similarity, recommended.rows) == ("standard", "normalised")
    assert recommended.views["vcg"] == {"residual": "keep"} and recommended.views.keys() == simclr.Config().views.keys()
    assert beat_ssl.Config(preset="replica", rows="normalised").rows == "normalised"
    assert built(preset="replica").exponents.tolist() == [50, 50]
    assert built(exponent=7).exponents.tolist() == [7, 7]
    fresh = beat_ssl.build(beat_ssl.Config(preset="replica"), encoders.build("resnet18", TINY), RECIPE)
    names = RECORD_FEATURES
    assert len(fresh.of_records.median) == len(names)
    assert fresh.of_records.units[names.index("rr_mean")] == 1000 and fresh.of_records.units[names.index("pnn50")] == 1
    assert fresh.of_records.units[names.index("qrs_slope_mean")] == 1


# --- the objective


OPTIONS = [
    {},
    {"preset": "replica"},
    {"rhythm": "hard", "beat": "none"},
    {"rhythm": "hard"},
    SOFT_BEATS,
    {"beat_scope": "record"},
    SOFT_BEATS | {"beat_scope": "record"},
    {"beat_balance": True, "beats": 3, "most_beats": 12},
    {"beat_class": "model", "beat_balance": True},
    {"rows": "bce"},
    {"rows": "weighted", "level": "all"},
    {"level": 0, "similarity": "raw"},
]


@pytest.mark.parametrize("values", OPTIONS, ids=str)
def test_every_option_learns(values):
    objective = built(**values)
    batch = made() | {"beat_class": torch.arange(30).view(6, 5) % 4 - 1, "step": 49}
    out = backward(objective, batch)
    assert all(
        p.grad is not None and (p.grad != 0).any() for name, p in objective.named_parameters() if "2.bias" not in name
    )
    assert out["loss"].item() == pytest.approx((out["rhythm"] + out.get("beat", 0)).item(), rel=1e-6)
    assert out["rank"] >= 1
    if objective.config.with_beats:
        assert 2 <= out["beats"] <= objective.config.most_beats and out["beat"] > 0
    again = built(**values)(batch)
    assert torch.equal(again["loss"], out["loss"].detach())


def test_simclr_is_hard_rhythm_targets_without_beats():
    torch.manual_seed(0)
    encoder = encoders.build("resnet18", TINY)
    other = simclr.build(simclr.Config(hidden=16, outputs=8), encoder, RECIPE)
    ours = built(fitted=False, rhythm="hard", beat="none")
    loss, expected = backward(ours, made())["loss"], backward(other, made())["loss"]
    assert torch.equal(loss, expected)
    for a, b in zip(gradients(ours), gradients(other), strict=True):
        assert torch.equal(a, b)


def test_without_weight_beats_change_nothing():
    """Oracle 9: lambda_b = 0 gives the gradients of the rhythm loss."""
    nothing, whole, none = built(beat_weight=0.0), built(), built(beat="none")
    whole(made())["rhythm"].backward()
    backward(nothing, made())
    backward(none, made())
    for other in (none, nothing):
        shared = [p.grad for name, p in whole.named_parameters() if "project_beat" not in name]
        for a, b in zip(shared, gradients(other), strict=True):
            assert torch.allclose(a, b, atol=1e-6)


def test_targets_of_records_count_as_many_as_asked():
    objective = built(positives=3.0, seed=3)
    objective.fit(corpus()[0], corpus()[1], batch=32)
    sums = []
    for k in range(9):
        batch = made(B=32, seed=k)
        batch["record_features"] = torch.tensor(corpus()[0][32 * k : 32 * k + 32], dtype=torch.float32)
        sums.append(objective._rhythm_targets(batch, 32).sum(1))
    assert torch.cat(sums).median().item() == pytest.approx(3, rel=0.1)


def test_records_without_features_or_beats_have_hard_targets():
    objective, batch = built(), made()
    batch["record_features"][1] = torch.nan
    batch["record_features"][3, 1:] = torch.nan  # one is enough
    batch["peaks"][2, 2:] = -1  # two beats
    T = objective._rhythm_targets(batch, 6)
    for i in (1, 2):
        assert T[i].nonzero().flatten().tolist() == [i + 6] and T[:, i].nonzero().flatten().tolist() == [i + 6]
    assert (T[[0, 3, 4, 5]] > 0).sum(1).tolist() == [7] * 4
    assert (T.diagonal(6) == 1).all() and torch.equal(T, T.T)
    seen = look(objective.encoder, draw(batch, objective.view, objective.after, RECIPE, 2))
    chosen = objective._choose(seen, batch, objective._classes(batch), 1000)
    assert not (torch.cat([record for record, _ in chosen]) == 2).any()
    backward(objective, batch)


def without_beats(batch):
    batch["peaks"][:] = -1


def without_columns(batch):
    batch["peaks"], batch["beat_features"] = batch["peaks"][:, :0], batch["beat_features"][:, :0]


def without_features(batch):
    batch["record_features"][:] = torch.nan
    batch["beat_features"][:] = torch.nan


def one_beat(batch):
    batch["length"][:] = 200
    batch["x"][:, :, 200:] = 0
    batch["x"][1:], batch["present"][1:] = 0, False


def single_lead(batch):
    batch["present"][:, 1:], batch["x"][:, 1:] = False, 0


def without_chest_leads(batch):
    batch["present"][:, 6:], batch["x"][:, 6:] = False, 0


SPOILT = [without_beats, without_columns, without_features, one_beat, single_lead, without_chest_leads]


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda f: f.__name__)
@pytest.mark.parametrize("values", [{}, SOFT_BEATS | {"rows": "weighted", "beat_balance": True}], ids=["hard", "soft"])
def test_poor_batches(spoil, values):
    objective, batch = built(**values), made()
    spoil(batch)
    out = backward(objective, batch)
    if spoil in (without_beats, without_columns):
        assert out["beats"] == 0 and out["beat"] == 0 and out["loss"] == out["rhythm"]
        assert torch.allclose(out["positives"], torch.ones(()))
    if spoil in (single_lead, without_chest_leads):
        assert out["beats"] > 10
    if spoil is without_features:
        assert out["positives"] == 1 and (out["beat_positives"] == 1 or values)


def test_records_of_one_lead():
    recipe = Recipe(leads=("II",), seconds=4.0)
    encoder = encoders.build("resnet18", TINY | {"leads": ("II",)})
    objective = beat_ssl.build(beat_ssl.Config(**SMALL), encoder, recipe)
    objective.fit(*corpus(), batch=6)
    batch = made()
    batch |= {"x": batch["x"][:, 1:2], "present": batch["present"][:, 1:2]}
    assert backward(objective, batch)["beats"] > 10


@pytest.mark.parametrize("name", plugs.names("encoders"))
def test_every_encoder(name):
    torch.manual_seed(0)
    objective = built(encoder=encoders.build(name))
    out = backward(objective, made(B=3))
    assert out["beats"] > 2
    assert all(p.grad is not None for p in objective.encoder.parameters())


# --- what it is told, and what it keeps


def test_constants_are_kept_and_restored():
    fitted, fresh = built(), built(fitted=False)
    with pytest.raises(UsageError, match="fit"):
        fresh(made())
    fresh.load_state_dict(fitted.state_dict())
    fitted, fresh = fitted.train(), fresh.train()
    assert torch.equal(fresh(made())["loss"], fitted(made())["loss"])
    tensors = built(fitted=False)
    tensors.fit(*(torch.tensor(x) for x in corpus()), batch=6)
    assert torch.equal(tensors.centres, built().centres) and torch.equal(tensors.exponents, built().exponents)


def test_wrong_use_is_named():
    with pytest.raises(InputError, match=r"\(n, 5\)"):
        built(fitted=False).fit(np.zeros((9, 3)), np.zeros((9, F)), batch=6)
    with pytest.raises(UsageError, match="positives"):
        built(positives=20.0)
    with pytest.raises(UsageError, match="cluster"):
        built(beat_class="model")(made())
    batch = made()
    batch["x"] = RECIPE.normalise_batch(batch["x"], batch["present"], batch["length"])
    with pytest.raises(InputError, match="millivolt"):
        built()(batch)
    built()(made() | {"x": torch.zeros(6, 12, 1000)})


def share(rank: int, world: int, file: str, queue) -> None:
    """One of two processes, which has its half of the records, all with other numbers of beats."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", f"file://{file}", rank=rank, world_size=world)
    batch, objective = made(), ranks.share_norms(built(views={}, after={}, **SOFT_BEATS))
    batch["peaks"][0], batch["peaks"][1, 1] = -1, -1
    half = slice(6 // world * rank, 6 // world * (rank + 1))
    batch = {key: value[half] if torch.is_tensor(value) else value for key, value in batch.items()}
    out = objective(batch)
    out["loss"].backward()
    ranks.average_gradients(objective.parameters())
    flat = torch.cat([p.grad.flatten() for p in objective.parameters()])
    if world > 1:
        queue.put((out["loss"].item(), out["beats"].item(), flat.tolist()))
        queue.close()
        queue.join_thread()
        dist.barrier()
        dist.destroy_process_group()
        return
    queue.append((out["loss"].item(), out["beats"].item(), flat.tolist()))


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path):
    alone: list = []
    share(0, 1, "", alone)
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    workers = [spawn.Process(target=share, args=(k, 2, str(tmp_path / "meet"), queue)) for k in (0, 1)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    for loss, beats, flat in found:
        assert beats == alone[0][1] and loss == pytest.approx(alone[0][0], rel=1e-4)
        assert np.allclose(flat, alone[0][2], rtol=1e-2, atol=1e-4)


def test_half_precision():
    with torch.autocast("cpu", torch.bfloat16):
        out = backward(built(), made())
    assert out["loss"].item() == pytest.approx(built()(made())["loss"].item(), rel=0.1)


# --- oracle 10


def test_dice_is_f1():
    draw = np.random.default_rng(0)
    for _ in range(5):
        a, b = draw.random((2, 200)) < 0.3
        hit, false, missed = (a & b).sum(), (a & ~b).sum(), (~a & b).sum()
        precision, recall = hit / (hit + false), hit / (hit + missed)
        dice = 2 * hit / (a.sum() + b.sum())
        assert dice == pytest.approx(2 * precision * recall / (precision + recall))
