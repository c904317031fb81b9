"""The losses of tasks against sums by hand."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ecgraft.objectives import supervised


def test_r_peaks_mark_their_neighbourhood_in_valid_samples_alone():
    """Two records of 20 samples, the second 12 long; peaks at 3 and 18, and at 0; two samples either way are near."""
    logits = torch.randn(2, 3, 2, 20, generator=torch.Generator().manual_seed(0))
    batch = {
        "present": torch.tensor([[True, False, True], [False, True, False]]),
        "length": torch.tensor([20, 12]),
        "peaks": torch.tensor([[3, 18], [0, -1]], dtype=torch.int32),
        "near": 2,
    }
    target = np.zeros((2, 20), int)
    target[0, 1:6] = target[0, 16:20] = target[1, 0:3] = 1
    asked = torch.stack([logits[0, [0, 2]].mean(0), logits[1, 1]])  # (B, 2, T)
    each = F.cross_entropy(asked, torch.from_numpy(target), reduction="none")
    expected = (each[0].sum() + each[1, :12].sum()) / 32
    assert torch.allclose(supervised.peaks(logits, batch, 0.0), expected, atol=1e-6)


def test_unknown_labels_teach_nothing():
    logits = torch.tensor([[0.0, 5.0], [1.0, -2.0]], requires_grad=True)
    batch = {"y": torch.tensor([[1.0, 0.0], [0.0, 0.0]]), "known": torch.tensor([[True, False], [True, False]])}
    loss = supervised.multilabel(logits, batch, 0.0)
    expected = (np.log(2) + np.log1p(np.e)) / 2
    assert abs(float(loss.detach()) - expected) < 1e-6
    loss.backward()
    assert (logits.grad[:, 1] == 0).all() and (logits.grad[:, 0] != 0).all()
