"""ecgraft info: what is in a file, by hand-made files of every kind."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

import ecgraft
from ecgraft.commands import _doubles
from ecgraft.commands.info import describe, info
from ecgraft.model.model import PACKAGED
from ecgraft.record import InputError, Record, UsageError
from ecgraft.signal.recipe import Recipe
from ecgraft.store import Store, StoreWriter

TENSORS = {"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float32)}  # 17 values
GRAFT = {
    "kind": "graft",
    "format_version": 1,
    "name": "rhythm",
    "adapter": "linear",
    "encoder": "0123456789abcdef",
    "recipe": Recipe().to_dict(),
    "task": {"name": "rhythm", "kind": "multiclass", "labels": ["N", "A"], "codes": {"A": ["cinc2017:A", "scp:AFIB"]}},
    "thresholds": {"A": 0.375},
    "metrics": {"of": "the test part", "macro f1": {"value": 0.81, "low": 0.76, "high": 0.85}, "N": {"f1": 0.9}},
    "card": {"seed": 3, "note": "[bold]\x1b[31mred"},
}


def shown(path, **given) -> str:
    console = Console(width=200, file=io.StringIO(), markup=False, highlight=False)
    for title, table in describe(path, **given):
        console.print(title, table, sep="\n")
    return console.file.getvalue()


def row(text: str, start: str) -> str:
    """The line whose first words are `start`, with single spaces."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return next(line for line in lines if line.startswith(start))


@pytest.fixture
def graft(tmp_path):
    save_file(TENSORS, tmp_path / "rhythm.safetensors", {"ecgraft": json.dumps(GRAFT)})
    return tmp_path / "rhythm.safetensors"


def test_graft_says_which_output_is_which_diagnosis(graft):
    text = shown(graft)
    assert row(text, "1 A") == "1 A 0.375 cinc2017:A, scp:AFIB" and row(text, "0 N") == "0 N"
    assert row(text, "macro f1") == "macro f1 0.81 0.76 to 0.85" and row(text, "N f1") == "N f1 0.9"
    assert "on the test part" in text and row(text, "values").startswith("values 17 (")
    assert row(text, "recipe").endswith(Recipe().describe()) and row(text, "seed") == "seed 3"


def test_graft_says_how_sure_it_is(tmp_path):
    """Of label A "yes" is possible from 1 - 0.75 on and "no" up to 0.5; of B too few records are known."""
    task = {"name": "t", "kind": "multilabel", "labels": ["A", "B"], "codes": {"A": ["x:1"], "B": ["x:2"]}}
    more = {"conformal": {"coverage": 0.9, "limits": [[0.5, 0.75], [0.1, None]]}, "calibration": {"temperature": 1.25}}
    for limit, words in ((2.5, "farther than 2.5 from the training records (limit of 40 "), (None, "cannot be told")):
        head = GRAFT | more | {"task": task, "format_version": 2, "distance": {"limit": limit, "records": 40}}
        save_file(TENSORS, tmp_path / "g.safetensors", {"ecgraft": json.dumps(head)})
        text = shown(tmp_path / "g.safetensors")
        assert row(text, "unusual record").startswith(f"unusual record {words}")
    assert row(text, "0 A") == "0 A 0.375 0.25 0.5 x:1" and row(text, "1 B") == "1 B any any x:2"
    assert row(text, "coverage").endswith("possible ones in 90 % of records")
    assert row(text, "calibration") == "calibration temperature 1.25"


def test_what_comes_out_of_a_file_does_not_steer_the_terminal(graft):
    text = shown(graft)
    assert "\x1b" not in text and "[bold] [31mred" in text


def test_model_folder(graft, tmp_path):
    header = {"kind": "encoder", "name": "resnet18", "config": {"width": 32}, "fingerprint": "0123456789abcdef"}
    save_file(TENSORS, tmp_path / "encoder.safetensors", {"ecgraft": json.dumps(header)})
    (tmp_path / "grafts").mkdir()
    graft.rename(tmp_path / "grafts" / "rhythm.safetensors")
    text = shown(tmp_path)
    assert row(text, "architecture") == "architecture width 32" and row(text, "1 A").startswith("1 A 0.375")


def test_ecg_file(tmp_path):
    path = tmp_path / "ecg.csv"
    path.write_text("I,V9\n" + "0.5,-1\n" * 499 + "0.25,nan\n")
    with pytest.raises(InputError, match="rate"):
        describe(path)
    text = shown(path, rate=500, unit="mV")
    assert row(text, "rate") == "rate 500 Hz" and row(text, "length") == "length 1.00 s (500 samples)"
    assert row(text, "I ") == "I 0.250 0.500 0.0" and row(text, "V9") == "V9 -1.000 -1.000 0.2"


