"""An encoder for other leads than it was made for, on every file in encoders/."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ecgraft import encoders, plugs
from ecgraft.encoders._leads import for_leads
from ecgraft.record import LEADS, UsageError
from made_tasks import SMALL

SOME = ("V5", "I", "aVF")  # in an order of their own
BRANCHES = ("separate", "shared", "joint")
KINDS = [*plugs.names("encoders"), *(f"vgg {branches}" for branches in BRANCHES)]


def built(kind: str, leads=LEADS) -> nn.Module:
    """In eval mode, and with norms and lead embeddings that are not at their trivial start."""
    name, *branches = kind.split()
    config = SMALL.get(name, {}) | {"leads": leads} | ({"branches": branches[0]} if branches else {})
    torch.manual_seed(0)
    encoder = encoders.build(name, config).eval()
    for key, value in encoder.state_dict().items():
        if (value.ndim == 1 and value.is_floating_point()) or key.endswith(".table"):
            value.add_(0.2 * torch.rand_like(value))
    return encoder


def signal(leads: int) -> torch.Tensor:
    return torch.randn(2, leads, 250, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def said(encoder: nn.Module, x: torch.Tensor, present=None) -> tuple[list[torch.Tensor], torch.Tensor]:
    present = torch.ones(x.shape[:2], dtype=torch.bool) if present is None else present
    levels = encoder(x, present)
    return levels, encoder.pool(levels, torch.full((len(x),), x.shape[2]))


def of_each(value: torch.Tensor, places: list[int]) -> torch.Tensor:  # (B, C D, ...) -> (B, C' D, ...)
    """What belongs to these leads, where features stand lead after lead."""
    return value.unflatten(1, (len(LEADS), -1))[:, places].flatten(1, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_leads_give_the_same_answers(kind):
    encoder = built(kind)
    other = for_leads(encoder, LEADS)
    one, two = said(encoder, signal(12)), said(other, signal(12))
    assert all(torch.equal(a, b) for a, b in zip([*one[0], one[1]], [*two[0], two[1]]))
    other.requires_grad_(False).state_dict()["stages.0." + first(other)].zero_()
    assert encoder.state_dict()["stages.0." + first(encoder)].any()


def first(encoder: nn.Module) -> str:
    return next(iter(encoder.stages[0].state_dict()))


@pytest.mark.parametrize("leads", [SOME, ("II", "V1"), tuple(reversed(LEADS))], ids=lambda leads: str(len(leads)))
@pytest.mark.parametrize("kind", KINDS)
def test_some_leads_are_as_all_with_the_others_absent(kind, leads):
    """In any order: leads go by name."""
    encoder, x = built(kind), signal(len(leads))
    places = [LEADS.index(lead) for lead in leads]
    whole, present = torch.full((2, 12, 250), torch.nan), torch.zeros(2, 12, dtype=torch.bool)
    whole[:, places], present[:, places] = x, True
    few = said(for_leads(encoder, leads).double(), x.double())
    many = of_some(encoder, *said(encoder.double(), whole.double(), present), places)
    for a, b in zip([*few[0], few[1]], [*many[0], many[1]]):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


def of_some(encoder: nn.Module, levels: list, pooled: torch.Tensor, places: list[int]) -> tuple:
    """What an encoder of these leads alone would say, from levels and features with the others absent."""
    branches = getattr(encoder, "branches", "joint")
    if branches == "joint":
        return levels, pooled
    levels = [of_each(level, places) for level in levels]
    if branches == "separate":
        return levels, of_each(pooled, places)
    return [level * len(places) / 12 for level in levels], pooled  # maps of a record with fewer leads are scaled up


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_again(kind):
    """Leads that are reordered, or added and taken away, leave nothing behind."""
    encoder = built(kind, SOME)
    for leads in (("aVF", "V5", "I"), ("I", "X", "aVF", "V5")):
        back = for_leads(for_leads(encoder, leads), SOME).state_dict()
        assert all(torch.equal(value, back[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_leads_are_drawn_the_same_each_time(kind):
    encoder, leads = built(kind), ("I", "CM5", "ECG1")
    torch.manual_seed(1)
    one = for_leads(encoder, leads).state_dict()
    before = torch.rand(1)
    other = for_leads(encoder, leads).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), before)


def test_one_lead_by_hand():
    encoder = built("resnet18")
    other = for_leads(encoder, ("V2",))
    assert other.leads == ("V2",) and not other.training and other.name == "resnet18"
    assert torch.equal(other.stages[0].conv.weight[:, 0], encoder.stages[0].conv.weight[:, LEADS.index("V2")])
    assert torch.equal(other.stages[1][0].first.conv.weight, encoder.stages[1][0].first.conv.weight)


def test_an_architecture_that_is_another_one_for_one_lead():
    with pytest.raises(UsageError, match="encoder inception: for 1 leads it has other layers than for its own 12"):
        for_leads(built("inception"), ("I",))
