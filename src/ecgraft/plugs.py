"""Finding plugs and reading their configs: a name in a config is a file name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from .record import InputError, UsageError


def names(kind: str) -> list[str]:
    """The plugs of a kind ("encoders", "datasets" ...): the files in its folder."""
    package = importlib.import_module(f"ecgraft.{kind}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def nearest(word: str, among) -> str:
    """What to say after an unknown word: the nearest known one, or all of them."""
    among = [str(a) for a in among]
    close = difflib.get_close_matches(word, among, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(among) or 'none'}"


def find(kind: str, name: str) -> ModuleType:
    """The module of plug `name`; a dotted name (`mylab.encoders.foo`) is imported as it stands."""
    if "." in name:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise UsageError(f"{kind}: cannot import {name!r} ({error})") from error
    known = names(kind)
    if name not in known:
        raise UsageError(f"{kind}: no {name!r}; {nearest(name, known)}")
    return importlib.import_module(f"ecgraft.{kind}.{name}")


def read_mapping(path: Path, form: str) -> dict:
    """A YAML file that holds a mapping. `form` says what it should be, as in "a task is a mapping with kind ..."."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({error}); {form}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: {form}")
    return content


def configure(config_class: type, values: dict | None, where: str):
    """An instance of a frozen pydantic dataclass from a mapping; unknown keys and wrong types are UsageErrors."""
    import pydantic

    values = dict(values or {})
    known = list(config_class.__dataclass_fields__)
    for key in values:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}; {nearest(key, known)}")
    try:
        return config_class(**values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "config"
        raise UsageError(f"{where}: {key} = {first.get('input')!r}: {first['msg']}") from error
