"""Heads: the features of an encoder to an answer, per record or per sample.

A head says what its `forward` reads: "pooled" features h (B, D), or all levels and, of a "record", their length (B,) in
samples, or, of "samples", how many there are. `ask` hands it over.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .conv import ConvNorm, upsample

AT_ONCE = 512  # records that are compared with all training records in one go


def reads(head: nn.Module) -> str:
    """What a head reads: "pooled", "record" or "samples"."""
    return getattr(head, "reads", "pooled")


def ask(head: nn.Module, levels: list[Tensor], h: Tensor | None, length: Tensor, samples: int) -> Tensor:
    """The logits of a head, float32: (B, K), or (B, C, K, T) of one that reads "samples". h may be None if unread."""
    given = {"pooled": (h,), "record": (levels, length), "samples": (levels, samples)}[reads(head)]
    return head(*given).float()


class Pooled(nn.Module):
    """One answer per record: dropout and a linear layer on `encoder.pool(...)`."""

    def __init__(self, width: int, classes: int, dropout: float = 0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, classes)

    def forward(self, h: Tensor) -> Tensor:  # (B, D) -> (B, K)
        return self.linear(self.dropout(h))


class Neighbours(nn.Module):
    """One answer per record: the vote of the training records whose features point most nearly its way (k-NN).

    A vote weighs exp(cosine / temperature) (Wu et al. 2018, arXiv:1805.01978); on a label vote the nearest of those
    whose label is known. The weights sum to the number of voters, and one vote more is cast as all records together
    would, so that no probability is 0 or 1. Logits are log odds; those of exclusive classes are log probabilities.
    """

    def __init__(self, width: int, classes: int, neighbours: int = 20, temperature: float = 0.07, exclusive=False):
        super().__init__()
        self.neighbours, self.temperature, self.exclusive = neighbours, temperature, exclusive
        self.register_buffer("features", torch.zeros(0, width))  # (N, D), of length 1
        self.register_buffer("targets", torch.zeros(0, classes, dtype=torch.int8))  # (N, K): 1 yes, 0 no, -1 unknown

    def fill(self, h: Tensor, y: Tensor, known: Tensor) -> None:  # (N, D), (N, K), (N, K)
        """The records that vote from now on; of exclusive classes those whose class is known."""
        if self.exclusive:
            h, y, known = (each[known.all(1)] for each in (h, y, known))
        self.features = F.normalize(h.float(), dim=1)
        self.targets = torch.where(known, y, -1).to(torch.int8)

    def forward(self, h: Tensor) -> Tensor:  # (B, D) -> (B, K)
        return torch.cat([self._logits(part) for part in h.split(AT_ONCE)])

    def _logits(self, h: Tensor) -> Tensor:
        cosine = F.normalize(h.float(), dim=1) @ self.features.T  # (B, N)
        known = self.targets >= 0
        if known.all():
            return self._vote(cosine, self.targets)
        logits = cosine.new_empty(len(cosine), known.shape[1])
        sets, which = torch.unique(known.T, dim=0, return_inverse=True)  # of voters, and that of each label
        for number, voters in enumerate(sets):
            labels = which == number
            logits[:, labels] = self._vote(cosine[:, voters], self.targets[voters][:, labels])
        return logits

    def _vote(self, cosine: Tensor, targets: Tensor) -> Tensor:  # (B, N), (N, K) -> (B, K)
        N, k = len(targets), min(self.neighbours, len(targets))
        usual = (targets.sum(0) + (1 / targets.shape[1] if self.exclusive else 0.5)) / (N + 1)  # (K,)
        nearest, which = cosine.topk(k, dim=1)
        weight = torch.zeros_like(cosine).scatter_(1, which, k * (nearest / self.temperature).softmax(1))
        yes, no = weight @ targets.float() + usual, weight @ (1 - targets).float() + 1 - usual
        return yes.log().log_softmax(1) if self.exclusive else yes.log() - no.log()

    def _load_from_state_dict(self, state: dict, prefix: str, *rest) -> None:
        """Takes as many records as the file has."""
        for name in ("features", "targets"):
            there, own = state.get(prefix + name), getattr(self, name)
            if there is not None and there.ndim:
                setattr(self, name, own.new_zeros(len(there), own.shape[1]))
        super()._load_from_state_dict(state, prefix, *rest)
        if len(self.features) != len(self.targets):
            raise ValueError(f"{len(self.features)} features of training records, but {len(self.targets)} targets")


class Features(nn.Module):
    """The pooled features themselves."""

    def forward(self, h: Tensor) -> Tensor:  # (B, D) -> (B, D)
        return h


class Dense(nn.Module):
    """One answer per lead and sample: a feature pyramid (Lin et al. 2017) over all levels, from coarse to fine.

    `leads` outputs a record: as many as the encoder has (joint), or 1 where the leads are folded into the batch, each
    alone in its slot (`alone`).
    """

    reads = "samples"

    def __init__(self, widths: list[int], strides: list[int], leads: int, classes: int, width: int = 32):
        super().__init__()
        self.strides = tuple(strides)
        self.leads = leads
        self.classes = classes
        self.laterals = nn.ModuleList(nn.Conv1d(w, width, 1) for w in widths)
        self.smooth = nn.ModuleList(ConvNorm(width, width, 3) for _ in widths[:-1])
        self.out = nn.Conv1d(width, leads * classes, 1)

    def forward(self, levels: list[Tensor], samples: int) -> Tensor:  # [(B, D, N)], T -> (B, C, K, T)
        y = self.laterals[-1](levels[-1])
        for i in reversed(range(len(levels) - 1)):
            y = F.interpolate(y, scale_factor=self.strides[i + 1] // self.strides[i])  # holds each step
            y = self.smooth[i](self.laterals[i](levels[i]) + y[..., : levels[i].shape[-1]])
        y = upsample(self.out(y), self.strides[0], samples)
        return y.unflatten(1, (self.leads, self.classes))


def alone(x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:  # (B, C, T), (B, C) -> (BC, C, T), (BC, C)
    """Each lead as a record of its own, in its own slot, all other leads absent."""
    B, C, T = x.shape
    slot = torch.eye(C, dtype=torch.bool, device=x.device)  # (C, C)
    single = torch.where(slot[..., None], x[:, :, None], 0).reshape(B * C, C, T)
    return single, (slot & present[:, :, None]).reshape(B * C, C)
