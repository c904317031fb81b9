"""Records a second of the default encoder and one head, against a one-dimensional ResNet-18 of 3.8 M parameters.

    python benchmarks/inference.py

Twelve leads of ten seconds, float32, batches of 32, 2 threads: the reference reads 5000 samples (500 Hz), the encoder
those of its own rate. Repeats are interleaved and medians compared, so that a busy machine slows all alike. The
reference is measured as it stands and with its BatchNorm folded, as ecgraft's is for inference.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ecgraft import encoders
from ecgraft.encoders import resnet18
from ecgraft.nn import ConvNorm, Dense, Pooled, fuse

RESULT = Path(__file__).parent / "results" / "inference.json"
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


class Whole(nn.Module):
    """An encoder and a head of `classes` per record, or per lead and sample."""

    def __init__(self, encoder: nn.Module, classes: int, dense: bool):
        super().__init__()
        self.encoder, self.dense = encoder, dense
        self.head = Dense(encoder.widths, encoder.strides, LEADS, classes) if dense else Pooled(encoder.width, classes)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, K) or (B, C, K, T)
        B, C, T = x.shape
        levels = self.encoder(x, torch.ones(B, C, dtype=torch.bool))
        return self.head(levels, T) if self.dense else self.head(self.encoder.pool(levels, torch.full((B,), T)))


def measure(runs: dict[str, Callable[[], Tensor]], repeats: int) -> dict[str, float]:
    """Median seconds of each, over repeats that take turns; the first two are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(all_[2:]) for name, all_ in seconds.items()}


def compare(settings: dict | None = None, repeats: int = REPEATS) -> dict:
    """Parameters, milliseconds a batch, records a second and the ratio to the reference, of each network."""
    encoder = encoders.build("resnet18", settings)
    x = torch.randn(BATCH, LEADS, round(SECONDS * encoder.rate))
    wide = torch.randn(BATCH, LEADS, SECONDS * 500)
    reference = Reference(5).eval()
    nets = {
        "reference": (reference, wide),
        "reference, folded": (fuse(reference), wide),
        "pooled head, 5 classes": (fuse(Whole(encoder, 5, dense=False)), x),
        "dense head, 12 leads x 4 classes": (fuse(Whole(encoder, 4, dense=True)), x),
    }
    with torch.inference_mode():
        seconds = measure({name: lambda n=net, i=signal: n(i) for name, (net, signal) in nets.items()}, repeats)
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
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    rows = compare()
    for name, row in rows.items():
        print(f"{name:34} {row['parameters']:>9,} parameters {row['ms_per_batch']:>8.2f} ms {row['ratio']:>6.2f} x")
    where = {"torch": torch.__version__, "machine": platform.machine(), "threads": THREADS, "batch": BATCH}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"command": "python benchmarks/inference.py", **where, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
