"""House rules that hold for every file."""

from __future__ import annotations

import ast
import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import ecgraft

TOP = Path(__file__).parents[1]
PACKAGE = TOP / "src" / "ecgraft"
SOURCES = sorted(PACKAGE.rglob("*.py"))
CODE = sorted(file for folder in ("src", "tests", "benchmarks") for file in (TOP / folder).rglob("*.py"))
TEXTS = sorted(
    file
    for folder in (TOP, *(TOP / name for name in ("src", "tests", "benchmarks", "docs", ".ci")))
    for file in (folder.glob("*") if folder == TOP else folder.rglob("*"))
    if file.suffix in (".py", ".md", ".toml", ".cff", ".yaml", ".json", ".jsonl", ".html", ".txt", "")
    and file.is_file()
    and "egg-info" not in str(file)
)
HEAVY = {"torch", "scipy", "pandas", "pydantic", "matplotlib", "pydicom", "soundfile", "pyarrow"}


def name(file: Path) -> str:
    return str(file.relative_to(TOP))


@pytest.mark.parametrize("file", CODE, ids=name)
def test_a_file_can_be_read_in_one_go(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("file", SOURCES, ids=name)
def test_a_file_says_what_it_is(file):
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))


def dangers(tree: ast.AST) -> list[str]:
    """Calls and imports that run what a file from outside says."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = {getattr(node, "module", None) or "", *(alias.name for alias in node.names)}
            found += sorted(modules & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"})
        elif isinstance(node, ast.Call):
            said, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            found += [said] if said in ("eval", "exec", "os.system", "yaml.load", "pd.read_pickle") else []
            found += [said] if said == "torch.load" and given.get("weights_only") != "True" else []
            found += [said] if given.get("allow_pickle") == "True" or given.get("shell") == "True" else []
    return found


@pytest.mark.parametrize("file", SOURCES, ids=name)
def test_nothing_from_outside_is_run(file):
    assert not dangers(ast.parse(file.read_text(encoding="utf-8")))


def test_dangers_are_seen():
    code = "import pickle\neval(x)\ntorch.load(f)\nnp.load(f, allow_pickle=True)\nmodel.eval()\n"
    code += "torch.load(f, weights_only=True)\nnp.load(f, allow_pickle=False)\nyaml.safe_load(f)\n"
    assert dangers(ast.parse(code)) == ["pickle", "eval", "torch.load", "np.load"]


@pytest.mark.parametrize("file", TEXTS, ids=name)
def test_no_path_of_one_machine(file):
    places = "home|root|work|workspace|tmp|opt|mnt|srv|Users"
    found = re.search(rf"(?<![\w.~}}-])/(?:{places})/\w|[A-Z]:\\\w", file.read_text(encoding="utf-8"))
    assert not found, f"an absolute path: {found.group()}"


@pytest.mark.parametrize("words", [["-c", "import ecgraft"], ["-m", "ecgraft", "--help"]], ids=["import", "help"])
def test_starts_without_the_heavy_libraries(words):
    """What takes long to import is imported when it is needed."""
    done = subprocess.run([sys.executable, "-X", "importtime", *words], capture_output=True, text=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0 and "ecgraft" in imported
    assert not imported & HEAVY


def test_data_files_of_the_package_are_installed():
    patterns = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["ecgraft"]
    files = [f for f in PACKAGE.rglob("*") if f.is_file() and f.suffix != ".py" and "__pycache__" not in f.parts]
    bare = [pattern.removeprefix("**/") for pattern in patterns]
    left = [name(file) for file in files if not any(fnmatch.fnmatch(file.name, pattern) for pattern in bare)]
    assert not left, f"not in package-data of pyproject.toml: {left}"


def test_one_version():
    assert yaml.safe_load((TOP / "CITATION.cff").read_text(encoding="utf-8"))["version"] == ecgraft.__version__
    assert f"## {ecgraft.__version__}" in (TOP / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_name_of_the_python_interface_is_there():
    for word in ecgraft.__all__:
        assert getattr(ecgraft, word) is not None
