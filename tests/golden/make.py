"""Writes the golden files that are not there yet: a tiny model and grafts in every format that ecgraft ever wrote.

    python tests/golden/make.py

What is there stays: it proves that old files are still read, and that they answer as they did. So for a new format
add an entry to GRAFTS (or a new encoder), run this, and commit what is new. Nothing is trained: weights are drawn.
expected.json holds what each file says and answers to the signal of input.json, which is a sum of waves, no ECG.

Formats 1 to 3 are today's files without what those formats did not have (OLD), and the early 4 had no checksum.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ecgraft import adapters
from ecgraft.metrics import distance
from ecgraft.model import Graft, Model, infer
from ecgraft.nn import files
from ecgraft.nn.network import HeadConfig, build_head
from ecgraft.nn.text_side import Config, TextSide
from ecgraft.record import Record
from ecgraft.signal.recipe import Recipe
from ecgraft.tasks import Task
from ecgraft.training import Examples

HERE = Path(__file__).parent
LEADS, RATE, SECONDS = ("I", "II"), 250.0, 2.0
ENCODER = {"leads": LEADS, "stem": 4, "stem_kernel": 3, "widths": (4, 4, 4, 6), "kernels": (3, 3, 3, 3)}
EVERY = 50  # of the answers per sample, one in so many is written down

CODES = {"atrial": ("scp:AFIB", "snomed:164889003"), "sinus": ("scp:SR",), "other": ("own:other",)}
MANY = Task("rhythms", "multilabel", tuple(CODES), CODES)
ONE = Task("rhythm", "multiclass", tuple(CODES), CODES)
AGE = Task("age", "regression", value="age")
WAVES = Task("waves", "waves", ("none", "P", "QRS", "T"))
BEATS = Task("beats", "beats", ("N", "V"), {"N": ("N",), "V": ("V",)})
QRS = Task("qrs", "peaks", ("none", "QRS"))
TEXT = Task("text", "text")

THRESHOLDS = {"atrial": 0.25, "sinus": 0.5, "other": 0.75}
CURVE = [[-4.0, 0.0, 4.0], [0.05, 0.5, 0.9]]
LIMITS = {"coverage": 0.9, "limits": [[0.6, 0.7], [0.4, 0.9], [0.2, None]]}
METRICS = {"macro f1": {"value": 0.8, "low": 0.7, "high": 0.9}, "of": "made"}

# file name, which begins with the format -> task, adapter, its settings, settings of the head, other fields
GRAFTS = {
    "1-linear-multilabel": (MANY, "linear", {}, {}, {"thresholds": THRESHOLDS, "calibration": {"temperature": 1.5}}),
    "1-full-waves": (WAVES, "full", {}, {"width": 4}, {}),
    "2-linear-multiclass": (
        ONE, "linear", {}, {},
        {
            "calibration": {"isotonic": [CURVE, CURVE, None]}, "distance": {"limit": 3.5, "records": 40},
            "conformal": {"coverage": 0.8, "limits": [0.7, 0.7, 0.7]},
        },
    ),
    "2-full-regression": (
        AGE, "full", {}, {}, {"calibration": {"mean": 60.0, "sd": 15.0}, "conformal": {"coverage": 0.9, "half": 12.5}},
    ),
    "3-linear-text": (TEXT, "linear", {}, {}, {"text": {"name": "made", "width": 8}}),
    "3-full-beats": (BEATS, "full", {}, {"width": 4}, {"metrics": METRICS}),
    "4-early-linear-knn": (ONE, "linear", {}, {"kind": "knn", "neighbours": 3}, {"metrics": METRICS}),
    "4-early-rd_lora-multilabel": (
        MANY, "rd_lora", {"rank": 2, "place": "last-1"}, {}, {"thresholds": THRESHOLDS, "conformal": LIMITS},
    ),
    "4-linear-peaks": (QRS, "linear", {}, {"width": 4}, {}),
    "4-lrc-waves": (WAVES, "lrc", {"rank": 2, "norm": "batch"}, {"width": 4, "leads": "each"}, {}),
    "4-rd_lora-multiclass": (ONE, "rd_lora", {"rank": {"stages.4.*": 3}, "scaling": "inverted"}, {}, {}),
    "4-bias-regression": (AGE, "bias", {}, {}, {"calibration": {"mean": 60.0, "sd": 15.0}}),
}  # fmt: skip
OLD = {  # prefix of the file name -> what its header did not have: keys, and keys of the head's settings
    "1-": ({"conformal", "distance", "text", "checksum"}, {"kind", "neighbours", "temperature"}),
    "2-": ({"text", "checksum"}, {"kind", "neighbours", "temperature"}),
    "3-": ({"checksum"}, {"kind", "neighbours", "temperature"}),
    "4-early": ({"checksum"}, set()),
}
FIELDS = (
    "adapter",
    "adapter_config",
    "encoder",
    "thresholds",
    "calibration",
    "conformal",
    "distance",
    "text",
    "metrics",
)


def signal() -> Record:
    """The record of input.json."""
    said = json.loads((HERE / "input.json").read_text())
    x = np.array(said["microvolt"], np.float32) / 1000
    return Record(x, said["rate"], tuple(said["leads"]), id="made")


def answers(model: Model, graft: Graft) -> dict:
    """What a graft says of the signal, as JSON takes it: what `expected.json` holds of a file."""
    record, model = signal(), copy.copy(model)
    model.grafts = {graft.name: graft}
    found = {key: getattr(graft, key) for key in FIELDS} | {
        "task": asdict(graft.task),
        "recipe": graft.recipe.to_dict(),
    }
    if not graft.answers:
        side = TextSide(Config(**graft.head), model.encoder.width).eval()
        side.load_state_dict(graft.part("head"))
        u, h = torch.linspace(-1, 1, side.config.text_width), torch.linspace(-1, 1, model.encoder.width)
        with torch.inference_mode():
            outputs = torch.cat([side.of_text(u[None])[0], side.of_ecg(h[None])[0]]).numpy()
    else:
        examples = Examples(infer.Memory([record], graft.recipe), np.arange(1))
        outputs = next(infer.run(model.network(graft.name), examples, graft.recipe.samples))[1][graft.name]
        if outputs.ndim == 1:
            found["said"] = model.predict(record)[graft.name].to_dict()
        outputs = outputs if outputs.ndim == 1 else outputs[..., ::EVERY]
    return plain(found | {"outputs": outputs.astype(float).round(7).tolist()})


def features(model: Model) -> list[float]:
    """The pooled features of the model's own encoder."""
    graft = Graft("features", ONE, model.recipe, "linear", {}, model.fingerprint, {})
    batch = infer.Memory([signal()], graft.recipe).batch(np.arange(1), np.zeros(1, int), graft.recipe.samples)
    batch = {key: torch.from_numpy(value) for key, value in batch.items()}
    with torch.inference_mode():
        x = model.recipe.normalise_batch(batch["x"], batch["present"], batch["length"])
        h = model.encoder.pool(model.encoder(x, batch["present"]), batch["length"])[0]
    return h.double().numpy().round(7).tolist()


