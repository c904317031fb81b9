"""Beat-SSL (Rizqyawan et al. 2026): contrast between records and between heartbeats, with targets that may be soft.

Rizqyawan MI, Macfarlane P, Hadjidemetriou S, Deligianni F. Beat-SSL: Capturing Local ECG Morphology through
Heartbeat-level Contrastive Learning with Soft Targets. ISBI 2026; arXiv:2601.16147. A reconstruction: no code is
public.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from .. import views
from ..nn.ranks import gather, rank, total, world
from ..record import InputError, UsageError
from ..signal.recipe import Recipe
from ._beats import bins, choose, chosen_levels, enough_beats, gather_some, read, steps_at, takes_part
from ._contrast import Rows, contrast, own_view
from ._look import KG, Seen, draw, look
from ._mlp import mlp
from ._similarity import (
    Scaling,
    Similarity,
    as_features,
    centres,
    exponent_for,
    nearest,
    scalings,
    similarity,
    soft_views,
)
from ._spread import due, spread

NEEDS: tuple[str, ...] = ("peaks", "beat_features", "record_features")

RAW_EXPONENT = 50.0  # raw similarities crowd near 1
PRESETS = {
    "replica": {"similarity": "raw", "rows": "weighted", "views": {"vcg": {"residual": "drop"}}},
    "recommended": {"similarity": "standard", "rows": "normalised", "views": KG | {"vcg": {"residual": "keep"}}},
}

Seconds = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """Both levels have one loss; `beat_weight` is the factor of the beats'.

    preset         replica (as published) or recommended: what similarity, rows and views are where they are not given
    rhythm, beat   targets: hard is the other view (of beats: and those of the same class), soft S^exponent
    beat_class     cluster: nearest of `classes` centres of the corpus's beats; model: the batch's beat_class (B, P)
    beat_scope     among which beats: of the whole batch, or of the same record
    beat_balance   no class has more than half of the beats
    exponent       None: 50 for raw; for standard so that a row has `positives` targets, its own other view being one
    bias           at the start, for `rows: bce`; it is learnt, one for each level
    beats          of a record in a view, most_beats of all views of a step (of all processes), drawn at random: their
                   loss takes time and memory with the square of their number
    visible        leads in which an R peak has to be unmasked
    window, bins   s before and after the R peak, cut into bins
    level          of the encoder's maps that beats are read from; None: the coarsest of at most 20 ms; all: every one
    views, after   over the signal in mV, and over the normalised one
    record_features, beat_features    their numbers; None: those of signal.beats
    """

    preset: Literal["replica", "recommended"] = "recommended"
    rhythm: Literal["hard", "soft"] = "soft"
    beat: Literal["none", "hard", "soft"] = "hard"
    beat_class: Literal["cluster", "model"] = "cluster"
    beat_scope: Literal["batch", "record"] = "batch"
    beat_balance: bool = False
    classes: int = Field(8, ge=1)
    similarity: Similarity | None = None
    rows: Rows | None = None
    exponent: float | None = Field(None, gt=0)
    positives: float = Field(3.0, gt=1)
    tau: float = Field(0.1, gt=0)
    bias: float = -5.0
    beat_weight: float = Field(1.0, ge=0)
    beats: int = Field(16, ge=1)
    most_beats: int = Field(1024, ge=2)
    visible: int = Field(3, ge=1)
    window: tuple[Seconds, Seconds] = (0.25, 0.45)
    bins: int = Field(8, ge=1)
    level: int | Literal["all"] | None = None
    hidden: int = Field(256, ge=1)
    beat_hidden: int = Field(512, ge=1)
    outputs: int = Field(128, ge=1)
    views: dict[str, dict | None] | None = None
    after: dict[str, dict | None] = Field(default_factory=lambda: {"mask": {"share": 0.5}})
    record_features: int | None = Field(None, ge=1)
    beat_features: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _fill(self):
        for name, value in PRESETS[self.preset].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        return self

    @property
    def with_beats(self) -> bool:
        """Whether there is a loss of beats."""
        return self.beat != "none" and self.beat_weight > 0

    @property
    def classes_from(self) -> Literal["cluster", "model"] | None:
        """Where the classes of beats come from, if they are asked for."""
        return self.beat_class if self.with_beats and (self.beat == "hard" or self.beat_balance) else None


class BeatSSL(nn.Module):
    """The constants of the corpus are buffers: `fit` sets them once, a checkpoint holds them."""

    def __init__(self, config: Config, encoder: nn.Module, recipe: Recipe):
        super().__init__()
        self.config, self.encoder, self.recipe = config, encoder, recipe
        self.view, self.after = views.build(config.views, recipe), views.build(config.after, recipe)
        self.project = mlp(encoder.width, config.hidden, config.outputs)
        if config.with_beats:
            self.levels = chosen_levels(config.level, encoder)
            width = sum(encoder.widths[level] for level in self.levels) * config.bins
            self.project_beat = mlp(width, config.beat_hidden, config.outputs)
        self.bias = nn.Parameter(torch.full((2,), config.bias)) if config.rows == "bce" else (0.0, 0.0)
        self.of_records, self.of_beats = scalings(config.record_features, config.beat_features)
        self.register_buffer("exponents", torch.zeros(2))  # of records and of beats; 0 before `fit`
        self.register_buffer("centres", torch.zeros(config.classes, len(self.of_beats.median)))
        self.window = tuple(seconds * encoder.rate for seconds in config.window)
        self.checked = False

    @torch.no_grad()
    def fit(self, record_features, beat_features, batch: int) -> None:
        """Takes the constants from the corpus: features of records (n, R) and beats (m, F), NaN where missing.

        The exponent of soft targets of beats is chosen for random beats, as many as a batch gives (in scope `record`:
        as a record gives, though its own beats are more alike than random ones).
        """
        c = self.config
        records, beats = (as_features(x) for x in (record_features, beat_features))
        self.of_records.fit(records)
        self.of_beats.fit(beats)
        among = min(c.beats * batch, c.most_beats // 2) if c.beat_scope == "batch" else c.beats
        self.exponents[0] = self._exponent(records, self.of_records, batch, c.rhythm == "soft")
        self.exponents[1] = self._exponent(beats, self.of_beats, among, c.beat == "soft" and c.with_beats)
        if c.classes_from == "cluster":
            phi = self.of_beats.standard(self._usable(beats, self.of_beats))
            self.centres.copy_(torch.from_numpy(centres(phi.cpu().double().numpy(), c.classes)))

    def forward(self, batch: dict) -> dict[str, Tensor]:
        return self.compare(look(self.encoder, draw(batch, self.view, self.after, self.recipe, 2)), batch)

    def compare(self, seen: list[Seen], batch: dict) -> dict[str, Tensor]:
        """The loss of the first two views. positives: what a row of targets sums up to, at the mean."""
        self._check(batch)
        seen = seen[:2]
        z = self.project(torch.cat([view.h for view in seen]))  # (2 B, O)
        one, two = (gather(part) for part in z.chunk(2))
        target = self._rhythm_targets(batch, len(one))
        rhythm = self._contrast(torch.cat([one, two]), target, 0)
        out = {"loss": rhythm, "rhythm": rhythm, "positives": positives(target)}
        if self.config.with_beats:
            beat = self._beats(seen, batch)
            out |= beat | {"loss": rhythm + self.config.beat_weight * beat["beat"]}
        return out | (spread(seen[0].h, (one, two)) if due(batch) else {})

    @torch.no_grad()
    def _rhythm_targets(self, batch: dict, N: int) -> Tensor:  # (2 N, 2 N)
        if self.config.rhythm == "hard":
            return own_view(N, self.exponents.device)
        x, enough = gather(batch["record_features"]), gather(enough_beats(batch).long()) > 0
        alike = self._similarity(x, self.of_records, enough)
        return soft_views(alike, self.exponents[0])

    def _beats(self, seen: list[Seen], batch: dict) -> dict[str, Tensor]:
        """The loss of the beats that both views show, its targets' sum in a row, and how many beats there are."""
        classes, most = self._classes(batch), self.config.most_beats // world()
        chosen = self._choose(seen, batch, classes, most)
        record = torch.cat([record for record, _ in chosen])
        beat = torch.cat([beat for _, beat in chosen])
        count = total(record.new_tensor(len(record), dtype=torch.float32))
        if count < 2:  # the same in every process; a norm needs two rows
            zero = count.new_zeros(())
            return {"beat": zero, "beat_positives": zero, "beats": count}
        z = self.project_beat(torch.cat([self._regions(view, *which) for view, which in zip(seen, chosen)]))
        name = torch.stack([record + rank() * len(batch["x"]), beat, classes[record, beat]], 1)  # (n, 3)
        z, name, x = gather_some([z, name, batch["beat_features"][record, beat]], most)
        target, among = self._beat_targets(*name.T, x)
        return {"beat": self._contrast(z, target, 1, among), "beat_positives": positives(target), "beats": count}

    @torch.no_grad()
    def _choose(self, seen: list[Seen], batch: dict, classes: Tensor, most: int) -> list[tuple[Tensor, Tensor]]:
        """Of each view: records (n,) and places (n,) of the beats that are compared."""
        c, random = self.config, views.generator(f"{batch['seed']}/beats", batch["step"], batch["x"].device)
        part = torch.stack([takes_part(view, self.window, c.visible) for view in seen])  # (2, B, P)
        part = part & enough_beats(batch)[:, None]
        chosen = choose(part, random, c.beats, most, classes if c.beat_balance else None)
        return [view.nonzero(as_tuple=True) for view in chosen]

    def _regions(self, view: Seen, record: Tensor, beat: Tensor) -> Tensor:  # (n,), (n,) -> (n, D M)
        """What the encoder's maps hold around beats."""
        t = bins(view.batch["peaks"][record, beat], view.time.a[record], self.window, self.config.bins)
        strides = self.encoder.strides
        parts = [read(view.levels[i], record, steps_at(t, strides[i])) for i in self.levels]
        return torch.cat(parts, 1).flatten(1)

    @torch.no_grad()
    def _classes(self, batch: dict) -> Tensor:  # (B, P), -1 unknown
        x, source = batch["beat_features"], self.config.classes_from
        if source == "cluster":
            return nearest(self.of_beats.standard(x), self.centres).masked_fill(~self.of_beats.known(x), -1)
        if source == "model" and "beat_class" not in batch:
            raise UsageError("objective beat_ssl: no classes of beats are known here; take beat_class=cluster")
        return batch["beat_class"] if source else torch.full_like(batch["peaks"], -1, dtype=torch.int64)

    @torch.no_grad()
    def _beat_targets(self, record: Tensor, beat: Tensor, kind: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Targets (N, N) and which pairs are compared. A beat of unknown class, or of which nothing was measured, is
        like itself in the other view alone."""
        one_record = record[:, None] == record
        itself = one_record & (beat[:, None] == beat)
        if self.config.beat == "hard":
            target = (itself | ((kind[:, None] == kind) & (kind >= 0))).float()
        else:
            alike = self._similarity(x, self.of_beats) ** self.exponents[1]
            target = alike.masked_fill(itself, 1)
        among = one_record if self.config.beat_scope == "record" else None
        target = target if among is None else target * among
        return target.fill_diagonal_(0), among

    def _contrast(self, z: Tensor, target: Tensor, level: int, among: Tensor | None = None) -> Tensor:
        return contrast(z, target, self.config.tau, self.config.rows, self.bias[level], among)

    def _similarity(self, x: Tensor, scaling: Scaling, also: Tensor | bool = True) -> Tensor:
        known = scaling.known(x) & also
        return similarity(getattr(scaling, self.config.similarity)(x), self.config.similarity, known)

    def _exponent(self, x: Tensor, scaling: Scaling, batch: int, soft: bool) -> float:
        c = self.config
        if c.exponent is not None or c.similarity == "raw" or not soft:
            return c.exponent or RAW_EXPONENT
        return exponent_for(scaling.standard(self._usable(x, scaling)), "standard", batch, c.positives)

    def _usable(self, x: np.ndarray, scaling: Scaling) -> Tensor:
        """The rows of which something was measured."""
        x = torch.from_numpy(x).to(scaling.median)
        return x[scaling.known(x)]

    def _check(self, batch: dict) -> None:
        """Once: whether the constants are there, and whether the batch is in mV, which turning the dipole needs."""
        if self.checked:
            return
        c = self.config
        asked = c.rhythm == "soft" or c.classes_from == "cluster" or (c.beat == "soft" and c.with_beats)
        if asked and not self.exponents.any():
            raise UsageError("objective beat_ssl: it does not know the corpus; call fit before the first step")
        refuse_normalised(batch)
        self.checked = True


def build(config: Config, encoder: nn.Module, recipe: Recipe) -> BeatSSL:
    return BeatSSL(config, encoder, recipe)


def positives(target: Tensor) -> Tensor:
    """The mean sum of the rows that have a target."""
    rows = target.sum(1)
    return rows.sum() / (rows > 0).sum().clamp(min=1)


def refuse_normalised(batch: dict) -> None:
    """An InputError for a batch to which a normalisation does nothing, because it was there already."""
    x = batch["x"].float()
    for kind in ("lead", "record"):
        again = Recipe(normalise=kind).normalise_batch(x, batch["present"], batch["length"])
        if x.any() and torch.allclose(again, x, atol=1e-2):
            raise InputError("objective beat_ssl: the signals are normalised already; give it millivolts")
