"""Records a second of the packaged encoder and one head, against a one-dimensional ResNet-18 of 3.8 M parameters.

    python benchmarks/inference.py

Twelve leads of ten seconds, float32, batches of 32, 2 threads: the reference reads 5000 samples (500 Hz), the encoder
those of its own rate, with the weights that benchmarks/sim_to_real.py scores. Repeats are interleaved and medians
compared, so that a busy machine slows all alike. The reference is measured as it stands and with its BatchNorm
folded, as ecgraft's is for inference.
"""

from __future__ import annotations

import argparse

import torch
from _result import in_turns, keep
from torch import Tensor, nn

from ecgraft.encoders import resnet18
from ecgraft.model import Model
from ecgraft.nn import ConvNorm, fuse
from ecgraft.nn.heads import ask, reads
from ecgraft.nn.network import Network

BATCH, LEADS, SECONDS, REPEATS, THREADS = 32, 12, 10, 25, 2


class Reference(nn.Module):
    """ResNet-18 as usual: a stem of 7 and maximum pooling, four stages of 64, 128, 256, 512, kernels of 3."""

    def __init__(self, classes: int):
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(LEADS, 64, 7, 2), nn.MaxPool1d(3, 2, 1))
        blocks = resnet18.stage
        shapes = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        self.stages = nn.Sequential(*(blocks(a, b, 3, stride) for a, b, stride in shapes))
        self.linear = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, K)
        return self.linear(self.stages(self.stem(x)).mean(-1))


class Answering(nn.Module):
    """The encoder and the head of a graft, with BatchNorm folded, on a normalised signal."""

    def __init__(self, network: Network):
        super().__init__()
        fused = fuse(network)
        self.encoder, (self.head,) = fused.encoder, fused.heads.values()

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, K) or (B, C, K, T)
        B, C, T = x.shape
        levels = self.encoder(x, torch.ones(B, C, dtype=torch.bool))
        length = torch.full((B,), T)
        h = self.encoder.pool(levels, length) if reads(self.head) == "pooled" else None
        return ask(self.head, levels, h, length, T)


def compare(model: Model) -> dict:
    """Parameters, milliseconds a batch, records a second and the ratio to the reference, of each network."""
    x = torch.randn(BATCH, LEADS, round(SECONDS * model.recipe.rate))
    wide = torch.randn(BATCH, LEADS, SECONDS * 500)
    reference = Reference(5).eval()
    nets = {"reference": (reference, wide), "reference, folded": (fuse(reference), wide)}
    nets |= {f"ecgraft, {name}": (Answering(model.network(name)), x) for name in model.grafts}
    with torch.inference_mode():
        seconds = in_turns({name: lambda n=net, i=signal: n(i) for name, (net, signal) in nets.items()}, REPEATS)
    return {
        name: {
            "parameters": sum(p.numel() for p in net.parameters()),
            "ms_per_batch": round(1e3 * seconds[name], 2),
            "records_per_second": round(BATCH / seconds[name]),
            "ratio": round(seconds["reference"] / seconds[name], 2),
        }
        for name, (net, _) in nets.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default", help="model folder; every graft of it is measured")
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    keep("inference", bar="at least 5", batch=BATCH, rows=compare(Model.load(given.model)))


if __name__ == "__main__":
    main()
