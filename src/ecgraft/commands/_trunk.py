"""The frozen stages at the bottom of an encoder, and a network that goes on from what they gave.

What comes out of stages that neither learn nor move is the same in every step. It is packed into one array per window;
`Onward` stands for the encoder and reads that array in place of a signal, so that all else stays as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from .. import encoders
from ..nn.heads import reads as reads_of
from ..nn.network import Network
from ..signal.recipe import Recipe


@dataclass(frozen=True)
class Trunk:
    """What is kept of a window, and how it lies in a row of numbers.

    first   number of the stage that goes on
    kept    numbers of the stages whose outputs are kept, ascending; all below `first`
    shapes  of the output of each stage below `first`, one record: (k, ...), as an encoder may fold leads into records
    unread  number of each stage below `first` whose levels nothing reads -> (D, N) of these
    rows    R: the row is (R, samples), filled up at the end, so that a batch has the shape of a signal
    samples of a window
    """

    first: int
    kept: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    unread: dict[int, list[tuple[int, ...]]]
    samples: int

    @property
    def sizes(self) -> list[int]:
        """Numbers of each kept output."""
        return [math.prod(self.shapes[i]) for i in self.kept]

    @property
    def rows(self) -> int:
        return -(-sum(self.sizes) // self.samples)

    @property
    def width(self) -> int:
        """Numbers of a window."""
        return self.rows * self.samples

    def pack(self, outputs: list[Tensor], count: int) -> Tensor:  # [(B k, ...)], B -> (B, width)
        """The rows of `count` records from the outputs of the stages below `first`."""
        packed = outputs[0].new_zeros(count, self.width)
        for place, i in zip(self._places(packed), self.kept):
            place.copy_(outputs[i].reshape(count, -1))
        return packed

    def unpack(self, x: Tensor) -> dict[int, Tensor]:  # (B, R, T) -> {number: (B k, ...)}
        """The kept outputs by the number of their stage."""
        places = self._places(x.reshape(len(x), -1))
        return {i: place.unflatten(1, self.shapes[i]).flatten(0, 1) for place, i in zip(places, self.kept)}

    def _places(self, packed: Tensor) -> list[Tensor]:
        return list(packed[:, : sum(self.sizes)].split(self.sizes, dim=1))


class Onward(nn.Module):
    """Stands for an encoder: `forward` reads kept outputs and runs the stages from `trunk.first` on.

    It shares the encoder's tensors and their names, so that its checkpoints are those of the encoder.
    """

    def __init__(self, encoder: nn.Module, trunk: Trunk):
        super().__init__()
        self.trunk, self._encoder = trunk, (encoder,)  # in a tuple: its modules are registered below
        for name, module in encoder.named_children():
            self.add_module(name, module)
        for name, value in encoder.named_parameters(recurse=False):
            self.register_parameter(name, value)
        for name, value in encoder.named_buffers(recurse=False):
            self.register_buffer(name, value)
        self.leads, self.width = encoder.leads, encoder.width
        self.training = encoder.training

    @property
    def encoder(self) -> nn.Module:
        return self._encoder[0]

    def forward(self, x: Tensor, present: Tensor) -> list[Tensor]:  # (B, R, T), (B, C) -> [(B, D, N)]
        first, outputs = self.trunk.first, self.trunk.unpack(x)
        levels = [level for i in range(first) for level in self._levels(i, outputs, x, present)]
        if first == len(self.stages):
            return levels
        y = outputs[first - 1].contiguous()  # strides decide how some kernels round
        above = encoders.walk(self.encoder, y, present, self.trunk.samples, first)
        return levels + [level for _, own in above for level in own]

    def _levels(self, i: int, outputs: dict[int, Tensor], x: Tensor, present: Tensor) -> list[Tensor]:  # [(B, D, N)]
        if i in self.trunk.unread:  # not a number anywhere, so that a read would show
            return [x.new_full((), torch.nan).expand(len(x), *shape) for shape in self.trunk.unread[i]]
        return encoders.levels_of(self.encoder, i, outputs[i], present, self.trunk.samples)

    def pool(self, levels: list[Tensor], length: Tensor) -> Tensor:  # (B,) -> (B, D)
        return self.encoder.pool(levels, length)

    def train(self, mode: bool = True) -> Onward:
        """As the encoder has it: adapters hold parts of it in eval mode."""
        self.encoder.train(mode)
        self.training = mode
        return self


@dataclass(frozen=True)
class AsKept:
    """Stands for a recipe: kept outputs were normalised as a signal."""

    rate: float
    samples: int

    def normalise_batch(self, x: Tensor, present: Tensor, length: Tensor) -> Tensor:  # (B, R, T) -> (B, R, T)
        return x


def onward(network: Network, trunk: Trunk) -> Network:
    """The network that goes on from kept outputs; it learns with the tensors of `network`."""
    recipe = AsKept(network.recipe.rate, network.recipe.samples)
    return Network(Onward(network.encoder, trunk), dict(network.heads.items()), recipe)


def first_stage(network: Network) -> int:
    """The first stage in which anything is free, or moves in training; the number of stages where none is."""
    encoder, mode = network.encoder, network.encoder.training
    inside = {id(p) for p in encoder.stages.parameters()}
    if hasattr(encoder, "enter") and any(p.requires_grad and id(p) not in inside for p in encoder.parameters()):
        return 0  # it may work before the first stage
    encoder.train()
    changes = [_changes(stage) for stage in encoder.stages]
    encoder.train(mode)
    return changes.index(True) if True in changes else len(changes)


def _changes(stage: nn.Module) -> bool:
    moves = any(layer.training and isinstance(layer, (_NormBase, _DropoutNd)) for layer in stage.modules())
    return moves or any(p.requires_grad for p in stage.parameters())


@torch.no_grad()
def examine(network: Network, first: int, batch: dict) -> Trunk | None:
    """What is to be kept of windows like those of `batch`; None for an encoder whose stages do not say all of it.

    That is one whose `forward` gives other levels than its stages do, or whose lower stages change from training
    to inference.
    """
    encoder, recipe, mode = network.encoder, network.recipe, network.encoder.training
    x, present, length = signal(recipe, batch), batch["present"], batch["length"]
    levels = encoder.eval()(x, present)
    pairs = list(encoders.walk(encoder, encoders.enter(encoder, x, present), present, x.shape[-1]))
    encoder.train()
    in_training = outputs(encoder, x, present, first)
    encoder.train(mode)
    stages, own = [y for y, _ in pairs], [level for _, some in pairs for level in some]
    if len(levels) != len(own) or not all(map(_same, levels, own)) or not all(map(_same, in_training, stages)):
        return None
    pooled = all(reads_of(head) == "pooled" for head in network.heads.values())
    numbers = reads(encoder.eval(), levels, length) if pooled else range(len(levels))
    encoder.train(mode)
    made_by = [i for i, (_, some) in enumerate(pairs) for _ in some]  # the stage of each level
    read = {made_by[number] for number in numbers} & set(range(first))
    kept = read | {first - 1} if first < len(pairs) else read
    shapes = tuple((len(y) // len(x), *y.shape[1:]) for y in in_training)
    unread = {i: [tuple(level.shape[1:]) for level in pairs[i][1]] for i in range(first) if i not in read}
    return Trunk(first, tuple(sorted(kept)), shapes, unread, recipe.samples)


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two maps are the same but for rounding, which on some devices is not always alike."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def reads(encoder: nn.Module, levels: list[Tensor], length: Tensor) -> set[int]:
    """The numbers of the levels that `encoder.pool` reads: those without which its answer is another."""
    whole = encoder.pool(levels, length)
    without = (
        [torch.full_like(y, torch.nan) if j == i else y for j, y in enumerate(levels)] for i in range(len(levels))
    )
    return {i for i, given in enumerate(without) if not torch.equal(encoder.pool(given, length), whole)}


def outputs(encoder: nn.Module, x: Tensor, present: Tensor, first: int) -> list[Tensor]:  # -> [(B k, ...)]
    """What comes out of the stages below `first`, from a normalised signal."""
    above = encoders.walk(encoder, encoders.enter(encoder, x, present), present, x.shape[-1])
    return [y for y, _ in islice(above, first)]


def signal(recipe: Recipe, batch: dict) -> Tensor:  # -> (B, C, T)
    """What the encoder reads of a batch."""
    return recipe.normalise_batch(batch["x"], batch["present"], batch["length"])
