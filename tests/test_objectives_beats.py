"""Beats of Beat-SSL: where they are read, which take part, and what they are to be like."""

from __future__ import annotations

from math import comb

import pytest
import torch

from ecgraft import encoders, views
from ecgraft.objectives._beats import bins, choose, chosen_levels, read, steps_at, takes_part
from ecgraft.objectives._contrast import contrast
from ecgraft.objectives._look import Seen, draw, look
from ecgraft.record import UsageError
from made_beats import RECIPE, SOFT_BEATS, TINY, F, backward, built, corpus, made

# --- oracle 5: beats in the map


def test_bins_stand_where_the_formula_says():
    t = bins(torch.tensor([1000]), torch.ones(1), (125, 225), 7)
    u = steps_at(t, 16, shift=0.5)
    expected = [55.75, 58.875, 62, 65.125, 68.25, 71.375, 74.5]
    assert u[0].tolist() == expected
    ramp = torch.arange(120.0).expand(1, 2, 120)
    assert read(ramp, torch.tensor([0]), u).tolist() == [[expected] * 2]
    assert read(ramp, torch.tensor([0]), steps_at(t, 16))[0, 0].tolist() == [v + 0.5 for v in expected]
    slower = bins(torch.tensor([1000]), torch.tensor([2.0]), (125, 225), 7)
    assert torch.equal(slower - 1000, 2 * (t - 1000))


def test_a_step_of_our_maps_is_read_at_its_own_sample():
    """What stands at sample n * stride is read from step n: a map that holds the sample numbers gives them back."""
    encoder = encoders.build("resnet18", TINY)
    for stride, level in zip(encoder.strides, encoder(torch.zeros(1, 12, 1000), torch.ones(1, 12, dtype=torch.bool))):
        samples = (torch.arange(level.shape[-1]) * float(stride)).view(1, 1, -1)
        t = bins(torch.tensor([500]), torch.ones(1), (62.5, 112.5), 8)
        assert read(samples, torch.tensor([0]), steps_at(t, stride))[0, 0].tolist() == pytest.approx(t[0].tolist())


def test_a_change_inside_one_window_changes_that_beat_alone():
    objective = built(beats=5).eval()
    batch = made(B=2)
    batch["length"][:] = 1000
    e = torch.randn(2, 8, 63)
    time = views.unmoved(batch)
    view = Seen(batch, batch["x"], [None, None, None, e, None], None, time)
    objective.levels = [3]
    objective.project_beat = torch.nn.Linear(8 * 8, 8)
    record, beat = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([1, 2, 3, 1, 2])
    before = objective.project_beat(objective._regions(view, record, beat))
    inside = round(batch["peaks"][0, 2].item() / objective.encoder.strides[3])
    e[0, :, inside] += 1
    changed = (objective.project_beat(objective._regions(view, record, beat)) != before).any(1)
    assert changed.tolist() == [False, True, False, False, False]


def test_levels():
    encoder = encoders.build("resnet18", TINY)  # 8, 16, 32, 64, 128 ms
    assert chosen_levels(None, encoder) == [1]
    assert chosen_levels("all", encoder) == [0, 1, 2, 3, 4]
    with pytest.warns(UserWarning, match="64 ms"):
        assert chosen_levels(3, encoder) == [3]
    with pytest.raises(UsageError, match="0 to 4"):
        chosen_levels(5, encoder)


# --- oracle 8, and which beats take part


def test_fewer_than_three_leads_as_often_as_binomial():
    assert sum(comb(12, k) for k in range(3)) == 79
    assert sum(comb(12, k) for k in range(3)) / 2**12 == pytest.approx(0.019287, abs=1e-6)
    batch = {key: value[:1] for key, value in made().items() if torch.is_tensor(value)}
    batch = {key: value.expand(2000, *value.shape[1:]) for key, value in batch.items()} | {
        "x": torch.zeros(2000, 12, 1000)
    }
    seen, time = views.build({"mask": {"share": 0.5}})(batch, views.generator(0, 0))
    part = takes_part(Seen(seen, seen["x"], [], None, time), (0, 0), 3)
    assert (~part).float().mean().item() == pytest.approx(79 / 4096, abs=0.004)


def test_beats_take_part_where_they_are_seen_and_whole():
    batch = made(B=3)
    batch["peaks"] = torch.tensor([[61, 62, 500, 890, 891], [300, -1, -1, -1, -1], [500, 501, 502, 503, 504]])
    batch["present"][1, 2:] = False  # two leads
    batch["length"][0] = 1000
    cut = torch.zeros(3, 12, 1000, dtype=torch.bool)
    cut[2, :10, 500] = True  # two leads of twelve are left
    cut[2, :9, 501] = True  # three
    cut[1, 0, 300] = True  # one of two
    view = Seen(batch, None, [], None, views.unmoved(batch, cut))
    part = takes_part(view, (62, 110), 3)
    expected = [[False, True, True, True, False], [False] * 5, [False, True, True, True, True]]
    assert part.tolist() == expected
    view.time.cut[1] = False
    assert takes_part(view, (62, 110), 3)[1].tolist() == [True] + [False] * 4