def test_one_record_of_many(tmp_path):
    np.save(tmp_path / "x.npy", np.stack([np.full((100, 2), 0.5), np.linspace(0, 1, 200).reshape(100, 2)]))
    given = {"rate": 100, "unit": "mV", "leads": "I,II"}
    with pytest.raises(InputError, match="2 records"):
        describe(tmp_path / "x.npy", **given)
    assert row(shown(tmp_path / "x.npy", index=1, **given), "II ").startswith("II 0.005 1.000")


def test_store(tmp_path):
    leads, signal = ("I", "II"), np.zeros((2, 5000), np.float32)
    with StoreWriter(tmp_path / "store") as writer:
        for number in range(3):
            labels = {"scp:NORM": int(number > 0), **({"own:x": 0} if number == 2 else {})}
            record = Record(signal, 500, leads, id=str(number), patient="a" if number else "b", labels=labels)
            writer.add(record.but(source="here", report="sinus rhythm" if number else None))
    text = shown(tmp_path / "store")
    assert row(text, "records") == "records 3" and row(text, "patients") == "patients 2"
    assert row(text, "length") == "length 10.0 to 10.0 s, 0.0 h in all" and row(text, "rate") == "rate 500 Hz 3"
    assert row(text, "source") == "source here 3" and row(text, "reports") == "reports 2 records"
    assert row(text, "scp:NORM") == "scp:NORM 2 1 0" and row(text, "own:x") == "own:x 0 1 2"


@pytest.mark.parametrize("change", ["missing", "truncated", "foreign", "no json", "list"])
def test_bad_file(graft, change):
    if change == "missing":
        graft.unlink()
    elif change == "truncated":
        graft.write_bytes(graft.read_bytes()[:100])
    else:
        metadata = {"foreign": None, "no json": {"ecgraft": "{"}, "list": {"ecgraft": "[]"}}[change]
        save_file(TENSORS, graft, metadata)
    with pytest.raises(InputError, match=r"rhythm\.safetensors"):
        describe(graft)


def test_folder_that_is_nothing(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path.name)):
        describe(tmp_path)


def test_prints(graft, capsys):
    info(graft)
    assert "outputs of task rhythm (multiclass)" in capsys.readouterr().out


def test_needs_no_torch(graft):
    code = "import sys; from ecgraft.commands.info import info; info(sys.argv[1]); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code, str(graft)], capture_output=True).returncode == 0


def test_the_same_ecg_twice_is_listed(tmp_path, capsys):
    """Two stores: a copy of another gain under another name in the second, a patient with records in both."""
    ecgraft.simulate(to=tmp_path / "one", count=30, seed=1, seconds=6.0, rate=250.0, progress=False)
    records = [Store(tmp_path / "one").record(i) for i in range(30)]
    with StoreWriter(tmp_path / "two") as writer:
        for i, record in enumerate(records[:3]):
            signal = -2.0 * record.signal if i == 1 else record.signal[:, ::-1] ** 2
            writer.add(record.but(signal=signal, id=f"again{i}", patient=record.patient if i == 2 else f"x{i}"))
    ecgraft.info([tmp_path / "one", tmp_path / "two"], to=tmp_path / "pairs.csv")
    text = capsys.readouterr().out
    assert "1 same shape" in text and "sim-1-2, again2" in text
    (pair,) = csv.DictReader((tmp_path / "pairs.csv").open())
    assert (pair["record a"], pair["record b"]) == (records[1].id, "again1")
    assert float(pair["gain"]) == pytest.approx(-2, abs=0.01) and float(pair["correlation"]) > 0.99
    assert (pair["two sides"] == "yes") == ((pair["part a"] == "test") != (pair["part b"] == "test"))
    ecgraft.info(tmp_path / "one", doubles=False)
    assert "the same ECG twice" not in capsys.readouterr().out
    with pytest.raises(UsageError, match="pairs are written as"):
        ecgraft.info([tmp_path / "one", tmp_path / "two"], to=tmp_path / "pairs.txt")
    for given in ({"path": tmp_path / "one", "doubles": False}, {"path": PACKAGED}):
        with pytest.raises(UsageError, match="there are no pairs to write"):
            ecgraft.info(**given, to=tmp_path / "none.csv")


def test_a_file_of_pairs_is_written_however_large_the_store(tmp_path, monkeypatch):
    monkeypatch.setattr(_doubles, "QUICK", 5)
    ecgraft.simulate(to=tmp_path / "one", count=6, seed=1, seconds=6.0, rate=250.0, progress=False)
    ecgraft.info(tmp_path / "one", to=tmp_path / "pairs.csv")
    assert (tmp_path / "pairs.csv").read_text().startswith("kind,store a")
