"""The plan of the house: a part imports only parts that stand above it, and a plug never its neighbour."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ecgraft

ROOT = Path(ecgraft.__file__).parent
ORDER = ["__init__", "record", "plugs", "signal", "metrics", "report", "formats", "datasets", "tasks", "store"]
NO_TORCH = tuple(ORDER)
ORDER += ["simulator", "views", "nn", "encoders", "adapters", "objectives", "continual", "training", "model"]
ORDER += ["commands", "serving", "options", "cli", "__main__"]
PLUGS = {"formats", "datasets", "tasks", "encoders", "adapters", "objectives", "continual"}
FILES = sorted(ROOT.rglob("*.py"))


def part(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix("").parts[0]


def imports(file: Path) -> set[tuple[str, ...]]:
    """Dotted names that a file imports anywhere, functions included, and those that it names in a string."""
    inside = ("ecgraft", *file.relative_to(ROOT).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            found |= {(*base, alias.name) for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            found |= named(ast.unparse(node.func).split(".")[-1], node.args[0].value, node.args[1:])
    return found


def named(function: str, first, others) -> set[tuple[str, ...]]:
    """What `import_module("ecgraft.x")` and `plugs.find("encoders", ...)` import."""
    if function == "import_module":
        return {tuple(first.split("."))}
    return {("ecgraft", first)} if function in ("find", "names") and first in PLUGS else set()


def ours(file: Path) -> set[tuple[str, ...]]:
    """The modules and names of ecgraft that a file imports, without the "ecgraft" before them."""
    return {name[1:] for name in imports(file) if name[0] == "ecgraft" and len(name) > 1}


def test_every_part_stands_in_the_order():
    assert {part(file) for file in FILES} <= set(ORDER)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_up(file):
    floor = ORDER.index(part(file))
    below = {".".join(name) for name in ours(file) if name[0] in ORDER[floor + 1 :]}
    assert not below, f"{part(file)} imports what stands below it: {sorted(below)}"


@pytest.mark.parametrize(
    "file", [file for file in FILES if part(file) in PLUGS], ids=lambda file: str(file.relative_to(ROOT))
)
def test_no_plug_imports_its_neighbour(file):
    kind = part(file)
    plugs = {other.stem for other in (ROOT / kind).glob("*.py") if not other.name.startswith("_")} - {file.stem}
    neighbours = {".".join(name) for name in ours(file) if name[0] == kind and plugs & set(name[1:2])}
    assert not neighbours, f"plugs find each other by name only; it imports {sorted(neighbours)}"


@pytest.mark.parametrize(
    "file", [file for file in FILES if part(file) in NO_TORCH], ids=lambda file: str(file.relative_to(ROOT))
)
def test_up_to_the_store_no_file_says_torch(file):
    assert not {name for name in imports(file) if name[0] == "torch"}


def test_up_to_the_store_nothing_brings_torch_in():
    """Not even a library: all these modules are imported in a fresh process."""
    names = [".".join(("ecgraft", *file.relative_to(ROOT).with_suffix("").parts)) for file in FILES]
    names = [name for name, file in zip(names, FILES) if part(file) in NO_TORCH]
    code = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name.removesuffix(".__init__"))
    assert "torch" not in sys.modules, f"{{name}} brings torch in"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_imports_are_seen_wherever_they_stand(tmp_path, monkeypatch):
    """The oracle of this file: every way to import is found."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "formats").mkdir()
    file = tmp_path / "formats" / "a.py"
    file.write_text(
        "import torch.nn\nfrom . import b\nfrom ..store import Store\nfrom ecgraft.nn import heads\n"
        "def f():\n    from .c import d\n    plugs.find('encoders', 'x')\n    import_module('ecgraft.model')\n"
    )
    expected = {"formats.b", "store.Store", "nn.heads", "formats.c.d", "encoders", "model"}
    assert {".".join(name) for name in ours(file)} == expected
    assert ("torch", "nn") in imports(file)
