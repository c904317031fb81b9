"""What four tasks take on disk: python benchmarks/storage.py

The four databases of TAC-ECG (simulated ECGs stand for them: what is learnt does not change the size), an encoder with
one graft of rank-8 LRC-Adapters for each, against four files that hold a fine-tuned copy each. Everything that a graft
carries counts: thresholds, calibration, what tells unusual records, checksums and sketches of the records that it has
learnt from. The last grow with the number of records; they are left out on both sides in a second row. Bar: 28 %.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from _result import keep

import ecgraft
from ecgraft.commands._bench import standins
from ecgraft.model import Model
from ecgraft.model.graft import Graft

TASKS = {"cpsc2018": "cpsc2018", "cinc2017": "rhythm3", "ptb_xl": "superclass", "challenge2021": "chapman"}
ENCODERS = ("xresnet101", "resnet18")
RECORDS = 60
QUICK = {"steps": 1, "batch": 4, "rare": "note", "progress": False}


def bytes_of(folder: Path, seen: bool) -> dict[str, int]:
    """Encoder and grafts of a model folder, with or without what they were learnt from."""
    encoder = folder / "encoder.safetensors"
    files = sorted((folder / "grafts").glob("*.safetensors"))
    if seen:
        return {"encoder": encoder.stat().st_size, "grafts": sum(file.stat().st_size for file in files)}
    size = 0
    for file in files:
        graft = Graft.load(file)
        graft.tensors = {name: value for name, value in graft.tensors.items() if not name.startswith("seen.")}
        graft.save(folder / "bare.safetensors")
        size += (folder / "bare.safetensors").stat().st_size
    return {"encoder": encoder.stat().st_size, "grafts": size}


def main() -> None:
    torch.set_num_threads(1)
    found = {}
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        for database in TASKS:
            standins.make(database, top / database, {"count": RECORDS})
        for encoder in ENCODERS:
            Model.fresh(encoder).save(top / encoder)
            for adapter in ("lrc", "full"):
                for database, task in TASKS.items():
                    ecgraft.adapt(
                        top / database, task=task, to=top / f"{encoder}-{adapter}", model=str(top / encoder),
                        adapter=adapter, **QUICK,
                    )  # fmt: skip
            for seen in (True, False):
                small, copies = (bytes_of(top / f"{encoder}-{adapter}", seen) for adapter in ("lrc", "full"))
                name = encoder if seen else f"{encoder}, without what was learnt from"
                found[name] = {
                    "encoder": small["encoder"],
                    "four grafts": small["grafts"],
                    "four fine-tuned copies": copies["grafts"],
                    "share": round((small["encoder"] + small["grafts"]) / copies["grafts"], 4),
                }
    keep("storage", records=RECORDS, sizes=found)


if __name__ == "__main__":
    main()