def test_choice_is_limited_and_keeps_both_views_of_a_beat():
    part = torch.rand((2, 10, 30), generator=torch.Generator().manual_seed(0)) < 0.9
    chosen = choose(part, views.generator(0, 0), 16, 100)
    assert not (chosen & ~part).any() and chosen.sum() == 100
    assert torch.equal(chosen, choose(part, views.generator(0, 0), 16, 100))
    assert not torch.equal(chosen, choose(part, views.generator(0, 1), 16, 100))
    assert (chosen[0] & chosen[1]).sum() > 35
    every = choose(part, views.generator(0, 0), 16, 10_000)
    assert torch.equal(every.sum(-1), part.sum(-1).clamp(max=16))
    assert choose(part[:, :, :0], views.generator(0, 0), 16, 100).shape == (2, 10, 0)


@pytest.mark.parametrize("most", [40, 300, 10_000])
def test_no_class_has_more_than_half(most):
    random = torch.Generator().manual_seed(0)
    part = torch.rand((2, 10, 30), generator=random) < 0.9
    classes = torch.tensor([0] * 25 + [1] * 3 + [2] + [-1]).expand(10, 30)
    chosen = choose(part, views.generator(0, 0), 30, most, classes)
    used = [(chosen & (classes == k)).sum().item() for k in (0, 1, 2, -1)]
    assert 2 * max(used[:3]) <= sum(used) and not (chosen & ~part).any()
    others = (part & (classes != 0)).sum().item()
    assert sum(used) == min(most, 2 * others)
    alone = choose(part, views.generator(0, 0), 30, most, torch.zeros_like(classes))
    assert not alone.any()


# --- targets and loss


def targets(objective, record, beat, kind, x=None):
    x = torch.zeros(len(record), F) if x is None else x
    T, among = objective._beat_targets(*(torch.tensor(v) for v in (record, beat, kind)), x)
    return T.tolist(), among


def test_targets_of_beats():
    """Records 0 0 1 1 0, the last beat is the first one in the other view; one class is unknown."""
    names = ([0, 0, 1, 1, 0], [0, 1, 0, 1, 0], [5, 2, 5, -1, 5])
    hard = [[0, 0, 1, 0, 1], [0] * 5, [1, 0, 0, 0, 1], [0] * 5, [1, 0, 1, 0, 0]]
    assert targets(built(), *names) == (hard, None)
    own = [[0, 0, 0, 0, 1], [0] * 5, [0] * 5, [0] * 5, [1, 0, 0, 0, 0]]
    T, among = targets(built(beat_scope="record"), *names)
    assert own == T and among.sum().item() == 9 + 4
    unknown = targets(built(), [0, 0], [3, 3], [-1, -1])
    assert unknown[0] == [[0, 1], [1, 0]]
    objective = built(**SOFT_BEATS)
    x = torch.tensor(corpus()[1][:5], dtype=torch.float32)
    x[4], x[3] = x[0], torch.nan
    z = objective.of_beats.standard(x)
    cosine = torch.nn.functional.cosine_similarity(z[:, None], z[None], dim=-1)
    expected = ((1 + cosine) / 2) ** objective.exponents[1]
    expected[3] = expected[:, 3] = 0
    expected[0, 4] = expected[4, 0] = 1
    T, _ = targets(objective, *names, x)
    assert torch.allclose(torch.tensor(T), expected.fill_diagonal_(0), atol=1e-5)


def test_excluded_beats_get_no_gradient():
    """Oracle 9: the map around a beat that takes no part has no gradient of the beats' loss."""
    objective, batch = built(after={}, views={}), made(B=3)
    batch["peaks"][0, 2] = -1
    seen = look(objective.encoder, draw(batch, objective.view, objective.after, RECIPE, 2))
    maps = [view.levels[1].detach().requires_grad_() for view in seen]
    for view, e in zip(seen, maps):
        view.levels[1] = e
    objective._beats(seen, batch)["beat"].backward()
    moved = maps[0].grad[0].abs().sum(0) > 0
    (before, after), stride = batch["peaks"][0, [1, 3]].tolist(), objective.encoder.strides[1]
    first, last = (before + 113) // stride + 1, (after - 63) // stride
    assert moved[:first].any() and moved[last:].any() and not moved[first:last].any()


def test_beats_follow_views_that_change_time():
    objective = built(views={"crop": {"speed": (0.5, 1.0)}}, after={})
    batch = made()
    seen = look(objective.encoder, draw(batch, objective.view, objective.after, RECIPE, 2))
    for view, (record, beat) in zip(seen, objective._choose(seen, batch, objective._classes(batch), 1000)):
        a, b = view.time.a[record], view.time.b[record]
        at = view.batch["peaks"][record, beat]
        assert torch.equal(at, torch.round(batch["peaks"][record, beat] * a + b).int())
        assert ((at - 62.5 * a >= 0) & (at + 112.5 * a <= view.batch["length"][record])).all()
    assert backward(objective, batch)["beats"] >= 2


def test_beats_loss_is_the_one_loss():
    """The beats of a batch by hand: regions, projector, SupCon of the classes."""
    objective, batch = built(), made()
    seen = look(objective.encoder, draw(batch, objective.view, objective.after, RECIPE, 2))
    out = objective._beats(seen, batch)
    classes = objective._classes(batch)
    chosen = objective._choose(seen, batch, classes, 1024)
    z = objective.project_beat(torch.cat([objective._regions(v, *which) for v, which in zip(seen, chosen)]))
    kind = torch.cat([classes[which] for which in chosen])
    assert len(kind) == out["beats"] and (kind >= 0).all()
    T = (kind[:, None] == kind).float().fill_diagonal_(0)
    assert out["beat"].item() == pytest.approx(contrast(z, T, 0.1).item(), rel=1e-5)
    assert out["beat_positives"].item() == pytest.approx(T.sum(1)[T.sum(1) > 0].mean().item(), rel=1e-6)
