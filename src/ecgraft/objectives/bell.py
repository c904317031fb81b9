"""BELL (Liu et al. 2024): bootstrap each lead's latent. BYOL lead by lead, without negative pairs.

The online features of a lead in one view predict the target's of the same lead (intra) and of the other leads (inter)
in another view. An encoder whose branches are `separate` or `shared` gives the features of its leads in one pass; any
other encoder reads each lead as a record of its own, alone in its slot, which tells it the lead, and the whole record
as one lead more: an encoder that has never seen two leads together would have no use for them. Select no checkpoint by
the loss: a collapsed network has the lowest.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from .. import views
from ..signal.recipe import Recipe
from ..views import generator, uniform
from ._look import Seen, draw, look
from ._per_lead import LeadHeads, SharedHead
from ._spread import due, spread
from ._target import Bootstrap, Guard, Target, deviation, joined, unit

NEEDS: tuple[str, ...] = ()


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(Bootstrap):
    """gamma: share of the intra-lead term. predictor: `auto` is per_lead for separate branches, else shared.

    pairs   `sampled` takes two leads of each record at each step, where it can such that both views have; `auto` does
            so where leads are read one by one, because that costs 2 / C of what `all` costs
    whole   where leads are read one by one: the record with all its leads is one more, and one of the two sampled
    """

    gamma: float = Field(0.5, ge=0, le=1)
    pairs: Literal["auto", "all", "sampled"] = "auto"
    predictor: Literal["auto", "per_lead", "shared"] = "auto"
    whole: bool = True


class Bell(nn.Module):
    """`matrix`: D of the last batch (C, C), online lead by target lead, NaN where no record has the pair.

    C counts the whole record, the last of them, where it is one of the leads.
    """

    def __init__(self, config: Config, encoder: nn.Module, recipe: Recipe):
        super().__init__()
        self.config, self.encoder, self.recipe = config, encoder, recipe
        self.view, self.after = views.build(config.cropped(), recipe), views.build(config.after, recipe)
        branches, C = getattr(encoder, "branches", "joint"), len(encoder.leads)
        self.folds = branches == "joint"
        self.whole = self.folds and config.whole
        self.sampled = config.pairs == "sampled" or (config.pairs == "auto" and self.folds)
        width = encoder.width // C if branches == "separate" else encoder.width
        own = {"auto": branches == "separate", "per_lead": True, "shared": False}[config.predictor]
        self.project = _head(branches == "separate", C, width, config)
        self.predict = _head(own, C + self.whole, config.outputs, config)
        self.target = Target(config, self._followed())
        self.guard = Guard(config.patience)
        self.matrix: Tensor | None = None

    def forward(self, batch: dict) -> dict[str, Tensor]:
        drawn = draw(batch, self.view, self.after, self.recipe, 2)
        if self.folds:  # the views as wholes are not encoded
            seen = [Seen(view, x, [], x.new_empty(len(x), 0), time) for view, x, time in drawn]
        else:
            seen = look(self.encoder, drawn)
        return self.compare(seen, batch)

    def compare(self, seen: list[Seen], batch: dict) -> dict[str, Tensor]:
        """gamma L_intra + (1 - gamma) L_inter of the first two views, summed over both ways."""
        asking, answering = zip(*self.config.ways())
        leads = self._leads(seen, batch)
        there = torch.cat([leads[i] for i in asking])  # (W B, C)
        q = self.predict(self.project(self._features([seen[i] for i in asking], there), there), there)  # (W B, C, O)
        answered = torch.cat([leads[j] for j in answering])
        z = self._answer([seen[j] for j in answering], answered)
        W = len(asking)
        ways = [distances(*four) for four in zip(*(side.chunk(W) for side in (q, z, there, answered)))]
        self.matrix = _matrix(ways)
        losses, intra, inter = (sum(part) for part in zip(*(fused(D, n, self.config.gamma) for D, n in ways)))
        deviations = {"q_deviation": deviation(q, there), "z_deviation": deviation(z, answered)}
        if self.training:
            self.guard.watch(deviations["z_deviation"])
        found = {"loss": losses, "intra": intra / W, "inter": inter / W, **deviations}
        return found | (spread(z[answered][: len(batch["x"])]) if due(batch) else {})

    def after_step(self, step: int) -> None:
        self.target.follow(self._followed(), step)
        self.guard.after_step()

    def _leads(self, seen: list[Seen], batch: dict) -> list[Tensor]:
        """Which leads take part in each of two views, 2 x (B, C): the present ones, or two of them."""
        present = [view.batch["present"] for view in seen[:2]]
        if self.whole:
            present = [torch.cat([p, p.sum(1, keepdim=True) > 1], 1) for p in present]
        if not self.sampled:
            return present
        random = generator(f"{batch['seed']}/leads", batch["step"], batch["x"].device)
        order = uniform(random, tuple(present[0].shape)) + ~(present[0] & present[1])  # those of both views first
        if self.whole:
            order[:, -1] = -1
        return [p & (order.masked_fill(~p, 3).argsort(1).argsort(1) < 2) for p in present]

    def _features(self, seen: list[Seen], there: Tensor) -> Tensor:  # (W B, C) -> (W B, C, D)
        x, present, length = joined(seen)
        if self.folds:
            return one_by_one(self.encoder, x, there, present, length)
        return self.encoder.by_lead([torch.cat([view.levels[-1] for view in seen])], length, present)

    @torch.no_grad()
    def _answer(self, seen: list[Seen], there: Tensor) -> Tensor:  # (W B, C) -> (W B, C, O)
        x, present, length = joined(seen)
        encoder = self.target["encoder"]
        if self.folds:
            h = one_by_one(encoder, x, there, present, length)
        else:
            h = encoder.by_lead(encoder(x, present), length, present)
        return self.target["project"](h, there)

    def _followed(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "project": self.project}


def one_by_one(encoder: nn.Module, x: Tensor, there: Tensor, present: Tensor, length: Tensor) -> Tensor:
    """The pooled features of each lead alone in its slot (nn.heads.alone), of those leads only that are there.

    x (B, C, T), there (B, C) or (B, C + 1), where the last is the whole record; present (B, C), length (B,)
    -> (B, C, D) or (B, C + 1, D), 0 where not there.
    """
    C = x.shape[1]
    record, lead = there.nonzero(as_tuple=True)  # (R,)
    read = F.one_hot(lead, C + 1)[:, :C].bool() | ((lead == C)[:, None] & present[record])  # (R, C)
    found = encoder.pool(encoder(x[record].masked_fill(~read[..., None], 0), read), length[record])  # (R, D)
    h = found.new_zeros(*there.shape, found.shape[-1])
    h[record, lead] = found
    return h


def distances(q: Tensor, z: Tensor, asked: Tensor, answered: Tensor) -> tuple[Tensor, Tensor]:
    """D_ij, the mean of |q^_i - z^_j|^2 = 2 - 2 q^_i . z^_j over the records with both leads, and their number.

    q, z (B, C, O), asked, answered (B, C) -> (C, C), (C, C). D is 0 where no record has both.
    """
    with torch.autocast(q.device.type, enabled=False):
        each = 2 - 2 * unit(q) @ unit(z).mT  # (B, C, C)
    both = asked[:, :, None] & answered[:, None]
    count = both.sum(0)
    return (each * both).sum(0) / count.clamp(min=1), count


def fused(D: Tensor, count: Tensor, gamma: float) -> tuple[Tensor, Tensor, Tensor]:
    """gamma L_intra + (1 - gamma) L_inter, L_intra and L_inter: means over the pairs of leads that some record has.

    gamma weighs the two against each other, so where a batch has no pair of one kind (its L is 0 then), as with records
    of a single lead, the other kind counts wholly, whatever gamma is.
    """
    same = torch.eye(len(D), dtype=torch.bool, device=D.device)
    kinds = [(count > 0) & same, (count > 0) & ~same]
    intra, inter = ((D * kind).sum() / kind.sum().clamp(min=1) for kind in kinds)
    weight = torch.where(kinds[1].any(), torch.where(kinds[0].any(), gamma, 0.0), 1.0)
    return weight * intra + (1 - weight) * inter, intra, inter


@torch.no_grad()
def _matrix(ways: list[tuple[Tensor, Tensor]]) -> Tensor:
    """D over all ways together."""
    count = sum(n for _, n in ways)
    return sum(D * n for D, n in ways) / torch.where(count > 0, count, torch.nan)


def _head(per_lead: bool, leads: int, inputs: int, config: Config) -> nn.Module:
    sizes = (inputs, config.hidden, config.outputs)
    return LeadHeads(leads, *sizes) if per_lead else SharedHead(*sizes)


def build(config: Config, encoder: nn.Module, recipe: Recipe) -> Bell:
    return Bell(config, encoder, recipe)
