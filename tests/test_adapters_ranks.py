"""Who gets how many ranks: by number, pattern, budget and importance, against arithmetic by hand."""

from __future__ import annotations

import math

import pytest

from ecgraft import adapters, encoders
from ecgraft.adapters import lrc, rd_lora
from ecgraft.adapters._ranks import Allocation, Place, by_importance, parameters, resolve, spent
from ecgraft.record import UsageError

SMALL = {"widths": (8, 8, 16, 32), "stem": 8, "leads": ("I", "II")}
THREE = {"a": Place(4, 6), "b": Place(10, 10, 3), "c": Place(2, 3)}  # 10, 60 and 5 parameters a rank


def _ranks(rank, budget=None, places=THREE, whole=1000) -> dict[str, int]:
    return resolve("lora", places, rank, budget, whole)


def test_a_number_is_for_all_and_stops_at_the_outputs():
    assert _ranks(5) == {"a": 5, "b": 5, "c": 3}
    assert spent(THREE, _ranks(5)) == 50 + 300 + 15


def test_patterns_are_taken_by_their_word_the_first_counts():
    assert _ranks({"a": 2, "*": 3}) == {"a": 2, "b": 3, "c": 3}
    assert _ranks({"[ab]": 2}) == {"a": 2, "b": 2}
    assert _ranks({"b": 0, "*": 1}) == {"a": 1, "c": 1}


def test_a_budget_takes_the_largest_rank_that_fits():
    """A rank of all three costs 75; c has at most 3, so that rank 4 costs 295, not 300. `rank` itself is no matter."""
    assert [spent(THREE, _ranks(r)) for r in (1, 2, 3, 4, 5)] == [75, 150, 225, 295, 365]
    expected = {75: 1, 149: 1, 150: 2, 294: 3, 295: 4, 10_000: 10}
    assert {most: _ranks(2, most)["b"] for most in expected} == expected
    assert _ranks(5, 0.15) == _ranks(5, 150)  # below 1 a share of the whole
    assert parameters(0.15, 1000) == 150 and parameters(40, 1000) == 40


@pytest.mark.parametrize(
    "rank,budget,said",
    [
        (0, None, r"rank 0; its 3 layers can have 1 to 10, the most in 'b' \(adapter_config.rank=8\)"),
        (11, None, r"rank 11; its 3 layers can have 1 to 10, the most in 'b'"),
        ({"c": 4}, None, r"layer 'c' cannot have rank 4 \(adapter_config.rank\); 1 to 3, or 0"),
        ({"a": -1}, None, r"layer 'a' cannot have rank -1"),
        ({"aa": 4, "b": 2}, None, r"rank 'aa' fits no layer; did you mean 'a'"),
        ({"*.conv": 4}, None, r"rank '\*.conv' fits no layer; known: a, b, c"),
        (5, 74, r"budget of 74 parameters; rank 1 in its 3 layers takes 75 already. Raise adapter_config.budget"),
        ({"a": 3}, 29, r"take 30 parameters, more than the budget of 29; lower the ranks or raise"),
        ("auto", None, r"rank=auto is found out from labelled records \(ecgraft adapt\); give a number"),
    ],
)
def test_ranks_that_cannot_be_are_named(rank, budget, said):
    with pytest.raises(UsageError, match=rf"adapter lora: .*{said}"):
        _ranks(rank, budget)


def test_nowhere_to_work():
    with pytest.raises(UsageError, match=r"adapter lora finds no layer .* adapter_config.place"):
        _ranks(4, places={})


@pytest.mark.parametrize("adapter", ["lrc", "rd_lora"])
def test_an_encoder_says_the_same(adapter):
    encoder = encoders.build("resnet18", SMALL)
    for values, said in (
        ({"rank": 33}, "can have 1 to 32, the most in 'stages.4.0.first"),
        ({"rank": {"stages.9.*": 4}}, r"rank 'stages.9.\*' fits no layer"),
        ({"rank": {"stages.0*": 9}}, "layer 'stages.0.*' cannot have rank 9"),
        ({"rank": "auto"}, "rank=auto"),
        ({"budget": 10}, "a budget of 10 parameters"),
        ({"budget": 0}, "budget = 0"),
        ({"budget": math.inf}, "budget = inf"),
        ({"rank": "many"}, "rank"),
    ):
        with pytest.raises(UsageError, match=said):
            adapters.attach(encoder, adapter, values)
    saved = adapters.attach(encoder, adapter, {"budget": 0.1})
    whole = sum(p.numel() for p in encoders.build("resnet18", SMALL).parameters())
    state = encoder.state_dict()
    taken = sum(state[name].numel() for name in saved if name.endswith(("down", "up")))
    assert 0.05 * whole < taken <= 0.1 * whole


def test_places_cost_what_they_take():
    encoder = encoders.build("resnet18", SMALL)
    for plug, config in ((lrc, lrc.Config(rank=3)), (rd_lora, rd_lora.Config(rank=3, biases=False, norm="frozen"))):
        places = plug.places(encoder, config)
        assert list(plug.weights(encoder, config)) == list(places)
        assert all(layer.weight.ndim == 3 for layer in plug.weights(encoder, config).values())
        saved = adapters.attach(encoder, plug.__name__.split(".")[-1], {"rank": 3})
        state = encoder.state_dict()
        taken = sum(state[name].numel() for name in saved if name.endswith(("down", "up")))
        assert taken == spent(places, dict.fromkeys(places, 3))
        adapters.detach(encoder)


