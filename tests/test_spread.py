"""The monitors of collapse against closed forms."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from ecgraft.objectives._spread import effective_rank, spread


def test_features_that_are_spread_out():
    """Four orthogonal directions, of any length: rank 4, all pairs at a squared distance of 2."""
    z = torch.eye(4) * torch.tensor([1.0, 2.0, 5.0, 0.1])[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = spread(z, (z, -z))
    assert float(found["rank"]) == pytest.approx(4, abs=1e-5)
    assert float(found["uniformity"]) == pytest.approx(-4, abs=1e-5) and float(found["alignment"]) == pytest.approx(4)
    assert float(found["deviation"]) == pytest.approx(math.sqrt(0.25 * 0.75), abs=1e-6)


def test_features_that_have_collapsed_warn():
    with pytest.warns(UserWarning, match=r"features collapse: effective rank 1\.00 of 5 records"):
        found = spread(torch.ones(5, 3))
    assert float(found["deviation"]) == pytest.approx(0, abs=1e-6) and float(found["uniformity"]) == pytest.approx(
        0, abs=1e-5
    )


def test_effective_rank_is_the_exponential_of_an_entropy():
    p = torch.tensor([0.7, 0.2, 0.1])
    expected = math.exp(-sum(x * math.log(x) for x in p.tolist()))
    assert float(effective_rank(torch.diag(p))) == pytest.approx(expected, abs=1e-5)
