"""The command line: what is given reaches the function, and what is wrong is said in one line."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

from ecgraft import cli, options
from ecgraft.record import InputError

CALLS = []


@dataclass(frozen=True)
class Inner:
    """A config inside a config."""

    deep: bool = False


@dataclass(frozen=True)
class Settings:
    """How the toy is trained.

    batch     records in a step
    shuffle   in random order
    training  settings of the loop
    """

    batch: int = 32
    seed: int = 0
    shuffle: bool = True
    training: dict = Field(default_factory=dict)
    inner: Inner = Field(default_factory=Inner)


def toy(
    files: Annotated[list[Path], "ECG files [one or more]."],
    *,
    model: Annotated[Path, "The model."],
    task: Annotated[tuple[str, ...], "Tasks."] = (),
    budget: Annotated[int | float | None, "A share or a number."] = None,
    style: Annotated[Literal["json", "csv"], "How to print."] = "json",
    dry_run: Annotated[bool, "Only look."] = False,
    seed: Annotated[int, "Seed."] = 0,
    encoder: Annotated[dict | None, "Settings of the encoder."] = None,
    **settings: Annotated[Any, Settings],
):
    """Does nothing."""
    CALLS.append({name: value for name, value in locals().items() if name != "settings"} | settings)


@pytest.fixture(autouse=True)
def verbs(monkeypatch):
    monkeypatch.setitem(cli.VERBS, "toy", (f"{__name__}:toy", "A toy."))
    CALLS.clear()


def run(capsys, *args) -> tuple[int, str]:
    """Exit status and everything printed."""
    try:
        cli.main(list(args))
        status = 0
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def test_values_reach_the_function_typed(capsys):
    words = ["--model", "m", "--task", "x", "--task", "y", "--budget", "40", "--dry-run", "seed=3", "encoder.width=64"]
    assert run(capsys, "toy", "a.csv", "b.csv", *words, "batch=8", "training.rate=0.001") == (0, "")
    expected = {"files": [Path("a.csv"), Path("b.csv")], "model": Path("m"), "task": ("x", "y"), "budget": 40}
    expected |= {"style": "json", "dry_run": True, "seed": 3, "encoder": {"width": 64}}
    assert CALLS[0] == expected | {"batch": 8, "training": {"rate": 0.001}}


@pytest.mark.parametrize(
    "words, name, value",
    [
        (["budget=0.05"], "budget", 0.05),
        (["--budget=0.05"], "budget", 0.05),
        (["task=x"], "task", ("x",)),
        (["task=[x, y]"], "task", ("x", "y")),
        (["dry-run=yes"], "dry_run", True),
        (["--no-dry-run"], "dry_run", False),
        (["encoder.a.b=[1, 2]"], "encoder", {"a": {"b": [1, 2]}}),
        (["encoder={a: 1}", "encoder.b=2"], "encoder", {"a": 1, "b": 2}),
        (["training.x=1", "training.y=2"], "training", {"x": 1, "y": 2}),
        (["inner.deep=true"], "inner", {"deep": True}),
        (["--batch", "8"], "batch", 8),
        (["batch=8"], "batch", 8),
        (["--no-shuffle"], "shuffle", False),
    ],
)
def test_ways_to_write_a_value(capsys, words, name, value):
    assert run(capsys, "toy", "a", "--model", "m", *words) == (0, "")
    assert CALLS[0][name] == value


def test_what_belongs_to_an_option_is_no_word(capsys):
    assert run(capsys, "toy", "--model", "seed=5", "--", "task=1")[0] == 0
    assert CALLS[0]["model"] == Path("seed=5") and CALLS[0]["files"] == [Path("task=1")] and CALLS[0]["seed"] == 0


def test_command_line_before_config_before_default(capsys, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("model: m\nfiles: [a]\nseed: 7\nstyle: csv\ndry-run: true\nencoder: {width: 1, depth: 2}\n")
    assert run(capsys, "toy", "--config", str(file), "--seed", "8", "encoder.width=3") == (0, "")
    assert CALLS[0]["seed"] == 8 and CALLS[0]["style"] == "csv" and CALLS[0]["dry_run"] is True
    assert CALLS[0]["encoder"] == {"width": 3, "depth": 2} and CALLS[0]["task"] == ()


@pytest.mark.parametrize(
    "words, said",
    [
        (["tyo"], "no verb 'tyo'; did you mean 'toy'?"),
        (["--versoin"], "No such option: --versoin"),
        (["toy", "a", "--modle", "m"], "toy: no option --modle; did you mean '--model'?"),
        (["toy", "a", "--batsh", "3"], "toy: no option --batsh; did you mean '--batch'?"),
        (["toy", "a", "--training", "3"], "toy: no option --training; did you mean 'training.KEY='?"),
        (["toy", "a", "-x"], "No such option: -x"),
        (["toy", "a", "modle=m"], "toy: unknown key 'modle'; did you mean 'model'?"),
        (["toy", "a", "--model", "m", "bacth=3"], "toy: unknown key 'bacth'; did you mean 'batch'?"),
        (["toy", "a", "--model"], "Option '--model' requires an argument"),
        (["toy", "a"], "toy: --model is missing"),
        (["toy", "--model", "m"], "toy: FILES is missing"),
        (["toy", "a", "--model", "m", "model=n"], "toy: model is given twice"),
        (["toy", "a", "--model", "m", "style=xml"], "toy: --style 'xml': Input should be 'json' or 'csv'"),
        (["toy", "a", "--model", "m", "--seed", "1.5"], "toy: --seed '1.5': Input should be a valid integer"),
        (["toy", "a", "--model", "m", "seed.x=1"], "toy: seed.x=1: seed has no keys"),
        (["toy", "a", "--model", "m", "encoder.x=[1"], "cannot be read as YAML"),
        (["toy", "a", "--model", "m", "encoder=3"], "toy: encoder 3: Input should be a valid dictionary"),
    ],
)
def test_wrong_use_is_status_2(capsys, words, said):
    status, printed = run(capsys, *words)
    assert status == 2 and said in printed and len(printed.splitlines()) == 1 and not CALLS


@pytest.mark.parametrize(
    "content, status, said",
    [
        ("modle: m\n", 2, "unknown key 'modle'; did you mean 'model'?"),
        ("- a\n", 1, "must hold `key: value` lines"),
        ("a: [\n", 1, "cannot be read as YAML"),
        ("seed: [1]\nmodel: m\nfiles: [a]\n", 2, "--seed [1]: Input should be a valid integer"),
    ],
)
def test_wrong_config(capsys, tmp_path, content, status, said):
    (tmp_path / "run.yaml").write_text(content)
    got, printed = run(capsys, "toy", "--config", str(tmp_path / "run.yaml"))
    assert got == status and said in printed


def test_config_that_is_not_there(capsys):
    status, printed = run(capsys, "toy", "--config", "nowhere.yaml")
    assert status == 1 and "nowhere.yaml" in printed


@pytest.mark.parametrize(
    "error, status, said",
    [
        (InputError("a.csv: lead V9 is unknown"), 1, "ecgraft: a.csv: lead V9 is unknown"),
        (KeyboardInterrupt(), 130, "ecgraft: interrupted; run the same command again to continue"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "big.bin"), 1, "no space left on the disk (big.bin)"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a.csv"), 1, "not allowed to read or write (a.csv)"),
    ],
)
def test_failures_are_explained(capsys, monkeypatch, error, status, said):
    def failing(*, path: Annotated[str, "A file."] = ""):
        raise error

    monkeypatch.setattr(cli, "find", lambda verb: failing)
    got, printed = run(capsys, "toy")
    assert got == status and said in printed and len(printed.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no pipes of this kind")
@pytest.mark.parametrize("lines", [1, 100_000])
def test_output_that_nobody_reads_any_more_is_no_defect(lines):
    """As in `ecgraft predict ... | head`, while it prints and at its end."""
    code = (
        "import time; from ecgraft import cli; cli.VERBS['toy'] = ('', ''); "
        f"cli.find = lambda verb: lambda: [time.sleep(1)] + [print('x' * 99) for _ in range({lines})]; "
        "cli.main(['toy'])"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 141


def test_debug_keeps_the_error(capsys, monkeypatch):
    def failing():
        raise InputError("bad")

    monkeypatch.setattr(cli, "find", lambda verb: failing)
    with pytest.raises(InputError, match="bad"):
        cli.main(["toy", "--debug"])


def test_a_defect_keeps_its_traceback(monkeypatch):
    def failing():
        raise FileNotFoundError("inside")

    monkeypatch.setattr(cli, "find", lambda verb: failing)
    with pytest.raises(FileNotFoundError):
        cli.main(["toy"])


def test_help_shows_what_can_be_given(capsys):
    status, printed = run(capsys, "toy", "--help")
    shown = [
        "ECG files [one or more]. [required]",
        "How to print. [default: json]",
        "--no-dry-run",
        "encoder.KEY=VALUE",
    ]
    assert status == 0 and all(
        words in printed
        for words in [*shown, "records in a step [default: 32]", "training.KEY=VALUE  settings of the loop", "--config"]
    )


def test_overview_and_version(capsys):
    status, printed = run(capsys)
    assert status == 0 and all(verb in printed for verb in cli.VERBS)
    assert run(capsys, "--version") == (0, f"ecgraft {cli.__version__}\n")


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_says_what_its_options_are(capsys, verb):
    function = cli.find(verb)
    known = options.parameters(function)
    assert function.__doc__ and all(p.help for p in known.values() if p.positional or p.named), verb
    assert not {"config", "debug", "help"} & set(known), "these belong to every verb"
    assert run(capsys, verb, "--help")[0] == 0


def test_commands_in_the_readme_are_right():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"(?:^|`)ecgraft (\w+) ([^`\n#]+)", text, re.MULTILINE)
    found = [(verb, words.split()) for verb, words in found if verb in cli.VERBS]
    assert len(found) > 4
    for verb, words in found:
        options.parse(verb, cli.find(verb), words)


def test_it_runs_as_a_program_on_a_poor_console():
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    words = [sys.executable, "-m", "ecgraft"]
    assert subprocess.run([*words, "--help"], env=environment, capture_output=True).returncode == 0
    assert subprocess.run([*words, "simulat"], env=environment, capture_output=True).returncode == 2
