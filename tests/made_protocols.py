"""A small protocol on stand-ins, as a file and run."""

from __future__ import annotations

import json

import yaml

import ecgraft

TINY = {"encoder": "resnet18", "encoder_config": {"widths": [8, 8, 8, 8], "stem": 8}}
SMALL = {
    "name": "small",
    "version": 1,
    "reference": "scratch",
    "seeds": 2,
    "replicates": 64,
    "settings": {"batch": 8, "seconds": 4.0, "augment": {}},
    "tables": {
        "rhythm": {
            "database": "cinc2017", "task": "rhythm3", "budgets": [0.5, 1], "metrics": ["cinc2017", "macro auroc"],
            "steps": [2, 4], "standin": {"count": 60, "seconds": 4.0},
        },
        "waves": {
            "database": "ludb", "task": "waves", "split": "folds", "folds": 2, "budgets": [8], "steps": [2, 4],
            "standin": {"count": 20, "seconds": 4.0},
        },
    },
    "rows": {
        "scratch": {"about": "all weights", **TINY, "settings": {"training": {"rate": 0.002}}},
        "probe": {**TINY, "adapter": "linear"},
    },
    "published": [{"table": "rhythm", "what": "winners", "metric": "cinc2017", "value": 0.83, "source": "a paper"}],
}  # fmt: skip


def written(path, **changes):
    """The protocol as a file; changes are merged in, "a.b" reaching inside."""
    content = json.loads(json.dumps(SMALL))
    for key, value in changes.items():
        place, *inner = key.split("__")
        target = content
        for name in inner:
            target, place = target[place], name
        target[place] = value
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def run(folder, file, **given):
    return ecgraft.bench(file, to=folder, jobs=1, progress=False, **given)
