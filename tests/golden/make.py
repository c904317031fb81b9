"""Writes the golden files that are not there yet: a tiny model and grafts in every format that ecgraft ever wrote.

    python tests/golden/make.py

What is there stays: it proves that old files are still read, and that they answer as they did. So for a new format
add an entry to GRAFTS (or a new encoder), run this, and commit what is new. Nothing is trained: weights are drawn.
expected.json holds what each file says and answers to the signal of input.json, which is a sum of waves, no ECG.

Formats 1 to 4 are today's files without what those formats did not have (OLD), and the early 4 had no checksum.
In format 5 weights may be in common (CHAIN): such a graft answers on those that it stands on.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from ecgraft import adapters
from ecgraft.continual import isolate
from ecgraft.encoders._leads import for_leads
from ecgraft.metrics import distance
from ecgraft.model import Graft, Model, chain, infer, reference
from ecgraft.model.graft import CHECKSUM
from ecgraft.nn import files, shared
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
    "5-isolate-multiclass": (
        ONE, "isolate", {"tasks": 3}, {"kind": "decoder", "cascade": 4},
        {"calibration": {"temperature": 1.5}, "distance": {"limit": 3.5, "records": 40}},
    ),
    "5-isolate-waves": (WAVES, "isolate", {"tasks": 3}, {"kind": "decoder"}, {}),
    "5-lrc-multilabel": (
        MANY, "lrc", {"rank": 2, "place": "last-1"}, {}, {"thresholds": THRESHOLDS, "conformal": LIMITS},
    ),
}  # fmt: skip
CHAIN = {"5-isolate-multiclass": (LEADS, ""), "5-isolate-waves": (("I",), "5-isolate-multiclass")}  # leads, and on what
KEPT = 0.6  # share of its weights that each of these keeps, about
OLD = {  # prefix of the file name -> what its header did not have: keys, and keys of the head's settings
    "1-": ({"conformal", "distance", "text", "shared", "checksum"}, {"kind", "neighbours", "temperature", "cascade"}),
    "2-": ({"text", "shared", "checksum"}, {"kind", "neighbours", "temperature", "cascade"}),
    "3-": ({"shared", "checksum"}, {"kind", "neighbours", "temperature", "cascade"}),
    "4-": ({"shared"}, {"cascade"}),
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
    "shared",
    "metrics",
)


def signal() -> Record:
    """The record of input.json."""
    said = json.loads((HERE / "input.json").read_text())
    x = np.array(said["microvolt"], np.float32) / 1000
    return Record(x, said["rate"], tuple(said["leads"]), id="made")


def on(model: Model, graft: Graft) -> Model:
    """The model with the graft, and those that it stands on, alone."""
    made = before(model, graft.shared.get("after", {}).get("graft", ""))
    made.add(graft)
    return made


def before(model: Model, name: str) -> Model:
    """The model with the graft of that name, if there is one, and those that it stands on, alone."""
    if name:
        return on(model, Graft.load(HERE / f"{name}.safetensors"))
    model = copy.copy(model)
    model.grafts = {}
    return model


def answers(model: Model, graft: Graft) -> dict:
    """What a graft says of the signal, as JSON takes it: what `expected.json` holds of a file."""
    record, model = signal(), on(model, graft)
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
        outputs = logits(model, graft.name)
        if outputs.ndim == 1:
            found["said"] = model.predict(record, [graft.name])[graft.name].to_dict()
    return plain(found | {"outputs": outputs.astype(float).round(7).tolist()})


def logits(model: Model, name: str) -> np.ndarray:
    """(K,) of a graft for the signal, or (C, K, some of T)."""
    recipe = model.graft(name).recipe
    examples = Examples(infer.Memory([signal()], recipe), np.arange(1))
    outputs = next(infer.run(model.network(name), examples, recipe.samples))[1][name]
    return outputs if outputs.ndim == 1 else outputs[..., ::EVERY]


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
    model.encoder.load_state_dict(moved(model.encoder.state_dict(), 1))
    show_noise(model.encoder, model.recipe.samples)
    return model


def show_noise(encoder: torch.nn.Module, samples: int) -> None:
    leads = len(encoder.leads)
    noise = torch.randn(16, leads, samples, generator=torch.Generator().manual_seed(1))
    encoder.train()
    for _ in range(60):
        encoder(noise, torch.ones(16, leads, dtype=torch.bool))
    encoder.eval()


def make_graft(model: Model, name: str, seed: int) -> Graft:
    task, adapter, config, head, fields = GRAFTS[name]
    torch.manual_seed(seed)
    if name in CHAIN:
        encoder, tensors, common = make_part(model, name, seed)
        config, fields = asdict(isolate.Config(**config)), fields | {"shared": common}
    else:
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
        name.replace(".", "-"), task, replace(model.recipe, leads=encoder.leads), adapter, asdict(settings),
        model.fingerprint, tensors, adapter_config=config, card=card, **fields,
    )  # fmt: skip


def make_part(model: Model, name: str, seed: int) -> tuple[torch.nn.Module, dict[str, torch.Tensor], dict]:
    """Of a graft with weights in common: its encoder, tensors, and what they stand on.

    `KEPT` of the free weights are its own; of earlier ones it reads about a half.
    """
    leads, after = CHAIN[name]
    earlier, encoder = before(model, after), for_leads(model.encoder, leads)
    ledger, random = chain.ledger(earlier), np.random.default_rng(seed)
    encoder.load_state_dict(moved(encoder.state_dict(), seed))
    shared.claim(encoder, ledger)
    for layer in shared.parts(encoder).values():
        if layer.scores is not None:
            layer.scores.data = torch.from_numpy(random.uniform(0, 2 * shared.THRESHOLD, len(layer.old)))
        shared.drop(layer, 1 - KEPT)
        shared.give_back(layer)
    own = shared.saved(encoder, ledger)
    shared.settle(encoder)
    show_noise(encoder, model.recipe.samples)
    held = {f"{layer}.weight" for layer in ledger.owner}
    private = {f"encoder.{key}": value for key, value in encoder.state_dict().items() if key not in held}
    last = earlier.grafts[after].shared["fingerprint"] if after else ""
    said = {"root": "free", "stem": "private", "after": {"graft": after, "fingerprint": last} if after else {}}
    mark = chain.fingerprint_of(own, {"encoder": model.fingerprint} | said)
    return encoder, private | own, said | {"fingerprint": mark}


def write(graft: Graft, path: Path) -> None:
    """Today's file, or an older one: without what there was not."""
    graft.save(path)
    for prefix, (keys, head) in OLD.items():
        if path.name.startswith(prefix):
            tensors, header = files.load(path)
            header = {key: value for key, value in header.items() if key not in keys}
            header["head"] = {key: value for key, value in header["head"].items() if key not in head}
            header["format_version"] = int(prefix[0])
            if header.pop(CHECKSUM, None):
                header[CHECKSUM] = files.fingerprint(tensors, header)
            files.save(path, tensors, header)


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
            graft = make_graft(model, name, seed)
            if not name.startswith(tuple(OLD)):
                graft = reference.added(on(model, graft), graft)
            write(graft, path)
            expected[name] = answers(model, Graft.load(path))
    text = json.dumps(expected, indent=1) + "\n"
    if not kept.exists() or kept.read_text() != text:
        kept.write_text(text)


if __name__ == "__main__":
    main()