def plain(value):
    """What JSON gives back."""
    return json.loads(json.dumps(value))


def moved(tensors: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """The tensors with something added to each, as if they had been trained; what counts, counts on."""
    random, found = np.random.default_rng(seed), {}
    for name, tensor in tensors.items():
        step = torch.from_numpy(random.uniform(-0.2, 0.2, tuple(tensor.shape)).astype(np.float32))
        found[name] = tensor + step * (tensor.abs() + 0.1) if tensor.is_floating_point() else tensor + 7
    return found


def make_encoder() -> Model:
    """An encoder whose BatchNorms have seen noise, so that its features are neither tiny nor huge."""
    model = Model.fresh("resnet18", ENCODER, Recipe(leads=LEADS, rate=RATE, seconds=SECONDS), seed=1)
    encoder = model.encoder
    encoder.load_state_dict(moved(encoder.state_dict(), 1))
    noise = torch.randn(16, len(LEADS), model.recipe.samples, generator=torch.Generator().manual_seed(1))
    encoder.train()
    for _ in range(60):
        encoder(noise, torch.ones(16, len(LEADS), dtype=torch.bool))
    encoder.eval()
    return model


def make_graft(model: Model, name: str, seed: int) -> Graft:
    task, adapter, config, head, fields = GRAFTS[name]
    torch.manual_seed(seed)
    encoder = copy.deepcopy(model.encoder)
    adapters.attach(encoder, adapter, config)
    tensors = {f"encoder.{key}": value for key, value in moved(adapters.saved(encoder), seed).items()}
    if task.kind == "text":
        settings = Config(text_width=8)
        built = TextSide(settings, model.encoder.width)
    else:
        settings = HeadConfig(**head)
        built = build_head(task, encoder, settings)
    if settings == HeadConfig(kind="knn", neighbours=3):
        y = torch.eye(3)[torch.arange(9) % 3]
        built.fill(torch.randn(9, model.encoder.width), y, torch.ones(9, 3, dtype=torch.bool))
    tensors |= {f"head.{key}": value for key, value in built.state_dict().items()}
    if "distance" in fields:
        spread = np.random.default_rng(seed).standard_normal((40, model.encoder.width))
        tensors |= {f"distance.{key}": torch.from_numpy(np.array(v)) for key, v in distance.fit(spread).items()}
    tensors = {key: value.detach() for key, value in tensors.items()}
    card = {"date": "2026-11-26", "made by": "tests/golden/make.py"}
    return Graft(
        name.replace(".", "-"), task, model.recipe, adapter, asdict(settings), model.fingerprint, tensors,
        adapter_config=config, card=card, **fields,
    )  # fmt: skip


def write(graft: Graft, path: Path) -> None:
    """Today's file, or an older one: without what there was not."""
    graft.save(path)
    for prefix, (keys, head) in OLD.items():
        if path.name.startswith(prefix):
            tensors, header = files.load(path)
            header = {key: value for key, value in header.items() if key not in keys}
            header["head"] = {key: value for key, value in header["head"].items() if key not in head}
            files.save(path, tensors, header | {"format_version": int(prefix[0])})


def main() -> None:
    if not (HERE / "input.json").exists():
        t = np.arange(round(RATE * SECONDS)) / RATE
        beats = np.exp(-(((t % 0.8) - 0.4) ** 2) / 2e-4)
        x = [900 * beats + 150 * np.sin(7 * t) + 40 * np.sin(31 * t), 600 * beats - 180 * np.cos(11 * t + t**2)]
        said = {"rate": RATE, "leads": LEADS, "microvolt": [[round(float(v)) for v in lead] for lead in x]}
        (HERE / "input.json").write_text(json.dumps(said))
    encoder = HERE / "encoder-1.safetensors"
    if not encoder.exists():
        make_encoder().save(HERE / "made")
        (HERE / "made" / "encoder.safetensors").replace(encoder)
        (HERE / "made" / "model.json").unlink()
        (HERE / "made").rmdir()
    model = Model.load(encoder)
    kept = HERE / "expected.json"
    expected = json.loads(kept.read_text()) if kept.exists() else {}
    expected.setdefault(encoder.stem, {"fingerprint": model.fingerprint, "features": features(model)})
    for seed, name in enumerate(GRAFTS):
        path = HERE / f"{name}.safetensors"
        if not path.exists():
            write(make_graft(model, name, seed), path)
            expected[name] = answers(model, Graft.load(path))
    text = json.dumps(expected, indent=1) + "\n"
    if not kept.exists() or kept.read_text() != text:
        kept.write_text(text)


if __name__ == "__main__":
    main()