# --- by importance


def _many(n: int) -> dict[str, Place]:
    return {str(i): Place(20, 20) for i in range(n)}


@pytest.mark.parametrize("kappa,published", [(0.6, 13), (0.9, 3), (0.2, 27), (0.8, 6), (0.7, 10), (0.1, 31)])
def test_share_rule(kappa, published):
    """CE-SSL, oracle 8: the published code gives 34 - floor(35 kappa) of 34 matrices the high rank; here it is
    ceil(c n) with c = 1 - kappa, which is never fewer and at most one more.
    """
    assert 34 - math.floor(35 * kappa) == published
    importance = {str(i): float(i) for i in range(34)}
    ranks = by_importance(_many(34), importance, Allocation(high=16, share=1 - kappa), None, 0)
    high = [name for name, rank in ranks.items() if rank == 16]
    assert set(ranks.values()) == {8, 16}
    assert len(high) == math.ceil(round(34 * (1 - kappa), 9)) and published <= len(high) <= published + 1
    assert high == [str(i) for i in range(34 - len(high), 34)]  # those of the highest importance


def test_share_rule_is_exact_where_a_product_is_whole():
    """0.3 * 10 is 3, though 3.0000000000000004 in floating point would be rounded up."""
    for share, n, expected in ((0.3, 10, 3), (0.7, 10, 7), (0.1, 30, 3), (0, 5, 0), (1, 5, 5), (0.01, 5, 1)):
        ranks = by_importance(_many(n), dict.fromkeys(_many(n), 1.0), Allocation(high=4, share=share), None, 0)
        assert list(ranks.values()) == [4] * expected + [2] * (n - expected)  # ties go to the first


def test_low_ranks():
    places = {"a": Place(20, 20), "b": Place(3, 3)}
    importance = {"a": 1.0, "b": 0.0}
    assert by_importance(places, importance, Allocation(high=5), None, 0) == {"a": 5, "b": 2}
    assert by_importance(places, importance, Allocation(high=1), None, 0) == {"a": 1, "b": 1}
    assert by_importance(places, importance, Allocation(high=8, low=7), None, 0) == {"a": 8, "b": 3}


def test_budget_rule_by_hand():
    """From rank 1 to 3 a, b and c cost 20, 120 and 10 more than 75. Importance per parameter: 0.2, 0.1, 0.3."""
    importance = {"a": 4.0, "b": 12.0, "c": 3.0}
    chosen = Allocation(high=3, low=1, rule="budget")

    def raised(budget: float) -> str:
        ranks = by_importance(THREE, importance, chosen, budget, 0)
        assert spent(THREE, ranks) <= budget
        return "".join(name for name, rank in ranks.items() if rank == 3)

    expected = {75: "", 84: "", 85: "c", 104: "c", 105: "ac", 224: "ac", 225: "abc"}
    assert {budget: raised(budget) for budget in expected} == expected
    importance["b"] = 1000.0  # the first in order, and what does not fit is passed over
    assert {budget: raised(budget) for budget in (85, 194, 195, 205)} == {85: "c", 194: "ac", 195: "b", 205: "bc"}


def test_budget_rule_never_exceeds_and_an_infinite_budget_gives_all():
    places = {str(i): Place(3 + i * i, 5 + i, 1 + 2 * (i % 2)) for i in range(12)}
    importance = {name: float((7 * i) % 5) for i, name in enumerate(places)}
    chosen = Allocation(high=4, rule="budget")
    least, most = (spent(places, dict.fromkeys(places, r)) for r in (2, 4))
    for budget in range(least, most + 50, 37):
        assert spent(places, by_importance(places, importance, chosen, budget, 0)) <= budget
    for budget in (most, 1e15):
        assert by_importance(places, importance, chosen, budget, 0) == dict.fromkeys(places, 4)


def test_budget_rule_ties_go_by_the_order_of_layers():
    places, importance = _many(4), dict.fromkeys(_many(4), 0.0)
    ranks = by_importance(places, importance, Allocation(high=2, low=1, rule="budget"), 4 * 40 + 2 * 40, 0)
    assert list(ranks.values()) == [2, 2, 1, 1]


def test_budget_rule_needs_a_budget_that_holds_the_low_ranks():
    chosen, importance = Allocation(high=4, rule="budget"), dict.fromkeys(THREE, 1.0)
    with pytest.raises(UsageError, match=r"rank 2 in every layer takes 150 parameters.* 149; lower allocation.low"):
        by_importance(THREE, importance, chosen, 149, 0)
    with pytest.raises(UsageError, match=r"low 5 is more than high 4"):
        by_importance(THREE, importance, Allocation(high=4, low=5), None, 0)
    with pytest.raises(UsageError, match=r"rule=budget .* give adapter_config.budget"):
        by_importance(THREE, importance, chosen, None, 0)
