"""Several grafts in one pass: the stages below the first one that a graft changes run once, and grafts that change the
same layers run as one batch. Equal to each graft alone to 1e-5.

A graft may change layers of the stages and of the pool, and nothing else of an encoder.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..encoders import enter, walk
from ..encoders._leads import for_leads
from ..nn import ConvNorm, fuse
from ..nn.fuse import plain
from ..nn.heads import Features, alone, ask, reads
from ..nn.network import is_dense
from ..signal.recipe import Recipe
from . import infer, stack
from .graft import Graft
from .infer import Ready, features_of, with_features

WHOLE = ""  # the name of the encoder among its own modules


def ready(model, grafts: list[Graft], device: str = "cpu") -> list[tuple[Recipe, Ready]]:
    """What runs these grafts of a model: one alone, which gives the same bits every time; several by their recipes."""
    if len(grafts) == 1:
        network = model.network(grafts[0].name)
        network = with_features(network) if grafts[0].part("distance") else network
        return [(grafts[0].recipe, infer.ready(network, device))]
    by_recipe = defaultdict(list)
    for graft in grafts:
        by_recipe[graft.recipe].append(graft)
    return [(recipe, infer.ready(Together(model, some), device, fused=True)) for recipe, some in by_recipe.items()]


class Together(nn.Module):
    """To `infer.run` a network in eval mode: `forward(batch) -> {output: logits}`, of grafts that share a recipe.

    heads   output -> head; an output is a graft's name, or `features_of` it where the graft knows distances
    parts   the outputs of each graft
    copies  the most grafts that run as one batch
    """

    def __init__(self, model, grafts: list[Graft]):
        super().__init__()
        self.recipe, self.parts, heads = grafts[0].recipe, [], {}
        self.trunk = fuse(for_leads(model.encoder, self.recipe.leads))
        base = plain(for_leads(model.encoder, self.recipe.leads))
        alike = defaultdict(list)
        for graft in grafts:
            network = model.network(graft.name)
            own = {graft.name: fuse(network.heads[graft.name])}
            if graft.part("distance"):
                own[features_of(graft.name)] = Features()
            self.parts.append(list(own))
            heads |= own
            change = _Change(graft.name, plain(network.encoder), base)
            for single in (False, True):
                outputs = [name for name, head in own.items() if single == self._reads_single(head)]
                if outputs:
                    alike[single, change.key].append((outputs, change))
        self.heads = nn.ModuleDict(heads)
        self.groups = nn.ModuleList(_Group(self.trunk, members, single) for (single, _), members in alike.items())
        self.copies = max(group.copies for group in self.groups)

    def forward(self, batch: dict) -> dict[str, Tensor]:
        present, length = batch["present"], batch["length"]
        x = self.recipe.normalise_batch(batch["x"], present, length)  # (B, C, T)
        B, C, _ = x.shape
        joint, each = ([group for group in self.groups if group.single == single] for single in (False, True))
        out = self._pass(joint, x, present, length) if joint else {}
        if each:
            said = self._pass(each, *alone(x, present), length.repeat_interleave(C))
            out |= {name: logits.view(B, C, *logits.shape[2:]) for name, logits in said.items()}
        return out

    def _pass(self, groups: list[_Group], x: Tensor, present: Tensor, length: Tensor) -> dict[str, Tensor]:
        """The trunk as far up as a group needs it; each group goes its own way from where its changes begin."""
        out, levels = {}, []
        y = enter(self.trunk, x, present)
        above = walk(self.trunk, y, present, x.shape[-1])
        for first in range(max(group.first for group in groups) + 1):
            if first:
                y, own = next(above)
                levels += own
            for group in groups:
                if group.first == first:
                    out |= group(self.heads, y, levels, present, length, x.shape[-1])
        return out

    def _reads_single(self, head: nn.Module) -> bool:
        return is_dense(head) and head.leads < len(self.trunk.leads)


class _Change:
    """What a graft changes in an encoder: layers by name (under WHOLE all of it), and the first stage that they are in.

    Grafts with the same `key` can run as one batch.
    """

    def __init__(self, graft: str, encoder: nn.Module, base: nn.Module):
        before, now = stack.units(base), stack.units(encoder)
        self.layers = {name: now[name] for name in before if name in now and not _same(before[name], now[name])}
        rebuilt = {name for name, _ in _kinds(base) ^ _kinds(encoder)}  # modules that came, went or changed their class
        self.first = min([len(encoder.stages), *map(_stage, rebuilt | self.layers.keys())])
        signs = {name: stack.signature(layer, before[name]) for name, layer in self.layers.items()}
        if rebuilt or WHOLE in signs:
            self.layers, signs = {WHOLE: encoder}, {WHOLE: None}
        self.key = graft if None in signs.values() else tuple(sorted(signs.items()))


class _Group(nn.Module):
    """Grafts that change the same layers: the encoder from stage `first` on, for the batch of them all.

    members  (outputs, change) of each graft; those that change nothing are one member
    single   whether each lead is read alone
    """

    def __init__(self, trunk: nn.Module, members: list[tuple[list[str], _Change]], single: bool):
        super().__init__()
        self.single, changes = single, [change for _, change in members]
        self.first, names, self.entry = changes[0].first, list(changes[0].layers), None
        self.outputs = [outputs for outputs, _ in members]
        if not names:
            self.outputs = [[name for outputs in self.outputs for name in outputs]]
        self.copies = len(self.outputs)
        self.encoder = _sharing(trunk)
        if self.copies > 1 and self.first < len(trunk.stages):
            self.entry = _entry(trunk.stages[self.first], f"stages.{self.first}")
        for name in names:
            layers = [change.layers[name] for change in changes]
            _put(self, name, fuse(layers[0]) if self.copies == 1 else stack.stack(layers, name == self.entry))
        self.late = self.entry in names  # whether the batch of all is formed in the first layer, not before it
        for stage in range(self.first):
            self.encoder.stages[stage] = nn.Identity()  # is never run

    def forward(self, heads, y: Tensor, levels: list[Tensor], present: Tensor, length: Tensor, T: int) -> dict:
        """Output -> logits, from what the trunk gave out below the first stage of the group: y, and its levels."""
        B, G = len(present), self.copies
        if G > 1:
            present = present.repeat(G, 1)
        if G > 1 and not self.late:
            y = y.repeat(G, *[1] * (y.ndim - 1))
        own = [level for _, some in walk(self.encoder, y, present, T, self.first) for level in some]
        every, h = _Levels(levels, own, G), [None] * G
        if any(reads(heads[name]) == "pooled" for outputs in self.outputs for name in outputs):
            h = self.encoder.pool(every, length.repeat(G)).unflatten(0, (G, B))  # (G, B, D)
        return {
            name: ask(heads[name], every.of(g), h[g], length, T)
            for g, outputs in enumerate(self.outputs)
            for name in outputs
        }


class _Levels(Sequence):
    """The levels of the graft-wise batch; those that all grafts share are repeated when they are asked for."""

    def __init__(self, shared: list[Tensor], own: list[Tensor], grafts: int):
        self.shared, self.own, self.grafts = list(shared), own, grafts

    def __len__(self) -> int:
        return len(self.shared) + len(self.own)

    def __getitem__(self, at):
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        below = len(self.shared)
        if at >= below:
            return self.own[at - below]
        return self.shared[at] if self.grafts == 1 else self.shared[at].repeat(self.grafts, 1, 1)

    def of(self, graft: int) -> list[Tensor]:  # [(B, D, N)]
        """The levels of one graft."""
        return [*self.shared, *(level.unflatten(0, (self.grafts, -1))[graft] for level in self.own)]


def _kinds(encoder: nn.Module) -> set[tuple[str, type]]:
    """(name, class) of the modules but for those inside a ConvNorm, which changes as a whole."""
    inside = tuple(f"{name}." for name, layer in stack.units(encoder).items() if isinstance(layer, ConvNorm))
    return {(name, type(layer)) for name, layer in encoder.named_modules() if not name.startswith(inside)}


def _same(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _stage(name: str) -> float:
    """The stage that a module is in; the pool comes after all of them, the whole encoder before."""
    if name == WHOLE:
        return 0
    return int(name.split(".")[1]) if name.startswith("stages.") else float("inf")


def _entry(stage: nn.Module, name: str) -> str:
    """The layer that a stage begins with."""
    while isinstance(stage, nn.Sequential) and len(stage):
        stage, name = stage[0], f"{name}.0"
    return name if isinstance(stage, ConvNorm) else ""


def _sharing(module: nn.Module) -> nn.Module:
    """A copy whose tensors are those of the module."""
    return copy.deepcopy(module, {id(t): t for t in (*module.parameters(), *module.buffers())})


def _put(holder: nn.Module, name: str, layer: nn.Module) -> None:
    """Makes a layer the module `name` of the holder's encoder; WHOLE: the encoder itself."""
    parent, _, last = f"encoder.{name}".rstrip(".").rpartition(".")
    setattr(holder.get_submodule(parent), last, layer)
