"""What a graft answers to an ECG that never changes, kept in its file, so that a later change of the answer shows.

The ECG is made of whole numbers alone, so it is the same to the last bit on every machine and with every version. The
answer is that of the graft alone, in float32 on one thread of the CPU: the same machine gives the same bits every time,
another one, or another torch, the same to about 1e-6.
"""

from __future__ import annotations

import hashlib
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..nn import fuse
from ..nn.network import Network
from ..signal.recipe import Recipe
from ..simulator.threads import one_thread

PREFIX = "reference."  # of its tensors in a graft
RECORDS, SECONDS = 2, 10  # of the ECG; a recipe with a shorter window reads less
KEPT = 256  # values of the answer, at most
PERIODS = (800, 640)  # ms between two heartbeats, one of each record
WAVES = ((120, 50, 150), (260, 45, 1100), (310, 30, -300), (520, 110, 280))  # P, R, S, T: middle, half width (ms), uV
NOISE = 20  # uV, at most
MODULUS, FACTOR, STEP = 2**31, 1103515245, 12345  # of the noise: s' = (FACTOR s + STEP) mod MODULUS


def signal(leads: int, rate: float, samples: int) -> np.ndarray:  # (2, leads, samples) int16
    """Two ECGs in microvolt: P, R, S and T as triangles, in each lead of another height, and noise."""
    time = np.arange(samples, dtype=np.int64) * 1_000_000 // max(1, round(1000 * rate))  # (T,) ms
    gain = [[(37 * c + 13 * k) % 141 - 40 for k in range(len(WAVES))] for c in range(leads)]  # percent, -40 to 100
    x = np.zeros((RECORDS, leads, samples), np.int64)
    for lead, own in zip(x.swapaxes(0, 1), gain):
        for record, period in zip(lead, PERIODS):
            for (middle, half, height), percent in zip(WAVES, own):
                record += np.maximum(half - np.abs(time % period - middle), 0) * height * percent // (100 * half)
    noise = _noise(x.size) // 2**16 % (2 * NOISE + 1) - NOISE  # of the upper bits
    return (x + noise.reshape(x.shape)).astype(np.int16)


def answer(network: Network, recipe: Recipe) -> Tensor:
    """The logits of a network of one graft for `signal`: (2, K), or (2, C, K, T) of a dense head."""
    samples = max(1, min(recipe.samples, round(SECONDS * recipe.rate)))
    x = torch.from_numpy(signal(len(recipe.leads), recipe.rate, samples)).float() / 1000  # mV
    present = torch.ones(x.shape[:2], dtype=torch.bool)
    batch = {"x": x, "present": present, "length": torch.full((len(x),), samples, dtype=torch.int32)}
    with one_thread(), torch.inference_mode():
        ((_, logits),) = fuse(network).cpu()(batch).items()
    return logits.float().contiguous().clone()


def of(model, name: str) -> dict[str, Tensor]:
    """`reference.digest`: sha256 of all bytes of the answer, (32,) uint8; `reference.values`: some of it, float32."""
    flat = answer(model.network(name), model.graft(name).recipe).reshape(-1)
    count = min(KEPT, len(flat))
    digest = hashlib.sha256(flat.numpy().tobytes()).digest()
    values = flat[torch.arange(count) * len(flat) // count].clone()
    return {f"{PREFIX}digest": torch.tensor(list(digest), dtype=torch.uint8), f"{PREFIX}values": values}


def environment() -> dict[str, str]:
    """What the last bits of an answer depend on, besides the graft."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__, "processor": f"{platform.machine()} {_processor()}".strip(), "cpu": capability}


def added(model, graft):
    """The graft of a model with its reference; itself where it has one already, or answers no task."""
    if not graft.answers or graft.part("reference"):
        return graft
    return replace(graft, tensors=graft.tensors | of(model, graft.name), card=graft.card | {"reference": environment()})


def without(graft):
    """The graft without its reference: to be compared, or changed into another one."""
    tensors = {name: tensor for name, tensor in graft.tensors.items() if not name.startswith(PREFIX)}
    card = {key: value for key, value in graft.card.items() if key != "reference"}
    return replace(graft, tensors=tensors, card=card)


def _noise(count: int) -> np.ndarray:  # (count,) int64, 0 to MODULUS - 1
    """A linear congruential generator from 1 on; each round doubles what there is: s[n + k] = factor s[n] + step."""
    states, factor, step = np.ones(1, np.int64), FACTOR, STEP
    while len(states) < count:
        states = np.concatenate([states, (factor * states + step) % MODULUS])
        factor, step = factor * factor % MODULUS, (factor + 1) * step % MODULUS
    return states[:count]


def _processor() -> str:
    """Name, family and model of the processor, as far as the system says."""
    file = Path("/proc/cpuinfo")
    if not file.is_file():
        return platform.processor()
    said = dict(reversed([line.split(":", 1) for line in file.read_text(errors="replace").splitlines() if ":" in line]))
    said = {key.strip(): value.strip() for key, value in said.items()}
    wanted = ("model name", "cpu family", "model", "CPU implementer", "CPU part")
    return " ".join(said[key] for key in wanted if key in said)
