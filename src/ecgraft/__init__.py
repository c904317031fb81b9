"""ecgraft: one ECG encoder, pretrained once; every clinical task a small graft on it.

For research; not a medical device.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

# The Python API has the words of the command line. Each name is imported when it is first used.
_API = {
    "InputError": "record",
    "LEADS": "record",
    "Model": "model",
    "Recipe": "signal.recipe",
    "Record": "record",
    "Store": "store",
    "Stream": "model",
    "UsageError": "record",
    "WAVES": "record",
    "adapt": "commands.adapt",
    "bench": "commands.bench",
    "convert": "commands.convert",
    "demo": "commands.demo",
    "doctor": "commands.doctor",
    "embed": "commands.embed",
    "evaluate": "commands.evaluate",
    "extend": "commands.extend",
    "grafts": "commands.grafts",
    "info": "commands.info",
    "ingest": "commands.ingest",
    "load": "model",
    "plan": "commands.plan",
    "predict": "commands.predict",
    "pretrain": "commands.pretrain",
    "read": "formats",
    "simulate": "commands.simulate",
    "verify": "commands.verify",
    "write": "formats",
}
__all__ = sorted(_API)


def __getattr__(name: str):
    if name not in _API:
        raise AttributeError(f"module 'ecgraft' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ecgraft.{_API[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
