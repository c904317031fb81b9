"""Tensors and a JSON header in one safetensors file: encoders, grafts and checkpoints are all written here."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise

from ..record import InputError

_KEY = "ecgraft"  # of the header in the file's metadata


def save(path: Path, tensors: dict[str, torch.Tensor], header: dict) -> None:
    """Writes beside, then renames: whoever reads `path` finds the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    own = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    try:
        beside.write_bytes(serialise(own, metadata={_KEY: json.dumps(header)}))
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load(path: Path, what: str = "file of ecgraft") -> tuple[dict[str, torch.Tensor], dict]:
    """The tensors and the header of `save`. Raises InputError for a missing, truncated or foreign file."""
    if not path.is_file():
        raise InputError(f"{path}: no such {what}")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path}: not a {what}, or damaged ({error})") from error


def fingerprint(tensors: dict[str, torch.Tensor], description: dict) -> str:
    """16 hexadecimal digits that change when any bit of the tensors, or the description, does."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        t = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b"")
    return digest.hexdigest()[:16]
