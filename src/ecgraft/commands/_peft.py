"""A graft of adapter rd_lora as a LoRA folder of the peft library, which loads it onto the plain encoder.

adapter_config.json, adapter_model.safetensors   what `PeftModel.from_pretrained` reads
head.safetensors                                 the head's own tensors
README.md                                        how to load them

Inference computes (W0 + f B A) x, with f = 1 - p or 1 (adapters.rd_lora). peft computes W0 x + alpha / r B' (A' x): f
goes into B', alpha = r. Three matrices in one (query, key, value) become one of three times the rank, B' in blocks.
Of a convolution peft forgets dilation, and cannot merge groups: where W0 has some of these, the whole layer is written
with f B A folded in (`modules_to_save`), and so are norms and layers of which a bias or a statistic changed.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as serialise
from torch import Tensor, nn

from .. import __version__, adapters
from ..model import Graft, Model
from ..nn import low_rank
from ..record import UsageError

PREFIX = "base_model.model."  # of every name in peft's file
INSTEAD = "--merge NAME --to FOLDER writes a model whose encoder has the adapter in it"


@dataclass(frozen=True)
class Exported:
    """tensors: of adapter_model.safetensors. ranks: of layers with a low-rank part; whole: those written whole."""

    tensors: dict[str, Tensor]
    ranks: dict[str, int]
    whole: list[str]

    def config(self, fingerprint: str) -> dict:
        """adapter_config.json; `bias` makes peft train, and write again, the biases of layers with a low-rank part."""
        found = {"peft_type": "LORA", "task_type": None, "inference_mode": True, "base_model_name_or_path": None}
        found |= {"r": max(self.ranks.values()), "lora_alpha": max(self.ranks.values()), "lora_dropout": 0.0}
        patterns = {"^" + re.escape(name): rank for name, rank in self.ranks.items()}
        found |= {"bias": "lora_only", "rank_pattern": patterns, "alpha_pattern": patterns}
        found |= {"target_modules": list(self.ranks), "modules_to_save": self.whole or None}
        return found | {"fan_in_fan_out": False, "use_rslora": False, "use_dora": False, "init_lora_weights": True}


def export(model: Model, name: str, folder: Path) -> Exported:
    """Writes graft `name` into a folder that is there. UsageError where peft cannot say the same."""
    graft = model.graft(name)
    if graft.adapter != "rd_lora":
        raise UsageError(
            f"graft {name!r} has adapter {graft.adapter!r}; only rd_lora is a LoRA that peft can load. {INSTEAD}"
        )
    found = translate(model.encoder, model.network(name).encoder)
    _write(folder / "adapter_model.safetensors", found.tensors)
    _write(folder / "head.safetensors", graft.part("head"))
    config = found.config(model.fingerprint)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "README.md").write_text(readme(graft, found), encoding="utf-8")
    return found


def translate(plain: nn.Module, adapted: nn.Module) -> Exported:
    """The change from one encoder to the other, which carries rd_lora, as peft names and shapes it."""
    layers = {name: layer for name, layer in adapted.named_modules() if type(layer) in low_rank.PLAIN}
    low = {name: layer for name, layer in layers.items() if _as_lora(layer)}
    if not low:
        raise UsageError(
            "none of the layers with a low-rank part is one that peft can give one (no dilation, no groups); " + INSTEAD
        )
    tensors, before, after = {}, plain.state_dict(), _merged(adapted).state_dict()
    for name, layer in low.items():
        tensors |= {f"{PREFIX}{name}.{key}": value for key, value in _low(layer).items()}
    changed = [key for key, value in after.items() if not torch.equal(value, before[key])]
    whole = []
    for key in changed:
        owner, _, own = key.rpartition(".")
        if owner in low and own == "bias":
            tensors[f"{PREFIX}{owner}.base_layer.bias"] = after[key]
        elif owner not in low and owner not in whole:
            whole.append(owner)
    for owner in whole:
        _check_whole(plain, owner, low)
        tensors |= {f"{PREFIX}{key}": value for key, value in after.items() if key.startswith(f"{owner}.")}
    ranks = {name: layer.part.rank * layer.part.parts for name, layer in low.items()}
    return Exported({key: value.detach().clone().contiguous() for key, value in tensors.items()}, ranks, whole)


def _as_lora(layer: nn.Module) -> bool:
    """Whether peft computes the same of a layer's low-rank part."""
    if isinstance(layer, nn.Linear):
        return True
    return layer.groups == 1 and set(layer.dilation) == {1} and layer.padding_mode == "zeros"


def _low(layer: nn.Module) -> dict[str, Tensor]:
    """A' and B' of a layer."""
    part, up = layer.part, layer.part.factor(False) * layer.up
    if isinstance(layer, nn.Conv1d):
        return {"lora_A.weight": layer.down.view(-1, *layer.weight.shape[1:]), "lora_B.weight": up[..., None]}
    return {"lora_A.weight": layer.down, "lora_B.weight": torch.block_diag(*up.chunk(part.parts))}


@torch.no_grad()
def _merged(adapted: nn.Module) -> nn.Module:
    merged = copy.deepcopy(adapted)
    adapters.merge(merged)
    return merged


def _check_whole(plain: nn.Module, owner: str, low: dict) -> None:
    """peft copies a module whole, found by the end of its name: it has to be a layer, and the only one of that end."""
    others = [name for name, _ in plain.named_modules() if name.endswith(owner) and name != owner]
    inside = [name for name, _ in plain.named_modules() if name.startswith(f"{owner}.")]
    if not owner or others or inside:
        what = "the encoder itself" if not owner else f"{owner!r}"
        raise UsageError(f"layer {what} has learnt something that peft cannot load by its name; {INSTEAD}")


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    path.write_bytes(serialise(tensors, metadata={"format": "pt"}))


def readme(graft: Graft, found: Exported) -> str:
    """How to load the folder; the code runs inside of it."""
    labels = ", ".join(graft.task.labels or (str(graft.task.value),))
    pooled = "linear.weight" in graft.part("head") and graft.head.get("kind") != "decoder"
    return f"""# Graft {graft.name} for peft

LoRA weights for the encoder with fingerprint {graft.encoder}. {len(found.ranks)} layers have low-rank parts;
{len(found.whole)} layers (norms, and convolutions with dilation or groups) are written whole. Written by ecgraft
{__version__}. For research; not a medical device.

Task {graft.task.name} ({graft.task.kind}), outputs in this order: {labels}.

```python
import ecgraft, peft, torch
from safetensors.torch import load_file

model = ecgraft.load("MODEL")  # the model folder that the graft is of
assert model.fingerprint == "{graft.encoder}"
encoder = peft.PeftModel.from_pretrained(model.encoder, ".").eval()

C, T = len(model.recipe.leads), model.recipe.samples
x = torch.randn(1, C, T)  # prepared and normalised as model.recipe says
levels = encoder(x, torch.ones(1, C, dtype=torch.bool))
h = encoder.pool(levels, torch.tensor([T]))
head = load_file("head.safetensors")
{"logits = torch.nn.functional.linear(h, head['linear.weight'], head['linear.bias'])" if pooled else ""}
```
"""
